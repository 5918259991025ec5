"""An upgrade from the two queues of migration 0024 in the middle of traffic: nothing is lost, nothing done twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from billfold import clients
from billfold.aws import LocalAws, SilentProgress, address
from billfold.aws.queue import open_queue
from billfold.bills.ingestion import Ingestion
from billfold.bills.sources import find_deliveries
from billfold.jobs.worker import Worker
from billfold.model import TriggerSource
from billfold.settings import Settings, load_settings
from billfold.store.database import Database, connect
from billfold.store.deliveries import registration
from billfold.store.migrate import migrate_database
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.messages import ACCOUNT, Mailbox, s3_event
from tests.old_databases import old_database
from tests.processes.faulty_aws import Call, Fault, FaultyAws, faulty_aws

# Nothing here takes nearly as long; who waits longer waits for a worker that hangs.
LIMIT_SECONDS = 60
COSTS = {"requested": "1", "requested-died": "2", "known": "4", "died": "8", "deadly": "16"}


@pytest.fixture
def faulty(aws: LocalAws) -> Iterator[FaultyAws]:
    """The local AWS, which never gives a file of the export `deadly`."""

    def refuse(call: Call) -> Fault:
        return (503, "SlowDown") if call.is_download and "deadly-0" in call.path else None

    aws.create_bucket(BUCKET)
    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        yield faulty


@pytest.fixture
def fleet(faulty: FaultyAws, database: Database, settings: Settings, tmp_path: Path) -> Iterator[Landing]:
    """The registered client `acme` in a database of the former version."""
    with old_database(database, 24) as old:
        landing = Landing.make(old, settings, tmp_path / "bucket")
        landing = landing.with_settings(
            endpoint_url=faulty.endpoint_url, region=load_settings().region, message_retry_seconds=0, message_attempts=5
        )
        values = {"client_id": "acme", "bucket": BUCKET, "account_id": ACCOUNT, "prefix": "exports/"}
        yield replace(landing, client=clients.register(landing.database, landing.settings, values))


def test_what_waited_in_the_former_queues_is_ingested_once_and_known_failures_count_on(
    fleet: Landing, aws: LocalAws
) -> None:
    mailbox = Mailbox(aws)
    keys = deliver(fleet, aws, COSTS)
    told = {name: s3_event(BUCKET, keys[name]) for name in ("known", "died", "deadly", "requested")}
    mailbox.send(*told.values())
    # The former worker has received all of them; they come again when they are not hidden any more.
    ids = {message["Body"]: message["MessageId"] for message in mailbox.receive(hide_seconds=1)}
    replaced = ask_for(fleet, keys["requested"], taken_count=1)
    keys |= deliver(fleet, aws, {"requested": "32"}, revision=2)
    requested = ask_for(fleet, keys["requested"], taken_count=3)
    died = ask_for(fleet, keys["requested-died"], taken_count=1)
    fail(fleet, str(requested), 3)
    fail(fleet, ids[told["known"]], 4)
    fail(fleet, ids[told["deadly"]], 4)
    fail(fleet, ids[told["died"]], 1)
    for message_id in (ids[told["died"]], str(died)):
        # A row that stays was left behind by a worker that is gone.
        fleet.execute("INSERT INTO billing_message_attempts VALUES (%s, 'acme', %s, now())", message_id, uuid4())
    [_, [due], [died_due]] = fleet.query("SELECT not_before FROM billing_deliveries ORDER BY created_at")

    migrate_database(fleet.database)
    moved = fleet.query(
        "SELECT key, delivery_id, trigger_source, is_suspect, take_count, failure_count, due_at FROM billing_jobs"
        " ORDER BY created_at"
    )
    with capture_logs() as logged:
        work_off(fleet, mailbox)

    assert moved == [
        (keys["requested"], requested, "api", False, 3, 3, due),
        (keys["requested-died"], died, "api", True, 1, 1, died_due),
    ]
    assert fleet.query("SELECT state, reason FROM billing_deliveries WHERE delivery_id = %s", replaced) == [
        ("superseded", "was replaced at its key before it was read")
    ]
    assert fleet.query("SELECT status FROM billing_ingestion_runs ORDER BY created_at LIMIT 2") == [
        ("skipped",),
        ("success",),
    ]
    # What its worker died with: a message and a request.
    alone = [event["event"] for event in logged if event["event"].endswith("_alone")]
    assert sorted(alone) == ["asked_alone", "message_alone"]
    [letter] = mailbox.dead_letters()
    assert letter["body"] == told["deadly"]
    assert letter["reason"].startswith("failed 5 times, at last: ")
    assert fleet.query("SELECT state, key, take_count FROM billing_jobs") == [("dead", keys["deadly"], 1)]
    assert fleet.count("billing_message_failures") == 0
    assert fleet.query("SELECT count(*) FROM billing_publications GROUP BY statement_id") == [(1,)] * 4
    assert fleet.billed() == {"USD": Decimal(32 + 2 + 4 + 8)}
    assert mailbox.counts() == (0, 0)


def deliver(fleet: Landing, aws: LocalAws, costs: dict[str, str], *, revision: int = 1) -> dict[str, str]:
    """A delivery of each export; the key of its manifest."""
    paths = {
        name: write_bill(fleet.root, described(cost), bucket=BUCKET, export_path=f"exports/{name}", revision=revision)
        for name, cost in costs.items()
    }
    aws.upload_folder(BUCKET, fleet.root)
    return {name: path.relative_to(fleet.root).as_posix() for name, path in paths.items()}


def ask_for(fleet: Landing, key: str, *, taken_count: int) -> UUID:
    """A request over HTTP, as the former version kept it."""
    ingestion = Ingestion(
        client=fleet.client,
        settings=fleet.settings,
        database=fleet.database,
        trigger=TriggerSource.API,
        force=False,
        progress=SilentProgress(),
    )
    [(_, delivery)], _ = find_deliveries(ingestion, address(BUCKET, key))
    with connect(fleet.database.conninfo) as connection:
        registered = registration.register_delivery(connection, fleet.client, delivery, TriggerSource.API)
    fleet.execute(
        "UPDATE billing_deliveries SET asked_at = now() - interval '1 hour', asked_by = 'api',"
        " not_before = now() + interval '1 second', taken_count = %s WHERE delivery_id = %s",
        taken_count,
        registered.delivery_id,
    )
    return registered.delivery_id


def fail(fleet: Landing, message_id: str, failures: int) -> None:
    fleet.execute(
        "INSERT INTO billing_message_failures VALUES (%s, %s, 'source_unavailable', now(), 'acme')",
        message_id,
        failures,
    )


def work_off(fleet: Landing, mailbox: Mailbox) -> None:
    """Let a worker of today run until nothing waits."""
    queue = open_queue(mailbox.url, fleet.settings)
    worker = Worker(queue, settings=fleet.settings, database=fleet.database, concurrency=3)
    running = threading.Thread(target=worker.run)
    running.start()
    deadline = time.monotonic() + LIMIT_SECONDS
    while mailbox.counts() != (0, 0) or fleet.value("SELECT count(*) FROM billing_jobs WHERE state <> 'dead'"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    worker.stop()
    running.join()
