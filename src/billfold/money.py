"""Amounts of money: exact arithmetic for every amount that PostgreSQL can store, and rounding for display.

Python's own context rounds sums to 28 digits and raises InvalidOperation where an amount of 1e26 is rounded to the
cent. The wider one is set for the whole process, so that no page, report or command has to remember it.
"""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal

# NUMERIC has up to 131,072 digits before the point and 16,383 after it (PostgreSQL: "Numeric Types"); sums need a few
# more. libmpdec reserves no memory for digits that a result does not have.
DIGITS = 150_000
# The largest amount that a chart draws: JSON has no larger number.
_MAX_DRAWN = Decimal(10) ** 300
# ISO 4217: the decimals of a currency's minor unit, if they are not two.
_DECIMALS: Mapping[str, int] = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}
_USUAL_DECIMALS = 2
# An amount below this many minor units (0.10 USD, 10 JPY) is too small to be compared with: percentages mean nothing.
_TINY_UNITS = 10
# Quantities, such as hours and gigabytes, have no minor unit.
_QUANTITY_DECIMALS = 6
SMALLEST_QUANTITY = Decimal("0.000001")
# Wider than any amount in a bill.
_WIDE = Context(prec=2000, rounding=ROUND_HALF_EVEN)
_PERCENT_STEP = Decimal("0.1")

NEW = "new"


def use_wide_context() -> None:
    """Use the wide context in this thread and in every thread that starts later."""
    decimal.DefaultContext.prec = DIGITS
    decimal.getcontext().prec = DIGITS


def axis_place(amount: Decimal) -> float:
    """The amount as a place on a chart's axis. Raises ValueError if it is too large, or not a number."""
    if not amount.is_finite() or abs(amount) > _MAX_DRAWN:
        raise ValueError(f"{amount:.3e} does not fit on a chart")
    return float(amount)


def count_decimals(currency: str) -> int:
    """The decimals that amounts in a currency are shown with; two for an unknown currency."""
    return _DECIMALS.get(currency, _USUAL_DECIMALS)


def round_amount(amount: Decimal, currency: str = "") -> Decimal:
    """The amount with its currency's decimals, half to even; what rounds to zero has no sign."""
    return round_to(amount, count_decimals(currency))


def round_quantity(quantity: Decimal) -> Decimal:
    """A quantity with at most six decimals."""
    return round_to(quantity, _QUANTITY_DECIMALS)


def show_minor_unit(currency: str) -> str:
    """The smallest amount that is shown in a currency: 0.01."""
    return f"{Decimal(1).scaleb(-count_decimals(currency)):f}"


def is_tiny(amount: Decimal, currency: str = "") -> bool:
    """Whether an amount is zero or too small to be compared with."""
    return abs(amount) < _TINY_UNITS * Decimal(1).scaleb(-count_decimals(currency))


def find_percentage(change: Decimal, base: Decimal, currency: str = "") -> Decimal | str | None:
    """What `change` is of `base` in percent, to one decimal.

    Of a base that is zero or tiny it is NEW where there is now more than a tiny amount, else None; of a negative base,
    which is a credit, it is None: no percentage says what happened.
    """
    if is_tiny(base, currency):
        return None if is_tiny(_WIDE.add(base, change), currency) else NEW
    if base < 0:
        return None
    share = _WIDE.multiply(_WIDE.divide(change, base), Decimal(100))
    return _WIDE.add(share.quantize(_PERCENT_STEP, context=_WIDE), Decimal(0))


def round_to(amount: Decimal, decimals: int) -> Decimal:
    """The amount with this many decimals, half to even; a zero has no sign. Raises ValueError for NaN."""
    if not amount.is_finite():
        raise ValueError(f"{amount} is not an amount")
    # Adding zero takes the sign from what rounds to a negative zero.
    return _WIDE.add(amount.quantize(Decimal(1).scaleb(-decimals), context=_WIDE), Decimal(0))
