"""Clients, owners and tokens in PostgreSQL."""
