"""The server's worker: what was asked for comes in once, whatever dies meanwhile, or fails for good with its reason."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from http.client import HTTPException
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog.testing

import billfold
from billfold import clients
from billfold.aws import LocalAws
from billfold.bills import requests as asking
from billfold.bills.requests import request, request_again, request_release
from billfold.errors import ForbiddenError, ManifestError, SourceNotFoundError, SourceUnavailableError, UsageError
from billfold.jobs import request_worker as worker_module
from billfold.jobs.request_worker import AskedWorker
from billfold.model import TriggerSource
from billfold.period import parse_period
from billfold.store.database import connect
from billfold.store.jobs import requests as asked
from billfold.store.jobs.requests import RequestedDelivery
from billfold.store.jobs.slots import open_slots, take_slot, take_turn
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, line_item, write_bill
from tests.messages import ACCOUNT
from tests.processes.faulty_aws import Call, Fault, FaultyAws, faulty_aws
from tests.processes.web_server import WebServer
from tests.processes.worker_process import LIMIT_SECONDS, start_server

STATES = (
    "SELECT state, attempts, asked_at IS NOT NULL, taken_count, error_code FROM billing_deliveries ORDER BY created_at"
)

WAITING = (
    "SELECT delivery.state, delivery.reason, delivery.released_at IS NOT NULL, run.status, file.outcome"
    " FROM billing_deliveries AS delivery JOIN billing_delivery_files AS file USING (delivery_id)"
    " JOIN billing_ingestion_runs AS run USING (ingestion_run_id) WHERE delivery.delivery_id = %s"
)

# What messages of the statement take, so that none is worked on beside another.
TURN = f"{BUCKET} exports/acme 2026-05"


@pytest.fixture
def faulty(aws: LocalAws) -> Iterator[FaultyAws]:
    """The local AWS behind a proxy that answers everything until a test plans otherwise."""
    aws.create_bucket(BUCKET)
    with faulty_aws(aws.endpoint_url, lambda _: None) as faulty:
        yield faulty


@pytest.fixture
def fleet(faulty: FaultyAws, landing: Landing) -> Landing:
    landing = landing.with_settings(endpoint_url=faulty.endpoint_url, message_retry_seconds=0)
    values = {"client_id": "acme", "bucket": BUCKET, "account_id": ACCOUNT, "prefix": "exports/"}
    return replace(landing, client=clients.register(landing.database, landing.settings, values))


def deliver(fleet: Landing, aws: LocalAws, *costs: str, export: str = "acme", revision: int = 1) -> str:
    path = write_bill(fleet.root, described(*costs), revision=revision, bucket=BUCKET, export_path=f"exports/{export}")
    aws.upload_folder(BUCKET, fleet.root)
    return path.relative_to(fleet.root).as_posix()


def ask_for(fleet: Landing, key: str, asked_by: TriggerSource = TriggerSource.API) -> tuple[RequestedDelivery, ...]:
    return request(fleet.client, key, requested_by=asked_by, settings=fleet.settings, database=fleet.database)


def again(fleet: Landing, delivery_id: UUID) -> RequestedDelivery:
    return request_again(delivery_id, settings=fleet.settings, database=fleet.database)


def release(fleet: Landing, delivery_id: UUID, token_id: int | None = None) -> RequestedDelivery:
    return request_release(delivery_id, token_id=token_id, settings=fleet.settings, database=fleet.database)


def hold(fleet: Landing, aws: LocalAws) -> UUID:
    """Bring in a bill of six dollars, then a delivery that would leave one of them; its id."""
    ask_for(fleet, deliver(fleet, aws, "1", "2", "3"))
    work_off(fleet)
    [row] = ask_for(fleet, deliver(fleet, aws, "1", revision=2))
    work_off(fleet)
    assert fleet.value("SELECT state FROM billing_deliveries WHERE delivery_id = %s", row.delivery_id) == "held"
    return row.delivery_id


@contextmanager
def working(fleet: Landing, concurrency: int = 1) -> Iterator[AskedWorker]:
    worker = AskedWorker(settings=fleet.settings, database=fleet.database, concurrency=concurrency)
    worker.start()
    try:
        yield worker
    finally:
        worker.finish(LIMIT_SECONDS)


def work_off(fleet: Landing, concurrency: int = 1) -> list[Any]:
    """Let a worker take up all that is asked for; the events that it logs."""
    with structlog.testing.capture_logs() as events, working(fleet, concurrency):
        wait_until(lambda: fleet.value("SELECT count(*) FROM billing_deliveries WHERE asked_at IS NOT NULL") == 0)
    return [event for event in events if event["event"].startswith("asked_")]


def wait_until(is_so: Callable[[], bool]) -> None:
    ticking = threading.Event()
    for _ in range(LIMIT_SECONDS * 20):
        if is_so():
            return
        ticking.wait(0.05)
    raise AssertionError("it never came to that")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(worker_module, "MAX_WAIT_SECONDS", 0)


def is_download(call: Call) -> bool:
    return call.is_download and call.path.endswith("gz")


def test_what_is_asked_for_waits_and_comes_in(fleet: Landing, aws: LocalAws) -> None:
    keys = [deliver(fleet, aws, "1.25", export="a"), deliver(fleet, aws, "2.5", export="b")]

    rows = [row for key in keys for row in ask_for(fleet, key)]
    before = fleet.query(STATES)
    events = work_off(fleet)

    assert [(row.client_id, row.export_name, row.billing_period, row.state) for row in rows] == [
        ("acme", "a", "2026-05", "pending"),
        ("acme", "b", "2026-05", "pending"),
    ]
    assert before == [("pending", 0, True, 0, None)] * 2
    assert fleet.query(STATES) == [("published", 1, False, 0, None)] * 2
    assert fleet.query("SELECT DISTINCT trigger_source FROM billing_ingestion_runs") == [("api",)]
    assert fleet.billed() == {"USD": Decimal("3.75")}
    assert [event["event"] for event in events] == ["asked_started", "asked_done"] * 2
    assert fleet.broken_rules() == []


def test_a_folder_asks_for_every_statement_in_it(fleet: Landing, aws: LocalAws) -> None:
    for export in ("a", "b"):
        deliver(fleet, aws, "1.25", export=export)

    assert len(ask_for(fleet, "exports/")) == 2

    work_off(fleet, concurrency=2)
    assert fleet.billed() == {"USD": Decimal("2.5")}


def test_a_folder_of_too_many_deliveries_is_refused_as_a_whole(
    fleet: Landing, aws: LocalAws, faulty: FaultyAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MAX_REQUESTED", 2)
    for export in ("a", "b", "c"):
        deliver(fleet, aws, "1.25", export=export)
    calls: list[Call] = []
    faulty.plan = calls.append

    with pytest.raises(UsageError, match="name a folder within it, or a manifest"):
        ask_for(fleet, "exports/")

    assert [call for call in calls if call.is_download] == []
    assert fleet.count("billing_deliveries") == fleet.count("billing_ingestion_runs") == 0
    assert len(ask_for(fleet, "exports/a/")) == 1


def test_what_stands_is_not_asked_for(fleet: Landing, aws: LocalAws) -> None:
    key = deliver(fleet, aws, "1.25")
    ask_for(fleet, key)
    work_off(fleet)

    [row] = ask_for(fleet, key)

    assert (row.state, row.asked_at) == ("published", None)


def test_asking_again_changes_nothing_and_keeps_the_place(fleet: Landing, aws: LocalAws) -> None:
    [first] = ask_for(fleet, deliver(fleet, aws, "1.25", export="a"))
    ask_for(fleet, deliver(fleet, aws, "2.5", export="b"))

    [repeated] = ask_for(fleet, "exports/a/metadata/BILLING_PERIOD=2026-05/a-Manifest.json")
    retried = again(fleet, first.delivery_id)

    assert repeated == retried == first
    with connect(fleet.database.conninfo) as connection:
        taken = asked.take(connection)
        assert taken is not None
        assert taken.delivery.delivery_id == first.delivery_id


def test_what_cannot_be_resolved_leaves_a_failed_run(fleet: Landing, aws: LocalAws) -> None:
    key = deliver(fleet, aws, "1.25")
    aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"{}")

    with pytest.raises(SourceNotFoundError):
        ask_for(fleet, "exports/none/")
    with pytest.raises(ManifestError):
        ask_for(fleet, key)

    runs = "SELECT source_s3_key, status, trigger_source, error_code FROM billing_ingestion_runs ORDER BY created_at"
    assert fleet.query(runs) == [
        ("exports/none/", "failed", "api", "source_not_found"),
        (key, "failed", "api", "manifest"),
    ]


def test_a_bucket_that_does_not_answer_is_told_at_once(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    key = deliver(fleet, aws, "1.25")
    faulty.plan = lambda _: (503, "SlowDown")

    with pytest.raises(SourceUnavailableError):
        ask_for(fleet, key)


@pytest.mark.parametrize("key", ["other/a", "exports-evil/a", "exports/../other/a", "exports"])
def test_nothing_outside_of_the_clients_folder_is_asked_for(fleet: Landing, key: str) -> None:
    with pytest.raises(ForbiddenError):
        ask_for(fleet, key)

    assert fleet.count("billing_ingestion_runs") == 0


def test_what_may_succeed_later_comes_again_until_it_is_in(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    key = deliver(fleet, aws, "1.25")
    ask_for(fleet, key)
    failing = iter([True, True])
    faulty.plan = lambda call: (503, "SlowDown") if is_download(call) and next(failing, False) else None

    events = work_off(fleet)

    assert events[-1]["event"] == "asked_done"
    assert fleet.billed() == {"USD": Decimal("1.25")}
    assert fleet.count("billing_message_failures") == 0


def test_what_fails_too_often_has_failed_for_good_and_can_be_asked_for_again(
    fleet: Landing, aws: LocalAws, faulty: FaultyAws
) -> None:
    fleet = fleet.with_settings(message_attempts=2)
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    faulty.plan = lambda call: (503, "SlowDown") if is_download(call) else None

    events = work_off(fleet)
    failed = fleet.query(STATES)
    faulty.plan = lambda _: None
    waiting = again(fleet, row.delivery_id)
    runs = fleet.query("SELECT status, error_code, last_error_code FROM billing_ingestion_runs")
    work_off(fleet)

    assert [event["event"] for event in events] == ["asked_started", "asked_later", "asked_started", "asked_dead"]
    assert failed == [("failed", 2, False, 0, "source_unavailable")]
    assert waiting.state == "pending"
    assert runs == [("pending", None, "source_unavailable")]
    assert fleet.query(STATES) == [("published", 3, False, 0, None)]
    assert fleet.count("billing_message_failures") == 0


def test_what_can_never_succeed_fails_at_once(fleet: Landing, aws: LocalAws) -> None:
    fleet.root.joinpath("exports").mkdir(parents=True)
    (fleet.root / "exports/bill.csv").write_text("identity_line_item_id,nothing\na,b\n")
    aws.upload_folder(BUCKET, fleet.root)
    ask_for(fleet, "exports/bill.csv")

    events = work_off(fleet)

    assert [(event["event"], event["error_code"]) for event in events[1:]] == [("asked_dead", "unknown_format")]
    assert fleet.query(STATES) == [("failed", 1, False, 0, "unknown_format")]


def test_a_delivery_that_is_gone_from_its_key_fails(fleet: Landing, aws: LocalAws) -> None:
    key = deliver(fleet, aws, "1.25")
    ask_for(fleet, key)
    aws.client("s3").delete_object(Bucket=BUCKET, Key=key)

    work_off(fleet)

    assert fleet.query(STATES) == [("failed", 0, False, 0, "source_not_found")]
    statuses = fleet.query(
        "SELECT DISTINCT status FROM billing_ingestion_runs UNION SELECT outcome FROM billing_delivery_files"
    )
    assert statuses == [("failed",)]


def test_a_newer_delivery_at_the_key_comes_in_instead(fleet: Landing, aws: LocalAws) -> None:
    ask_for(fleet, deliver(fleet, aws, "1.25"))
    deliver(fleet, aws, "1.25", "7", revision=2)

    events = work_off(fleet)

    assert events[-1]["instead"]
    assert [row[:3] for row in fleet.query(STATES)] == [("superseded", 0, False), ("published", 1, False)]
    assert "was replaced at its key" in fleet.value("SELECT reason FROM billing_deliveries WHERE state = 'superseded'")
    assert fleet.query("SELECT status FROM billing_ingestion_runs ORDER BY created_at") == [("skipped",), ("success",)]
    assert fleet.billed() == {"USD": Decimal("8.25")}


def test_only_what_failed_or_waits_can_be_tried_again(fleet: Landing, aws: LocalAws) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    work_off(fleet)

    with pytest.raises(UsageError, match="is published, not failed"):
        again(fleet, row.delivery_id)
    for state in ("superseded", "held", "rolled_back"):
        fleet.execute("UPDATE billing_deliveries SET state = %s", state)
        with pytest.raises(UsageError, match=f"is {state.replace('_', ' ')}, not failed"):
            again(fleet, row.delivery_id)


def test_a_delivery_of_another_bucket_cannot_be_tried_by_the_server(fleet: Landing) -> None:
    write_bill(fleet.root, described("1.25"))
    fleet.ingest()
    [[delivery_id]] = fleet.query("SELECT delivery_id FROM billing_deliveries")
    fleet.execute("UPDATE billing_deliveries SET state = 'failed', error_code = 'spool_full'")

    with pytest.raises(UsageError, match=r"is in a local folder, .*, which the server does not read"):
        again(fleet, delivery_id)
    fleet.execute("UPDATE billing_deliveries SET bucket = 'another-bucket'")
    with pytest.raises(UsageError, match="is not the bucket of client acme"):
        again(fleet, delivery_id)


def test_a_held_delivery_that_is_released_comes_in(fleet: Landing, aws: LocalAws) -> None:
    held = hold(fleet, aws)

    row = release(fleet, held)
    waiting = fleet.query(WAITING, held)
    work_off(fleet)

    assert (row.state, bool(row.asked_at)) == ("pending", True)
    assert waiting == [("pending", "would leave 1 of 3 rows and 1 of 6 USD", True, "pending", "pending")]
    assert fleet.query(WAITING, held) == [("published", None, False, "success", "success")]
    assert fleet.query("SELECT trigger_source, findings FROM billing_deliveries WHERE delivery_id = %s", held) == [
        ("api", ["published by release, although it would leave 1 of 3 rows and 1 of 6 USD"])
    ]
    assert fleet.billed() == {"USD": Decimal(1)}
    assert fleet.broken_rules() == []


def test_a_release_is_for_one_delivery_and_not_for_what_took_its_place(fleet: Landing, aws: LocalAws) -> None:
    held = hold(fleet, aws)
    deliver(fleet, aws, "2", revision=3)

    release(fleet, held)
    events = work_off(fleet)

    assert [(event["state"], bool(event["instead"])) for event in events[1:]] == [("held", True)]
    assert fleet.query("SELECT state, reason, released_at FROM billing_deliveries ORDER BY created_at")[1:] == [
        ("superseded", "was replaced at its key before it was read", None),
        ("held", "would leave 1 of 3 rows and 2 of 6 USD", None),
    ]
    assert fleet.billed() == {"USD": Decimal(6)}


def test_a_released_delivery_whose_key_is_gone_fails_and_need_not_be_released_again(
    fleet: Landing, aws: LocalAws
) -> None:
    held = hold(fleet, aws)
    key = "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"
    manifest = aws.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    aws.client("s3").delete_object(Bucket=BUCKET, Key=key)

    release(fleet, held)
    work_off(fleet)
    failed = fleet.query("SELECT state, error_code FROM billing_deliveries WHERE delivery_id = %s", held)
    aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=manifest)
    with pytest.raises(UsageError, match=r"the source of delivery .* is gone: once it is back, request an ingestion"):
        again(fleet, held)
    ask_for(fleet, key)
    work_off(fleet)

    assert failed == [("failed", "source_not_found")]
    assert fleet.billed() == {"USD": Decimal(1)}


def test_what_was_published_before_it_came_back_and_was_held_stays_published(fleet: Landing, aws: LocalAws) -> None:
    held = hold(fleet, aws)
    # As one that was published before, by a publication that others have followed.
    fleet.execute(
        "UPDATE billing_deliveries SET publication_id = (SELECT min(publication_id) FROM billing_publications)"
        " WHERE delivery_id = %s",
        held,
    )
    deliver(fleet, aws, "1", "2", "4", revision=3)

    release(fleet, held)
    work_off(fleet)

    query = "SELECT state, reason, released_at FROM billing_deliveries WHERE delivery_id = %s"
    assert fleet.query(query, held) == [("published", None, None)]
    assert fleet.billed() == {"USD": Decimal(7)}


def test_a_delivery_that_is_released_twice_at_once_is_released_once(fleet: Landing, aws: LocalAws) -> None:
    held = hold(fleet, aws)

    with structlog.testing.capture_logs() as events, ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(lambda number: release(fleet, held, token_id=number), range(4)))
    later = release(fleet, held)
    work_off(fleet)

    told = [event for event in events if event["event"] == "delivery_released"]
    assert {*rows} == {later}
    assert [(event["client"], event["delivery_id"], event["reason"]) for event in told] == [
        ("acme", str(held), "would leave 1 of 3 rows and 1 of 6 USD")
    ]
    assert told[0]["token_id"] in range(4)
    assert fleet.query("SELECT attempts FROM billing_deliveries WHERE delivery_id = %s", held) == [(2,)]
    assert fleet.count("billing_publications") == 2


def test_only_what_is_held_can_be_released(fleet: Landing, aws: LocalAws) -> None:
    held = hold(fleet, aws)

    with pytest.raises(UsageError, match="is held, not failed: release it"):
        again(fleet, held)
    for state in ("published", "superseded", "rolled_back"):
        fleet.execute("UPDATE billing_deliveries SET state = %s WHERE delivery_id = %s", state, held)
        with pytest.raises(UsageError, match=f"is {state}, not held"):
            release(fleet, held)
    fleet.execute("UPDATE billing_deliveries SET state = 'pending', finished_at = NULL WHERE delivery_id = %s", held)
    with pytest.raises(UsageError, match="is pending, not held"):
        release(fleet, held)
    fleet.execute("UPDATE billing_deliveries SET state = 'held', finished_at = now() WHERE delivery_id = %s", held)
    clients.set_enabled(fleet.database, "acme", enabled=False)
    with pytest.raises(UsageError, match="is disabled"):
        release(fleet, held)

    assert fleet.query("SELECT count(released_at), count(asked_at) FROM billing_deliveries") == [(0, 0)]


def test_a_held_delivery_of_another_bucket_cannot_be_released_by_the_server(fleet: Landing, aws: LocalAws) -> None:
    held = hold(fleet, aws)
    fleet.execute("UPDATE billing_deliveries SET bucket = 'another' WHERE delivery_id = %s", held)

    with pytest.raises(UsageError, match="is not the bucket of client acme: use `billfold release`"):
        release(fleet, held)

    assert fleet.query("SELECT count(released_at), count(asked_at) FROM billing_deliveries") == [(0, 0)]


def test_asking_for_the_key_of_a_held_delivery_does_not_release_it(fleet: Landing, aws: LocalAws) -> None:
    held = hold(fleet, aws)
    before = fleet.query(WAITING, held)

    [row] = ask_for(fleet, "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json")
    asked_for = fleet.query(WAITING, held)
    work_off(fleet)

    assert row.delivery_id == held
    assert before == asked_for == fleet.query(WAITING, held)
    assert before[0][0] == "held"


def test_a_client_whose_slots_are_taken_waits(fleet: Landing, aws: LocalAws) -> None:
    ask_for(fleet, deliver(fleet, aws, "1.25"))

    with ExitStack() as stack:
        for slot in range(1, fleet.client.max_deliveries + 1):
            assert take_slot(stack.enter_context(open_slots(fleet.database)), fleet.client) == slot
        with working(fleet), structlog.testing.capture_logs() as events:
            wait_until(lambda: "slot" in [event.get("cause") for event in events])
            stack.close()
            wait_until(lambda: fleet.value("SELECT state FROM billing_deliveries") == "published")

    assert fleet.query("SELECT attempts FROM billing_deliveries") == [(1,)]


def test_a_statement_that_a_message_is_worked_on_waits(fleet: Landing, aws: LocalAws) -> None:
    ask_for(fleet, deliver(fleet, aws, "1.25"))

    with ExitStack() as stack:
        assert take_turn(stack.enter_context(open_slots(fleet.database)), fleet.client, TURN)
        with working(fleet), structlog.testing.capture_logs() as events:
            wait_until(lambda: "busy" in [event.get("cause") for event in events])
            stack.close()
            wait_until(lambda: fleet.value("SELECT state FROM billing_deliveries") == "published")

    assert fleet.query("SELECT attempts FROM billing_deliveries") == [(1,)]


def test_a_client_that_was_disabled_meanwhile_is_not_read(fleet: Landing, aws: LocalAws) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    clients.set_enabled(fleet.database, "acme", enabled=False)

    work_off(fleet)

    assert fleet.query(STATES) == [("failed", 0, False, 0, "usage")]
    with pytest.raises(UsageError, match="is disabled"):
        again(fleet, row.delivery_id)


def test_what_is_asked_for_again_while_it_fails_is_tried_once_more(fleet: Landing, aws: LocalAws) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    with connect(fleet.database.conninfo) as connection:
        taken = asked.take(connection)
        assert taken is not None
        again(fleet, row.delivery_id)

        asked.settle_failed(connection, taken, error_code="internal", message="a defect")

    assert fleet.query(STATES) == [("pending", 0, True, 1, None)]


class Gates:
    """Lets the download of each export's data wait until it is let through."""

    def __init__(self, fleet: Landing, aws: LocalAws, faulty: FaultyAws, *exports: str) -> None:
        self.reached = {export: threading.Event() for export in exports}
        self.released = {export: threading.Event() for export in exports}
        self.keys = {export: deliver(fleet, aws, "1", export=export) for export in exports}
        self._fleet = fleet
        faulty.plan = self._hold

    def suspect(self, *exports: str) -> None:
        """These have lost their server once, and are not due before `let_come`."""
        for export in exports:
            [row] = ask_for(self._fleet, self.keys[export])
            name = str(row.delivery_id)
            self._fleet.execute(
                "UPDATE billing_deliveries SET taken_count = 2, not_before = now() + interval '1 day'"
                " WHERE delivery_id = %s",
                name,
            )
            self._fleet.execute("INSERT INTO billing_message_failures VALUES (%s, 1, 'interrupted', now())", name)

    def let_come(self) -> None:
        self._fleet.execute("UPDATE billing_deliveries SET not_before = now() WHERE taken_count = 2")

    def names_reached(self) -> list[str]:
        return [export for export, reached in self.reached.items() if reached.is_set()]

    def release(self, *exports: str) -> None:
        for export in exports:
            self.released[export].set()

    def _hold(self, call: Call) -> Fault:
        for export, released in self.released.items():
            if is_download(call) and call.path.endswith(f"{export}-00001.csv.gz"):
                self.reached[export].set()
                released.wait(LIMIT_SECONDS)
        return None


def count_published(fleet: Landing) -> int:
    return int(fleet.value("SELECT count(*) FROM billing_deliveries WHERE state = 'published' AND asked_at IS NULL"))


def test_what_lost_its_server_is_worked_on_alone(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    fleet.execute("UPDATE billing_clients SET max_deliveries = 9")
    gates = Gates(fleet, aws, faulty, "first", "suspect", "other", "last")
    gates.suspect("suspect", "other")
    working = "SELECT count(*) FROM billing_message_attempts"

    with structlog.testing.capture_logs() as events, working_on(fleet, gates, "first"):
        gates.let_come()
        wait_until(lambda: 3 in [event.get("taken_count") for event in events])
        ask_for(fleet, gates.keys["last"])
        beside_the_first = fleet.value(working)
        gates.release("first")
        wait_until(lambda: len(gates.names_reached()) > 1)
        [alone] = set(gates.names_reached()) - {"first"}
        beside_the_suspect = fleet.value(working)
        gates.release("suspect", "other", "last")
        wait_until(lambda: count_published(fleet) == 4)

    assert (beside_the_first, beside_the_suspect) == (1, 1)
    assert alone in ("suspect", "other")
    assert [event["event"] for event in events].count("asked_alone") == 2
    assert fleet.billed() == {"USD": Decimal(4)}
    assert fleet.count("billing_message_failures") == fleet.count("billing_message_attempts") == 0


@contextmanager
def working_on(fleet: Landing, gates: Gates, export: str) -> Iterator[AskedWorker]:
    """A worker of three threads, one of which has this export in hand."""
    ask_for(fleet, gates.keys[export])
    with working(fleet, concurrency=3) as worker:
        assert gates.reached[export].wait(LIMIT_SECONDS)
        yield worker


def test_what_lost_its_server_and_has_no_slot_keeps_nobody_waiting(
    fleet: Landing, aws: LocalAws, faulty: FaultyAws
) -> None:
    fleet.execute("UPDATE billing_clients SET max_deliveries = 2")
    gates = Gates(fleet, aws, faulty, "first", "suspect", "last")
    gates.suspect("suspect")

    with structlog.testing.capture_logs() as events, working_on(fleet, gates, "first"):
        with open_slots(fleet.database) as other:
            assert take_slot(other, fleet.client) == 2
            gates.let_come()
            wait_until(lambda: "slot" in [event.get("cause") for event in events])
        ask_for(fleet, gates.keys["last"])
        gates.release("first", "suspect", "last")
        wait_until(lambda: count_published(fleet) == 3)

    assert [event["event"] for event in events].count("asked_alone") == 1


def test_a_server_that_ends_puts_off_what_waits_to_be_alone(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    fleet.execute("UPDATE billing_clients SET max_deliveries = 9")
    gates = Gates(fleet, aws, faulty, "first", "suspect")
    gates.suspect("suspect")

    with structlog.testing.capture_logs() as events, working_on(fleet, gates, "first") as worker:
        gates.let_come()
        wait_until(lambda: 3 in [event.get("taken_count") for event in events])
        worker.stop()
        gates.release("first", "suspect")

    assert [row[:3] for row in fleet.query(STATES)] == [("pending", 0, True), ("published", 1, False)]
    assert "suspect" not in gates.names_reached()


def test_clients_take_turns(fleet: Landing, aws: LocalAws) -> None:
    for number in range(5):
        deliver(fleet, aws, "1.25", export=f"export-{number}")
    first, *_ = ask_for(fleet, "exports/")
    fleet.execute("INSERT INTO billing_clients (client_id) VALUES ('globex')")
    fleet.execute(
        "INSERT INTO billing_deliveries (client_id, bucket, export_path, export_name, content_digest, delivered_at,"
        " trigger_source, asked_at, asked_by, not_before)"
        " VALUES ('globex', 'globex-bills', 'a', 'a', 'a', now(), 'api', now(), 'api', now())"
    )

    with ExitStack() as stack:
        connections = [stack.enter_context(connect(fleet.database.conninfo)) for _ in range(2)]
        taken = [each.delivery for connection in connections if (each := asked.take(connection))]

    assert {delivery.client_id for delivery in taken} == {"acme", "globex"}
    assert first.delivery_id in {delivery.delivery_id for delivery in taken}


def test_what_one_has_in_hand_no_other_takes(fleet: Landing, aws: LocalAws) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    with connect(fleet.database.conninfo) as one, connect(fleet.database.conninfo) as other:
        taken = asked.take(one)
        assert taken is not None
        assert asked.take(other) is None
        asked.let_go(one, row.delivery_id)
        assert asked.take(other) is not None


# Processes of their own.


def variables(fleet: Landing, **changed: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path(billfold.__file__).parents[1]),
        "DATABASE_URL": fleet.database.conninfo,
        "BILLFOLD_HOME": str(fleet.root.parent / "home"),
        "BILLFOLD_MIN_FREE_BYTES": "0",
        "BILLFOLD_MESSAGE_RETRY_SECONDS": "0",
        "AWS_ENDPOINT_URL": str(fleet.settings.endpoint_url),
        **changed,
    }


def post(server: WebServer, key: str) -> tuple[int, Any]:
    body = f'{{"client": "acme", "key": "{key}"}}'.encode()
    return server.ask("POST", "/v1/ingestions", body, {"Content-Type": "application/json"})


def post_in_vain(server: WebServer, key: str) -> None:
    # The answer that is cut short is no JSON.
    with suppress(OSError, HTTPException, ValueError):
        post(server, key)


class Hold:
    """Lets the first download of a data file wait until it is told to go on."""

    def __init__(self) -> None:
        self.reached, self.released = threading.Event(), threading.Event()

    def __call__(self, call: Call) -> Fault:
        if is_download(call) and not self.released.is_set():
            self.reached.set()
            self.released.wait(LIMIT_SECONDS)
        return None


def test_a_killed_servers_work_is_taken_up_by_the_next_one(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    faulty.plan = hold = Hold()
    keys = [deliver(fleet, aws, "1.25", "0.1", export="a"), deliver(fleet, aws, "2.5", export="b")]

    with start_server(variables(fleet)) as (process, server):
        statuses = [post(server, key)[0] for key in keys]
        assert hold.reached.wait(LIMIT_SECONDS)
        process.kill()
    left = fleet.query(STATES)
    hold.released.set()
    with start_server(variables(fleet)) as (process, server):
        process.wait_until(lambda: fleet.value("SELECT bool_and(state = 'published') FROM billing_deliveries"))
        assert process.end() == 0

    assert statuses == [202, 202]
    assert left == [("running", 1, True, 1, None), ("pending", 0, True, 0, None)]
    assert fleet.query(STATES) == [("published", 2, False, 0, None), ("published", 1, False, 0, None)]
    assert fleet.query("SELECT count(*) FROM billing_publications GROUP BY statement_id") == [(1,), (1,)]
    assert fleet.billed() == {"USD": Decimal("3.85")}
    assert fleet.broken_rules() == []


def test_only_what_kills_its_server_fails_for_it(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    gates = Gates(fleet, aws, faulty, "guilty", "neighbour")
    values = variables(fleet, BILLFOLD_SERVE_CONCURRENCY="2", BILLFOLD_MESSAGE_ATTEMPTS="2")

    with start_server(values) as (process, server):
        for key in gates.keys.values():
            post(server, key)
        process.wait_until(lambda: len(gates.names_reached()) == 2)
        process.kill()
    gates.release("neighbour")
    gates.reached["guilty"].clear()
    with start_server(values) as (process, server):
        process.wait_until(gates.reached["guilty"].is_set)
        in_hand = fleet.value("SELECT count(*) FROM billing_message_attempts")
        alone = [event["key"] for event in process.events() if event["event"] == "asked_alone"]
        process.kill()
    with start_server(values) as (process, server):
        process.wait_until(lambda: fleet.value("SELECT count(asked_at) = 0 FROM billing_deliveries"))
        process.end()
    gates.release("guilty")

    states = "SELECT export_name, state, error_code FROM billing_deliveries ORDER BY export_name"
    assert (in_hand, alone[-1]) == (1, gates.keys["guilty"])
    assert fleet.query(states) == [("guilty", "failed", "interrupted"), ("neighbour", "published", None)]


def test_two_servers_do_nothing_twice(fleet: Landing, aws: LocalAws) -> None:
    keys = [deliver(fleet, aws, "1.25", export=f"export-{number}") for number in range(6)]

    with ExitStack() as stack:
        servers = [stack.enter_context(start_server(variables(fleet))) for _ in range(2)]
        for key in keys:
            for _, server in servers:
                assert post(server, key)[0] in (200, 202)
        servers[0][0].wait_until(
            lambda: fleet.value("SELECT bool_and(state = 'published' AND asked_at IS NULL) FROM billing_deliveries")
        )
        done = [event["key"] for process, _ in servers for event in process.events() if event["event"] == "asked_done"]

    assert set(done) == set(keys)
    assert fleet.query("SELECT attempts, count(*) FROM billing_deliveries GROUP BY 1") == [(1, 6)]
    assert fleet.count("billing_publications") == 6
    assert fleet.billed() == {"USD": Decimal("7.5")}


@pytest.mark.parametrize("seconds", ["30", "0"])
def test_a_server_that_is_told_to_end_lets_its_delivery_end_or_leaves_it(
    fleet: Landing, aws: LocalAws, faulty: FaultyAws, seconds: str
) -> None:
    faulty.plan = hold = Hold()
    key = deliver(fleet, aws, "1.25")

    with start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS=seconds)) as (process, server):
        post(server, key)
        assert hold.reached.wait(LIMIT_SECONDS)
        if seconds == "30":
            threading.Timer(0.5, hold.released.set).start()
        code = process.end(signal.SIGTERM)
        told = [event for event in process.events() if event["event"] == "server_stopped"]
    hold.released.set()

    assert code == 0
    ended = ("published", 1, False, 0, None) if seconds == "30" else ("running", 1, True, 1, None)
    assert fleet.query(STATES) == [ended]
    assert [event["unfinished"] for event in told] == [0 if seconds == "30" else 1]


def test_what_a_server_was_told_to_leave_has_not_failed(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    faulty.plan = hold = Hold()
    key = deliver(fleet, aws, "1.25")

    with start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="0")) as (process, server):
        post(server, key)
        assert hold.reached.wait(LIMIT_SECONDS)
        process.end(signal.SIGTERM)
    hold.released.set()
    events = work_off(fleet.with_settings(message_attempts=1))

    assert [event["event"] for event in events] == ["asked_started", "asked_done"]
    assert fleet.query(STATES) == [("published", 2, False, 0, None)]


@contextmanager
def half_a_request(server: WebServer) -> Iterator[None]:
    """Somebody who never sends the rest of it."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /v1/ingestions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        yield


def test_a_request_that_does_not_end_keeps_no_server_from_ending(fleet: Landing, aws: LocalAws) -> None:
    key = deliver(fleet, aws, "1.25")

    with start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="3")) as (process, server):
        with half_a_request(server):
            process.tell(signal.SIGTERM)
            process.wait_for("server_stopping")
            # Whoever is coming to an end takes up nothing more.
            ask_for(fleet, key)
            assert process.finish_within(30) == 0
        stopped = [event["unfinished"] for event in process.events() if event["event"] == "server_stopped"]

    assert stopped == [0]
    assert fleet.query(STATES) == [("pending", 0, True, 0, None)]


def test_a_second_signal_cuts_requests_short(fleet: Landing) -> None:
    with (
        start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="3600")) as (process, server),
        half_a_request(server),
    ):
        process.tell(signal.SIGTERM)
        process.wait_for("server_stopping")
        process.tell(signal.SIGTERM)
        assert process.finish_within(30) == 0


def test_a_request_that_waits_for_s3_keeps_no_server_from_ending(
    fleet: Landing, aws: LocalAws, faulty: FaultyAws
) -> None:
    reached, released = threading.Event(), threading.Event()

    def hold(call: Call) -> Fault:
        if call.is_download:
            reached.set()
            released.wait(LIMIT_SECONDS)
        return None

    faulty.plan = hold
    key = deliver(fleet, aws, "1.25")
    with start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="1")) as (process, server):
        asking = threading.Thread(target=post_in_vain, args=[server, key])
        asking.start()
        assert reached.wait(LIMIT_SECONDS)
        process.tell(signal.SIGTERM)
        assert process.finish_within(30) == 0
        released.set()
        asking.join()


def test_a_second_signal_ends_a_server_at_once(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    faulty.plan = hold = Hold()

    with start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="3600")) as (process, server):
        post(server, deliver(fleet, aws, "1.25"))
        assert hold.reached.wait(LIMIT_SECONDS)
        process.tell(signal.SIGTERM)
        process.wait_for("server_stopping")
        code = process.end(signal.SIGTERM)
    hold.released.set()

    assert code == 0
    assert fleet.query(STATES) == [("running", 1, True, 1, None)]


def test_a_server_of_no_concurrency_leaves_the_work_to_others(fleet: Landing, aws: LocalAws) -> None:
    key = deliver(fleet, aws, "1.25")

    with start_server(variables(fleet, BILLFOLD_SERVE_CONCURRENCY="0")) as (process, server):
        post(server, key)
        assert process.end() == 0

    assert fleet.query(STATES) == [("pending", 0, True, 0, None)]


def test_a_month_that_is_named_over_http_is_kept_until_the_file_is_in(fleet: Landing, aws: LocalAws) -> None:
    items = [*described("10"), line_item(cost="3.5", line_item_usage_start_date="2026-04-29T10:00:00Z")]
    names = [name for name in items[0] if name != "bill_billing_period_start_date"]
    aws.put(BUCKET, "exports/may.csv", as_csv(items, names))
    [unnamed] = ask_for(fleet, "exports/may.csv")
    work_off(fleet)
    failed = fleet.value("SELECT error_code FROM billing_deliveries")

    [named] = request(
        fleet.client,
        "exports/may.csv",
        requested_by=TriggerSource.API,
        settings=fleet.settings,
        database=fleet.database,
        month=parse_period("2026-05"),
    )
    work_off(fleet)

    assert (unnamed.billing_period, failed) == (None, "invalid_value")
    assert named.billing_period == "2026-05"
    assert fleet.value("SELECT state FROM billing_deliveries WHERE delivery_id = %s", named.delivery_id) == "published"
    assert fleet.billed() == {"USD": Decimal("13.5")}


def test_an_expired_delivery_is_nothing_to_ask_for(fleet: Landing, aws: LocalAws) -> None:
    manifest = deliver(fleet, aws, "1.25")
    [asked_first] = ask_for(fleet, manifest)
    work_off(fleet)
    data = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"
    aws.client("s3").delete_object(Bucket=BUCKET, Key=data)

    [row] = ask_for(fleet, manifest)

    assert (row.delivery_id, row.state, row.asked_at) == (asked_first.delivery_id, "published", None)
    assert fleet.value("SELECT count(*) FROM billing_ingestion_runs WHERE status = 'failed'") == 0
