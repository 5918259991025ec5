"""`billfold jobs`: the queue of all that waits to be ingested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from billfold.cli.application import make_group, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, Limit, OneClient
from billfold.cli.output.columns import name_column, number_column, text_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_instant
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import dump
from billfold.model import JobState
from billfold.selection import DEFAULT_LIMIT

if TYPE_CHECKING:
    from billfold.store.jobs.jobs import JobRow

jobs_app = make_group(
    "jobs", "Show the queue: what waits to be ingested, what runs where, and what failed.", acts_alone=True
)

JobId = Annotated[int, typer.Argument(metavar="JOB", help="Its number, from `billfold jobs`.")]


@jobs_app.callback(epilog="Examples: `billfold jobs` · `billfold jobs --state dead --json` · `billfold jobs retry 17`")
def list_jobs(
    context: typer.Context,
    client: OneClient = None,
    state: Annotated[JobState | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """Show the queue: what waits to be ingested, what runs where, and what failed.

    Without a command it lists the jobs: those in progress, those that wait, by when they are tried next, and the dead
    ones. An object that an event, a request or the schedule names is one job until it is ingested. What fails is
    tried again after a growing wait, BILLFOLD_MESSAGE_ATTEMPTS times.
    """
    if context.invoked_subcommand is not None:
        return ExitCode.SUCCESS
    rows = start().jobs.list(client=client, state=state, limit=limit)
    if as_json:
        write_document(dump({"jobs": [_document(row) for row in rows]}))
    else:
        show_jobs(Screen(), rows)
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


def _document(row: JobRow) -> dict[str, Any]:
    document = asdict(row)
    return {
        "job_id": document.pop("job_id"),
        "state": document.pop("state"),
        "client": document.pop("client_id"),
    } | document


def show_jobs(console: Console, rows: Sequence[JobRow]) -> None:
    """The queue as a table."""
    table = make_table(
        number_column("Job"),
        name_column("State"),
        name_column("Client"),
        name_column("Since (UTC)"),
        name_column("Next try (UTC)", spare=1),
        number_column("Failures", spare=2),
        name_column("Worker", spare=3),
        text_column("Key"),
        text_column("Reason"),
    )
    now = datetime.now(UTC)
    for row in rows:
        add_row(
            table,
            str(row.job_id),
            row.state,
            row.client_id,
            show_instant(row.began_at or row.created_at),
            show_instant(row.due_at) if row.due_at and row.due_at > now else None,
            str(row.failure_count) if row.failure_count else None,
            row.worker,
            row.key,
            row.reason,
        )
    print_table(console, table, nothing="nothing waits")
