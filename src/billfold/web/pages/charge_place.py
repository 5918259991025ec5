"""Where a page of charges begins, as its address tells it: the place of the last charge of the page before."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from uuid import UUID

from billfold.errors import UsageError
from billfold.store.spending import ChargePlace

# A small number's digits would be spelled out, and PostgreSQL's integers end here.
_MAX_EXPONENT = 100
_MAX_NUMBER = 2**31 - 1


def spell_place(place: ChargePlace) -> str:
    """The place as `after` has it in an address."""
    told = [str(place.cost), place.statement_id, str(place.row_hash), place.occurrence, place.part]
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode()


def read_place(text: str) -> ChargePlace | None:
    """The place, None for the first page. Raises UsageError for what `spell_place` never wrote."""
    if not text:
        return None
    try:
        cost, statement_id, row_hash, occurrence, part = json.loads(base64.urlsafe_b64decode(text.encode()))
        exact = Decimal(cost)
        if not exact.is_finite() or abs(exact.adjusted()) > _MAX_EXPONENT:
            raise ValueError(cost)
        numbers = [int(number) for number in (statement_id, occurrence, part)]
        if max(map(abs, numbers)) > _MAX_NUMBER:
            raise ValueError(numbers)
        return ChargePlace(
            cost=exact,
            statement_id=numbers[0],
            row_hash=UUID(row_hash),
            occurrence=numbers[1],
            part=numbers[2],
        )
    except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UsageError("after is none of ours", advice="follow the page's own links") from error
