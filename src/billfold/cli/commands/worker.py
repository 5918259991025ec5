"""`billfold worker`: ingests what the messages of a queue tell of, until it is told to end."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from billfold import interruption
from billfold.cli.application import app, open_store, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output.screen import Screen, write_document
from billfold.documents import dump
from billfold.errors import UsageError
from billfold.settings import EndpointUrl, Settings, require

# Each delivery needs its own share of memory: see "Disk and memory" in docs/deploying.md.
_DEFAULT_CONCURRENCY = 4
_MAX_CONCURRENCY = 64


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold worker --queue-url https://sqs.eu-central-1.amazonaws.com/999988887777/billfold-events`\n\n"
        "- `billfold worker --drain --json` (the queue of BILLFOLD_QUEUE_URL)\n\n"
        "SIGTERM and SIGINT end it: what runs may finish within BILLFOLD_SHUTDOWN_SECONDS, what does not is given back,"
        " and a second signal gives it back at once. Exit codes: 0 told to end, or drained; 2 wrong usage or settings;"
        " 3 the queue is not there or refuses us; 5 PostgreSQL; 6 the queue does not answer when the worker starts."
        " Messages that fail change no exit code: they come again, or go to the dead-letter queue."
    )
)
def worker(
    queue_url: Annotated[
        str | None,
        typer.Option("--queue-url", metavar="URL", help="The queue of SQS; BILLFOLD_QUEUE_URL by default."),
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="End when the queue is empty, and say what was done.")] = False,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency", min=1, max=_MAX_CONCURRENCY, metavar="N", help="How many messages are worked on at a time."
        ),
    ] = _DEFAULT_CONCURRENCY,
    as_json: Json = False,
) -> int:
    """Ingest what the messages of a queue tell of: events of S3, of EventBridge, through SNS, and requests of our own.

    A manifest's event starts a delivery, a data file's marks its run pending. Repeated and reordered messages change
    nothing. Any number of workers may share a queue; each client has BILLFOLD_MAX_DELIVERIES slots (or its own number)
    among all of them. What can succeed later comes again after a growing wait; what cannot goes to the queue's
    dead-letter queue with its reason.
    """
    settings = start()
    url = _queue_url(settings, queue_url)
    database = open_store(settings)
    # DuckDB, Arrow and boto3 take a second to load: only this command needs them.
    from billfold.aws.queue import open_queue
    from billfold.jobs.worker import Worker

    working = Worker(
        open_queue(url, settings), settings=settings, database=database, concurrency=concurrency, drain=drain
    )
    interruption.let_finish(lambda _number: working.stop())
    report = working.run()
    document: dict[str, Any] = {
        "received": report.received_count,
        "done": report.done_count,
        "later": report.later_count,
        "dead": report.dead_count,
        "stuck": report.stuck_count,
        "given_back": report.given_back_count,
        "unfinished": report.unfinished_count,
        "states": dict(report.states),
        "duration_seconds": round(report.duration_seconds, 3),
    }
    if as_json:
        write_document(dump(document))
    elif drain:
        counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in list(document.items())[:5])
        Screen().print(f"{counts} in {report.duration_seconds:.1f} s")
        for state, count in report.states.items():
            Screen().print(f"{state}: {count:,}")
    if report.unfinished_count:
        # Python would wait for the threads that still run.
        interruption.leave_now(ExitCode.SUCCESS)
    return ExitCode.SUCCESS


def _queue_url(settings: Settings, given: str | None) -> str:
    if given is None:
        require(settings, "BILLFOLD_QUEUE_URL", purpose="the worker")
        assert settings.queue_url is not None
        return settings.queue_url
    try:
        return TypeAdapter(EndpointUrl).validate_python(given)
    except ValidationError:
        raise UsageError(
            f"--queue-url is {given[:200]!r}: expected https://sqs.<region>.amazonaws.com/<account>/<name>"
        ) from None
