"""Options that several commands share, and how their words become values."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from billfold import reports
from billfold.errors import UsageError
from billfold.period import BillingPeriod, parse_period
from billfold.reports import CostColumn


def parse_month(text: str) -> BillingPeriod:
    """The billing period that `2026-05` names."""
    period = parse_period(text)
    if period is None:
        raise typer.BadParameter(f"{text!r} is no month such as 2026-05")
    return period


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else.")]
OneClient = Annotated[str | None, typer.Option("--client", metavar="ID", help="Only this client.")]
OneExport = Annotated[
    str | None, typer.Option("--export", metavar="NAME", help="Only this export, by AWS's name of it.")
]
OnePeriod = Annotated[
    BillingPeriod | None,
    typer.Option("--period", parser=parse_month, metavar="YYYY-MM", help="Only this billing period."),
]
Limit = Annotated[
    int, typer.Option("--limit", min=1, max=reports.MAX_LIMIT, help="At most this many rows, the newest first.")
]


def parse_columns(by: Sequence[str]) -> list[CostColumn]:
    """The columns of `--by account,day --by month`, each once."""
    names = [name.strip() for group in by for name in group.split(",") if name.strip()]
    unknown = [name for name in names if name not in list(CostColumn)]
    if unknown or not names:
        raise UsageError(
            f"costs cannot be grouped by {unknown[0] if unknown else 'nothing'}", advice=f"use {', '.join(CostColumn)}"
        )
    return list(dict.fromkeys(map(CostColumn, names)))


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
