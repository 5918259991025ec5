"""Where a page of charges begins, as its address tells it: the place of the last charge of the page before."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from billfold.store.reports.spending import ChargePlace
from billfold.web.cursors import next_cursor, read_cursor

# A small number's digits would be spelled out, and PostgreSQL's integers end here.
_MAX_EXPONENT = 100
_MAX_NUMBER = 2**31 - 1


def spell_place(place: ChargePlace) -> str:
    """The place as `after` has it in an address."""
    return next_cursor(place.cost, place.statement_id, place.row_hash, place.occurrence, place.part)


def read_place(text: str) -> ChargePlace | None:
    """The place, None for the first page. Raises UsageError for what `spell_place` never wrote."""
    kinds = (_read_cost, _read_number, UUID, _read_number, _read_number)
    place = read_cursor(text or None, *kinds, name="after", advice="follow the page's own links")
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
