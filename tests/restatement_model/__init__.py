"""A simple model of statements and their memory, and the machine that holds the real tables against it."""
