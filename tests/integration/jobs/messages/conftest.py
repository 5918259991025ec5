"""What the tests of messages share: a client whose bucket is in a local AWS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.queue import Message
from billfold.jobs import attempts, message_ingest
from billfold.jobs.messages import handle_message
from billfold.jobs.results import Result
from billfold.settings import load_settings
from billfold.store.database import Database
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.messages import ACCOUNT

MANIFEST = "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"
DATA = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"
WORKER = uuid4()


@pytest.fixture
def aws(aws: LocalAws) -> LocalAws:
    aws.create_bucket(BUCKET)
    return aws


@pytest.fixture
def fleet(aws: LocalAws, landing: Landing) -> Landing:
    """A landing whose bucket stands in the local AWS, and whose client `acme` is registered with one slot."""
    landing = landing.with_settings(endpoint_url=load_settings().endpoint_url, message_retry_seconds=0)
    values = {"client_id": "acme", "bucket": BUCKET, "account_id": ACCOUNT, "prefix": "exports/", "max_deliveries": 1}
    return replace(landing, client=clients.register(landing.database, landing.settings, values))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a worker that is only said to have died."""
    monkeypatch.setattr(attempts, "_MARK_WAIT_SECONDS", 0)
    monkeypatch.setattr(message_ingest, "_CLAIM_WAIT_SECONDS", 1)


def message(body: str, *, receive_count: int = 1, message_id: str = "m-1") -> Message:
    return Message(message_id=message_id, receipt="r-1", body=body, receive_count=receive_count)


def take(
    fleet: Landing, body: str, *, database: Database | None = None, worker_id: UUID = WORKER, **told: Any
) -> Result:
    return handle_message(
        message(body, **told), settings=fleet.settings, database=database or fleet.database, worker_id=worker_id
    )


def deliver(fleet: Landing, aws: LocalAws, *costs: str, revision: int = 1) -> None:
    write_bill(fleet.root, described(*costs), revision=revision, bucket=BUCKET)
    aws.upload_folder(BUCKET, fleet.root)


def events(logged: list[Any]) -> list[str]:
    return [event["event"] for event in logged]
