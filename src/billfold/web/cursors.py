"""Cursors: where the next page of a list begins, as text for a URL. A cursor holds the sort values of the last row."""

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
    """The cursor after the last row of a page."""
    parts = [each.isoformat() if isinstance(each, date) else str(each) for each in place]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def read_cursor(
    cursor: str | None,
    *kinds: Callable[[str], Any],
    name: str = "cursor",
    advice: str = "use `next_cursor` of the previous page unchanged",
) -> tuple[Any, ...] | None:
    """The sort values in a cursor, each parsed by its kind; None without a cursor.

    Raises UsageError, which names the parameter, if the cursor is not one of this list.
    """
    if cursor is None:
        return None
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return tuple(kind(part) for kind, part in zip(kinds, parts, strict=True))
    except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"the page link is invalid or out of date: {name}", advice=advice) from error


def read_moment(text: str) -> datetime:
    """Parse a part of a cursor that is a time."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def read_id(text: str) -> int:
    """Parse a part of a cursor that is an id."""
    number = int(text)
    if not 0 < number <= MAX_ID:
        raise ValueError(text)
    return number


def read_name(part: object) -> str:
    """Parse a part of a cursor that is a name."""
    if not isinstance(part, str) or "\0" in part:
        raise ValueError(part)
    # PostgreSQL rejects an unpaired surrogate, and so does this.
    part.encode()
    return part
