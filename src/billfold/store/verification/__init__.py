"""What verification reads: one snapshot of a statement, compared inside PostgreSQL."""
