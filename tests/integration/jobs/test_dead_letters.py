"""Dead letters in a real queue: listed without being lost, and sent once more before they are deleted."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs

from billfold.aws import LocalAws
from billfold.aws.queue import Attribute, Message, Queue
from billfold.errors import SourceError, UsageError
from billfold.jobs.dead_letters import (
    DeadLetter,
    Queues,
    Redriven,
    bury,
    find_dead_letter,
    list_dead_letters,
    open_queues,
    redrive,
)
from billfold.jobs.results import Dead
from billfold.settings import Settings
from tests.messages import Mailbox
from tests.processes.faulty_aws import Call, Fault, faulty_aws


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
def url(aws: LocalAws) -> str:
    """A queue whose redrive policy names another one."""
    return Mailbox(aws).url


@pytest.fixture
def queues(url: str, here: Settings) -> Queues:
    return open_queues(url, here)


def put(queues: Queues, *bodies: str, **attributes: str) -> list[str]:
    """Put messages into the empty dead-letter queue; returns their ids in the order in which they are listed."""
    for body in bodies:
        queues.dead.send(body, attributes)
    return [letter.message_id for letter in list_dead_letters(queues, limit=1000).letters]


def take_all(queue: Queue) -> list[Message]:
    taken: list[Message] = []
    while messages := queue.receive(wait_seconds=0, hide_seconds=60):
        taken += messages
    return taken


def test_the_beginning_of_an_id_is_enough_where_it_means_one_message(queues: Queues) -> None:
    first, second = put(queues, "1", "2")

    found = find_dead_letter(queues, first[:8], limit=1000)
    with pytest.raises(UsageError, match="the dead letter ffffffff does not exist"):
        find_dead_letter(queues, "ffffffff", limit=1000)
    with pytest.raises(UsageError, match=f"the dead letter {first[:7]} does not exist"):
        find_dead_letter(queues, first[:7], limit=1000)
    redriven = redrive(queues, [second[:8].upper()], limit=1000)

    assert found.message_id == first
    assert (redriven.sent_count, redriven.missing_ids) == (1, ())
    assert [message.body for message in take_all(queues.source)] == ["2"]


def test_a_listing_shows_every_message_and_leaves_them_all_there(queues: Queues) -> None:
    for number in range(23):
        queues.dead.send(str(number), {"reason": f"no. {number}", "error_code": "manifest"})

    first = list_dead_letters(queues, limit=1000).letters
    again = list_dead_letters(queues, limit=1000).letters

    assert {letter.body for letter in first} == {str(number) for number in range(23)}
    assert first == again
    assert {letter.error_code for letter in first} == {"manifest"}
    assert queues.dead.describe().hidden_count == 0


def test_whatever_a_message_is_it_can_be_listed(queues: Queues) -> None:
    about = {
        EVENT: (None, "acme-bills", "exports/BILLING_PERIOD=2026-05/a b.gz", 2),
        WRAPPED: (None, "acme-bills", "exports/BILLING_PERIOD=2026-05/a b.gz", 2),
        BY_EVENTBRIDGE: (None, "acme-bills", "a%3Db", 1),
        json.dumps({"billfold": {"client": "acme", "key": "exports/"}}): ("acme", None, "exports/", 1),
        "not JSON": (None, None, None, 0),
        json.dumps({"Records": [{"s3": 1}, 2], "detail": []}): (None, None, None, 0),
        json.dumps([1]): (None, None, None, 0),
    }
    for body in about:
        queues.dead.send(body)

    letters = list_dead_letters(queues, limit=10).letters

    assert {each.body: (each.client, each.bucket, each.key, each.object_count) for each in letters} == about
    assert {each.reason for each in letters} == {None}


def test_a_named_message_is_sent_once_more_without_our_notes_and_the_others_stay(queues: Queues) -> None:
    first, second = put(queues, "one", "two", reason="no manifest", error_code="manifest", origin="s3")

    sent: list[DeadLetter] = []
    redriven = redrive(queues, [second], limit=1000, on_sent=sent.append)

    assert [letter.message_id for letter in sent] == [second]
    assert redriven == Redriven(sent_count=1, missing_ids=(), has_more=False)
    [message] = take_all(queues.source)
    assert message.body == sent[0].body
    assert dict(message.attributes) == {"origin": Attribute(value="s3")}
    assert [letter.message_id for letter in list_dead_letters(queues, limit=10).letters] == [first]


def test_all_messages_are_sent_once_more(queues: Queues) -> None:
    put(queues, *map(str, range(12)))

    redriven = redrive(queues, None, limit=None)

    assert redriven == Redriven(sent_count=12, missing_ids=(), has_more=False)
    assert {message.body for message in take_all(queues.source)} == set(map(str, range(12)))
    assert list_dead_letters(queues, limit=10).letters == ()


def test_a_message_that_is_not_there_is_told_and_the_others_are_sent(queues: Queues) -> None:
    [there] = put(queues, "one")

    redriven = redrive(queues, [there, "gone"], limit=1000)

    assert redriven.missing_ids == ("gone",)
    assert redriven.sent_count == 1
    with pytest.raises(UsageError, match="the dead letter gone does not exist"):
        find_dead_letter(queues, "gone", limit=10)


def test_a_limit_says_whether_more_are_left(queues: Queues) -> None:
    ids = put(queues, *map(str, range(12)))

    short = list_dead_letters(queues, limit=11)
    whole = list_dead_letters(queues, limit=12)

    assert (len(short.letters), short.has_more) == (11, True)
    assert (len(whole.letters), whole.has_more) == (12, False)
    assert redrive(queues, ["gone"], limit=11) == Redriven(sent_count=0, missing_ids=("gone",), has_more=True)
    with pytest.raises(UsageError, match="among the first 11: the queue has more"):
        find_dead_letter(queues, "gone", limit=11)
    assert redrive(queues, None, limit=11) == Redriven(sent_count=11, missing_ids=(), has_more=True)
    [left] = list_dead_letters(queues, limit=10).letters
    assert left.message_id in ids


def test_a_buried_message_keeps_its_senders_attributes_and_is_redriven_with_them_alone(queues: Queues) -> None:
    attributes = {
        "digest": Attribute(value=b"\x00\xff", data_type="Binary.sha"),
        "count": Attribute(value="7", data_type="Number.int"),
    }
    queues.source.send("one", attributes)
    [message] = take_all(queues.source)

    bury(queues.dead, message, Dead(reason="no manifest", error_code="manifest"))
    [letter] = list_dead_letters(queues, limit=10).letters
    queues.source.delete(message)
    redrive(queues, None, limit=None)

    assert (letter.reason, letter.error_code) == ("no manifest", "manifest")
    assert {name: letter.attributes[name] for name in attributes} == attributes
    assert letter.attributes["source_message_id"].value == message.message_id
    assert [dict(each.attributes) for each in take_all(queues.source)] == [attributes]


def test_where_sqs_has_no_room_for_all_attributes_our_own_are_kept(queues: Queues) -> None:
    many = {f"a{number}": Attribute(value=str(number)) for number in range(9)}
    crowded = Message(message_id="m-1", receipt="r", body="many", attributes={"reason": Attribute(value="x"), **many})
    large = {"large": Attribute(value="x" * 300), "small": Attribute(value="x")}
    heavy = Message(message_id="m-2", receipt="r", body="y" * (262_144 - 200), attributes=large)

    with capture_logs() as logged:
        for message in (crowded, heavy):
            bury(queues.dead, message, Dead(reason="no manifest", error_code="manifest"))

    found = {letter.body[:4]: set(letter.attributes) for letter in list_dead_letters(queues, limit=10).letters}
    ours = {"reason", "error_code", "source_message_id"}
    assert found == {"many": {*ours, *(f"a{number}" for number in range(7))}, "yyyy": {*ours, "small"}}
    assert [event["names"] for event in logged] == [["reason", "a7", "a8"], ["large"]]


def test_a_body_that_leaves_no_room_even_for_our_own_attributes_is_sent_alone(
    url: str, here: Settings, aws: LocalAws
) -> None:
    sends = count(1)

    def refuse(call: Call) -> Fault:
        # SQS counts the attributes, moto does not.
        if call.action != "SendMessage":
            return None
        return (400, "InvalidParameterValue") if next(sends) % 2 else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty, capture_logs() as logged:
        queues = open_queues(url, here.model_copy(update={"endpoint_url": faulty.endpoint_url}))
        full = Message(message_id="m-1", receipt="r", body="y" * 2**20)
        bury(queues.dead, full, Dead(reason="no manifest", error_code="manifest"))
        with pytest.raises(SourceError):
            bury(queues.dead, replace(full, body="small"), Dead(reason="no manifest", error_code="manifest"))

    [letter] = list_dead_letters(open_queues(url, here), limit=10).letters
    assert (len(letter.body), letter.attributes) == (2**20, {})
    assert [event["names"] for event in logged] == [["reason", "error_code", "source_message_id"]]


def test_one_that_a_worker_buries_again_meanwhile_is_not_sent_round_and_round(queues: Queues) -> None:
    put(queues, "one", "two")

    def bury_again(_: DeadLetter) -> None:
        for message in queues.source.receive(wait_seconds=0, hide_seconds=60):
            queues.dead.send(message.body, {"source_message_id": message.message_id})

    redriven = redrive(queues, None, limit=None, on_sent=bury_again)

    assert redriven.sent_count == 2
    assert {letter.body for letter in list_dead_letters(queues, limit=10).letters} == {"one", "two"}


def test_one_that_sqs_moves_again_meanwhile_is_not_sent_round_and_round(
    url: str, here: Settings, aws: LocalAws
) -> None:
    queues = open_queues(url, here)
    policy = json.dumps({"deadLetterTargetArn": queues.dead.describe().arn, "maxReceiveCount": 1})
    aws.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})
    put(queues, "one")

    def receive_too_often(_: DeadLetter) -> None:
        assert len(queues.source.receive(wait_seconds=0, hide_seconds=0)) == 1
        assert queues.source.receive(wait_seconds=0, hide_seconds=0) == []

    redriven = redrive(queues, None, limit=None, on_sent=receive_too_often)

    assert redriven.sent_count == 1
    assert len(list_dead_letters(queues, limit=10).letters) == 1


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("line 1\nline\x00 2 " + "x" * 2000, "line 1 line  2 " + "x" * 985), ("", "-")],
    ids=["long", "empty"],
)
def test_a_dead_letter_says_why_in_words_that_sqs_takes(queues: Queues, reason: str, kept: str) -> None:
    bury(queues.dead, Message(message_id="m-1", receipt="", body="{}"), Dead(reason=reason, error_code="input"))

    [letter] = list_dead_letters(queues, limit=10).letters

    assert (letter.reason, letter.error_code) == (kept, "input")
    assert letter.attributes["source_message_id"].value == "m-1"


def test_a_message_is_shown_whole(queues: Queues) -> None:
    first, _ = put(queues, EVENT, "two", reason="r" * 900)

    letter = find_dead_letter(queues, first, limit=1000)

    assert letter.reason == "r" * 900
    assert len(list_dead_letters(queues, limit=10).letters) == 2


class _BrokenQueue(Queue):
    """Cannot be sent to."""

    def send(self, body: str, attributes: Any = None) -> None:
        raise SourceError("the queue refuses it")


def test_a_message_that_cannot_be_sent_is_not_deleted(queues: Queues, aws: LocalAws) -> None:
    [there] = put(queues, "one")
    broken = Queues(source=_BrokenQueue(queues.source.url, aws.client("sqs")), dead=queues.dead)

    with pytest.raises(SourceError, match="refuses"):
        redrive(broken, None, limit=10)

    assert [letter.message_id for letter in list_dead_letters(queues, limit=10).letters] == [there]


def test_a_queue_without_dead_letters_is_told(aws: LocalAws, here: Settings) -> None:
    url = aws.client("sqs").create_queue(QueueName="plain")["QueueUrl"]

    with pytest.raises(UsageError, match="no dead-letter queue"):
        open_queues(url, here)
