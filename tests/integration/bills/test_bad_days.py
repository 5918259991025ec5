"""AWS and PostgreSQL on bad days: every delivery is published once in the end, with exact totals."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.queue import open_queue
from billfold.jobs import pool, receiver, work
from billfold.jobs.worker import Report, Worker
from billfold.settings import Settings, load_settings
from billfold.store.database import Database
from billfold.store.embedded import start_embedded, stop_embedded
from billfold.store.migrate import migrate_database
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.folders import short_folder
from tests.messages import ACCOUNT, Mailbox, s3_event
from tests.processes.faulty_aws import CUT, Call, Fault, faulty_aws

COSTS = {"a": ("1.25", "2.0000000001"), "b": ("0.0000000003", "-1.5")}
TOTAL = sum((Decimal(cost) for costs in COSTS.values() for cost in costs), Decimal())


@pytest.fixture
def aws(aws: LocalAws) -> LocalAws:
    aws.create_bucket(BUCKET)
    return aws


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is tried again at once."""
    for module in (pool, receiver, work):
        monkeypatch.setattr(module, "wait_seconds", lambda *_: 0)


def register(landing: Landing) -> Landing:
    landing = landing.with_settings(message_retry_seconds=0, visibility_seconds=3)
    values = {"client_id": "acme", "bucket": BUCKET, "account_id": ACCOUNT, "prefix": "exports/"}
    return replace(landing, client=clients.register(landing.database, landing.settings, values))


def tell(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    """Two deliveries in the bucket, and an event of each manifest in the queue."""
    for name, costs in COSTS.items():
        manifest = write_bill(fleet.root, described(*costs), bucket=BUCKET, export_path=f"exports/{name}")
        mailbox.send(s3_event(BUCKET, manifest.relative_to(fleet.root).as_posix()))
    aws.upload_folder(BUCKET, fleet.root)


def drain(fleet: Landing, mailbox: Mailbox) -> Report:
    queue = open_queue(mailbox.url, fleet.settings)
    return Worker(queue, settings=fleet.settings, database=fleet.database, concurrency=2, drain=True).run()


def assert_each_is_in_once(fleet: Landing, mailbox: Mailbox) -> None:
    assert fleet.billed() == {"USD": TOTAL}
    assert fleet.query("SELECT state, count(*) FROM billing_deliveries GROUP BY 1") == [("published", 2)]
    assert fleet.count("billing_publications") == 2
    assert fleet.count("billing_jobs") == 0
    assert fleet.broken_rules() == []
    assert mailbox.counts() == (0, 0)
    assert mailbox.dead_letters() == []


class Bad:
    """A plan of faults: of the calls that `is_meant`, these faults meet the first ones, one each."""

    def __init__(self, *faults: Fault) -> None:
        self._left = list(faults)
        self._lock = threading.Lock()

    def next(self) -> Fault:
        with self._lock:
            return self._left.pop(0) if self._left else None


# boto3 itself tries three times; what comes after that is ours to try again.
BUSY: tuple[Fault, ...] = ((503, "SlowDown"),) * 3
BROKEN: tuple[Fault, ...] = ((500, "InternalError"),) * 3


# What goes wrong on one day, by operation.
DAY: dict[str, tuple[Fault, ...]] = {
    "download": (*BUSY, CUT, (400, "ExpiredToken"), CUT, *BROKEN, (403, "RequestTimeTooSkewed")),
    "list": (*BROKEN, (400, "ExpiredToken")),
    "ReceiveMessage": (*BROKEN, (403, "RequestThrottled")),
    "AssumeRole": BROKEN,
    "DeleteMessage": BROKEN,
}


def test_what_aws_refuses_for_a_while_comes_in_once_in_the_end(landing: Landing, aws: LocalAws) -> None:
    fleet, mailbox, met = register(landing), Mailbox(aws), Counter[str]()
    bad = {operation: Bad(*faults) for operation, faults in DAY.items()}
    tell(fleet, aws, mailbox)

    def plan(call: Call) -> Fault:
        kind = call.action or ("download" if call.is_download and call.path.endswith("gz") else "")
        kind = kind or ("list" if "list-type" in call.path else "")
        fault = bad[kind].next() if kind in bad else None
        met[kind] += fault is not None
        return fault

    with faulty_aws(aws.endpoint_url, plan) as faulty:
        drain(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox)

    assert +met == {operation: len(faults) for operation, faults in DAY.items()}
    assert_each_is_in_once(fleet, mailbox)


@contextmanager
def server_of_its_own(settings: Settings, root: Path) -> Iterator[tuple[Landing, Path]]:
    """A landing on a server that nobody else uses, and the folder of that server's data."""
    with short_folder() as home:
        database = Database(conninfo=start_embedded(home, postgres_version=16), reader_conninfo=None, is_embedded=True)
        migrate_database(database)
        yield Landing.make(database, settings, root), home / "postgres"
        stop_embedded(home)


def crash(data: Path) -> None:
    """End the server at once, as a crash would; the next connection starts it again."""
    postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    postmaster.send_signal(signal.SIGQUIT)
    postmaster.wait(timeout=30)


def test_a_database_that_restarts_in_the_middle_loses_and_doubles_nothing(
    aws: LocalAws, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
    mailbox, restarts = Mailbox(aws), iter(range(1))
    with server_of_its_own(load_settings(), tmp_path / "bucket") as (landing, data):
        fleet = register(landing)
        tell(fleet, aws, mailbox)

        def plan(call: Call) -> Fault:
            if call.is_download and call.path.endswith("gz") and next(restarts, None) is not None:
                crash(data)
            return None

        with faulty_aws(aws.endpoint_url, plan) as faulty, capture_logs() as logged:
            drain(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox)

        assert_each_is_in_once(fleet, mailbox)
    # Its worker lives: nothing was interrupted.
    assert not any(event.get("error_code") == "interrupted" for event in logged)
    causes = {event["cause"] for event in logged if event["event"] == "message_later"}
    assert causes & {"database", "failure"}


def test_a_spool_that_cannot_be_written_is_told_with_its_setting(landing: Landing, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    landing = landing.with_settings(spool=tmp_path / "file" / "spool")
    write_bill(landing.root, described("1.25"))

    [outcome] = landing.ingest_all()

    assert outcome.exit_error
    assert outcome.exit_error.error_code == "configuration"
    assert f"BILLFOLD_SPOOL {tmp_path}/file/spool cannot be written (Not a directory)" in str(outcome.exit_error)
