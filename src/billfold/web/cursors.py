"""Where the next page of a list begins: what the list is ordered by, of the last row, as an address holds it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from billfold.errors import UsageError

# PostgreSQL's bigint.
MAX_ID = 2**63 - 1


def next_cursor(*place: datetime | date | UUID | Decimal | int | str) -> str:
    """The place of the last row of a page; whoever pages takes it as it is."""
    told = [each.isoformat() if isinstance(each, date) else str(each) for each in place]
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode()


def read_cursor(
    cursor: str | None,
    *kinds: Callable[[str], Any],
    name: str = "cursor",
    advice: str = "take `next_cursor` as it is",
) -> tuple[Any, ...] | None:
    """The place of the last row of the page before, each part as its kind reads it.

    Raises UsageError, which names the parameter, for what is no cursor of such a list.
    """
    if cursor is None:
        return None
    try:
        told = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return tuple(kind(part) for kind, part in zip(kinds, told, strict=True))
    except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"{name} is none of ours", advice=advice) from error


def read_moment(text: str) -> datetime:
    """A part of a cursor that is an instant."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def read_id(text: str) -> int:
    """A part of a cursor that is a number of PostgreSQL's."""
    number = int(text)
    if not 0 < number <= MAX_ID:
        raise ValueError(text)
    return number


def read_name(part: object) -> str:
    """A part of a cursor that is a name."""
    if not isinstance(part, str) or "\0" in part:
        raise ValueError(part)
    # PostgreSQL holds no half of a character.
    part.encode()
    return part
