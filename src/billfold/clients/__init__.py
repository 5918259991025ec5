"""Who is billed: the registry of clients, their owners and their access tokens."""
