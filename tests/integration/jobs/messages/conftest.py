"""What the tests of messages share: a client whose bucket is in a local AWS, and its queue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.queue import open_queue
from billfold.jobs import work
from billfold.jobs.receiver import Receiver
from billfold.settings import load_settings
from billfold.store.database import Database
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.messages import ACCOUNT, Mailbox

MANIFEST = "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"
DATA = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"
NOWHERE = Database(conninfo="host=127.0.0.1 port=1 dbname=nowhere user=nobody", reader_conninfo=None, is_embedded=False)
# Nothing here takes nearly as long.
LIMIT_SECONDS = 60
# It has no line item of a bill, and is dead at once.
BAD = "exports/bad.csv"


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


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a statement."""
    monkeypatch.setattr(work, "_CLAIM_WAIT_SECONDS", 0)


def deliver(fleet: Landing, aws: LocalAws, *costs: str, revision: int = 1) -> None:
    write_bill(fleet.root, described(*costs), revision=revision, bucket=BUCKET)
    aws.upload_folder(BUCKET, fleet.root)


def put_bad(aws: LocalAws, key: str = BAD) -> str:
    aws.put(BUCKET, key, b"line_item_unblended_cost,line_item_usage_amount\n1.25\n")
    return key


def events(logged: list[Any]) -> list[str]:
    return [event["event"] for event in logged]


def wait_until(is_so: Callable[[], bool]) -> None:
    ticking = threading.Event()
    for _ in range(LIMIT_SECONDS * 50):
        if is_so():
            return
        ticking.wait(0.02)
    raise AssertionError("it never came to that")


@contextmanager
def receiving(fleet: Landing, mailbox: Mailbox, database: Database | None = None) -> Iterator[list[Any]]:
    """A receiver at work until the block ends, and what it logs."""
    one = Receiver(
        open_queue(mailbox.url, fleet.settings),
        settings=fleet.settings,
        database=database or fleet.database,
        drain=True,
    )
    with capture_logs() as logged:
        one.start()
        try:
            yield logged
        finally:
            one.stop()
            one.join(LIMIT_SECONDS)
    assert one.failure is None


def receive(fleet: Landing, mailbox: Mailbox) -> list[Any]:
    """Receive until the queue is empty; the events that were logged."""
    with receiving(fleet, mailbox) as logged:
        wait_until(lambda: mailbox.counts() == (0, 0))
    return logged
