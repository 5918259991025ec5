"""What a message of the queue tells, in every wrapping that it may come in, and what is none of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from billfold.aws.notifications import CreatedObject, Notification, Request, parse_notification
from billfold.errors import MessageError
from billfold.model import TriggerSource
from tests.messages import ACCOUNT, S3_TEST_EVENT, eventbridge_event, request, s3_event, s3_record, wrapped_by_sns

KEY = "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"
OBJECT = CreatedObject(
    bucket="bills",
    key=KEY,
    source=TriggerSource.SQS,
    etag="0f1e",
    size_bytes=1024,
    sequencer="0055AED6",
    region="us-east-1",
)
FROM_EVENTBRIDGE = CreatedObject(
    bucket="bills",
    key=KEY,
    source=TriggerSource.EVENTBRIDGE,
    etag="0f1e",
    size_bytes=1024,
    sequencer="0055AED6",
    account_id=ACCOUNT,
    region="us-east-1",
)


def ignored(body: Any) -> list[str]:
    notification = parse_notification(body if isinstance(body, str) else json.dumps(body))
    assert (notification.created, notification.requests) == ((), ())
    return list(notification.ignored)


def key_of(body: str) -> str:
    [created] = parse_notification(body).created
    return created.key


@pytest.mark.parametrize("wrap", [str, wrapped_by_sns, lambda body: wrapped_by_sns(wrapped_by_sns(body))])
def test_an_event_means_the_same_in_every_wrapping(wrap: Any) -> None:
    assert parse_notification(wrap(s3_event("bills", KEY))) == Notification(created=(OBJECT,))
    assert parse_notification(wrap(eventbridge_event("bills", KEY))) == Notification(created=(FROM_EVENTBRIDGE,))
    assert parse_notification(wrap(request("acme", KEY))) == Notification(
        requests=(Request(client_id="acme", key=KEY),)
    )


def test_the_examples_of_the_documentation_are_read(shared_samples: Path) -> None:
    folder = shared_samples / "notifications"
    created = [
        each for file in sorted(folder.iterdir()) for each in parse_notification(file.read_text("utf-8")).created
    ]

    assert [(each.source, each.bucket, each.key) for each in created] == [
        ("eventbridge", "amzn-s3-demo-bucket1", "example-key"),
        (
            "sqs",
            "amzn-s3-demo-bucket",
            "cur/my-export/metadata/BILLING_PERIOD=2025-12/my-export-Manifest.json",
        ),
    ]


@pytest.mark.parametrize(
    "key", ["a b+c.csv", "a%3D2026.csv", "a%252F..%252Fb.csv", "é/ü ☃ 𝄞.csv", "a&b=c?d#e.csv", "2026-05-04T10:00:00Z/x"]
)
def test_a_key_of_s3_is_decoded_once_and_one_of_eventbridge_never(key: str) -> None:
    assert key_of(s3_event("bills", key)) == key
    assert key_of(eventbridge_event("bills", key)) == key


def test_one_message_may_tell_of_many_objects() -> None:
    records = [s3_record("bills", f"{number}.csv") for number in range(500)]
    records.insert(3, s3_record("bills", "gone.csv", name="ObjectRemoved:Delete"))

    notification = parse_notification(json.dumps({"Records": records}))

    assert [created.key for created in notification.created] == [f"{number}.csv" for number in range(500)]
    assert notification.ignored == ("ObjectRemoved:Delete",)


@pytest.mark.parametrize(
    "name", ["ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload", "s3:ObjectCreated:Copy"]
)
def test_every_way_to_create_an_object_counts(name: str) -> None:
    assert key_of(s3_event("bills", "a.csv", name=name)) == "a.csv"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"size": 5.0}, (None, "0f1e", "0055AED6")),
        ({"size": True}, (None, "0f1e", "0055AED6")),
        ({"size": -1}, (None, "0f1e", "0055AED6")),
        ({"size": 2**63}, (None, "0f1e", "0055AED6")),
        ({"eTag": '"quoted-2"'}, (1024, "quoted-2", "0055AED6")),
        ({"eTag": None, "sequencer": ""}, (1024, None, None)),
        ({"sequencer": 12}, (1024, "0f1e", None)),
    ],
)
def test_what_an_event_may_leave_out_or_spell_oddly_is_none(told: dict[str, Any], expected: Any) -> None:
    [created] = parse_notification(s3_event("bills", "a.csv", **told)).created

    assert (created.size_bytes, created.etag, created.sequencer) == expected


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (S3_TEST_EVENT, ["s3:TestEvent"]),
        (wrapped_by_sns(S3_TEST_EVENT), ["s3:TestEvent"]),
        (s3_event("bills", "a.csv", name="ObjectRemoved:Delete"), ["ObjectRemoved:Delete"]),
        (s3_event("bills", "a.csv", name="LifecycleExpiration:Delete"), ["LifecycleExpiration:Delete"]),
        (eventbridge_event("bills", "a.csv", **{"detail-type": "Object Deleted"}), ["Object Deleted"]),
        (eventbridge_event("bills", "a.csv", source="aws.ec2"), ["Object Created"]),
        ({"Type": "SubscriptionConfirmation", "TopicArn": "t", "Token": "x"}, ["SubscriptionConfirmation"]),
        ({"Records": []}, ["no records"]),
        ({"Records": [{"eventSource": "aws:ses"}, 7, None]}, ["foreign record"] * 3),
        ({"Type": "no\x1b[31mise\n"}, ["no[31mise"]),
        ({"hello": "world"}, ["foreign JSON"]),
        ([1, 2], ["JSON list"]),
        ("3", ["JSON int"]),
        ("null", ["JSON NoneType"]),
    ],
)
def test_what_is_nothing_for_us_is_ignored_by_its_name(body: Any, names: list[str]) -> None:
    assert ignored(body) == names


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "\x00\x01",
        '{"Records": [',
        "[" * 100_000,
        '{"a": ' * 50_000,
        "9" * 5_000,
        wrapped_by_sns("plain words"),
        wrapped_by_sns(wrapped_by_sns(wrapped_by_sns(wrapped_by_sns(s3_event("bills", "a.csv"))))),
        json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}]}),
        json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"object": []}}]}),
        s3_event("bills", ""),
        s3_event("", "a.csv"),
        s3_event("bills", "a\x00.csv"),
        s3_event("bills", "a" * 1025),
        eventbridge_event("bills", "\ud800.csv"),
        eventbridge_event("bills", "a.csv", account=""),
        eventbridge_event("bills", "a.csv", detail={"bucket": {"name": 7}, "object": {"key": "a"}}),
        json.dumps({"billfold": "acme"}),
        json.dumps({"billfold": {"client": "acme"}}),
        json.dumps({"billfold": {"client": ["acme"], "key": "a.csv"}}),
        request("acme", ""),
    ],
    ids=lambda body: body[:40],
)
def test_what_cannot_be_understood_is_refused_in_one_line(body: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse_notification(body)

    assert "\n" not in str(caught.value)
    assert not caught.value.retryable
