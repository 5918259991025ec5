"""Options that several commands share, and how their words become values."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer

from billfold.errors import UsageError
from billfold.period import BillingPeriod, parse_moment, parse_period
from billfold.selection import MAX_LIMIT, Point

# Any number of this many digits fits into PostgreSQL's bigint.
_NUMBER_DIGITS = 18


def read_month(text: str) -> BillingPeriod:
    """The billing period that `2026-05` names."""
    period = parse_period(text)
    if period is None:
        raise typer.BadParameter(f"{text!r} is not a month such as 2026-05")
    return period


def read_moment(text: str) -> datetime:
    """The instant that an ISO 8601 date (its beginning) or time names, in UTC unless it has an offset of its own."""
    moment = parse_moment(text)
    if moment is None:
        raise typer.BadParameter(
            f"{text!r} is not a moment such as 2026-05-03, 2026-05-03T10:00Z or 2026-05-03T10:00:00+02:00"
        )
    return moment


def read_point(text: str) -> Point:
    """The publication that a number names, or the moment that `read_moment` reads."""
    number = text.strip()
    if number.isascii() and number.isdecimal() and len(number) <= _NUMBER_DIGITS:
        return int(number)
    try:
        return read_moment(text)
    except typer.BadParameter as error:
        raise typer.BadParameter(f"{error.message}, nor a publication's number") from error


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
ActAs = Annotated[
    str | None,
    typer.Option("--client", metavar="ID", help="Act as this client; BILLFOLD_CLIENT by default."),
]
Since = Annotated[
    BillingPeriod | None,
    typer.Option("--since", parser=read_month, metavar="YYYY-MM", help="From this billing period on."),
]
DeliveryId = Annotated[
    str,
    typer.Argument(
        metavar="DELIVERY",
        help="A delivery's id from `billfold deliveries`: all of it, or its first 8 or more characters.",
    ),
]
OneExport = Annotated[
    str | None, typer.Option("--export", metavar="NAME", help="Only this export, by its name in AWS.")
]
OnePeriod = Annotated[
    BillingPeriod | None,
    typer.Option("--period", parser=read_month, metavar="YYYY-MM", help="Only this billing period."),
]
OneStatement = Annotated[
    int | None,
    typer.Option("--statement", metavar="ID", help="Only this statement, by its id in `billfold statements`."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=MAX_LIMIT, help="At most this many rows, the newest first.")]


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
