"""Messages as AWS writes them to a queue, and a queue of the local AWS to which a bucket tells its events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, wraps
from typing import Any
from urllib.parse import quote_plus

from moto.sqs.models import Queue, SQSBackend

from billfold.aws import LocalAws

ACCOUNT = "123456789012"
REGION = "us-east-1"
# SQS may end a poll of an empty queue when it likes; nobody here waits for what another machine sends.
_POLL_SECONDS = 0.2
_LOOK_SECONDS = 0.05


def s3_record(bucket: str, key: str, *, etag: str = "0f1e", name: str = "ObjectCreated:Put", **told: Any) -> Any:
    """One record of S3's; the key is given as it is and form-encoded here, once."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": "2026-05-04T10:00:00.000Z",
        "eventName": name,
        "userIdentity": {"principalId": "AWS:billingreports.amazonaws.com"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "billfold",
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": "A3NL1K"}, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": quote_plus(key, safe="/"), "size": 1024, "eTag": etag, "sequencer": "0055AED6", **told},
        },
    }


def s3_event(bucket: str, key: str, **told: Any) -> str:
    """S3's own message of one created object."""
    return json.dumps({"Records": [s3_record(bucket, key, **told)]})


def eventbridge_event(bucket: str, key: str, *, account: str = ACCOUNT, etag: str = "0f1e", **changed: Any) -> str:
    """EventBridge's message of one created object."""
    event = {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": account,
        "time": "2026-05-04T10:00:00Z",
        "region": REGION,
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": {"key": key, "size": 1024, "etag": etag, "sequencer": "0055AED6"},
            "reason": "PutObject",
        },
        **changed,
    }
    return json.dumps(event)


def wrapped_by_sns(body: str) -> str:
    """The message as SNS delivers it to a queue without raw delivery."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:bills",
            "Subject": "Amazon S3 Notification",
            "Message": body,
            "Timestamp": "2026-05-04T10:00:00.000Z",
            "SignatureVersion": "1",
            "Signature": "EXAMPLE",
        }
    )


def request(client_id: str, key: str) -> str:
    """A message of our own."""
    return json.dumps({"billfold": {"client": client_id, "key": key}})


S3_TEST_EVENT = json.dumps(
    {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": "2014-10-13T15:57:02.089Z",
        "Bucket": "bills",
        "RequestId": "5582815E1AEA5ADF",
        "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
    }
)


@cache
def _make_queues_exact() -> None:
    """moto's threads undo each other's work: a deletion copies the messages that are left, and what another one deletes
    or sends meanwhile comes back or is lost; a receive that meets one fails and leaves its messages hidden. Not so SQS.
    """
    delete = Queue.delete_message

    @wraps(delete)
    def delete_alone(queue: Queue, receipt_handle: str) -> None:
        with queue._messages_lock:
            delete(queue, receipt_handle)

    def list_groups(queue: Queue) -> set[str]:
        return {message.group_id for message in list(queue._pending_messages) if message.group_id is not None}

    Queue.delete_message = delete_alone
    Queue.pending_message_groups = property(list_groups)


@cache
def _make_polls_short() -> None:
    """A poll of an empty queue ends soon, and sees soon what is no longer hidden: moto looks once in a second."""
    receive, wait = SQSBackend.receive_message, Queue.wait_for_messages

    @wraps(receive)
    def receive_soon(backend: SQSBackend, name: str, count: int, wait_seconds: float, *others: Any) -> Any:
        return receive(backend, name, count, min(wait_seconds, _POLL_SECONDS), *others)

    SQSBackend.receive_message = receive_soon
    Queue.wait_for_messages = lambda queue, _: wait(queue, _LOOK_SECONDS)


class Mailbox:
    """A queue with a dead-letter queue in the local AWS, as our account's template makes them."""

    def __init__(self, aws: LocalAws, name: str = "events", *, has_dead_letters: bool = True) -> None:
        _make_queues_exact()
        _make_polls_short()
        self._sqs = aws.client("sqs")
        self._s3 = aws.client("s3")
        attributes = {"VisibilityTimeout": "60"}
        self.dead_letter_url = ""
        if has_dead_letters:
            self.dead_letter_url = self._sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
            target = self._attribute(self.dead_letter_url, "QueueArn")
            attributes["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": 1000})
        self.url: str = self._sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.arn = self._attribute(self.url, "QueueArn")

    def listen_to(self, bucket: str, prefix: str = "") -> None:
        """S3 tells this queue of every object that is created in the bucket; it begins with a test event."""
        rule = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
        self._s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": self.arn, "Events": ["s3:ObjectCreated:*"], "Filter": rule}]
            },
        )

    def send(self, *bodies: str) -> None:
        for start in range(0, len(bodies), 10):
            entries = [
                {"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies[start : start + 10])
            ]
            self._sqs.send_message_batch(QueueUrl=self.url, Entries=entries)

    def receive(self, *, hide_seconds: int = 60) -> list[dict[str, Any]]:
        """Up to ten messages as boto3 gives them."""
        answer = self._sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=hide_seconds,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    def dead_letters(self) -> list[dict[str, Any]]:
        """The dead letters: body, and the attributes that tell why."""
        answer = self._sqs.receive_message(
            QueueUrl=self.dead_letter_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=0
        )
        return [
            {
                "body": message["Body"],
                **{name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()},
            }
            for message in answer.get("Messages", [])
        ]

    def counts(self) -> tuple[int, int]:
        """How many messages wait, and how many are hidden: at one moment, or one that comes back would be neither."""
        attributes = self._attributes(self.url)
        return (
            int(attributes["ApproximateNumberOfMessages"]),
            int(attributes["ApproximateNumberOfMessagesNotVisible"]),
        )

    def _attribute(self, url: str, name: str) -> str:
        return str(self._attributes(url)[name])

    def _attributes(self, url: str) -> Mapping[str, Any]:
        answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return dict(answer["Attributes"])
