"""`billfold schedule`: every client's folder at its interval."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from billfold import interruption
from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode, choose_exit_code
from billfold.cli.options import Json
from billfold.cli.output.columns import name_column, number_column, text_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_instant
from billfold.cli.output.screen import Screen, printable, show_error
from billfold.cli.output.streams import write_document
from billfold.documents import dump
from billfold.errors import UsageError, exit_code_of
from billfold.log import Event

if TYPE_CHECKING:
    from billfold.app import Billfold
    from billfold.jobs.schedule import Visit
    from billfold.reports.freshness import ClientFreshness

_DEFAULT_INTERVAL_SECONDS = 300
# Each needs the memory of one delivery: see "Disk and memory" in docs/deploying.md.
_DEFAULT_CONCURRENCY = 2
_MAX_CONCURRENCY = 64
# On a terminal `--once` prints these itself, as a table.
_SHOWN_BY_ONCE = (
    Event.BACKFILL_STARTED,
    Event.BACKFILL_FINISHED,
    Event.CLIENT_LATE,
    Event.DELIVERY_FAILED,
    Event.DELIVERY_INTERRUPTED,
    Event.DELIVERY_FINISHED,
    Event.SCHEDULE_CLIENT_FAILED,
    Event.SCHEDULE_CLIENT_FINISHED,
    Event.SCHEDULE_FINISHED,
    Event.SOURCE_REFUSED,
)


_Once = Annotated[bool, typer.Option("--once", help="Visit the clients that are due now, and end: for cron.")]
_Interval = Annotated[
    int,
    typer.Option(
        "--interval-seconds",
        metavar="N",
        min=1,
        max=86_400,
        help="How long to wait before the next look at which clients are due.",
    ),
]
_Concurrency = Annotated[
    int,
    typer.Option("--concurrency", min=1, max=_MAX_CONCURRENCY, metavar="N", help="How many jobs to work on at a time."),
]


@app.command(
    epilog=(
        "Examples: `billfold schedule` · `billfold schedule --once --json`, for cron, every hour or more often\n\n"
        "SIGTERM and Ctrl-C end it: running deliveries may finish within BILLFOLD_SHUTDOWN_SECONDS, a second signal"
        " ends it at once, and the exit code is 0. `--once` ends at the first signal and leaves these deliveries"
        " pending. Its exit codes are those of `billfold ingest`."
    )
)
def schedule(
    once: _Once = False,
    interval_seconds: _Interval = _DEFAULT_INTERVAL_SECONDS,
    concurrency: _Concurrency = _DEFAULT_CONCURRENCY,
    as_json: Json = False,
) -> int:
    """Backfill each client at its refresh interval, and say which clients are late.

    Events can be lost: this finds every delivery that is not current, for every enabled client and for the one that
    the settings describe. Each of them waits in the queue (`billfold jobs`) and is ingested here or by a worker. What
    is already in is not read again. A client that fails does not stop the others. A client is late when no delivery
    came for one and a half of its refresh intervals.
    """
    if as_json and not once:
        raise UsageError("--json prints the visits of one pass", advice="use it with --once")
    billfold = start(_SHOWN_BY_ONCE if once else ())
    if once:
        return _visit_once(billfold, concurrency, as_json=as_json)
    from billfold.jobs.schedule import keep_schedule

    signals: list[int] = []
    interruption.let_finish(signals.append)
    unfinished_count = keep_schedule(
        billfold, interval_seconds=interval_seconds, concurrency=concurrency, count_stops=signals.__len__
    )
    return interruption.leave_now(ExitCode.SUCCESS) if unfinished_count else ExitCode.SUCCESS


def _visit_once(billfold: Billfold, concurrency: int, *, as_json: bool) -> int:
    from billfold.jobs.schedule import finish_pass, report_late, visit_due

    report_late(billfold)
    visits = visit_due(billfold, concurrency=concurrency)
    late = finish_pass(billfold, visited=len(visits))
    if as_json:
        write_document(dump(_document(visits, late)))
    else:
        show_visits(Screen(), visits, late)
    failures = [(visit.client_id, failure) for visit in visits for failure in visit.failures]
    for client_id, failure in failures:
        show_error(f"{client_id}: {failure.message}")
    return choose_exit_code(exit_code_of(failure.error_code) for _, failure in failures)


def _document(visits: Sequence[Visit], late: Sequence[ClientFreshness]) -> dict[str, Any]:
    return {
        "clients": [
            {
                "client": visit.client_id,
                "state": visit.state,
                "statements": visit.statement_count,
                "counts": dict(visit.counts),
                "errors": [{"code": failure.error_code, "message": failure.message} for failure in visit.failures],
            }
            for visit in visits
        ],
        "late": [
            {
                "client": row.client_id,
                "last_delivered_at": row.last_delivered_at,
                "late_since": row.late_since,
                "refresh_hours": row.refresh_hours,
            }
            for row in late
        ],
    }


def show_visits(screen: Console, visits: Sequence[Visit], late: Sequence[ClientFreshness]) -> None:
    """How each visit ended, and whose delivery is late."""
    table = make_table(name_column("Client"), name_column("State"), number_column("Statements"), text_column("Ended"))
    for visit in visits:
        counts = ", ".join(f"{count} {state}" for state, count in visit.counts.items() if count)
        add_row(table, visit.client_id, visit.state, visit.statement_count, counts or None)
    print_table(screen, table, nothing="no client is due")
    for row in late:
        last = show_instant(row.last_delivered_at)
        said = f"its last delivery came at {last} UTC" if last else "it never had a delivery"
        screen.print(printable(f"{row.client_id} has been late since {show_instant(row.late_since)} UTC: {said}"))
    sys.stdout.flush()
