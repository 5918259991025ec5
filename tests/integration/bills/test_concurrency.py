"""Many workers on the same deliveries, and readers while a statement is restated again and again."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from billfold.model import DeliveryState
from billfold.store.database import connect
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import LineItem
from tests.processes.crash_worker import Worker
from tests.soak.bills import HeldBill, deliver, expect, random_bill, read_bill, restate, total

WORKERS = rounds(3, in_soak=8)
STATEMENTS = rounds(4, in_soak=20)
REVISED_STATEMENTS = rounds(1, in_soak=4)
RESTATEMENTS = rounds(3, in_soak=20)
MIN_POLLS = 15 * RESTATEMENTS
# A reader sees a published state within a few milliseconds; one that waits longer waits for a reader that died.
LIMIT_SECONDS = 120


@pytest.mark.slow
@pytest.mark.at_length
def test_workers_publish_every_statement_once(landing: Landing) -> None:
    random = Random(3)
    bills = {f"exports/acme-{number:02d}": random_bill(random, 40) for number in range(STATEMENTS)}
    manifests = [
        deliver(random, landing.root, items, revision=1, export_path=export_path)
        for export_path, items in bills.items()
    ]

    outcomes = _ingest_by_all(landing, manifests)

    assert [outcome for outcome in outcomes if outcome["state"] != DeliveryState.PUBLISHED or outcome["error"]] == []
    assert len(outcomes) == WORKERS * len(manifests)
    assert _states(landing) == {("published", 1): STATEMENTS}
    assert _run_states(landing) == ["success"]
    assert {path: _held(landing, path) for path in bills} == {path: expect(items) for path, items in bills.items()}
    assert landing.broken_rules() == []


@pytest.mark.slow
@pytest.mark.at_length
def test_workers_bring_statements_through_five_revisions_in_order(landing: Landing) -> None:
    random = Random(4)
    bills: dict[str, list[LineItem]] = {}
    manifests = []
    for number in range(REVISED_STATEMENTS):
        export_path = f"exports/acme-{number:02d}"
        bills[export_path] = random_bill(random, 40)
        for revision in range(1, 6):
            delivered = deliver(random, landing.root, bills[export_path], revision=revision, export_path=export_path)
            manifests.append(_keep_execution(landing.root, delivered, f"execution-{revision}"))
            if revision < 5:
                bills[export_path] = restate(random, bills[export_path], changed=4, removed=2, added=3, repeated=1)

    outcomes = _ingest_by_all(landing, manifests)

    ends = {DeliveryState.PUBLISHED.value, DeliveryState.SUPERSEDED.value}
    assert [outcome for outcome in outcomes if outcome["state"] not in ends or outcome["error"]] == []
    assert len(outcomes) == WORKERS * len(manifests)
    states = _states(landing)
    assert set(states) <= {("published", 1), ("superseded", 0)}
    assert sum(states.values()) == len(manifests)
    assert _published_in_disorder(landing) == []
    assert {path: _held(landing, path) for path in bills} == {path: expect(items) for path, items in bills.items()}
    assert set(_run_states(landing)) <= {"success", "skipped"}
    assert landing.broken_rules() == []


def _ingest_by_all(landing: Landing, manifests: Sequence[Path]) -> list[dict[str, Any]]:
    """Every worker, each a process, ingests all of them in an order of its own; returns what all of them tell."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker.start(landing.settings, conninfo=landing.database.conninfo, client_id=landing.client.client_id)
            )
            for _ in range(WORKERS)
        ]
        for number, worker in enumerate(workers):
            worker.begin(*Random(number).sample(manifests, len(manifests)))
        return [outcome for worker in workers for outcome in worker.finish()["outcomes"]]


def _keep_execution(root: Path, manifest: Path, execution: str) -> Path:
    """Move a delivery into folders of its execution, as AWS's create-new mode has it; returns its manifest's path."""
    document = json.loads(manifest.read_text())
    times = manifest.stat()
    keys = []
    for location in document["dataFiles"]:
        path = root / location.split("/", 3)[3]
        keys.append(_move(path, execution).relative_to(root).as_posix())
    document["dataFiles"] = [f"s3://acme-bills/{key}" for key in keys]
    kept = _move(manifest, execution)
    kept.write_text(json.dumps(document))
    os.utime(kept, ns=(times.st_atime_ns, times.st_mtime_ns))
    return kept


def _move(path: Path, folder: str) -> Path:
    target = path.parent / folder / path.name
    target.parent.mkdir(exist_ok=True)
    return path.rename(target)


def _states(landing: Landing) -> Mapping[tuple[str, int], int]:
    """How many deliveries there are of each state and number of publications."""
    return {
        (state, publications): count
        for state, publications, count in landing.query(
            "SELECT state, publications, count(*) FROM billing_deliveries CROSS JOIN LATERAL (SELECT count(*) AS"
            " publications FROM billing_publications AS publication"
            " WHERE publication.delivery_id = billing_deliveries.delivery_id) AS counted GROUP BY 1, 2"
        )
    }


def _run_states(landing: Landing) -> list[str]:
    return [status for (status,) in landing.query("SELECT DISTINCT status FROM billing_ingestion_runs")]


def _published_in_disorder(landing: Landing) -> list[tuple[Any, ...]]:
    """Publications of a delivery older than the one published before it, or whose number does not follow."""
    return landing.query(
        "SELECT * FROM (SELECT publication.statement_id, number, delivered_at, row_number() OVER earlier AS place,"
        " lag(delivered_at) OVER earlier AS before"
        " FROM billing_publications AS publication JOIN billing_deliveries USING (delivery_id)"
        " WINDOW earlier AS (PARTITION BY publication.statement_id ORDER BY number)) AS followed"
        " WHERE before >= delivered_at OR number <> place"
    )


def _held(landing: Landing, export_path: str) -> HeldBill:
    with connect(landing.database.conninfo) as connection:
        return read_bill(connection, export_path)


METRICS = {
    "raw rows": "SELECT count(*) FROM raw_aws_billing_rows",
    "charges": "SELECT count(*) FROM billing_usage_fact",
    "billed cost": "SELECT sum(billed_cost) FROM billing_usage_fact",
    "daily cost": "SELECT sum(billed_cost) FROM billing_daily_cost",
}
# What one state of the bill is in each metric, in their order.
State = tuple[int, int, Decimal, Decimal]


class Reader:
    """A thread that polls until it is told to stop, and keeps the states that it saw, in order, each once in a row."""

    def __init__(self, conninfo: str, look: Callable[[psycopg.Connection[Any]], Iterator[int | str]]) -> None:
        self.seen: list[int | str] = []
        self.polls = 0
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, args=(conninfo, look))

    def start(self) -> None:
        self._thread.start()

    def await_state(self, number: int) -> None:
        """Wait until it has seen this state, or anything else that is not the one before it."""
        with self._news:
            arrived = self._news.wait_for(lambda: self.seen and self.seen[-1] != number - 1, LIMIT_SECONDS)
        assert arrived, f"a reader does not see state {number} after {self.polls} polls: {self.seen}"

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self, conninfo: str, look: Callable[[psycopg.Connection[Any]], Iterator[int | str]]) -> None:
        with connect(conninfo) as connection:
            while not self._stop.is_set():
                # The bill is to change often between two looks, but not to wait for the readers' processors.
                connection.execute("SELECT pg_sleep(0.002)")
                for state in look(connection):
                    self.polls += 1
                    if not self.seen or self.seen[-1] != state:
                        with self._news:
                            self.seen.append(state)
                            self._news.notify_all()


@pytest.mark.slow
@pytest.mark.at_length
def test_readers_see_the_published_bills_only_and_in_order_during_many_restatements(landing: Landing) -> None:
    random = Random(8)
    bills = [random_bill(random, 200)]
    for _ in range(RESTATEMENTS):
        # Each state has two line items more than the one before: all its values are its own.
        bills.append(restate(random, bills[-1], changed=12, removed=8, added=7, repeated=3))
    states = [_state(items) for items in bills]
    assert [len(set(values)) for values in zip(*states, strict=True)] == [len(states)] * len(METRICS)
    deliver(random, landing.root, bills[0], revision=1)
    landing.ingest()
    readers = [Reader(landing.database.conninfo, look(states)) for look in (_in_one_snapshot, _one_by_one)]
    for reader in readers:
        reader.start()

    try:
        for number, items in enumerate(bills[1:], start=1):
            for reader in readers:
                reader.await_state(number - 1)
            deliver(random, landing.root, items, revision=number + 1)
            outcome = landing.ingest()
            assert outcome.billed_cost == {"USD": states[number][2]}, outcome.exit_error
        for reader in readers:
            reader.await_state(RESTATEMENTS)
    finally:
        for reader in readers:
            reader.stop()

    assert [reader.seen for reader in readers] == [list(range(RESTATEMENTS + 1))] * len(readers)
    assert min(reader.polls for reader in readers) >= MIN_POLLS
    assert landing.broken_rules() == []


def _state(items: Sequence[LineItem]) -> State:
    bill = expect(items)
    return len(items), len(items), total(bill), total(bill)


def _in_one_snapshot(states: Sequence[State]) -> Callable[[psycopg.Connection[Any]], Iterator[int | str]]:
    """Look at all metrics in one transaction: which state all of them agree on, or what else was seen."""

    def look(connection: psycopg.Connection[Any]) -> Iterator[int | str]:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            values = tuple(_ask(connection, query) for query in METRICS.values())
        yield states.index(values) if values in states else f"no published state: {values}"

    return look


def _one_by_one(states: Sequence[State]) -> Callable[[psycopg.Connection[Any]], Iterator[int | str]]:
    """Look at each metric in a query of its own: which state its value is of, or what else was seen."""
    numbers = {
        (name, state[place]): number for place, name in enumerate(METRICS) for number, state in enumerate(states)
    }

    def look(connection: psycopg.Connection[Any]) -> Iterator[int | str]:
        for name, query in METRICS.items():
            value = _ask(connection, query)
            yield numbers.get((name, value), f"no published value of {name}: {value}")

    return look


def _ask(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]
