"""Statements, deliveries, runs and publications in PostgreSQL, and the rows that they bring."""
