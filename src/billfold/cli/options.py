"""Options that several commands share, and how their words become values."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from billfold import reports
from billfold.errors import UsageError
from billfold.period import BillingPeriod, parse_period
from billfold.selection import Point

Column = TypeVar("Column", bound=StrEnum)

# Python alone would read 20260503110 as a time too.
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$", re.ASCII)
# What PostgreSQL's bigint holds whatever the digits are.
_NUMBER_DIGITS = 18


def parse_month(text: str) -> BillingPeriod:
    """The billing period that `2026-05` names."""
    period = parse_period(text)
    if period is None:
        raise typer.BadParameter(f"{text!r} is no month such as 2026-05")
    return period


def parse_moment(text: str) -> datetime:
    """The instant that an ISO 8601 date (its beginning) or time names, in UTC unless it has an offset of its own."""
    spelled = text.strip().upper()
    try:
        if not _MOMENT.match(spelled):
            raise ValueError(spelled)
        moment = datetime.fromisoformat(spelled)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no moment such as 2026-05-03, 2026-05-03T10:00Z or 2026-05-03T10:00:00+02:00"
        ) from error


def parse_point(text: str) -> Point:
    """The publication that a number names, or the moment that `parse_moment` reads."""
    number = text.strip()
    if number.isascii() and number.isdecimal() and len(number) <= _NUMBER_DIGITS:
        return int(number)
    try:
        return parse_moment(text)
    except typer.BadParameter as error:
        raise typer.BadParameter(f"{error.message}, and no publication's number") from error


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else.")]
Csv = Annotated[
    bool,
    typer.Option(
        "--csv",
        help="Print CSV with a header and exact amounts on standard output, and nothing else. Text that a spreadsheet"
        " would run as a formula gets a leading apostrophe.",
    ),
]
OneClient = Annotated[str | None, typer.Option("--client", metavar="ID", help="Only this client.")]
OneExport = Annotated[
    str | None, typer.Option("--export", metavar="NAME", help="Only this export, by AWS's name of it.")
]
OnePeriod = Annotated[
    BillingPeriod | None,
    typer.Option("--period", parser=parse_month, metavar="YYYY-MM", help="Only this billing period."),
]
OneStatement = Annotated[
    int | None,
    typer.Option("--statement", metavar="ID", help="Only this statement: `billfold statements` shows its id."),
]
Limit = Annotated[
    int, typer.Option("--limit", min=1, max=reports.MAX_LIMIT, help="At most this many rows, the newest first.")
]


def parse_columns(by: Sequence[str], columns: type[Column], what: str) -> list[Column]:
    """The columns of `--by account,day --by month`, each once; `what` is grouped by them."""
    names = [name.strip() for group in by for name in group.split(",") if name.strip()]
    unknown = [name for name in names if name not in list(columns)]
    if unknown or not names:
        raise UsageError(
            f"{what} cannot be grouped by {unknown[0] if unknown else 'nothing'}", advice=f"use {', '.join(columns)}"
        )
    return list(dict.fromkeys(map(columns, names)))


def read_query(text: str) -> str:
    """The query as given, or all of standard input for `-`; raises UsageError for what can be none."""
    try:
        query = sys.stdin.buffer.read().decode() if text == "-" else text
        query.encode()
    except UnicodeError as error:
        raise UsageError("the query is not UTF-8 text") from error
    if "\0" in query:
        raise UsageError("the query holds a NUL character")
    if not query.strip().strip(";").strip():
        raise UsageError("the query is empty", advice='try: billfold sql "SELECT * FROM billing_statements"')
    return query
