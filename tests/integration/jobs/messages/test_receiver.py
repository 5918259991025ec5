"""The receiver: a message goes only when its jobs are committed, and it ends as it should whatever it is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from billfold.aws import LocalAws
from billfold.aws.notifications import parse_notification
from billfold.jobs import arrival, receiver
from billfold.model import TriggerSource
from billfold.store.database import connect
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import NewJob
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.integration.jobs.messages.conftest import (
    DATA,
    LIMIT_SECONDS,
    NOWHERE,
    events,
    receive,
    receiving,
    wait_until,
)
from tests.messages import Mailbox, s3_record
from tests.processes.faulty_aws import Call, Fault, faulty_aws
from tests.taken import arrive

A, B = "exports/a.csv", "exports/b.csv"
ROWS = "SELECT key, state, message_id IS NOT NULL, body FROM billing_jobs ORDER BY key"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits comes again at once."""
    monkeypatch.setattr(receiver, "wait_seconds", lambda *_: 0)
    monkeypatch.setattr(receiver, "STUCK_SECONDS", 0)


def of_all(*keys: str) -> str:
    return json.dumps({"Records": [s3_record(BUCKET, key) for key in keys]})


def test_a_message_is_deleted_when_its_jobs_are_committed_and_comes_again_if_that_fails(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    seen: list[Any] = []

    def refuse(call: Call) -> Fault:
        if call.action != "DeleteMessage":
            return None
        seen.append(fleet.query("SELECT key, state FROM billing_jobs ORDER BY key"))
        # boto3 tries three times. A worker that is killed here leaves the same behind.
        return (500, "InternalError") if len(seen) <= 3 else None

    # As long as SQS takes it.
    body = of_all(B, A, A).ljust(2**20)
    mailbox.send(body)
    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        logged = receive(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox)

    assert seen == [[(A, "waiting"), (B, "waiting")]] * 4
    assert fleet.query(ROWS) == [(key, "waiting", True, body) for key in (A, B)]
    assert [event["action"] for event in logged if event["event"] == "queue_failed"] == ["delete"]


def test_a_message_whose_jobs_cannot_be_written_or_that_meets_a_defect_stays_in_its_queue(
    fleet: Landing, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.execute("ALTER TABLE billing_jobs ADD CONSTRAINT injected CHECK (key <> 'exports/b.csv')")
    patient = fleet.with_settings(message_attempts=1)
    mailbox.send(of_all(A, B))

    def count_later(cause: str) -> int:
        return sum(event["event"] == "message_later" and event["cause"] == cause for event in list(logged))

    with receiving(patient, mailbox, NOWHERE) as logged:
        wait_until(lambda: "database_away" in events(logged))
    assert count_later("database") == 1
    with receiving(patient, mailbox) as logged:
        wait_until(lambda: count_later("database") > 1)
        written = fleet.query(ROWS)
        with monkeypatch.context() as broken:
            broken.setattr(arrival, "keep_message", None)
            wait_until(lambda: count_later("untried") > 1)
            written += fleet.query(ROWS)
            fleet.execute("ALTER TABLE billing_jobs DROP CONSTRAINT injected")
        wait_until(lambda: mailbox.counts() == (0, 0))

    assert written == []
    assert [row[0] for row in fleet.query(ROWS)] == [A, B]
    assert mailbox.dead_letters() == []
    assert {event["exc_info"] for event in logged if event["event"] == "message_failed"} == {True}


def test_what_is_dead_in_a_message_is_told_and_the_rest_of_it_is_written(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    body = of_all(DATA, A, "exports/../secret.csv")
    refusals = iter([(403, "AccessDenied")] * 2)
    mailbox.send(body, "garbage")

    def refuse(call: Call) -> Fault:
        return next(refusals, None) if call.action == "SendMessage" else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        logged = receive(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox)

    letters = {letter["body"]: (letter["error_code"], letter["reason"]) for letter in mailbox.dead_letters()}
    assert letters.keys() == {body, "garbage"}
    assert letters[body][0] == "access_denied"
    assert "`..`" in letters[body][1]
    assert letters["garbage"][0] == "message"
    assert fleet.query(ROWS) == [(A, "waiting", True, body)]
    assert fleet.query("SELECT source_s3_key, status FROM billing_ingestion_runs") == [(DATA, "pending")]
    assert events(logged).count("message_stuck") == 2


def test_of_a_long_list_each_job_keeps_its_own_part(
    fleet: Landing, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "MAX_OBJECTS_OF_BODY", 3)
    # The last one is as long as S3 allows.
    keys = [f"exports/{name}.csv" for name in ("a b", "c%3D+d\u2028", "ü" * 506)]
    whole, long = of_all(*keys), of_all(*keys, "exports/z.csv")

    arrive(fleet, whole)
    bodies = fleet.query("SELECT DISTINCT body FROM billing_jobs")
    arrive(fleet, long)

    assert bodies == [(whole,)]
    announced = {each.key: each for each in parse_notification(long).created}
    parts = {key: parse_notification(body).created for key, _, _, body in fleet.query(ROWS)}
    assert parts == {key: (each,) for key, each in announced.items()}


def test_two_messages_of_the_same_objects_do_not_block_each_other(fleet: Landing) -> None:
    def new(key: str) -> NewJob:
        return NewJob(client_id="acme", bucket=BUCKET, key=key, work=key, trigger=TriggerSource.SQS, is_event=True)

    with connect(fleet.database.conninfo) as one, ThreadPoolExecutor() as threads:
        with one.transaction():
            jobs.add(one, new(A))
            other = threads.submit(arrive, fleet, of_all(B, A))
            wait_until(lambda: fleet.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1)
            jobs.add(one, new(B))
        other.result(LIMIT_SECONDS)

    assert [row[0] for row in fleet.query(ROWS)] == [A, B]
