"""The worker against a queue: what it takes, gives back, buries and leaves, alone and beside another one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import botocore.handlers
import pytest
from structlog.testing import capture_logs

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.queue import open_queue
from billfold.errors import AccessDeniedError, SourceNotFoundError
from billfold.jobs.in_flight import Report
from billfold.jobs.worker import MAX_REFUSALS, STUCK_SECONDS, Worker
from billfold.settings import load_settings
from billfold.store.jobs.slots import open_slots, take_slot
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.messages import ACCOUNT, Mailbox, eventbridge_event, request, s3_event, wrapped_by_sns
from tests.processes.faulty_aws import Call, Fault, faulty_aws

MANIFEST = "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"
DATA = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"
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
    first, second, third = (
        deliver(fleet, aws, cost, export=export) for cost, export in (("1", "a"), ("2", "b"), ("4", "c"))
    )
    aws.put(BUCKET, "exports/bad.csv", b"line_item_unblended_cost,line_item_usage_amount\n1.25\n")
    mailbox.send(
        "garbage",
        '{"hello": "world"}',
        s3_event(BUCKET, "exports/bad.csv"),
        s3_event("someone-elses-bucket", first),
        eventbridge_event(BUCKET, first, account="999999999999"),
        s3_event(BUCKET, first),
        wrapped_by_sns(eventbridge_event(BUCKET, second)),
        request("acme", third),
        "[" * 10_000,
    )

    report = drain(fleet, mailbox)

    dead = mailbox.dead_letters()
    assert fleet.billed() == {"USD": Decimal(7)}
    assert mailbox.counts() == (0, 0)
    assert (report.done_count, report.dead_count) == (5, 4)
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
    monkeypatch.setattr("billfold.jobs.worker.STUCK_SECONDS", 0)
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


def test_told_to_end_it_lets_what_runs_finish_and_begins_nothing_new(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    keys = [deliver(fleet, aws, "1", export=f"e{number}") for number in range(3)]
    reached, released = threading.Event(), threading.Event()

    def hold(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz"):
            reached.set()
            released.wait(LIMIT_SECONDS)
        return None

    with faulty_aws(aws.endpoint_url, hold) as faulty:
        mailbox.send(*(s3_event(BUCKET, key) for key in keys))
        worker = make_worker(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox, drain=False, concurrency=1)
        reports: list[Report] = []
        thread = threading.Thread(target=lambda: reports.append(worker.run()))
        thread.start()
        assert reached.wait(LIMIT_SECONDS)
        worker.stop()
        released.set()
        thread.join(LIMIT_SECONDS)

    assert [(report.done_count, report.unfinished_count) for report in reports] == [(1, 0)]
    assert mailbox.counts() == (2, 0)


def test_when_its_time_is_over_it_gives_back_what_runs_and_another_one_takes_it(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    key = deliver(fleet, aws, "1.25")
    reached, released = threading.Event(), threading.Event()

    def hold(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz"):
            reached.set()
            released.wait(LIMIT_SECONDS)
            return (503, "SlowDown")
        return None

    with faulty_aws(aws.endpoint_url, hold) as faulty:
        hasty = fleet.with_settings(endpoint_url=faulty.endpoint_url, shutdown_seconds=0)
        mailbox.send(s3_event(BUCKET, key))
        worker = make_worker(hasty, mailbox, drain=False)
        reports: list[Report] = []
        thread = threading.Thread(target=lambda: reports.append(worker.run()))
        thread.start()
        assert reached.wait(LIMIT_SECONDS)
        worker.stop()
        thread.join(LIMIT_SECONDS)
        given_back = mailbox.counts()
        released.set()
        drain(fleet, mailbox)

    assert [report.unfinished_count for report in reports] == [1]
    assert given_back == (1, 0)
    assert fleet.billed() == {"USD": Decimal("1.25")}


class Suspicion:
    """A suspect, received once before and hidden until it is let go, among others; each bill waits for its release."""

    def __init__(self, fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
        self.bodies = [s3_event(BUCKET, deliver(fleet, aws, "1", export=name)) for name in ("first", "suspect", "last")]
        self.reached = {name: threading.Event() for name in ("first", "suspect", "last")}
        self.released = {name: threading.Event() for name in ("first", "suspect", "last")}
        self._aws = aws
        self._mailbox = mailbox
        mailbox.send(self.bodies[1])
        [message] = mailbox.receive()
        self._receipt = message["ReceiptHandle"]
        fleet.execute("INSERT INTO billing_message_failures VALUES (%s, 1, 'interrupted', now())", message["MessageId"])

    def hold(self, call: Call) -> Fault:
        for name, released in self.released.items():
            if call.is_download and call.path.endswith(f"{name}-00001.csv.gz"):
                self.reached[name].set()
                released.wait(LIMIT_SECONDS)
        return None

    def let_go(self) -> None:
        self._aws.client("sqs").change_message_visibility(
            QueueUrl=self._mailbox.url, ReceiptHandle=self._receipt, VisibilityTimeout=0
        )


def test_a_message_whose_worker_died_is_worked_on_alone(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    suspicion = Suspicion(fleet, aws, mailbox)
    fleet.execute("UPDATE billing_clients SET max_deliveries = 9")
    working = "SELECT message_id FROM billing_message_attempts"

    with faulty_aws(aws.endpoint_url, suspicion.hold) as faulty, capture_logs() as logged:
        worker = make_worker(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox, drain=False, concurrency=3)
        thread = threading.Thread(target=worker.run)
        mailbox.send(suspicion.bodies[0])
        thread.start()
        assert suspicion.reached["first"].wait(LIMIT_SECONDS)
        suspicion.let_go()
        wait_until(lambda: mailbox.counts() == (0, 2))
        mailbox.send(suspicion.bodies[2])
        begun_beside_the_first = fleet.query(working)
        suspicion.released["first"].set()
        assert suspicion.reached["suspect"].wait(LIMIT_SECONDS)
        begun_beside_the_suspect, waiting = fleet.query(working), mailbox.counts()
        suspicion.released["suspect"].set()
        assert suspicion.reached["last"].wait(LIMIT_SECONDS)
        suspicion.released["last"].set()
        wait_until(lambda: mailbox.counts() == (0, 0))
        worker.stop()
        thread.join(LIMIT_SECONDS)

    [alone] = [event["message_id"] for event in logged if event["event"] == "message_alone"]
    assert len(begun_beside_the_first) == 1
    assert (begun_beside_the_suspect, waiting) == ([(alone,)], (1, 1))
    assert fleet.billed() == {"USD": Decimal(3)}
    assert fleet.count("billing_message_failures") == fleet.count("billing_message_attempts") == 0


def test_one_that_waits_to_be_alone_is_given_back_when_the_worker_ends(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    suspicion = Suspicion(fleet, aws, mailbox)
    reports: list[Report] = []

    with faulty_aws(aws.endpoint_url, suspicion.hold) as faulty:
        worker = make_worker(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox, drain=False, concurrency=3)
        thread = threading.Thread(target=lambda: reports.append(worker.run()))
        mailbox.send(suspicion.bodies[0])
        thread.start()
        assert suspicion.reached["first"].wait(LIMIT_SECONDS)
        suspicion.let_go()
        wait_until(lambda: mailbox.counts() == (0, 2))
        worker.stop()
        suspicion.released["first"].set()
        thread.join(LIMIT_SECONDS)

    [report] = reports
    assert (report.done_count, report.later_count + report.given_back_count, report.unfinished_count) == (1, 1, 0)
    assert mailbox.counts() == (1, 0)
    assert not suspicion.reached["suspect"].is_set()


def test_one_that_is_to_be_alone_and_has_no_slot_keeps_nobody_waiting(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    suspicion = Suspicion(fleet, aws, mailbox)
    fleet.execute("UPDATE billing_clients SET max_deliveries = 2")

    with faulty_aws(aws.endpoint_url, suspicion.hold) as faulty, capture_logs() as logged:
        worker = make_worker(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox, drain=False, concurrency=3)
        thread = threading.Thread(target=worker.run)
        with open_slots(fleet.database) as other:
            mailbox.send(suspicion.bodies[0])
            thread.start()
            assert suspicion.reached["first"].wait(LIMIT_SECONDS)
            assert take_slot(other, fleet.client) == 2
            suspicion.let_go()
            wait_until(lambda: "message_later" in [event["event"] for event in logged])
            mailbox.send("{}")
            wait_until(lambda: "message_done" in [event["event"] for event in logged])
            begun_meanwhile = [name for name, reached in suspicion.reached.items() if reached.is_set()]
        suspicion.released["suspect"].set()
        suspicion.released["first"].set()
        wait_until(lambda: mailbox.counts() == (0, 0))
        worker.stop()
        thread.join(LIMIT_SECONDS)

    assert begun_meanwhile == ["first"]
    assert [event["event"] for event in logged].count("message_alone") == 1
    assert fleet.billed() == {"USD": Decimal(2)}


def test_a_batch_with_a_suspect_is_given_back_but_for_it(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    suspicion = Suspicion(fleet, aws, mailbox)
    for released in suspicion.released.values():
        released.set()
    suspicion.let_go()
    mailbox.send(suspicion.bodies[0], suspicion.bodies[2])

    report = drain(fleet, mailbox, concurrency=3)

    assert report.given_back_count >= 2
    assert report.done_count == 3
    assert fleet.billed() == {"USD": Decimal(3)}
    assert mailbox.counts() == (0, 0)


def test_what_is_given_back_at_the_end_is_not_blamed_for_it(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    suspicion = Suspicion(fleet, aws, mailbox)

    with faulty_aws(aws.endpoint_url, suspicion.hold) as faulty:
        hasty = fleet.with_settings(endpoint_url=faulty.endpoint_url, shutdown_seconds=0)
        worker = make_worker(hasty, mailbox, drain=False)
        thread = threading.Thread(target=worker.run)
        mailbox.send(suspicion.bodies[0])
        thread.start()
        assert suspicion.reached["first"].wait(LIMIT_SECONDS)
        begun = fleet.count("billing_message_attempts")
        worker.stop()
        thread.join(LIMIT_SECONDS)
        left = fleet.count("billing_message_attempts")
        suspicion.released["first"].set()

    assert (begun, left) == (1, 0)


def test_the_slots_of_a_client_hold_across_two_workers(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    keys = [deliver(fleet, aws, "1", export=f"e{number}") for number in range(3)]
    fleet.execute("UPDATE billing_clients SET max_deliveries = 1")
    fleet.execute("CREATE TABLE seen (working bigint)")
    fleet.execute(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen SELECT count(*) FROM billing_deliveries WHERE state = 'running'; RETURN NULL; END $$"
    )
    fleet.execute("CREATE TRIGGER see AFTER UPDATE ON billing_deliveries FOR EACH STATEMENT EXECUTE FUNCTION see()")
    mailbox.send(*(s3_event(BUCKET, key) for key in keys))

    workers = [make_worker(fleet, mailbox) for _ in range(2)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_SECONDS)

    assert fleet.billed() == {"USD": Decimal(3)}
    assert fleet.value("SELECT max(working) FROM seen") == 1
    assert mailbox.counts() == (0, 0)


def test_a_client_without_a_free_slot_does_not_keep_another_one_waiting(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    aws.create_bucket("globex-bills")
    values = {"client_id": "globex", "bucket": "globex-bills", "account_id": ACCOUNT}
    clients.register(fleet.database, fleet.settings, values)
    key = deliver(fleet, aws, "1.25")
    aws.upload_folder("globex-bills", fleet.root)
    fleet.execute("UPDATE billing_clients SET max_deliveries = 1")
    mailbox.send(*[s3_event(BUCKET, key)] * 40, s3_event("globex-bills", key))
    worker = make_worker(fleet, mailbox, drain=False)
    thread = threading.Thread(target=worker.run)

    with open_slots(fleet.database) as other:
        assert take_slot(other, fleet.client) == 1
        thread.start()
        wait_until(lambda: fleet.count("billing_publications") == 1)
        begun = fleet.query("SELECT client_id FROM billing_deliveries")
    worker.stop()
    thread.join(LIMIT_SECONDS)

    assert begun == [("globex",)]


def test_a_drain_waits_for_what_it_could_not_delete(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    mailbox.send("{}")
    # boto3 itself tries three times.
    refusals = iter(range(3))

    def refuse(call: Call) -> Fault:
        return (500, "InternalError") if call.action == "DeleteMessage" and next(refusals, None) is not None else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        report = drain(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox)

    assert mailbox.counts() == (0, 0)
    assert (report.received_count, report.done_count, report.later_count) == (2, 2, 0)


def test_a_queue_that_does_not_answer_is_asked_again(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    key = deliver(fleet, aws, "1.25")
    mailbox.send(s3_event(BUCKET, key))
    refusals = iter(range(6))

    def refuse(call: Call) -> Fault:
        return (500, "InternalError") if call.action == "ReceiveMessage" and next(refusals, None) is not None else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty, capture_logs() as logged:
        report = drain(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox)

    assert report.states["published"] == 1
    assert "receive_failed" in {event["event"] for event in logged}


def test_a_queue_that_refuses_what_it_allowed_before_is_asked_again(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    key = deliver(fleet, aws, "1.25")
    mailbox.send(s3_event(BUCKET, key))
    asked: list[int] = []

    def refuse(call: Call) -> Fault:
        if call.action != "ReceiveMessage":
            return None
        asked.append(1)
        return (403, "AccessDenied") if 1 < len(asked) < 2 + MAX_REFUSALS - 1 else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty, capture_logs() as logged:
        report = drain(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox, concurrency=1)

    assert report.states["published"] == 1
    assert [event["error_code"] for event in logged if event["event"] == "receive_failed"] == ["access_denied"] * 4


@pytest.mark.parametrize(("allowed", "asked_count"), [(0, 1), (1, 1 + MAX_REFUSALS)])
def test_a_queue_that_refuses_for_good_ends_the_worker(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, allowed: int, asked_count: int
) -> None:
    asked: list[int] = []

    def refuse(call: Call) -> Fault:
        if call.action != "ReceiveMessage":
            return None
        asked.append(1)
        return (403, "AccessDenied") if len(asked) > allowed else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        refused = fleet.with_settings(endpoint_url=faulty.endpoint_url)
        mailbox.send("{}")
        with pytest.raises(AccessDeniedError, match="sqs:ReceiveMessage"):
            make_worker(refused, mailbox, drain=False).run()

    assert len(asked) == asked_count


@pytest.mark.parametrize(("concurrency", "client_count", "is_told"), [(2, 2, True), (3, 2, False), (2, 1, False)])
def test_a_worker_whose_threads_one_client_could_take_says_so(
    fleet: Landing, mailbox: Mailbox, concurrency: int, client_count: int, is_told: bool
) -> None:
    if client_count > 1:
        values = {"client_id": "globex", "bucket": "globex-bills", "account_id": ACCOUNT, "max_deliveries": 1}
        clients.register(fleet.database, fleet.settings, values)

    with capture_logs() as logged:
        drain(fleet, mailbox, concurrency=concurrency)

    told = [event["clients"] for event in logged if event["event"] == "worker_crowded"]
    assert told == [["acme"]] * is_told


def test_a_message_that_was_worked_on_for_long_is_hidden_for_what_is_left_of_its_time(
    fleet: Landing, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden: list[int] = []

    def capture(params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name == "ChangeMessageVisibility":
            hidden.append(params["VisibilityTimeout"])

    handlers = [*botocore.handlers.BUILTIN_HANDLERS, ("before-parameter-build", capture)]
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
    mailbox = Mailbox(aws, "lonely", has_dead_letters=False)
    mailbox.send("garbage")
    queue = open_queue(mailbox.url, fleet.settings)
    [message] = queue.receive(hide_seconds=60)

    for hours in (0, 7, 13):
        queue.hide(replace(message, received_at=time.monotonic() - hours * 3600), STUCK_SECONDS)

    assert hidden == [STUCK_SECONDS, 5 * 3600 - 60, 0]


def test_the_queue_is_asked_for_as_many_messages_as_threads_are_free(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def capture(params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name == "ReceiveMessage":
            asked.append(params["MaxNumberOfMessages"])

    handlers = [*botocore.handlers.BUILTIN_HANDLERS, ("before-parameter-build", capture)]
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
    mailbox.send(*[json.dumps({"hello": number}) for number in range(20)])

    report = drain(fleet, mailbox, concurrency=3)

    assert report.done_count == 20
    assert max(asked) <= 3
