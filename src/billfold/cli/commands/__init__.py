"""The commands: each translates its options, makes one call and shows the outcome."""
