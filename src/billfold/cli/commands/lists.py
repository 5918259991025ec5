"""The lists: `billfold runs`, `deliveries`, `statements` and `publications`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, Limit, OneClient, OneExport, OnePeriod, OneStatement
from billfold.cli.output import tables
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import dump, report_document
from billfold.model import DeliveryState, RunStatus
from billfold.selection import DEFAULT_LIMIT


@app.command(epilog="Examples: `billfold runs --status failed` · `billfold runs --client acme --period 2026-05 --json`")
def runs(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    status: Annotated[RunStatus | None, typer.Option("--status", help="Only runs with this status.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """List the runs: each is the ingestion of one version of one data file.

    A failed run shows its error code; `--json` has the whole message.
    """
    rows = start().runs(client=client, export=export, month=period, status=status, limit=limit)
    return _show("runs", rows, tables.show_runs, as_json=as_json)


@app.command(
    epilog="Examples: `billfold deliveries --state failed` · `billfold deliveries --export acme-cur2 --period 2026-05`"
)
def deliveries(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    state: Annotated[DeliveryState | None, typer.Option("--state", help="Only deliveries in this state.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """List the deliveries: each is one refresh of a statement, with its rows and its cost.

    AWS restates a month many times; the current delivery of each counted statement has a star. The last column has
    the error code of a failed delivery, or why a delivery is not current.
    """
    billfold = start()
    rows = billfold.deliveries(client=client, export=export, month=period, state=state, limit=limit)
    if as_json:
        return _show("deliveries", rows, tables.show_deliveries, as_json=True)
    short = billfold.dashboard.shorten_delivery_ids(row.delivery_id for row in rows)
    tables.show_deliveries(Screen(), rows, short=short)
    return ExitCode.SUCCESS


@app.command(epilog="Examples: `billfold statements --client acme` · `billfold statements --period 2026-05 --json`")
def statements(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """List the statements: what each export says about each month now.

    Costs include the counted statements. The last column shows what a statement shares with others of its month: parts
    of one bill are all counted, of duplicates only one is.
    """
    rows = start().statements(client=client, export=export, month=period, limit=limit)
    return _show("statements", rows, tables.show_statements, as_json=as_json)


@app.command(epilog="Examples: `billfold publications --period 2026-05` · `billfold publications --statement 3 --json`")
def publications(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    statement: OneStatement = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """List the publications: each is one change of a statement's bill.

    Publications are numbered from 1 within their statement. Every delivery, rollback or other change makes one; the
    current one, which costs include now, has a star. `billfold changes` shows what changed between two of them. Times
    are rounded up to the second, so that costs `--as-of` such a time include the publication. `--json` has exact times.
    """
    billfold = start()
    rows = billfold.publications(client=client, export=export, month=period, statement=statement, limit=limit)
    if as_json:
        return _show("publications", rows, tables.show_publications, as_json=True)
    short = billfold.dashboard.shorten_delivery_ids(row.delivery_id for row in rows)
    tables.show_publications(Screen(), rows, short=short)
    return ExitCode.SUCCESS


def _show(name: str, rows: Sequence[Any], show: Callable[[Screen, Sequence[Any]], None], *, as_json: bool) -> int:
    if as_json:
        write_document(dump(report_document(name, rows)))
    else:
        show(Screen(), rows)
    return ExitCode.SUCCESS
