"""How long a small client waits beside one that floods the queue, with and without the limit of each client.

    python -m tests.benchmarks.fairness --flood 40

One worker with four threads takes from a queue. First one client's deliveries come, all at once; then, while they are
worked on, small clients' deliveries come one by one. The wait of a delivery is the time from its message until its
publication. Once each client has its two slots, as it is out of the box; once the flooding one may take every thread.
The small ones come as slowly as a third of what the worker can do, whatever the machine.

The queue of the stand-in hands messages out in the order in which they came. Clients take turns: without a limit a
small one waits for a thread, with it one is free. The seconds depend on the machine.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from billfold import clients
from billfold.aws import LocalAws
from billfold.log import configure_logging
from billfold.settings import load_settings
from billfold.store.database import Database
from billfold.store.embedded import start_embedded
from tests.benchmarks.workbench import fresh_database, parse_options, work_folder
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill
from tests.messages import ACCOUNT, Mailbox, s3_event
from tests.processes.worker_process import start_worker
from tests.soak.fleet import worker_environment

FLOODING = "flooding"
# One small delivery for this many of the flood, one after the other.
FLOOD_PER_SMALL = 8
# This many of the flood are published before the first small one comes; they tell how fast the worker is.
FIRST_COUNT = 4
IDLENESS = 3
_POLL_SECONDS = 0.1
CONCURRENCY = 4
LIMIT = 2
NO_LIMIT = 1000


def main() -> None:
    """Measure, print and leave nothing behind."""
    options = parse_options(__doc__ or "")
    if not options.flood:
        print("fairness: left out")
        return
    small_count = max(options.flood // FLOOD_PER_SMALL, 2)
    print(f"\n{options.flood} deliveries of one client, {small_count} of others, {CONCURRENCY} threads", flush=True)
    with work_folder() as folder:
        os.environ["LOG_LEVEL"] = "error"
        configure_logging(load_settings())
        conninfo = start_embedded(folder / "home", postgres_version=options.postgres)
        waits = {}
        for name, limit in (("2 slots for each client", LIMIT), ("no limit", NO_LIMIT)):
            with fresh_database(conninfo, "fair") as fresh:
                waits[name] = _measure(fresh, folder / f"bills-{limit}", options.flood, small_count, limit)
            _print_waits(name, waits[name])
    with_limit, without = (_percentile(found) for found in waits.values())
    print(f"{'99th percentile without the limit to with it':<46}{without / with_limit:>8.1f}")


def _measure(conninfo: str, folder: Path, flood: int, small_count: int, limit: int) -> list[float]:
    """The waits of the small clients, in seconds."""
    database = Database(conninfo=conninfo, reader_conninfo=None, is_embedded=True)
    with LocalAws() as aws:
        landing = Landing.make(database, load_settings(), folder).with_settings(endpoint_url=aws.endpoint_url)
        mailbox = Mailbox(aws)
        flooding = [_deliver(landing, aws, FLOODING, number) for number in range(flood)]
        _register(landing, FLOODING, limit)
        small = []
        for number in range(small_count):
            name = f"small-{number:03d}"
            small.append(_deliver(landing, aws, name, 0))
            _register(landing, name, LIMIT)
        mailbox.send(*flooding)
        sent_at: list[datetime] = []
        with start_worker(worker_environment(landing, aws, mailbox), "--concurrency", str(CONCURRENCY)) as worker:
            seconds_between = IDLENESS * _measure_pace(landing)
            for body in small:
                sent_at.append(datetime.now(UTC))
                mailbox.send(body)
                time.sleep(seconds_between)
            _wait_for(landing, flood + small_count)
            worker.end()
        published_at = landing.query(
            "SELECT publication.published_at FROM billing_publications AS publication"
            " JOIN billing_statements USING (statement_id) WHERE client_id <> %s ORDER BY client_id",
            FLOODING,
        )
    return [(ended - sent).total_seconds() for sent, (ended,) in zip(sent_at, published_at, strict=True)]


def _measure_pace(landing: Landing) -> float:
    """Seconds from one publication to the next, while the worker has all hands full."""
    _wait_for(landing, 1)
    started = time.monotonic()
    _wait_for(landing, FIRST_COUNT)
    return (time.monotonic() - started) / (FIRST_COUNT - 1)


def _wait_for(landing: Landing, count: int) -> None:
    while landing.count("billing_publications") < count:
        time.sleep(_POLL_SECONDS)


def _register(landing: Landing, client_id: str, max_deliveries: int) -> None:
    values = {
        "client_id": client_id,
        "bucket": f"{client_id}-bills",
        "account_id": ACCOUNT,
        "max_deliveries": max_deliveries,
    }
    clients.register(landing.database, landing.settings, values)


def _deliver(landing: Landing, aws: LocalAws, client_id: str, number: int) -> str:
    """Write one delivery of a single line item, a month of its own, and return its message."""
    period = f"{2020 + number // 12}-{number % 12 + 1:02d}"
    item = line_item(
        bill_billing_period_start_date=f"{period}-01T00:00:00.000Z",
        line_item_usage_start_date=f"{period}-03T04:00:00.000Z",
        line_item_usage_end_date=f"{period}-03T05:00:00.000Z",
    )
    bucket, folder = f"{client_id}-bills", landing.root / client_id / period
    manifest = write_bill(folder, [item], period=period, bucket=bucket)
    if number == 0:
        aws.create_bucket(bucket)
    aws.upload_folder(bucket, folder)
    return s3_event(bucket, manifest.relative_to(folder).as_posix())


def _percentile(waits: Sequence[float], percent: int = 99) -> float:
    return statistics.quantiles(waits, n=100, method="inclusive")[percent - 1]


def _print_waits(name: str, waits: Sequence[float]) -> None:
    print(
        f"{name:<28}wait of a small client, seconds: median {statistics.median(waits):.1f},"
        f" 99th percentile {_percentile(waits):.1f}, longest {max(waits):.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
