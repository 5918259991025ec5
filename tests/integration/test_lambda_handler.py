"""Batches of a queue as AWS Lambda hands them over."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from billfold import clients, lambda_handler
from billfold.aws import LocalAws
from billfold.aws.queue import Attribute, open_queue
from billfold.errors import ConfigurationError
from billfold.lambda_handler import handler
from billfold.settings import load_settings
from billfold.store.database import connect
from billfold.store.jobs.slots import open_slots, take_slot
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.messages import ACCOUNT, Mailbox, s3_event
from tests.processes.faulty_aws import Call, Fault, faulty_aws


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


def deliver(fleet: Landing, aws: LocalAws, *costs: str) -> str:
    path = write_bill(fleet.root, described(*costs), bucket=BUCKET)
    aws.upload_folder(BUCKET, fleet.root)
    return path.relative_to(fleet.root).as_posix()


def failed(answer: Any, bodies: dict[str, str]) -> list[str]:
    return [bodies[failure["itemIdentifier"]] for failure in answer["batchItemFailures"]]


def test_a_container_that_lost_its_database_in_the_middle_leaves_nobody_to_blame(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, environment: pytest.MonkeyPatch
) -> None:
    mailbox.send(s3_event(BUCKET, deliver(fleet, aws, "1.25")))
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
        answer = handler(event, Context())
    let_in(True)
    left = fleet.count("billing_message_attempts")
    handler({"Records": []}, Context())

    assert len(answer["batchItemFailures"]) == 1
    assert (left, fleet.count("billing_message_attempts")) == (1, 0)


def test_a_batch_is_taken_in_and_its_poison_is_buried(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    mailbox.send("garbage", s3_event(BUCKET, deliver(fleet, aws, "1.25")), "{}")
    event, bodies = batch(mailbox)

    answer = handler(event, Context())

    assert failed(answer, bodies) == []
    assert fleet.billed() == {"USD": Decimal("1.25")}
    assert [(letter["body"], letter["error_code"]) for letter in mailbox.dead_letters()] == [("garbage", "message")]


def test_one_that_was_interrupted_is_worked_on_alone_and_the_others_come_again_at_once(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    mailbox.send("{}", s3_event(BUCKET, deliver(fleet, aws, "1.25")), "[]")
    ids = {message["Body"]: message["MessageId"] for message in mailbox.receive(hide_seconds=0)}
    [suspect] = [body for body in ids if "acme" in body]
    fleet.execute("INSERT INTO billing_message_failures VALUES (%s, 1, 'interrupted', now())", ids[suspect])
    event, bodies = batch(mailbox)

    answer = handler(event, Context())

    assert sorted(failed(answer, bodies)) == ["[]", "{}"]
    assert fleet.billed() == {"USD": Decimal("1.25")}
    assert fleet.count("billing_message_failures") == 0
    assert mailbox.counts() == (2, 1)


def test_a_letter_takes_along_what_its_sender_attached_and_its_failures_go_with_the_message(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    attributes = {"origin": {"DataType": "String", "StringValue": "s3"}}
    attributes["digest"] = {"DataType": "Binary.sha", "BinaryValue": b"\x00\xff"}  # type: ignore[dict-item]
    aws.client("sqs").send_message(QueueUrl=mailbox.url, MessageBody="garbage", MessageAttributes=attributes)
    event, bodies = batch(mailbox)
    [message_id] = bodies
    fleet.execute("INSERT INTO billing_message_failures VALUES (%s, 4, 'internal', now())", message_id)

    answer = handler(event, Context())

    [letter] = open_queue(mailbox.dead_letter_url, load_settings()).receive(hide_seconds=0)
    assert failed(answer, bodies) == []
    assert {
        "origin": Attribute(value="s3"),
        "digest": Attribute(value=b"\x00\xff", data_type="Binary.sha"),
    }.items() <= (dict(letter.attributes).items())
    assert letter.attributes["error_code"] == Attribute(value="message")
    assert mailbox.counts() == (0, 0)
    assert fleet.count("billing_message_failures") == 0


def test_a_message_whose_letter_cannot_be_sent_does_not_start_anew(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("BILLFOLD_DEAD_LETTER_QUEUE_URL", mailbox.dead_letter_url + "-gone")
    mailbox.send("garbage")
    event, bodies = batch(mailbox)
    [message_id] = bodies
    fleet.execute("INSERT INTO billing_message_failures VALUES (%s, 5, 'internal', now())", message_id)

    assert failed(handler(event, Context()), bodies) == ["garbage"]
    assert fleet.query("SELECT failures FROM billing_message_failures") == [(5,)]


def test_what_has_to_wait_is_named_and_hidden_and_the_rest_is_done(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    told = s3_event(BUCKET, deliver(fleet, aws, "1.25"))
    mailbox.send("{}", told)
    event, bodies = batch(mailbox)

    with open_slots(fleet.database) as other:
        assert take_slot(other, fleet.client) == 1
        answer = handler(event, Context())

    assert failed(answer, bodies) == [told]
    assert fleet.count("billing_deliveries") == 0


def test_a_dead_message_goes_where_its_queues_redrive_policy_says(
    fleet: Landing, mailbox: Mailbox, environment: pytest.MonkeyPatch
) -> None:
    environment.delenv("BILLFOLD_DEAD_LETTER_QUEUE_URL")
    mailbox.send("garbage")
    event, bodies = batch(mailbox)

    assert failed(handler(event, Context()), bodies) == []
    assert [letter["body"] for letter in mailbox.dead_letters()] == ["garbage"]


def test_without_a_dead_letter_queue_a_dead_message_fails(
    fleet: Landing, aws: LocalAws, environment: pytest.MonkeyPatch
) -> None:
    environment.delenv("BILLFOLD_DEAD_LETTER_QUEUE_URL")
    alone = Mailbox(aws, "alone", has_dead_letters=False)
    alone.send("garbage")
    event, bodies = batch(alone)

    assert failed(handler(event, Context()), bodies) == ["garbage"]


def test_shortly_before_its_time_is_over_nothing_is_begun(fleet: Landing, mailbox: Mailbox) -> None:
    mailbox.send("{}")
    event, bodies = batch(mailbox)

    assert failed(handler(event, Context(remaining_seconds=5)), bodies) == ["{}"]


def test_without_a_database_of_its_own_it_refuses_to_start(fleet: Landing, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DATABASE_URL")

    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set: the Lambda handler needs it"):
        handler({"Records": []}, Context())
