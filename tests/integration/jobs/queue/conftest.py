"""What the tests of the worker share: a client, its bucket and its queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.queue import open_queue
from billfold.jobs.worker import Report, Worker
from billfold.settings import load_settings
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.messages import ACCOUNT, Mailbox

# Nothing here takes nearly as long; who waits longer waits for a worker that hangs.
LIMIT_SECONDS = 60


@pytest.fixture
def aws(aws: LocalAws) -> LocalAws:
    aws.create_bucket(BUCKET)
    return aws


@pytest.fixture
def fleet(aws: LocalAws, landing: Landing) -> Landing:
    """A landing whose bucket stands in the local AWS, and whose client `acme` is registered."""
    landing = landing.with_settings(endpoint_url=load_settings().endpoint_url, message_retry_seconds=0)
    values = {"client_id": "acme", "bucket": BUCKET, "account_id": ACCOUNT, "prefix": "exports/"}
    return replace(landing, client=clients.register(landing.database, landing.settings, values))


@pytest.fixture
def mailbox(aws: LocalAws) -> Mailbox:
    return Mailbox(aws)


def make_worker(fleet: Landing, mailbox: Mailbox, *, drain: bool = True, concurrency: int = 2) -> Worker:
    return Worker(
        open_queue(mailbox.url, fleet.settings),
        settings=fleet.settings,
        database=fleet.database,
        concurrency=concurrency,
        drain=drain,
    )


def drain(fleet: Landing, mailbox: Mailbox, **options: Any) -> Report:
    return make_worker(fleet, mailbox, **options).run()


@contextmanager
def working(worker: Worker) -> Iterator[list[Report]]:
    """The worker runs during the block, is told to stop at its end, and then leaves its report."""
    reports: list[Report] = []
    thread = threading.Thread(target=lambda: reports.append(worker.run()))
    thread.start()
    try:
        yield reports
    finally:
        worker.stop()
        thread.join(LIMIT_SECONDS)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Look until it is so; a worker that never gets there fails the test."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def deliver(fleet: Landing, aws: LocalAws, *costs: str, revision: int = 1, export: str = "acme") -> str:
    """Write a delivery into the bucket, the manifest last, and return the manifest's key."""
    path = write_bill(fleet.root, described(*costs), revision=revision, bucket=BUCKET, export_path=f"exports/{export}")
    aws.upload_folder(BUCKET, fleet.root)
    return path.relative_to(fleet.root).as_posix()
