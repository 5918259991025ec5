"""PostgreSQL: where raw rows, charges and the record of every ingestion stand."""
