"""Batches of a queue as AWS Lambda hands them over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from billfold import clients, lambda_handler
from billfold.aws import LocalAws
from billfold.aws.queue import Attribute, open_queue
from billfold.errors import ConfigurationError, StoreUnavailableError
from billfold.jobs import rescue
from billfold.lambda_handler import handler
from billfold.settings import load_settings
from billfold.store.database import connect
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.messages import ACCOUNT, Mailbox, request, s3_event
from tests.processes.faulty_aws import Call, Fault, faulty_aws
from tests.processes.warm_process import WarmProcess

# Nothing here takes nearly as long; who waits longer waits for a call that hangs.
LIMIT_SECONDS = 60
JOBS = "SELECT key, state, is_suspect, take_count, failure_count FROM billing_jobs ORDER BY job_id"
LETTERS = "SELECT key, state, error_code FROM billing_jobs ORDER BY job_id"
# A call in a process of its own.
CALL = """
import json, sys
from billfold.lambda_handler import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 300_000

handler(json.load(sys.stdin), Context())
"""


class Context:
    """What Lambda gives a handler beside the event, as far as it is asked for."""

    def __init__(self, remaining_seconds: int = 300) -> None:
        self._remaining_seconds = remaining_seconds

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_seconds * 1000


@pytest.fixture
def aws(aws: LocalAws) -> LocalAws:
    aws.create_bucket(BUCKET)
    return aws


@pytest.fixture
def mailbox(aws: LocalAws) -> Mailbox:
    return Mailbox(aws)


@pytest.fixture
def fleet(aws: LocalAws, landing: Landing, environment: pytest.MonkeyPatch, mailbox: Mailbox) -> Iterator[Landing]:
    """The registered client `acme`, and an environment as a function's; its container is a new one."""
    landing = landing.with_settings(endpoint_url=load_settings().endpoint_url)
    values = {"client_id": "acme", "bucket": BUCKET, "account_id": ACCOUNT, "max_deliveries": 1}
    environment.setenv("DATABASE_URL", landing.database.conninfo)
    environment.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
    environment.setenv("BILLFOLD_DEAD_LETTER_QUEUE_URL", mailbox.dead_letter_url)
    environment.setenv("BILLFOLD_MESSAGE_RETRY_SECONDS", "0")
    lambda_handler._container.cache_clear()
    lambda_handler._source_queue.cache_clear()
    yield replace(landing, client=clients.register(landing.database, landing.settings, values))
    lambda_handler._container.cache_clear()
    lambda_handler._source_queue.cache_clear()


def batch(mailbox: Mailbox) -> tuple[dict[str, Any], dict[str, str]]:
    """What waits in the queue as Lambda's event, and each message's body by its id."""
    received = mailbox.receive()
    records = [
        {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": {"ApproximateReceiveCount": message["Attributes"]["ApproximateReceiveCount"]},
            "messageAttributes": {
                name: {
                    # As Lambda spells them: bytes in Base64.
                    "stringValue": said.get("StringValue"),
                    "binaryValue": b64encode(said["BinaryValue"]).decode() if "BinaryValue" in said else None,
                    "stringListValues": [],
                    "binaryListValues": [],
                    "dataType": said["DataType"],
                }
                for name, said in message.get("MessageAttributes", {}).items()
            },
            "eventSource": "aws:sqs",
            "eventSourceARN": mailbox.arn,
            "awsRegion": "us-east-1",
        }
        for message in received
    ]
    return {"Records": records}, {message["MessageId"]: message["Body"] for message in received}


def deliver(fleet: Landing, aws: LocalAws, cost: str, export: str = "acme") -> str:
    path = write_bill(fleet.root, described(cost), bucket=BUCKET, export_path=f"exports/{export}")
    aws.upload_folder(BUCKET, fleet.root)
    return path.relative_to(fleet.root).as_posix()


def failed(answer: Any, bodies: dict[str, str]) -> list[str]:
    return [bodies[failure["itemIdentifier"]] for failure in answer["batchItemFailures"]]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def list_threads() -> set[str]:
    """Without those of the local AWS."""
    return {thread.name for thread in threading.enumerate() if "process_request" not in thread.name}


def count_connections(fleet: Landing) -> int:
    """Of others than this test."""
    return int(
        fleet.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    )


def test_a_batch_is_worked_off_and_what_comes_again_finds_nothing_to_do(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    aws.put(BUCKET, "exports/broken.csv", b"line_item_unblended_cost,line_item_usage_amount\n1.25\n")
    broken = request("acme", "exports/broken.csv")
    mailbox.send("garbage", s3_event(BUCKET, deliver(fleet, aws, "1.25")), "{}", broken)
    event, bodies = batch(mailbox)
    threads = list_threads()

    first = handler(event, Context())
    left = fleet.query(LETTERS)
    # As if Lambda had not deleted them, or a worker had done the jobs meanwhile.
    again = [record for record in event["Records"] if record["body"] not in ("garbage", "{}")]
    second = handler({"Records": again}, Context())

    assert (failed(first, bodies), failed(second, bodies)) == ([], [])
    assert fleet.billed() == {"USD": Decimal("1.25")}
    assert fleet.count("billing_publications") == 1
    letters = [(letter["body"], letter["error_code"]) for letter in mailbox.dead_letters()]
    assert sorted(letters) == [("garbage", "message"), (broken, "missing_column")]
    assert left == [("exports/broken.csv", "dead", "missing_column")]
    assert fleet.query(LETTERS) == left
    # Nothing lives between two calls.
    assert list_threads() == threads
    wait_until(lambda: count_connections(fleet) == 0)


def test_calls_share_the_slots_of_a_client_and_a_message_finds_its_job_again(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, environment: pytest.MonkeyPatch
) -> None:
    keys = [deliver(fleet, aws, "1.25", "first"), deliver(fleet, aws, "2.5", "second")]
    is_held, is_released = threading.Event(), threading.Event()

    def hold(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz"):
            is_held.set()
            is_released.wait(LIMIT_SECONDS)
        return None

    with faulty_aws(aws.endpoint_url, hold) as faulty, ThreadPoolExecutor(1) as another:
        environment.setenv("AWS_ENDPOINT_URL", faulty.endpoint_url)
        mailbox.send(s3_event(BUCKET, keys[0]))
        first, _ = batch(mailbox)
        working = another.submit(handler, first, Context())
        is_held.wait(LIMIT_SECONDS)
        mailbox.send(s3_event(BUCKET, keys[1]))
        second, _ = batch(mailbox)
        # The first one comes too early.
        both = {"Records": [*first["Records"], *second["Records"]]}
        waiting = handler(both, Context())
        rows, hidden = fleet.query(JOBS), mailbox.counts()
        is_released.set()
        done = working.result(LIMIT_SECONDS)
        left = fleet.query(JOBS)
        last = handler(both, Context())

    assert len(waiting["batchItemFailures"]) == 2
    assert rows == [(keys[0], "running", False, 1, 0), (keys[1], "waiting", False, 0, 0)]
    assert hidden == (0, 2)
    assert (done, last) == ({"batchItemFailures": []}, {"batchItemFailures": []})
    assert left == rows[1:]
    assert (fleet.count("billing_jobs"), fleet.count("billing_publications")) == (0, 2)
    assert fleet.billed() == {"USD": Decimal("3.75")}


def test_the_job_of_a_call_that_was_killed_is_worked_on_alone(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(rescue, "GRACE_SECONDS", 0.1)
    keys = [deliver(fleet, aws, "1.25", "first"), deliver(fleet, aws, "2.5", "second")]
    told = {key: s3_event(BUCKET, key) for key in keys}
    mailbox.send(*told.values())
    event, bodies = batch(mailbox)
    process: subprocess.Popen[str]

    def kill(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz"):
            process.kill()
        return None

    with faulty_aws(aws.endpoint_url, kill) as faulty:
        variables = {**os.environ, "AWS_ENDPOINT_URL": faulty.endpoint_url}
        with WarmProcess([sys.executable, "-c", CALL], stdin=subprocess.PIPE, text=True, env=variables) as process:
            process.communicate(json.dumps(event), timeout=LIMIT_SECONDS)
    wait_until(lambda: count_connections(fleet) == 0)
    killed = fleet.query(JOBS)
    alone = handler(event, Context())
    left = fleet.query(JOBS)
    # Shortly, but not at once: a call that can begin nothing must not be called thousands of times.
    hidden = mailbox.counts()
    wait_until(lambda: mailbox.counts()[0] == 1)
    last = handler(event, Context())

    [suspect] = [key for key, state, *_ in killed if state == "running"]
    [other] = [key for key in keys if key != suspect]
    assert sorted(killed) == sorted([(suspect, "running", False, 1, 0), (other, "waiting", False, 0, 0)])
    assert failed(alone, bodies) == [told[other]]
    assert left == [(other, "waiting", False, 0, 0)]
    assert hidden == (0, 2)
    assert failed(last, bodies) == []
    assert fleet.query("SELECT DISTINCT state FROM billing_deliveries") == [("published",)]
    assert fleet.billed() == {"USD": Decimal("3.75")}


def test_a_container_that_lost_its_database_in_the_middle_leaves_nobody_to_blame(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, environment: pytest.MonkeyPatch
) -> None:
    key = deliver(fleet, aws, "1.25")
    mailbox.send(s3_event(BUCKET, key))
    event, _ = batch(mailbox)
    name = conninfo_to_dict(fleet.database.conninfo)["dbname"]

    def let_in(is_allowed: bool) -> None:
        with connect(make_conninfo(fleet.database.conninfo, dbname="postgres")) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {is_allowed}".encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    def lose(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz"):
            let_in(False)
        return None

    with faulty_aws(aws.endpoint_url, lose) as faulty:
        environment.setenv("AWS_ENDPOINT_URL", faulty.endpoint_url)
        with pytest.raises(StoreUnavailableError):
            handler(event, Context())
    let_in(True)
    lost = fleet.query(JOBS)
    handler({"Records": []}, Context())

    assert lost == [(key, "running", False, 1, 0)]
    assert fleet.query(JOBS) == [(key, "waiting", False, 1, 0)]


def test_one_that_was_interrupted_too_often_is_dead_without_another_attempt(fleet: Landing, mailbox: Mailbox) -> None:
    mailbox.send(request("acme", "exports/deadly.csv"))
    event, bodies = batch(mailbox)
    [message_id] = bodies
    fleet.execute("INSERT INTO billing_message_failures VALUES (%s, 10, 'interrupted', now())", message_id)

    answer = handler(event, Context())

    assert failed(answer, bodies) == []
    assert fleet.query(LETTERS) == [("exports/deadly.csv", "dead", "interrupted")]
    [letter] = mailbox.dead_letters()
    assert (letter["body"], letter["error_code"]) == (request("acme", "exports/deadly.csv"), "interrupted")


def test_a_letter_takes_along_what_its_sender_attached_to_the_queue_of_the_redrive_policy(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, environment: pytest.MonkeyPatch
) -> None:
    environment.delenv("BILLFOLD_DEAD_LETTER_QUEUE_URL")
    attributes = {"origin": {"DataType": "String", "StringValue": "s3"}}
    attributes["digest"] = {"DataType": "Binary.sha", "BinaryValue": b"\x00\xff"}  # type: ignore[dict-item]
    for body in ("garbage", request("acme", "exports/absent.csv")):
        aws.client("sqs").send_message(QueueUrl=mailbox.url, MessageBody=body, MessageAttributes=attributes)
    event, bodies = batch(mailbox)

    answer = handler(event, Context())

    letters = open_queue(mailbox.dead_letter_url, load_settings()).receive(hide_seconds=0)
    assert failed(answer, bodies) == []
    assert {letter.body for letter in letters} == set(bodies.values())
    for letter in letters:
        assert {
            "origin": Attribute(value="s3"),
            "digest": Attribute(value=b"\x00\xff", data_type="Binary.sha"),
        }.items() <= dict(letter.attributes).items()
    assert {letter.attributes["error_code"].value for letter in letters} == {"message", "source_not_found"}


def test_a_message_whose_letter_cannot_be_sent_comes_again(
    fleet: Landing, mailbox: Mailbox, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("BILLFOLD_DEAD_LETTER_QUEUE_URL", mailbox.dead_letter_url + "-gone")
    mailbox.send("garbage", request("acme", "exports/absent.csv"))
    event, bodies = batch(mailbox)

    answer = handler(event, Context())

    assert sorted(failed(answer, bodies)) == sorted(bodies.values())
    assert fleet.query(JOBS) == [("exports/absent.csv", "waiting", False, 1, 0)]


def test_without_a_dead_letter_queue_a_dead_job_stays_and_what_is_no_notification_too(
    fleet: Landing, aws: LocalAws, environment: pytest.MonkeyPatch
) -> None:
    environment.delenv("BILLFOLD_DEAD_LETTER_QUEUE_URL")
    alone = Mailbox(aws, "alone", has_dead_letters=False)
    alone.send("garbage", request("acme", "exports/absent.csv"))
    event, bodies = batch(alone)

    assert failed(handler(event, Context()), bodies) == ["garbage"]
    assert fleet.query(LETTERS) == [("exports/absent.csv", "dead", "source_not_found")]


def test_a_message_that_cannot_be_taken_in_lets_the_others_of_its_batch_through(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    fleet.execute("ALTER TABLE billing_jobs ADD CHECK (key <> 'exports/odd.csv')")
    odd = request("acme", "exports/odd.csv")
    mailbox.send(odd, s3_event(BUCKET, deliver(fleet, aws, "1.25")))
    event, bodies = batch(mailbox)

    assert failed(handler(event, Context()), bodies) == [odd]
    assert fleet.billed() == {"USD": Decimal("1.25")}


def test_shortly_before_its_time_is_over_nothing_is_begun(fleet: Landing, mailbox: Mailbox) -> None:
    told = request("acme", "exports/late.csv")
    mailbox.send("{}", told)
    event, bodies = batch(mailbox)

    assert failed(handler(event, Context(remaining_seconds=5)), bodies) == [told]
    assert fleet.query(JOBS) == [("exports/late.csv", "waiting", False, 0, 0)]


def test_without_a_database_of_its_own_it_refuses_to_start(fleet: Landing, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DATABASE_URL")

    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set: the Lambda handler needs it"):
        handler({"Records": []}, Context())
