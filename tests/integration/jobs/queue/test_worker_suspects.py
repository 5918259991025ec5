"""A message whose worker died is worked on alone, and clients share the worker's threads."""

from __future__ import annotations

import gzip
import json
import threading
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import botocore.handlers
import pytest
from structlog.testing import capture_logs

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.queue import open_queue
from billfold.errors import AccessDeniedError
from billfold.jobs.worker import Report
from billfold.jobs.worker import MAX_REFUSALS, STUCK_SECONDS
from billfold.store.jobs.slots import open_slots, take_slot
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.integration.jobs.queue.conftest import LIMIT_SECONDS, deliver, drain, make_worker, wait_until
from tests.messages import ACCOUNT, Mailbox, s3_event
from tests.processes.faulty_aws import Call, Fault, faulty_aws


class Suspicion:
    """A suspect, received once before and hidden until it is let go, among two that are no bills.

    The download of each waits for its release.
    """

    def __init__(self, fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
        keys = [f"exports/{name}-00001.csv.gz" for name in ("first", "last")]
        for key in keys:
            aws.put(BUCKET, key, gzip.compress(b"line_item_unblended_cost,line_item_usage_amount\n1.25\n"))
        keys.insert(1, deliver(fleet, aws, "1", export="suspect"))
        self.bodies = [s3_event(BUCKET, key) for key in keys]
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
    assert fleet.billed() == {"USD": Decimal(1)}
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
    assert (report.dead_count, report.later_count + report.given_back_count, report.unfinished_count) == (1, 1, 0)
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
    assert fleet.billed() == {"USD": Decimal(1)}


def test_a_batch_with_a_suspect_is_given_back_but_for_it(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    suspicion = Suspicion(fleet, aws, mailbox)
    for released in suspicion.released.values():
        released.set()
    suspicion.let_go()
    mailbox.send(suspicion.bodies[0], suspicion.bodies[2])

    report = drain(fleet, mailbox, concurrency=3)

    assert report.given_back_count >= 2
    assert (report.done_count, report.dead_count) == (1, 2)
    assert fleet.billed() == {"USD": Decimal(1)}
    assert mailbox.counts() == (0, 0)


def test_what_is_given_back_at_the_end_is_not_blamed_for_it(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    suspicion = Suspicion(fleet, aws, mailbox)
    reports: list[Report] = []

    with faulty_aws(aws.endpoint_url, suspicion.hold) as faulty:
        hasty = fleet.with_settings(endpoint_url=faulty.endpoint_url, shutdown_seconds=0)
        worker = make_worker(hasty, mailbox, drain=False)
        thread = threading.Thread(target=lambda: reports.append(worker.run()))
        mailbox.send(suspicion.bodies[0])
        thread.start()
        assert suspicion.reached["first"].wait(LIMIT_SECONDS)
        begun = fleet.count("billing_message_attempts")
        worker.stop()
        thread.join(LIMIT_SECONDS)
        left = fleet.count("billing_message_attempts")
        given_back = mailbox.counts()
        suspicion.released["first"].set()

    assert (begun, left) == (1, 0)
    assert [report.unfinished_count for report in reports] == [1]
    # Beside it, the suspect is still hidden.
    assert given_back == (1, 1)


def test_the_slots_of_a_client_hold_across_two_workers(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    keys = [deliver(fleet, aws, "1", export=f"e{number}") for number in range(2)]
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

    assert fleet.billed() == {"USD": Decimal(2)}
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
    mailbox.send(*[s3_event(BUCKET, key)] * 21, s3_event("globex-bills", key))
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
    mailbox.send("{}")
    refusals = iter(range(6))

    def refuse(call: Call) -> Fault:
        return (500, "InternalError") if call.action == "ReceiveMessage" and next(refusals, None) is not None else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty, capture_logs() as logged:
        report = drain(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox)

    assert report.done_count == 1
    assert "receive_failed" in {event["event"] for event in logged}


def test_a_queue_that_refuses_what_it_allowed_before_is_asked_again(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    mailbox.send("{}")
    asked: list[int] = []

    def refuse(call: Call) -> Fault:
        if call.action != "ReceiveMessage":
            return None
        asked.append(1)
        return (403, "AccessDenied") if 1 < len(asked) < 2 + MAX_REFUSALS - 1 else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty, capture_logs() as logged:
        report = drain(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox, concurrency=1)

    assert report.done_count == 1
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
