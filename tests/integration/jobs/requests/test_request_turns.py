"""Which request is worked on next: slots, turns, and what lost its server is worked on alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
import structlog.testing

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.layout import work_of
from billfold.errors import UsageError
from billfold.jobs.pool import Pool
from billfold.jobs.results import Dead
from billfold.jobs.settlement import settle
from billfold.model import TriggerSource
from billfold.store.database import Connection, connect
from billfold.store.jobs import jobs, requests
from billfold.store.jobs.jobs import Job, NewJob
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.integration.jobs.requests.conftest import (
    STATES,
    Gates,
    again,
    ask_for,
    deliver,
    wait_until,
    work_off,
    working,
)
from tests.processes.faulty_aws import FaultyAws
from tests.processes.worker_process import LIMIT_SECONDS

WORKER = uuid4()
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
TAKEN = "SELECT count(*) FROM billing_jobs WHERE state = 'running'"


@contextmanager
def another_worker(fleet: Landing) -> Iterator[Connection]:
    """The connection of a worker that lives until the end of the block."""
    with connect(fleet.database.conninfo) as connection:
        jobs.live(connection, WORKER)
        yield connection


def announce(connection: Connection, key: str, client_id: str = "acme") -> None:
    """What a message announces waits."""
    work = work_of(BUCKET, key)
    jobs.add(connection, NewJob(client_id=client_id, bucket=BUCKET, key=key, work=work, trigger=TriggerSource.SQS))


def take_one(connection: Connection, worker_id: UUID = WORKER) -> Job | None:
    return next(iter(jobs.take(connection, worker_id, limit=1)), None)


def test_a_statement_that_a_message_is_worked_on_waits_and_so_does_a_client_whose_slots_are_taken(
    fleet: Landing, aws: LocalAws
) -> None:
    key = deliver(fleet, aws, "1.25")
    with another_worker(fleet) as other:
        # Another delivery of the same month.
        announce(other, key.replace("acme-Manifest.json", "20260504T000000Z/acme-Manifest.json"))
        of_message = take_one(other)
        assert of_message is not None
        ask_for(fleet, key)
        beside_its_statement = take_one(other, uuid4())
        jobs.finish(other, of_message, WORKER)

        fleet.execute("UPDATE billing_clients SET max_deliveries = 1")
        announce(other, "exports/elsewhere.csv")
        fleet.execute("UPDATE billing_jobs SET due_at = due_at - interval '1 hour' WHERE trigger_source = 'sqs'")
        elsewhere = take_one(other)
        assert elsewhere is not None
        without_a_slot = take_one(other, uuid4())
        jobs.finish(other, elsewhere, WORKER)
    waiting = fleet.query(STATES)
    work_off(fleet)

    assert (elsewhere.key, beside_its_statement, without_a_slot) == ("exports/elsewhere.csv", None, None)
    # A wait does not count as an attempt.
    assert waiting == [("pending", 0, True, 0, None)]
    assert fleet.query("SELECT state, attempts FROM billing_deliveries") == [("published", 1)]


def test_a_client_that_was_disabled_meanwhile_is_not_read(fleet: Landing, aws: LocalAws) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    clients.set_enabled(fleet.database, "acme", enabled=False)

    work_off(fleet)

    assert fleet.query(STATES) == [("failed", 0, False, 0, "usage")]
    with pytest.raises(UsageError, match="is disabled"):
        again(fleet, row.delivery_id)


def test_what_is_asked_for_again_while_it_fails_is_tried_once_more(fleet: Landing, aws: LocalAws) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    with another_worker(fleet) as other:
        taken = take_one(other)
        assert taken is not None
        again(fleet, row.delivery_id)

        settle(other, taken, WORKER, Dead(error_code="internal", reason="a defect"))

        assert fleet.query(STATES) == [("pending", 0, True, 1, None)]
        once_more = take_one(other)
        assert once_more is not None
        settle(other, once_more, WORKER, Dead(error_code="internal", reason="a defect"))

    assert fleet.query(STATES) == [("failed", 0, False, 0, "internal")]


def test_a_delivery_that_is_requested_in_the_moment_of_a_cancellation_fails_with_the_job(
    fleet: Landing, aws: LocalAws
) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    fleet.execute("UPDATE billing_jobs SET delivery_id = NULL")
    job_id = fleet.value("SELECT job_id FROM billing_jobs")
    with ThreadPoolExecutor() as threads, connect(fleet.database.conninfo) as canceling, another_worker(fleet) as other:
        with other.transaction():
            # As a request does with the job of an event.
            other.execute("UPDATE billing_jobs SET delivery_id = %s", [row.delivery_id])
            is_canceled = threads.submit(requests.cancel, canceling, job_id)
            wait_until(lambda: bool(fleet.value(BLOCKED)))

        assert is_canceled.result()
    assert fleet.query(STATES) == [("failed", 0, False, 0, "interrupted")]


def test_a_delivery_fails_with_its_canceled_job_and_is_pending_with_one_that_is_retried(
    fleet: Landing, aws: LocalAws
) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    with another_worker(fleet) as other:
        job_id = fleet.value("SELECT job_id FROM billing_jobs")
        assert requests.cancel(other, job_id)
        canceled = fleet.query(STATES)
        again(fleet, row.delivery_id)
        taken = take_one(other)
        assert taken is not None
        while_running = requests.retry(other, taken.job_id), requests.cancel(other, taken.job_id)
        settle(other, taken, WORKER, Dead(error_code="internal", reason="a defect"))
        dead = fleet.query(STATES)
        assert requests.retry(other, taken.job_id)
        retried = fleet.query(STATES)
        of_another_client = requests.cancel(other, taken.job_id, client_id="globex")

    assert canceled == [("failed", 0, False, 0, "interrupted")]
    assert while_running == (False, False)
    assert dead == [("failed", 0, False, 0, "internal")]
    assert retried == [("pending", 0, True, 1, None)]
    assert not of_another_client
    runs = "SELECT status FROM billing_ingestion_runs UNION SELECT outcome FROM billing_delivery_files"
    assert fleet.query(runs) == [("pending",)]


def is_all_published(fleet: Landing) -> bool:
    is_left = "SELECT EXISTS (SELECT FROM billing_jobs WHERE state <> 'dead')"
    return not fleet.value(is_left) and fleet.query("SELECT DISTINCT state FROM billing_deliveries") == [("published",)]


def test_what_lost_its_server_is_worked_on_alone(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    fleet.execute("UPDATE billing_clients SET max_deliveries = 9")
    gates = Gates(fleet, aws, faulty, "first", "suspect", "other", "last")
    gates.suspect("suspect", "other")

    with structlog.testing.capture_logs() as events, working_on(fleet, gates, "first"):
        gates.let_come()
        # One of them is taken, and waits until it can be alone.
        wait_until(lambda: fleet.value(TAKEN) == 2)
        ask_for(fleet, gates.keys["last"])
        beside_the_first = fleet.query("SELECT key FROM billing_jobs WHERE began_at IS NOT NULL")
        gates.release("first")
        wait_until(lambda: len(gates.names_reached()) > 1)
        [alone] = set(gates.names_reached()) - {"first"}
        beside_the_suspect = fleet.value(TAKEN)
        gates.release("suspect", "other", "last")
        wait_until(lambda: is_all_published(fleet))

    assert (beside_the_first, beside_the_suspect) == ([(gates.keys["first"],)], 1)
    assert alone in ("suspect", "other")
    assert [event["event"] for event in events].count("asked_alone") == 2
    assert fleet.billed() == {"USD": Decimal(4)}


@contextmanager
def working_on(fleet: Landing, gates: Gates, export: str) -> Iterator[Pool]:
    """A pool of three threads, one of which has this export in hand."""
    ask_for(fleet, gates.keys[export])
    with working(fleet, concurrency=3) as pool:
        assert gates.reached[export].wait(LIMIT_SECONDS)
        yield pool


def test_what_lost_its_server_and_has_no_slot_keeps_nobody_waiting(
    fleet: Landing, aws: LocalAws, faulty: FaultyAws
) -> None:
    fleet.execute("UPDATE billing_clients SET max_deliveries = 1")
    fleet.execute("INSERT INTO billing_clients (client_id) VALUES ('globex')")
    gates = Gates(fleet, aws, faulty, "first", "suspect")
    gates.suspect("suspect")

    with structlog.testing.capture_logs() as events, working_on(fleet, gates, "first"):
        gates.let_come()
        with connect(fleet.database.conninfo) as connection:
            announce(connection, "exports/a.csv", "globex")
        # It is not in globex's folder, which needs no attempt.
        wait_until(lambda: fleet.value("SELECT state FROM billing_jobs WHERE client_id = 'globex'") == "dead")
        reached = gates.names_reached()
        gates.release("first", "suspect")
        wait_until(lambda: is_all_published(fleet))

    assert reached == ["first"]
    assert [event["event"] for event in events].count("asked_alone") == 1


def test_a_server_that_ends_puts_off_what_waits_to_be_alone(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    fleet.execute("UPDATE billing_clients SET max_deliveries = 9")
    gates = Gates(fleet, aws, faulty, "first", "suspect")
    gates.suspect("suspect")

    with working_on(fleet, gates, "first") as pool:
        gates.let_come()
        wait_until(lambda: fleet.value(TAKEN) == 2)
        pool.stop()
        gates.release("first", "suspect")

    assert fleet.query("SELECT key, state, is_suspect, failure_count FROM billing_jobs") == [
        (gates.keys["suspect"], "waiting", True, 1)
    ]
    assert "suspect" not in gates.names_reached()
