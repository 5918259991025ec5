"""Dead letters in a real queue: listed without being lost, and sent once more before they are deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from billfold.config import Settings, load_settings
from billfold.dead_letters import Queues, find_dead_letter, list_dead_letters, open_queues, redrive
from billfold.errors import SourceError, UsageError
from billfold.exports import LocalAws
from billfold.exports.queue import Message, Queue


def record(key: str) -> dict[str, Any]:
    s3 = {"bucket": {"name": "acme-bills"}, "object": {"key": key}}
    return {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}


EVENT = json.dumps({"Records": [record("exports/BILLING_PERIOD%3D2026-05/a+b.gz"), record("exports/c.gz")]})
WRAPPED = json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:us-east-1:123456789012:t", "Message": EVENT})
DETAIL = {"bucket": {"name": "acme-bills"}, "object": {"key": "a%3Db"}}
BY_EVENTBRIDGE = json.dumps(
    {"source": "aws.s3", "account": "123456789012", "detail-type": "Object Created", "detail": DETAIL}
)


@pytest.fixture
def aws(environment: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    with LocalAws() as aws:
        for name, value in aws.environment().items():
            environment.setenv(name, value)
        yield aws


@pytest.fixture
def here(aws: LocalAws) -> Settings:
    return load_settings()


@pytest.fixture
def url(aws: LocalAws) -> str:
    """A queue whose redrive policy names another one."""
    sqs = aws.client("sqs")
    dead = sqs.create_queue(QueueName="billfold-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 100})
    return str(sqs.create_queue(QueueName="billfold", Attributes={"RedrivePolicy": policy})["QueueUrl"])


@pytest.fixture
def queues(url: str, here: Settings) -> Queues:
    return open_queues(url, here)


def bury(queues: Queues, *bodies: str, **attributes: str) -> list[str]:
    """Put messages into the empty dead-letter queue; returns their ids in the order in which they are listed."""
    for body in bodies:
        queues.dead.send(body, attributes)
    return [letter.message_id for letter in list_dead_letters(queues, limit=1000)]


def take_all(queue: Queue) -> list[Message]:
    taken: list[Message] = []
    while messages := queue.receive(wait_seconds=0, hide_seconds=60):
        taken += messages
    return taken


def test_a_listing_shows_every_message_and_leaves_them_all_there(queues: Queues) -> None:
    for number in range(23):
        queues.dead.send(str(number), {"reason": f"no. {number}", "error_code": "manifest"})

    first = list_dead_letters(queues, limit=1000)
    again = list_dead_letters(queues, limit=1000)

    assert {letter.body for letter in first} == {str(number) for number in range(23)}
    assert first == again
    assert {letter.error_code for letter in first} == {"manifest"}
    assert len(list_dead_letters(queues, limit=15)) == 15
    assert queues.dead.describe().hidden_count == 0


@pytest.mark.parametrize(
    ("body", "about"),
    [
        (EVENT, (None, "acme-bills", "exports/BILLING_PERIOD=2026-05/a b.gz", 2)),
        (WRAPPED, (None, "acme-bills", "exports/BILLING_PERIOD=2026-05/a b.gz", 2)),
        (BY_EVENTBRIDGE, (None, "acme-bills", "a%3Db", 1)),
        (json.dumps({"billfold": {"client": "acme", "key": "exports/"}}), ("acme", None, "exports/", 1)),
        ("not JSON", (None, None, None, 0)),
        (json.dumps({"Records": [{"s3": 1}, 2], "detail": []}), (None, None, None, 0)),
        (json.dumps([1]), (None, None, None, 0)),
    ],
)
def test_whatever_a_message_is_it_can_be_listed(queues: Queues, body: str, about: tuple[Any, ...]) -> None:
    queues.dead.send(body)

    [letter] = list_dead_letters(queues, limit=10)

    assert (letter.client, letter.bucket, letter.key, letter.object_count) == about
    assert letter.body == body
    assert letter.reason is None


def test_a_named_message_is_sent_once_more_without_our_notes_and_the_others_stay(queues: Queues) -> None:
    first, second = bury(queues, "one", "two", reason="no manifest", error_code="manifest", origin="s3")

    redriven = redrive(queues, [second], limit=1000)

    assert [letter.message_id for letter in redriven.sent] == [second]
    assert redriven.missing_ids == ()
    [message] = take_all(queues.source)
    assert message.body == redriven.sent[0].body
    assert dict(message.attributes) == {"origin": "s3"}
    assert [letter.message_id for letter in list_dead_letters(queues, limit=10)] == [first]


def test_all_messages_are_sent_once_more(queues: Queues) -> None:
    bury(queues, *map(str, range(12)))

    redriven = redrive(queues, None, limit=1000)

    assert len(redriven.sent) == 12
    assert {message.body for message in take_all(queues.source)} == set(map(str, range(12)))
    assert list_dead_letters(queues, limit=10) == ()


def test_a_message_that_is_not_there_is_told_and_the_others_are_sent(queues: Queues) -> None:
    [there] = bury(queues, "one")

    redriven = redrive(queues, [there, "gone"], limit=1000)

    assert redriven.missing_ids == ("gone",)
    assert len(redriven.sent) == 1
    with pytest.raises(UsageError, match="no dead letter gone"):
        find_dead_letter(queues, "gone", limit=10)


def test_a_message_is_shown_whole(queues: Queues) -> None:
    first, _ = bury(queues, EVENT, "two", reason="r" * 900)

    letter = find_dead_letter(queues, first, limit=1000)

    assert letter.reason == "r" * 900
    assert len(list_dead_letters(queues, limit=10)) == 2


class _BrokenQueue(Queue):
    """Cannot be sent to."""

    def send(self, body: str, attributes: Any = None) -> None:
        raise SourceError("the queue refuses it")


def test_a_message_that_cannot_be_sent_is_not_deleted(queues: Queues, aws: LocalAws) -> None:
    [there] = bury(queues, "one")
    broken = Queues(source=_BrokenQueue(queues.source.url, aws.client("sqs")), dead=queues.dead)

    with pytest.raises(SourceError, match="refuses"):
        redrive(broken, None, limit=10)

    assert [letter.message_id for letter in list_dead_letters(queues, limit=10)] == [there]


def test_a_queue_without_dead_letters_is_told(aws: LocalAws, here: Settings) -> None:
    url = aws.client("sqs").create_queue(QueueName="plain")["QueueUrl"]

    with pytest.raises(UsageError, match="no dead-letter queue"):
        open_queues(url, here)
