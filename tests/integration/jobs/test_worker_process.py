"""The worker as ECS runs it: a process that is told to end, killed, or has nothing left to do."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import billfold
from billfold import clients
from billfold.aws import LocalAws
from billfold.model import TriggerSource
from billfold.settings import load_settings
from billfold.store.database import connect
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import NewJob
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.messages import ACCOUNT, Mailbox, s3_event
from tests.processes.faulty_aws import Call, Fault, faulty_aws
from tests.processes.worker_process import LIMIT_SECONDS, blame_soon, start_worker


@pytest.fixture
def aws(aws: LocalAws) -> LocalAws:
    aws.create_bucket(BUCKET)
    return aws


@pytest.fixture
def fleet(aws: LocalAws, landing: Landing) -> Landing:
    landing = landing.with_settings(endpoint_url=load_settings().endpoint_url)
    values = {"client_id": "acme", "bucket": BUCKET, "account_id": ACCOUNT, "prefix": "exports/"}
    return replace(landing, client=clients.register(landing.database, landing.settings, values))


def variables(fleet: Landing, mailbox: Mailbox, **changed: str) -> Mapping[str, str]:
    """The environment of a worker of this queue; the embedded server may be another's as well."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(billfold.__file__).parents[1]),
        "DATABASE_URL": fleet.database.conninfo,
        "BILLFOLD_HOME": str(fleet.root.parent / "home"),
        "BILLFOLD_MIN_FREE_BYTES": "0",
        "BILLFOLD_QUEUE_URL": mailbox.url,
        **changed,
    }


def deliver(fleet: Landing, aws: LocalAws, *costs: str, export: str = "acme") -> str:
    path = write_bill(fleet.root, described(*costs), bucket=BUCKET, export_path=f"exports/{export}")
    aws.upload_folder(BUCKET, fleet.root)
    return path.relative_to(fleet.root).as_posix()


def test_a_worker_that_drains_ends_with_a_summary(fleet: Landing, aws: LocalAws) -> None:
    mailbox = Mailbox(aws)
    mailbox.send(s3_event(BUCKET, deliver(fleet, aws, "1.25")), "garbage", "{}")

    with start_worker(variables(fleet, mailbox), "--drain", "--concurrency", "2") as worker:
        document = worker.finish()

    assert document.pop("duration_seconds") > 0
    assert document == {
        "received": 3,
        "done": 2,
        "later": 0,
        "dead": 1,
        "stuck": 0,
        "given_back": 0,
        "unfinished": 0,
        "states": {"published": 1},
    }
    assert fleet.billed() == {"USD": Decimal("1.25")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_what_runs_has_finished(fleet: Landing, aws: LocalAws, number: signal.Signals) -> None:
    mailbox = Mailbox(aws)
    keys = [deliver(fleet, aws, "1.25", export=name) for name in ("a", "b")]
    reached, released = threading.Event(), threading.Event()

    def hold(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz"):
            reached.set()
            released.wait(LIMIT_SECONDS)
        return None

    with faulty_aws(aws.endpoint_url, hold) as faulty:
        mailbox.send(*(s3_event(BUCKET, key) for key in keys))
        there = variables(fleet, mailbox, AWS_ENDPOINT_URL=faulty.endpoint_url)
        with start_worker(there, "--concurrency", "1") as worker:
            assert reached.wait(LIMIT_SECONDS)
            worker.tell(number)
            worker.wait_for("worker_stopping")
            released.set()
            code = worker.finish_within(LIMIT_SECONDS)
            told = {event["event"] for event in worker.events()}

    assert code == 0
    assert {"worker_stopping", "worker_finished"} <= told
    assert fleet.query("SELECT state FROM billing_deliveries") == [("published",)]
    assert fleet.query("SELECT state, take_count FROM billing_jobs") == [("waiting", 0)]
    assert mailbox.counts() == (0, 0)


def test_a_delivery_that_runs_longer_than_the_shutdown_is_given_back_at_once(fleet: Landing, aws: LocalAws) -> None:
    mailbox = Mailbox(aws)
    key = deliver(fleet, aws, "1.25")
    reached, released = threading.Event(), threading.Event()

    def hold(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz") and not released.is_set():
            reached.set()
            released.wait(LIMIT_SECONDS)
        return None

    with faulty_aws(aws.endpoint_url, hold) as faulty:
        mailbox.send(s3_event(BUCKET, key))
        there = variables(fleet, mailbox, AWS_ENDPOINT_URL=faulty.endpoint_url, BILLFOLD_SHUTDOWN_SECONDS="0")
        with start_worker(there) as worker:
            assert reached.wait(LIMIT_SECONDS)
            code = worker.end()
        left = fleet.query("SELECT state, take_count, failure_count, due_at <= now() FROM billing_jobs")
        released.set()
        with start_worker(there, "--drain") as another:
            another.finish()

    assert (code, left) == (0, [("waiting", 1, 0, True)])
    assert fleet.billed() == {"USD": Decimal("1.25")}
    assert fleet.query("SELECT state, attempts FROM billing_deliveries") == [("published", 2)]


def test_of_two_whose_worker_dies_the_guilty_one_is_found_and_the_other_gets_through(
    fleet: Landing, aws: LocalAws
) -> None:
    mailbox = Mailbox(aws)
    keys = [deliver(fleet, aws, "1.25", export=name) for name in ("guilty", "innocent")]
    reached = {name: threading.Event() for name in ("guilty", "innocent")}
    is_over = {name: threading.Event() for name in ("guilty", "innocent")}

    def hold(call: Call) -> Fault:
        for name in reached:
            if call.is_download and call.path.endswith(f"{name}-00001.csv.gz") and not is_over[name].is_set():
                reached[name].set()
                is_over[name].wait(LIMIT_SECONDS)
        return None

    with faulty_aws(aws.endpoint_url, hold) as faulty:
        mailbox.send(*(s3_event(BUCKET, key) for key in keys))
        there = variables(
            fleet,
            mailbox,
            AWS_ENDPOINT_URL=faulty.endpoint_url,
            BILLFOLD_MESSAGE_RETRY_SECONDS="0",
            BILLFOLD_MESSAGE_ATTEMPTS="2",
        )
        with start_worker(there, "--concurrency", "2") as first:
            assert all(event.wait(LIMIT_SECONDS) for event in reached.values())
            first.kill()
        is_over["innocent"].set()
        reached["guilty"].clear()
        with start_worker(there, "--concurrency", "2", prepare=blame_soon) as second:
            assert reached["guilty"].wait(LIMIT_SECONDS)
            second.kill()
        is_over["guilty"].set()
        with start_worker(there, "--concurrency", "2", prepare=blame_soon) as third:
            third.wait_until(lambda: fleet.count("billing_jobs WHERE state <> 'dead'") == 0)
            third.end()

    [letter] = mailbox.dead_letters()
    assert letter["body"] == s3_event(BUCKET, keys[0])
    assert (letter["error_code"], letter["reason"]) == (
        "interrupted",
        "failed 2 times, at last: its worker ended before it did",
    )
    assert fleet.query("SELECT export_name, state FROM billing_deliveries ORDER BY 1") == [
        ("guilty", "failed"),
        ("innocent", "published"),
    ]
    assert fleet.billed() == {"USD": Decimal("1.25")}
    assert fleet.broken_rules() == []


def test_what_a_stopped_worker_has_is_published_once_by_another_and_it_goes_on_when_it_wakes(
    fleet: Landing, aws: LocalAws
) -> None:
    mailbox = Mailbox(aws)
    keys = [deliver(fleet, aws, "1.25", export=name) for name in ("a", "b")]
    there = variables(fleet, mailbox, BILLFOLD_MESSAGE_RETRY_SECONDS="0")
    publishing = "hashtextextended('billfold publications of acme', 0)"
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    mailbox.send(s3_event(BUCKET, keys[0]))

    with start_worker(there, prepare=blame_soon) as stopped:
        with connect(fleet.database.conninfo) as connection:
            connection.execute(f"SELECT pg_advisory_lock({publishing})".encode())
            stopped.wait_until(lambda: fleet.value(waits) == 1)
            stopped.tell(signal.SIGSTOP)
        # Its open transaction has the locks of the statement, and of the client's publications.
        with start_worker(there, prepare=blame_soon) as another:
            another.wait_for("message_done", lambda event: event["key"] == keys[0])
            told = [event["event"] for event in another.events()]
        stopped.tell(signal.SIGCONT)
        # The queue may give another message to the poll of the worker that was just killed.
        with connect(fleet.database.conninfo) as connection:
            jobs.add(
                connection,
                NewJob(client_id="acme", bucket=BUCKET, key=keys[1], work=keys[1], trigger=TriggerSource.API),
            )
        stopped.wait_for("asked_done")

    assert {"job_freed", "message_alone"} <= set(told)
    assert fleet.query("SELECT export_name, state, attempts, error_code FROM billing_deliveries ORDER BY 1") == [
        ("a", "published", 2, None),
        ("b", "published", 1, None),
    ]
    assert fleet.count("billing_publications") == 2
    assert fleet.broken_rules() == []
