"""Random bills, crash trials with them, a fleet of workers, and `make soak`, which runs all of these at length."""
