"""What waits and what failed, in PostgreSQL."""
