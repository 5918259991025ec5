"""The cursor of a list of charges: the place of the last charge on the previous page."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from billfold.app.values import ChargePlace
from billfold.web.cursors import next_cursor, read_cursor

# A number with a huge exponent would be written out in full.
_MAX_EXPONENT = 100
# PostgreSQL's integer.
_MAX_NUMBER = 2**31 - 1


def format_charge_cursor(place: ChargePlace) -> str:
    """The place as text, for the parameter `after`."""
    return next_cursor(place.cost, place.statement_id, place.row_hash, place.occurrence, place.part)


def read_charge_cursor(text: str) -> ChargePlace | None:
    """The place, None for the first page. Raises UsageError for text that `format_charge_cursor` did not write."""
    kinds = (_read_cost, _read_number, UUID, _read_number, _read_number)
    place = read_cursor(text or None, *kinds, name="after", advice="follow the links on the page")
    if place is None:
        return None
    cost, statement_id, row_hash, occurrence, part = place
    return ChargePlace(cost=cost, statement_id=statement_id, row_hash=row_hash, occurrence=occurrence, part=part)


def _read_cost(text: str) -> Decimal:
    cost = Decimal(text)
    if not cost.is_finite() or abs(cost.adjusted()) > _MAX_EXPONENT:
        raise ValueError(text)
    return cost


def _read_number(text: str) -> int:
    number = int(text)
    if abs(number) > _MAX_NUMBER:
        raise ValueError(text)
    return number
