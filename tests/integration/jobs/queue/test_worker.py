"""The worker of an SQS queue: what is sent comes in, and what fails comes again or is dead."""

from __future__ import annotations

import threading
import time
from collections import Counter
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from billfold.aws import LocalAws
from billfold.errors import SourceNotFoundError
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.integration.jobs.queue.conftest import deliver, drain, make_worker, wait_until, working
from tests.messages import Mailbox, eventbridge_event, request, s3_event, wrapped_by_sns
from tests.processes.faulty_aws import Call, Fault, faulty_aws


def test_what_s3_tells_the_queue_comes_in(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    mailbox.listen_to(BUCKET, "exports/")
    deliver(fleet, aws, "1.25", "2.50")
    aws.put(BUCKET, "elsewhere/acme-Manifest.json", b"{}")

    with capture_logs() as logged:
        report = drain(fleet, mailbox)

    assert fleet.billed() == {"USD": Decimal("3.75")}
    assert fleet.query("SELECT status FROM billing_ingestion_runs") == [("success",)]
    assert mailbox.counts() == (0, 0)
    # moto sends the test event without the envelope of the real one.
    assert report.done_count == report.received_count >= 2
    assert report.states.get("published") == 1
    assert {"worker_started", "worker_finished", "message_done"} <= {event["event"] for event in logged}


def test_every_wrapping_and_every_stranger_are_told_apart_and_no_poison_keeps_the_others(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    key = deliver(fleet, aws, "7")
    aws.put(BUCKET, "exports/bad.csv", b"line_item_unblended_cost,line_item_usage_amount\n1.25\n")
    mailbox.send(
        "garbage",
        '{"hello": "world"}',
        s3_event(BUCKET, "exports/bad.csv"),
        s3_event("someone-elses-bucket", key),
        eventbridge_event(BUCKET, key, account="999999999999"),
        s3_event(BUCKET, key),
        wrapped_by_sns(eventbridge_event(BUCKET, key)),
        request("acme", key),
        "[" * 10_000,
    )

    with capture_logs() as logged:
        report = drain(fleet, mailbox)

    dead = mailbox.dead_letters()
    assert fleet.billed() == {"USD": Decimal(7)}
    assert mailbox.counts() == (0, 0)
    assert report.dead_count == 4
    assert fleet.count("billing_publications") == 1
    told = Counter(event["event"] for event in logged)
    # The same object waits once, or once more if it comes while it is read.
    assert (told["event_ignored"], told["event_foreign"], 3 <= told["message_done"] <= 5) == (1, 1, True)
    assert sorted(letter["error_code"] for letter in dead) == ["access_denied", "message", "message", "missing_column"]
    assert all(letter["reason"] and letter["source_message_id"] for letter in dead)
    assert "garbage" in {letter["body"] for letter in dead}


def test_what_can_succeed_later_comes_again_and_is_dead_at_its_limit_even_if_its_letter_cannot_be_sent_at_once(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    key = deliver(fleet, aws, "1.25")

    def refuse(call: Call) -> Fault:
        if call.action == "SendMessage" and fleet.value("SELECT take_count FROM billing_jobs") == 2:
            return (500, "InternalError")
        return (503, "SlowDown") if call.is_download and call.path.endswith("gz") else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        failing = fleet.with_settings(endpoint_url=faulty.endpoint_url, message_attempts=2)
        mailbox.send(s3_event(BUCKET, key))
        report = drain(failing, mailbox)

    [letter] = mailbox.dead_letters()
    assert (report.later_count, report.dead_count) == (2, 1)
    assert letter["error_code"] == "source_unavailable"
    assert letter["reason"].startswith("failed 2 times, at last: s3://")
    assert fleet.query("SELECT state, take_count FROM billing_jobs") == [("dead", 3)]
    assert fleet.query("SELECT state, attempts, error_code FROM billing_deliveries") == [
        ("failed", 3, "source_unavailable")
    ]


def test_a_database_that_lacks_a_table_does_not_make_messages_come_and_go(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    mailbox.send(s3_event(BUCKET, "exports/gone.csv.gz"))
    fleet.execute("ALTER TABLE billing_jobs RENAME TO away")

    with capture_logs() as logged, working(make_worker(fleet, mailbox, drain=False)) as reports:
        wait_until(lambda: "message_later" in [event["event"] for event in logged])
        until = time.monotonic() + 2
        wait_until(lambda: time.monotonic() > until)
        fleet.execute("ALTER TABLE away RENAME TO billing_jobs")
        wait_until(lambda: "message_dead" in [event["event"] for event in logged])

    [report] = reports
    assert (report.dead_count, mailbox.counts()) == (1, (0, 0))
    assert report.received_count < 8


def test_a_job_for_which_there_is_no_thread_is_worked_on_when_there_is_one(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox.send(s3_event(BUCKET, deliver(fleet, aws, "1")))
    start, refused = threading.Thread.start, list[str]()

    def refuse_first(thread: threading.Thread) -> None:
        if thread.name.startswith("job ") and not refused:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_first)
    with working(make_worker(fleet, mailbox, drain=False)):
        wait_until(lambda: fleet.count("billing_publications") == 1 and fleet.count("billing_jobs") == 0)

    assert len(refused) == 1
    assert fleet.billed() == {"USD": Decimal(1)}


def test_a_dead_letter_takes_along_what_its_sender_attached(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    attributes = {"origin": {"DataType": "String", "StringValue": "s3"}}
    aws.client("sqs").send_message(QueueUrl=mailbox.url, MessageBody="garbage", MessageAttributes=attributes)

    drain(fleet, mailbox)

    [letter] = mailbox.dead_letters()
    assert (letter["origin"], letter["error_code"]) == ("s3", "message")


def test_without_a_dead_letter_queue_a_dead_message_stays_and_is_told(fleet: Landing, aws: LocalAws) -> None:
    mailbox = Mailbox(aws, "lonely", has_dead_letters=False)
    mailbox.send("garbage")

    with capture_logs() as logged:
        report = drain(fleet, mailbox)

    assert report.stuck_count == 1
    assert mailbox.counts() == (0, 1)
    assert {"no_dead_letter_queue", "message_stuck"} <= {event["event"] for event in logged}


def test_a_queue_that_does_not_exist_is_one_clear_line(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    mailbox.url += "-gone"

    with pytest.raises(SourceNotFoundError, match=r"queue http://.*-gone does not exist"):
        drain(fleet, mailbox)
