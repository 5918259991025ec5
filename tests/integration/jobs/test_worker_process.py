"""The worker as ECS runs it: a process that is told to end, killed, or has nothing left to do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import billfold
from billfold import clients
from billfold.aws import LocalAws
from billfold.settings import load_settings
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
    assert mailbox.counts() == (1, 0)


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
        left = mailbox.counts()
        released.set()
        with start_worker(there, "--drain") as another:
            another.finish()

    assert (code, left) == (0, (1, 0))
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
            BILLFOLD_VISIBILITY_SECONDS="3",
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
            third.wait_for("message_dead")
            wait_until_empty(mailbox)
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


def wait_until_empty(mailbox: Mailbox) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while mailbox.counts() != (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.05)
