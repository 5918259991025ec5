"""What the tests of requests share: a client with a bucket, and a worker of its requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import structlog.testing

from billfold import clients
from billfold.aws import LocalAws
from billfold.bills.requests import request, request_again
from billfold.jobs import settlement
from billfold.jobs.pool import Pool
from billfold.model import TriggerSource
from billfold.store.jobs.requests import RequestedDelivery
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.messages import ACCOUNT
from tests.processes.faulty_aws import Call, Fault, FaultyAws, faulty_aws
from tests.processes.worker_process import LIMIT_SECONDS

# Of each delivery, and how often its job was taken; NULL where none waits.
STATES = (
    "SELECT delivery.state, attempts, job_id IS NOT NULL, coalesce(take_count, 0), delivery.error_code"
    " FROM billing_deliveries AS delivery LEFT JOIN billing_jobs AS job"
    " ON job.delivery_id = delivery.delivery_id AND job.state <> 'dead' ORDER BY delivery.created_at"
)


@pytest.fixture
def faulty(aws: LocalAws) -> Iterator[FaultyAws]:
    """The local AWS behind a proxy that answers everything until a test plans otherwise."""
    aws.create_bucket(BUCKET)
    with faulty_aws(aws.endpoint_url, lambda _: None) as faulty:
        yield faulty


@pytest.fixture
def fleet(faulty: FaultyAws, landing: Landing) -> Landing:
    return _register(landing, faulty.endpoint_url)


def _register(landing: Landing, endpoint_url: str) -> Landing:
    landing = landing.with_settings(endpoint_url=endpoint_url, message_retry_seconds=0)
    values = {"client_id": "acme", "bucket": BUCKET, "account_id": ACCOUNT, "prefix": "exports/"}
    return replace(landing, client=clients.register(landing.database, landing.settings, values))


def bring_in(landing: Landing, aws: LocalAws) -> None:
    """A step of `landed`: a bill of six dollars is in."""
    fleet = _register(landing, aws.endpoint_url)
    ask_for(fleet, deliver(fleet, aws, "1", "2", "3"))
    work_off(fleet)


def hold(landing: Landing, aws: LocalAws) -> None:
    """A step that follows it: a delivery that would leave one of the six dollars is held."""
    fleet = go_on(landing, aws, aws.endpoint_url)
    ask_for(fleet, deliver(fleet, aws, "1", revision=2))
    work_off(fleet)
    assert fleet.value("SELECT count(*) FROM billing_deliveries WHERE state = 'held'") == 1


def go_on(landing: Landing, aws: LocalAws, endpoint_url: str) -> Landing:
    """The fleet after a step: what was in its bucket is there again."""
    aws.upload_folder(BUCKET, landing.root)
    landing = landing.with_settings(endpoint_url=endpoint_url, message_retry_seconds=0)
    return replace(landing, client=clients.resolve_client(landing.database, landing.settings, "acme"))


def deliver(fleet: Landing, aws: LocalAws, *costs: str, export: str = "acme", revision: int = 1) -> str:
    path = write_bill(fleet.root, described(*costs), revision=revision, bucket=BUCKET, export_path=f"exports/{export}")
    aws.upload_folder(BUCKET, fleet.root)
    return path.relative_to(fleet.root).as_posix()


def ask_for(fleet: Landing, key: str, asked_by: TriggerSource = TriggerSource.API) -> tuple[RequestedDelivery, ...]:
    return request(fleet.client, key, requested_by=asked_by, settings=fleet.settings, database=fleet.database)


def again(fleet: Landing, delivery_id: UUID) -> RequestedDelivery:
    return request_again(delivery_id, settings=fleet.settings, database=fleet.database)


@contextmanager
def working(fleet: Landing, concurrency: int = 1) -> Iterator[Pool]:
    pool = Pool(settings=fleet.settings, database=fleet.database, concurrency=concurrency)
    pool.start()
    try:
        yield pool
    finally:
        pool.finish(LIMIT_SECONDS)


def work_off(fleet: Landing, concurrency: int = 1) -> list[Any]:
    """Let a pool work on all that is asked for; the events that it logs."""
    with structlog.testing.capture_logs() as events, working(fleet, concurrency):
        wait_until(lambda: fleet.value("SELECT count(*) FROM billing_jobs WHERE state <> 'dead'") == 0)
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
    monkeypatch.setattr(settlement, "MAX_REQUEST_WAIT_SECONDS", 0)


def is_download(call: Call) -> bool:
    return call.is_download and call.path.endswith("gz")


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
            self._fleet.execute(
                "UPDATE billing_jobs SET is_suspect = true, take_count = 2, failure_count = 1,"
                " due_at = now() + interval '1 day' WHERE delivery_id = %s",
                row.delivery_id,
            )

    def let_come(self) -> None:
        self._fleet.execute("UPDATE billing_jobs SET due_at = now() WHERE is_suspect")

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
