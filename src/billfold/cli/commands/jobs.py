"""`billfold jobs`: the queue of all that waits to be ingested."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from billfold.cli.application import make_group, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, OneClient
from billfold.cli.output.columns import name_column, number_column, text_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_instant
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import dump, report_document
from billfold.model import JobKind, JobState
from billfold.selection import DEFAULT_LIMIT, MAX_LIMIT

if TYPE_CHECKING:
    from billfold.store.jobs.jobs import JobRow

jobs_app = make_group("jobs")

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))

JobId = Annotated[int, typer.Argument(metavar="JOB", min=1, max=2**63 - 1, help="Its number, from `billfold jobs`.")]


@jobs_app.callback(epilog="Examples: `billfold jobs` · `billfold jobs --state dead --json` · `billfold jobs retry 17`")
def list_jobs(
    context: typer.Context,
    client: OneClient = None,
    state: Annotated[JobState | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=MAX_LIMIT, help="At most this many jobs.")
    ] = DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """Show the queue: what waits to be ingested, what runs where, and what failed.

    Without a command it lists the jobs: those in progress, those that wait, by when they are tried next, and the dead
    ones. An object that an event, a request or the schedule names is one job until it is ingested. What fails is
    retried after a growing wait, up to BILLFOLD_MESSAGE_ATTEMPTS attempts.
    """
    if context.invoked_subcommand is not None:
        return ExitCode.SUCCESS
    rows = start().jobs.list(client=client, state=state, limit=limit)
    if as_json:
        write_document(dump(report_document("jobs", rows)))
    else:
        show_jobs(Screen(), rows, datetime.now(UTC), is_filtered=bool(client or state))
    return ExitCode.SUCCESS


@jobs_app.command("retry", epilog="Example: `billfold jobs retry 17`")
def retry(job: JobId) -> int:
    """Let a waiting job be tried at once, or a dead one as if it had never failed."""
    start().jobs.retry(job)
    Screen().print(f"job {job} is tried as soon as a worker is free")
    return ExitCode.SUCCESS


@jobs_app.command("cancel", epilog="Example: `billfold jobs cancel 17`")
def cancel(job: JobId) -> int:
    """Take a waiting or dead job out of the queue; what it would have ingested can be announced or requested again."""
    start().jobs.cancel(job)
    Screen().print(f"job {job} is canceled")
    return ExitCode.SUCCESS


def show_jobs(console: Console, rows: Sequence[JobRow], now: datetime, *, is_filtered: bool = False) -> None:
    """The queue as a table: for how long each job has been in its state, and what comes next."""
    table = make_table(
        number_column("Job"),
        name_column("State"),
        name_column("Client"),
        number_column("For"),
        text_column("What"),
        text_column("Next"),
    )
    for row in rows:
        since = row.began_at or row.ended_at or row.created_at
        add_row(
            table, str(row.job_id), row.state, row.client_id, _show_age(now - since), _name(row), _show_next(row, now)
        )
    print_table(console, table, nothing="there is no such job" if is_filtered else "nothing waits")


def _show_age(age: timedelta) -> str:
    seconds = max(round(age.total_seconds()), 0)
    unit_seconds, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), (1, "s"))
    return f"{seconds // unit_seconds:,} {unit}"


def _name(row: JobRow) -> str:
    """The statement, or the key where it names none."""
    match JobKind(row.kind):
        case JobKind.INGEST:
            month = f" as {row.billing_period}" if row.billing_period else ""
            return row.work.removeprefix(f"{row.bucket} ") + month
        case JobKind.VISIT:
            return f"visit of {row.key or 'the bucket'}"
        case JobKind.DOCTOR:
            return "doctor run"


def _show_next(row: JobRow, now: datetime) -> str:
    failed = f"failed {row.failure_count:,} time{'' if row.failure_count == 1 else 's'}" if row.failure_count else ""
    if row.state == JobState.DEAD:
        return f"given up: {row.reason} ({row.error_code})"
    if row.state == JobState.RUNNING:
        host, _, process = (row.worker or "").partition(" ")
        place = f"on {host.partition('.')[0]} ({process})"
        return ", ".join(filter(None, (place, "" if row.began_at else "when it is alone", failed)))
    is_due = row.due_at is None or row.due_at <= now
    moment = "as soon as a worker is free" if is_due else f"again at {show_instant(row.due_at)} UTC"
    why = ", ".join(filter(None, (failed, row.reason)))
    return f"{moment}: {why}" if why else moment
