"""Random bills, crash trials with them, and `make soak`, which runs hundreds of these."""
