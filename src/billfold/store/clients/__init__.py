"""Clients in PostgreSQL: the registry, the owners of their accounts, and the tokens that reach them."""
