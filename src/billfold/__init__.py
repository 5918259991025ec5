"""Billfold lands AWS billing exports in PostgreSQL, to the cent."""

from billfold.money import use_wide_context as _use_wide_context

__version__ = "0.1.0"

# Before any thread does arithmetic.
_use_wide_context()
