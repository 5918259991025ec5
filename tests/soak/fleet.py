"""Many clients whose deliveries are told to one queue, more than once and in any order, and workers that share it.

Some of the workers can be killed, or stopped for a while: the others, and those that come after them, do their work.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random

import billfold
from billfold import clients
from billfold.aws import LocalAws
from billfold.jobs.pool import SILENCE_SECONDS
from tests.bills.landing import Landing
from tests.bills.line_items import LineItem, line_item, write_bill
from tests.messages import ACCOUNT, Mailbox, eventbridge_event, s3_event, wrapped_by_sns
from tests.processes.worker_process import WorkerProcess, start_worker

# A delivery is one month of a client's only export.
_FIRST_YEAR = 2020
_FILE_COUNT = 3
OBJECT_COUNT = _FILE_COUNT + 1
# How many events wait in the queue at once, and how many follow together.
MAX_WAITING = 1_000
_SENT_AT_ONCE = 100
# Longer than any machine takes for what `make soak` tells.
_LIMIT_SECONDS = 4 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """How many of each; the seed makes the bills, the repeated events and their order."""

    client_count: int
    delivery_count: int
    event_count: int
    worker_count: int
    seed: int
    concurrency: int = 2
    # How many workers are killed, and how many stopped for a while, before the others drain the queue.
    kill_count: int = 0
    stop_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """How long the workers took, and which promises were broken, in words."""

    seconds: float
    received_count: int
    violations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delivery:
    client_id: str
    period: str
    cost: Decimal
    keys: tuple[str, ...]

    @property
    def bucket(self) -> str:
        return _bucket(self.client_id)


def run_fleet(fleet: Fleet, landing: Landing, aws: LocalAws) -> FleetReport:
    """Register, deliver and tell; let the workers drain the queue; then look at everything that was promised."""
    random = Random(fleet.seed)
    mailbox = Mailbox(aws)
    client_ids = [f"client-{number:03d}" for number in range(fleet.client_count)]
    for client_id in client_ids:
        aws.create_bucket(_bucket(client_id))
        values = {"client_id": client_id, "bucket": _bucket(client_id), "prefix": "exports/", "account_id": ACCOUNT}
        clients.register(landing.database, landing.settings, values)
    deliveries = [
        _deliver(random, landing.root / client_ids[number % fleet.client_count], aws, client_ids, number)
        for number in range(fleet.delivery_count)
    ]
    told = _tell(random, deliveries, fleet.event_count)
    started = time.monotonic()
    with _telling(mailbox, told):
        documents = _work(fleet, landing, aws, mailbox)
    seconds = time.monotonic() - started
    return FleetReport(
        seconds=seconds,
        received_count=sum(document["received"] for document in documents),
        violations=tuple(_find_violations(landing, mailbox, deliveries)),
    )


@contextmanager
def _telling(mailbox: Mailbox, told: Sequence[str]) -> Iterator[None]:
    """Keep the queue filled while the workers empty it: the local one walks all that waits at each call."""
    mailbox.send(*told[:MAX_WAITING])
    rest = [told[start : start + _SENT_AT_ONCE] for start in range(MAX_WAITING, len(told), _SENT_AT_ONCE)]

    def send() -> None:
        for bodies in rest:
            while mailbox.counts()[0] > MAX_WAITING - _SENT_AT_ONCE:
                time.sleep(0.2)
            mailbox.send(*bodies)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    yield
    sender.join()


def worker_environment(landing: Landing, aws: LocalAws, mailbox: Mailbox) -> Mapping[str, str]:
    """What a worker of this queue and this database needs to know."""
    return {
        **os.environ,
        **aws.environment(),
        "PYTHONPATH": str(Path(billfold.__file__).parents[1]),
        "DATABASE_URL": landing.database.conninfo,
        "BILLFOLD_HOME": str(landing.root.parent / "home"),
        "BILLFOLD_MIN_FREE_BYTES": "0",
        "BILLFOLD_QUEUE_URL": mailbox.url,
        # Tiny bills gain nothing by more threads.
        "BILLFOLD_THREADS": "1",
    }


def _work(fleet: Fleet, landing: Landing, aws: LocalAws, mailbox: Mailbox) -> list[dict[str, int]]:
    environment = dict(worker_environment(landing, aws, mailbox))
    if fleet.kill_count + fleet.stop_count:
        # Each death counts as a failure of what the worker had begun.
        environment |= {"BILLFOLD_MESSAGE_ATTEMPTS": "100", "BILLFOLD_MESSAGE_RETRY_SECONDS": "1"}
        _harm(fleet, environment)
    options = ("--drain", "--concurrency", str(fleet.concurrency))
    with ExitStack() as stack:
        workers = [stack.enter_context(start_worker(environment, *options)) for _ in range(fleet.worker_count)]
        return [worker.finish(_LIMIT_SECONDS) for worker in workers]


def _harm(fleet: Fleet, environment: Mapping[str, str]) -> None:
    """Kill workers in the middle of their work, and stop others for longer than their silence is borne."""
    random = Random(fleet.seed)
    harms = [signal.SIGKILL] * fleet.kill_count + [signal.SIGSTOP] * fleet.stop_count
    random.shuffle(harms)
    with ExitStack() as stack:
        workers = [_start(stack, fleet, environment) for _ in range(fleet.worker_count)]
        for harm in harms:
            time.sleep(random.uniform(0.8, 2.5))
            place = random.randrange(len(workers))
            if harm is signal.SIGKILL:
                workers[place].kill()
                workers[place] = _start(stack, fleet, environment)
            else:
                workers[place].tell(signal.SIGSTOP)
                time.sleep(random.uniform(1, 2 * SILENCE_SECONDS))
                workers[place].tell(signal.SIGCONT)
        for worker in workers:
            assert worker.end() == 0


def _start(stack: ExitStack, fleet: Fleet, environment: Mapping[str, str]) -> WorkerProcess:
    return stack.enter_context(start_worker(environment, "--concurrency", str(fleet.concurrency)))


def _deliver(random: Random, folder: Path, aws: LocalAws, client_ids: list[str], number: int) -> _Delivery:
    """Write one delivery of a few line items into the client's bucket."""
    month = number // len(client_ids)
    period = f"{_FIRST_YEAR + month // 12}-{month % 12 + 1:02d}"
    files = [[_item(random, period, position) for position in range(random.randint(1, 2))] for _ in range(_FILE_COUNT)]
    manifest = write_bill(folder, *files, period=period, bucket=_bucket(folder.name))
    data = manifest.parents[2] / "data" / manifest.parent.name
    keys = tuple(path.relative_to(folder).as_posix() for path in (*sorted(data.iterdir()), manifest))
    for key in keys:
        aws.put(_bucket(folder.name), key, (folder / key).read_bytes())
    cost = sum((Decimal(item["line_item_unblended_cost"]) for items in files for item in items), Decimal())
    return _Delivery(client_id=folder.name, period=period, cost=cost, keys=keys)


def _item(random: Random, period: str, position: int) -> LineItem:
    return line_item(
        cost=f"{random.randint(1, 999)}.{random.randint(0, 9_999_999_999):010d}",
        bill_billing_period_start_date=f"{period}-01T00:00:00.000Z",
        line_item_usage_start_date=f"{period}-03T04:00:00.000Z",
        line_item_usage_end_date=f"{period}-03T05:00:00.000Z",
        line_item_line_item_description=f"item {position}",
    )


def _tell(random: Random, deliveries: list[_Delivery], event_count: int) -> list[str]:
    """An event of each object, and repeated ones up to the number; in any wrapping and any order."""
    objects = [(delivery.bucket, key) for delivery in deliveries for key in delivery.keys]
    assert event_count >= len(objects), "each object has an event"
    told = objects + random.choices(objects, k=event_count - len(objects))
    random.shuffle(told)
    return [_wrap(random, bucket, key) for bucket, key in told]


def _wrap(random: Random, bucket: str, key: str) -> str:
    match random.randrange(4):
        case 0:
            return wrapped_by_sns(s3_event(bucket, key))
        case 1:
            return eventbridge_event(bucket, key)
        case _:
            return s3_event(bucket, key)


def _find_violations(landing: Landing, mailbox: Mailbox, deliveries: list[_Delivery]) -> Iterator[str]:
    if (left := mailbox.counts()) != (0, 0):
        yield f"{left} messages wait and are hidden"
    for letter in mailbox.dead_letters():
        yield f"a message is dead: {letter}"
    published = {
        (client_id, period): (count, cost)
        for client_id, period, count, cost in landing.query(
            "SELECT client_id, to_char(statement.billing_period, 'YYYY-MM'),"
            " (SELECT count(*) FROM billing_publications AS publication"
            "  WHERE publication.statement_id = statement.statement_id),"
            " (SELECT sum(billed_cost) FROM billing_usage_fact AS fact"
            "  WHERE fact.statement_id = statement.statement_id)"
            " FROM billing_statements AS statement"
        )
    }
    expected = {(delivery.client_id, delivery.period): (1, delivery.cost) for delivery in deliveries}
    for place in sorted(published.keys() | expected.keys()):
        if published.get(place) != expected.get(place):
            yield f"{place} has {published.get(place)} publications and cost, not {expected.get(place)}"
    states = landing.query("SELECT state, count(*) FROM billing_deliveries GROUP BY 1")
    if states != [("published", len(deliveries))]:
        yield f"deliveries are {states}"
    yield from landing.broken_rules()


def _bucket(client_id: str) -> str:
    return f"{client_id}-bills"
