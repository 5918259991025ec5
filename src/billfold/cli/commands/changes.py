"""`billfold changes`: what differs between two publications or moments."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, OneClient, OneExport, OnePeriod, OneStatement, read_point
from billfold.cli.output.changes_table import show_changes
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import changes_document, dump
from billfold.selection import DEFAULT_LIMIT, MAX_LIMIT, Metric

_EPILOG = (
    "Examples:\n\n"
    "- `billfold changes` (what the latest publication of each statement changed)\n\n"
    "- `billfold changes --from 2026-06-01 --by service,day` (since the beginning of 1 June, UTC)\n\n"
    "- `billfold changes --statement 3 --from 2 --to 5 --json` (from publication 2 of statement 3 to its 5)\n\n"
    "- `billfold changes --period 2026-05 --from 2026-06-03T10:00Z --to 2026-06-10T10:00+02:00`\n\n"
    "A statement without a publication at `--from` counts as empty there. The totals at the end are of the statements"
    " that were counted: between two moments they are what `billfold costs --as-of` shows for both."
)
_From = Annotated[
    Any,
    typer.Option(
        "--from",
        parser=read_point,
        metavar="POINT",
        help=(
            "A publication's number in the statement that you choose (0: before the first), a date (its beginning,"
            " UTC) or an instant. Default: the publication before the one at `--to`."
        ),
    ),
]
_To = Annotated[
    Any,
    typer.Option(
        "--to",
        parser=read_point,
        metavar="POINT",
        help="As `--from`: a publication's number, a date or an instant. Default: now.",
    ),
]
_By = Annotated[
    list[str],
    typer.Option(
        "--by",
        metavar="COLUMN,…",
        help="Group by these, together or one by one: account, service, region, day, category (of the charge).",
    ),
]
_Limit = Annotated[
    int,
    typer.Option(
        "--limit",
        min=1,
        max=MAX_LIMIT,
        help="Show this many changes in the table, the largest first. `--json` always has all of them.",
    ),
]


@app.command(epilog=_EPILOG)
def changes(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    statement: OneStatement = None,
    start_point: _From = None,
    end_point: _To = None,
    by: _By = ["account,service,day,category"],  # noqa: B006
    metric: Annotated[Metric, typer.Option("--metric", help="Which of FOCUS's costs.")] = Metric.BILLED,
    limit: _Limit = DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """Show what changed between two publications or moments of each statement.

    It shows old cost, new cost and difference. Without `--from` and `--to` it shows what each statement's latest
    publication changed; with `--to` alone, what the publication that was current then changed. Groups that are the same
    at both ends are left out; totals include everything. Statements that are not counted are compared too. A month that
    changed after its end is highlighted.

    Rows rewritten (`rows_added`, `rows_removed`) are the line items that the publications in between added and
    withdrew, summed: one that was added and withdrawn again is in both, as is one that changed. Costs are net.
    """
    report = start().changes(
        by,
        start=start_point,
        end=end_point,
        metric=metric,
        limit=None if as_json else limit,
        client=client,
        export=export,
        month=period,
        statement=statement,
    )
    if as_json:
        write_document(dump(changes_document(report)))
    else:
        show_changes(Screen(), report)
    return ExitCode.SUCCESS
