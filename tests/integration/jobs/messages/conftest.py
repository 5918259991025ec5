"""What the tests of messages share: a client whose bucket is in a local AWS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.queue import Message
from billfold.jobs import work
from billfold.jobs.arrival import take_in
from billfold.jobs.results import Done, Result, choose, report
from billfold.jobs.settlement import announce_start, bind, conclude, settle
from billfold.jobs.work import work_on
from billfold.settings import load_settings
from billfold.store.database import connect
from billfold.store.jobs import jobs
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
    """Nobody waits long for a statement."""
    monkeypatch.setattr(work, "_CLAIM_WAIT_SECONDS", 1)


def message(body: str, *, message_id: str = "m-1") -> Message:
    return Message(message_id=message_id, receipt="r-1", body=body)


def take(fleet: Landing, body: str, *, message_id: str = "m-1", worker_id: UUID = WORKER) -> Result:
    """Take a message in and work once on all that is in the queue, due or not; what came of it."""
    arrived = take_in(
        message(body, message_id=message_id), "no queue", settings=fleet.settings, database=fleet.database
    )
    if arrived.result is not None:
        report(arrived.result)
    fleet.execute("UPDATE billing_jobs SET due_at = now() WHERE state = 'waiting'")
    results = [arrived.result] if arrived.result else []
    return choose([*results, *work_off(fleet, worker_id)])


def work_off(fleet: Landing, worker_id: UUID = WORKER) -> list[Result]:
    """Work on each due job once, without an SQS queue behind it."""
    results = []
    with connect(fleet.database.conninfo) as connection:
        taken = jobs.take(connection, worker_id, limit=9, suspects=True)
        for job in taken or jobs.take(connection, worker_id, limit=9):
            with bind(job):
                announce_start(job, is_alone=job.is_suspect)
                result = conclude(
                    replace(job, message=None), work_on(job, fleet.settings, fleet.database), fleet.settings
                )
                settle(connection, job, worker_id, result)
            results.append(result)
    return results or [Done(reason="nothing was due")]


def deliver(fleet: Landing, aws: LocalAws, *costs: str, revision: int = 1) -> None:
    write_bill(fleet.root, described(*costs), revision=revision, bucket=BUCKET)
    aws.upload_folder(BUCKET, fleet.root)


def events(logged: list[Any]) -> list[str]:
    return [event["event"] for event in logged]
