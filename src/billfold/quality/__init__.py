"""Data quality: the checks of each published bill, and what each one means."""
