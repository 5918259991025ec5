"""The commands that look back: publications, and what moved between them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from billfold import reports
from billfold.cli.application import app, open_store, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, Limit, OneClient, OneExport, OnePeriod, OneStatement, parse_columns, parse_point
from billfold.cli.output import tables
from billfold.cli.output.changes_table import show_changes
from billfold.cli.output.screen import Screen, write_document
from billfold.documents import changes_document, dump, report_document
from billfold.errors import UsageError
from billfold.selection import ChangeColumn, Filter, Metric
from billfold.store.database import Database


@app.command(epilog="Examples: `billfold publications --period 2026-05` · `billfold publications --statement 3 --json`")
def publications(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    statement: OneStatement = None,
    limit: Limit = reports.DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """List the publications: each is one change of a statement's bill, numbered from 1 inside its statement.

    Deliveries, rollbacks and all other changes of what a statement shows make one each; the starred one is current:
    costs hold it now. `billfold changes` shows what moved between two of them. Times are rounded up to the second: the
    costs `--as-of` one of them hold the bill after it. `--json` has them exactly.
    """
    wanted = Filter(client=client, export=export, period=period, statement=statement, limit=limit)
    database = open_store(start())
    _refuse_unknown(database, statement)
    rows = reports.list_publications(database, wanted)
    if as_json:
        write_document(dump(report_document("publications", rows)))
    else:
        short = reports.shorten_delivery_ids(database, (row.delivery_id for row in rows))
        tables.show_publications(Screen(), rows, short=short)
    return ExitCode.SUCCESS


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold changes` (what the latest publication of each statement moved)\n\n"
        "- `billfold changes --from 2026-06-01 --by service,day` (since the beginning of 1 June, UTC)\n\n"
        "- `billfold changes --statement 3 --from 2 --to 5 --json` (from publication 2 of statement 3 to its 5)\n\n"
        "- `billfold changes --period 2026-05 --from 2026-06-03T10:00Z --to 2026-06-10T10:00+02:00`\n\n"
        "A statement that had no publication yet held nothing. The totals of all are of the statements that counted:"
        " between two moments they are what `billfold costs --as-of` shows for both."
    )
)
def changes(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    statement: OneStatement = None,
    start_point: Annotated[
        Any,
        typer.Option(
            "--from",
            parser=parse_point,
            metavar="POINT",
            help=(
                "A publication's number in the one statement that is chosen (0: before the first), a date (its"
                " beginning, UTC) or an instant. Default: the publication before the one at `--to`."
            ),
        ),
    ] = None,
    end_point: Annotated[
        Any,
        typer.Option(
            "--to",
            parser=parse_point,
            metavar="POINT",
            help="As `--from`: a publication's number, a date or an instant. Default: now.",
        ),
    ] = None,
    by: Annotated[
        list[str],
        typer.Option(
            "--by",
            metavar="COLUMN,…",
            help="Group by these, together or one by one: account, service, region, day, category (of the charge).",
        ),
    ] = ["account,service,day,category"],  # noqa: B006
    metric: Annotated[Metric, typer.Option("--metric", help="Which of FOCUS's costs.")] = Metric.BILLED,
    limit: Annotated[
        int,
        typer.Option(
            "--limit",
            min=1,
            max=reports.MAX_LIMIT,
            help="The table shows so many changes, the largest first. `--json` always holds all of them.",
        ),
    ] = reports.DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """Show what moved: old, new and difference between two publications or two moments of each statement.

    Without `--from` and `--to` it is what each statement's latest publication moved; with `--to` alone what the one
    that stood there moved. Groups that are the same at both ends are left out; totals hold everything. Statements
    that do not count are compared too. A month that moved although it was over stands out.

    Rows rewritten (`rows_added`, `rows_removed`) are the line items that each publication in between brought and
    withdrew, added up: one that came and went again is in both, and one that only changed too. Costs are net.
    """
    columns = parse_columns(by, ChangeColumn, "changes")
    database = open_store(start())
    _refuse_unknown(database, statement)
    report = reports.list_changes(
        database,
        Filter(client=client, export=export, period=period, statement=statement),
        start=start_point,
        end=end_point,
        columns=columns,
        metric=metric,
        limit=None if as_json else limit,
    )
    if as_json:
        write_document(dump(changes_document(report)))
    else:
        show_changes(Screen(), report)
    return ExitCode.SUCCESS


def _refuse_unknown(database: Database, statement: int | None) -> None:
    """Raise UsageError for a statement that does not exist: an empty list would say that nothing happened to it."""
    if statement is not None and reports.find_named(database, statement=statement).statement_client is None:
        raise UsageError(f"there is no such statement {statement}", advice="`billfold statements` lists them")
