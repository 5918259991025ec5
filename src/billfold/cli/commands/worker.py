"""`billfold worker`: deliveries announced on an SQS queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from billfold import interruption
from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import dump

if TYPE_CHECKING:
    from billfold.jobs.worker import Report

# Each delivery needs its own share of memory: see "Disk and memory" in docs/deploying.md.
_DEFAULT_CONCURRENCY = 4
_MAX_CONCURRENCY = 64


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold worker --queue-url https://sqs.eu-central-1.amazonaws.com/999988887777/billfold-events`\n\n"
        "- `billfold worker --drain --json` (the queue of BILLFOLD_QUEUE_URL)\n\n"
        "SIGTERM and SIGINT end it: running jobs may finish within BILLFOLD_SHUTDOWN_SECONDS, the others are given"
        " back, and a second signal gives them back at once. Exit codes: 0 ended by a signal, or drained; 2 wrong usage"
        " or settings; 3 the queue does not exist or denies access; 5 PostgreSQL; 6 the queue does not answer at the"
        " start. Failed jobs do not change the exit code: they are retried, or dead."
    )
)
def worker(
    queue_url: Annotated[
        str | None,
        typer.Option("--queue-url", metavar="URL", help="The SQS queue; BILLFOLD_QUEUE_URL by default."),
    ] = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="End when nothing waits any more, and print what was done.")
    ] = False,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency", min=1, max=_MAX_CONCURRENCY, metavar="N", help="How many jobs to work on at a time."
        ),
    ] = _DEFAULT_CONCURRENCY,
    as_json: Json = False,
) -> int:
    """Ingest the deliveries announced on an SQS queue.

    S3, EventBridge or SNS announces them, or Billfold's own requests do. A manifest's event becomes a job, a data
    file's marks its run pending. Repeated and reordered messages change nothing. A worker also works on the jobs of
    requests and the schedule (`billfold jobs`). Any number of workers can share them; each client has
    BILLFOLD_MAX_DELIVERIES slots (or its own number) among all of them. What can succeed later is retried after a
    growing wait. A message whose job can not goes to the queue's dead-letter queue with its reason.
    """
    billfold = start()
    from billfold.jobs.worker import make_worker

    working = make_worker(billfold, queue_url, concurrency=concurrency, drain=drain)
    interruption.let_finish(lambda _number: working.stop())
    report = working.run()
    if as_json or drain:
        _show(report, as_json=as_json)
    if report.unfinished_count:
        # Python would wait for the threads that still run.
        interruption.leave_now(ExitCode.SUCCESS)
    return ExitCode.SUCCESS


def _show(report: Report, *, as_json: bool) -> None:
    document: dict[str, Any] = {
        "received": report.received_count,
        "done": report.done_count,
        "later": report.later_count,
        "dead": report.dead_count,
        "stuck": report.stuck_count,
        "given_back": report.unfinished_count,
        "unfinished": report.unfinished_count,
        "states": dict(report.states),
        "duration_seconds": round(report.duration_seconds, 3),
    }
    if as_json:
        write_document(dump(document))
        return
    counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in list(document.items())[:5])
    Screen().print(f"{counts} in {report.duration_seconds:.1f} s")
    for state, count in report.states.items():
        Screen().print(f"{state}: {count:,}")
