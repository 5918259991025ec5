"""The arithmetic of figures: exact for every amount that PostgreSQL holds.

Python's own context rounds sums to 28 digits and raises InvalidOperation where an amount of 1e26 is rounded to the
cent. The wider one is set for the whole process, so that no page, report or command has to remember it.
"""

from __future__ import annotations

import decimal
from decimal import Decimal

# NUMERIC has up to 131,072 digits before the point and 16,383 after it (PostgreSQL: "Numeric Types"); sums need a few
# more. libmpdec reserves no memory for digits that a result does not have.
DIGITS = 150_000
# Of what a chart draws: a larger number is none in JSON.
_MAX_DRAWN = Decimal(10) ** 300


def use_wide_context() -> None:
    """Make the wide context that of this thread and of every thread that starts later."""
    decimal.DefaultContext.prec = DIGITS
    decimal.getcontext().prec = DIGITS


def axis_place(amount: Decimal) -> float:
    """The amount as a place on a chart's axis. Raises ValueError where it is too large for one, or not a number."""
    if not amount.is_finite() or abs(amount) > _MAX_DRAWN:
        raise ValueError(f"no chart has a place for {amount:.3e}")
    return float(amount)
