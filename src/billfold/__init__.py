"""Billfold lands AWS billing exports in PostgreSQL, to the cent."""

__version__ = "0.1.0"
