"""The worker of an SQS queue: what is sent comes in, and what fails comes again or is dead."""

from __future__ import annotations

import threading
import time
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from billfold.aws import LocalAws
from billfold.errors import SourceNotFoundError
from billfold.jobs.worker import Report
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.integration.jobs.queue.conftest import LIMIT_SECONDS, deliver, drain, make_worker, wait_until
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

    # One after the other, or they would wait for each other.
    report = drain(fleet, mailbox, concurrency=1)

    dead = mailbox.dead_letters()
    assert fleet.billed() == {"USD": Decimal(7)}
    assert mailbox.counts() == (0, 0)
    assert (report.done_count, report.dead_count) == (5, 4)
    assert report.states == {"published": 3}
    assert fleet.count("billing_publications") == 1
    assert sorted(letter["error_code"] for letter in dead) == ["access_denied", "message", "message", "missing_column"]
    assert all(letter["reason"] and letter["source_message_id"] for letter in dead)
    assert "garbage" in {letter["body"] for letter in dead}


def test_what_can_succeed_later_comes_again_and_at_its_limit_is_dead(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    key = deliver(fleet, aws, "1.25")

    def refuse(call: Call) -> Fault:
        return (503, "SlowDown") if call.is_download and call.path.endswith("gz") else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        failing = fleet.with_settings(endpoint_url=faulty.endpoint_url, message_attempts=2)
        mailbox.send(s3_event(BUCKET, key))
        report = drain(failing, mailbox)

    [letter] = mailbox.dead_letters()
    assert (report.later_count, report.dead_count) == (1, 1)
    assert letter["error_code"] == "source_unavailable"
    assert letter["reason"].startswith("failed 2 times, at last: s3://")
    assert fleet.query("SELECT state, attempts, error_code FROM billing_deliveries") == [
        ("failed", 2, "source_unavailable")
    ]


def test_a_dead_message_whose_letter_cannot_be_sent_does_not_start_anew(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billfold.jobs.receiver.STUCK_SECONDS", 0)
    key = deliver(fleet, aws, "1.25")

    def refuse(call: Call) -> Fault:
        if call.action == "SendMessage" and fleet.value("SELECT failures FROM billing_message_failures") == 2:
            return (500, "InternalError")
        return (503, "SlowDown") if call.is_download and call.path.endswith("gz") else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        failing = fleet.with_settings(endpoint_url=faulty.endpoint_url, message_attempts=2)
        mailbox.send(s3_event(BUCKET, key))
        report = drain(failing, mailbox)

    [letter] = mailbox.dead_letters()
    assert (report.later_count, report.stuck_count, report.dead_count) == (1, 1, 1)
    assert letter["reason"].startswith("failed 3 times, at last: s3://")
    assert fleet.count("billing_message_failures") == 0


def test_a_drain_waits_for_what_the_queue_does_not_let_it_hide_for_another_time(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    def refuse(call: Call) -> Fault:
        if call.action.startswith("ChangeMessageVisibility"):
            return (403, "AccessDenied")
        is_bill = call.is_download and call.path.endswith("gz")
        return (503, "SlowDown") if is_bill and not fleet.count("billing_message_failures") else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        mailbox.send(s3_event(BUCKET, deliver(fleet, aws, "1.25")))
        report = drain(fleet.with_settings(endpoint_url=faulty.endpoint_url, visibility_seconds=6), mailbox)

    assert (report.later_count, report.done_count) == (1, 1)
    assert mailbox.counts() == (0, 0)


def test_what_cannot_be_asked_of_suspects_does_not_make_messages_come_and_go(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    mailbox.send("{}")
    mailbox.receive(hide_seconds=0)
    fleet.execute("ALTER TABLE billing_message_failures RENAME TO away")
    worker, reports = make_worker(fleet, mailbox, drain=False), list[Report]()
    thread = threading.Thread(target=lambda: reports.append(worker.run()))

    with capture_logs() as logged:
        thread.start()
        wait_until(lambda: "message_later" in [event["event"] for event in logged])
        until = time.monotonic() + 3
        wait_until(lambda: time.monotonic() > until)
        fleet.execute("ALTER TABLE away RENAME TO billing_message_failures")
        wait_until(lambda: "message_done" in [event["event"] for event in logged])
        worker.stop()
        thread.join(LIMIT_SECONDS)

    [report] = reports
    assert report.done_count == 1
    assert report.received_count < 10


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


def test_while_it_works_a_message_stays_hidden_for_as_long_as_that_takes(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    key = deliver(fleet, aws, "1.25")
    patient = fleet.with_settings(visibility_seconds=3)
    released = threading.Event()
    seen: list[int] = []

    def hold(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz"):
            released.wait(LIMIT_SECONDS)
        return None

    with faulty_aws(aws.endpoint_url, hold) as faulty:
        slow = patient.with_settings(endpoint_url=faulty.endpoint_url)
        mailbox.send(s3_event(BUCKET, key))
        worker = make_worker(slow, mailbox)
        thread = threading.Thread(target=worker.run)
        thread.start()
        wait_until(lambda: mailbox.counts() == (0, 1))
        hidden_since = time.monotonic()
        # Longer than the message was hidden for when it was received.
        wait_until(lambda: seen.append(mailbox.counts()[0]) or time.monotonic() - hidden_since > 4.5)  # type: ignore[func-returns-value]
        released.set()
        thread.join(LIMIT_SECONDS)

    assert set(seen) == {0}
    assert mailbox.counts() == (0, 0)
    assert fleet.query("SELECT attempts FROM billing_deliveries") == [(1,)]
