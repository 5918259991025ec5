"""An SQS queue and its messages. It is read with Billfold's own credentials, never a client's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import boto3

from billfold.aws.aws_errors import translated
from billfold.aws.credentials import aws_client, open_own_session
from billfold.settings import Settings

# AWS: a receive returns ten messages at most, and waits 20 seconds at most.
MAX_MESSAGES = 10
MAX_WAIT_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """What a sender attached to a message: bytes where `data_type` is Binary, else text (AWS: "message attributes").

    A type may have a label from the sender, as in `Number.int`.
    """

    value: str | bytes
    data_type: str = "String"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as one receive returned it: `receipt` is valid for that receive only, `attributes` are the sender's."""

    message_id: str
    receipt: str
    body: str
    receive_count: int = 1
    sent_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """How many messages wait and are in progress, and where the queue sends those that were received too often."""

    arn: str
    waiting_count: int
    hidden_count: int
    dead_letter_arn: str | None
    max_receive_count: int | None


class Queue:
    """One queue. Every call raises SourceError, or SourceUnavailableError if it may succeed later."""

    def __init__(self, url: str, sqs: Any) -> None:
        self.url = url
        self._sqs = sqs

    def receive(
        self, *, max_messages: int = MAX_MESSAGES, wait_seconds: int = MAX_WAIT_SECONDS, hide_seconds: int
    ) -> Sequence[Message]:
        """The next messages, hidden from others for this time; empty if none came while waiting."""
        with self._translated("sqs:ReceiveMessage"):
            answer = self._sqs.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=max_messages,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=hide_seconds,
                AttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                MessageAttributeNames=["All"],
            )
        return [_message(entry) for entry in answer.get("Messages", ())]

    def delete(self, message: Message) -> None:
        """Delete the message."""
        with self._translated("sqs:DeleteMessage"):
            self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message.receipt)

    def hide(self, message: Message, seconds: int) -> None:
        """Hide the message from now on; 0 shows it at once. SQS allows 12 hours from its receipt."""
        with self._translated("sqs:ChangeMessageVisibility"):
            self._sqs.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=message.receipt, VisibilityTimeout=seconds
            )

    def send(self, body: str, attributes: Mapping[str, str | Attribute] | None = None) -> str:
        """A new message with this body, each attribute as it was received or as text; returns its id."""
        with self._translated("sqs:SendMessage"):
            answer = self._sqs.send_message(
                QueueUrl=self.url,
                MessageBody=body,
                MessageAttributes={name: _spell_attribute(value) for name, value in (attributes or {}).items()},
            )
        return str(answer["MessageId"])

    def describe(self) -> QueueState:
        """The queue's attributes; counts are approximate."""
        with self._translated("sqs:GetQueueAttributes"):
            said = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        redrive = json.loads(said["RedrivePolicy"]) if said.get("RedrivePolicy") else {}
        return QueueState(
            arn=said["QueueArn"],
            waiting_count=int(said.get("ApproximateNumberOfMessages", 0)),
            hidden_count=int(said.get("ApproximateNumberOfMessagesNotVisible", 0)),
            dead_letter_arn=redrive.get("deadLetterTargetArn"),
            max_receive_count=int(redrive["maxReceiveCount"]) if "maxReceiveCount" in redrive else None,
        )

    def open_dead_letters(self) -> Queue | None:
        """The queue that this one's redrive policy names, None without one."""
        arn = self.describe().dead_letter_arn
        if arn is None:
            return None
        return _find_queue(arn, self._sqs)

    def _translated(self, permission: str) -> Any:
        return translated(f"queue {self.url}", permission=permission)


def open_queue(url: str, settings: Settings, *, timeout_seconds: int | None = None) -> Queue:
    """The queue at this URL, in the region that the URL names, else the settings'."""
    return Queue(url, aws_client(open_session_of(url, settings), "sqs", settings, timeout_seconds=timeout_seconds))


def open_session_of(url: str, settings: Settings) -> boto3.Session:
    """Billfold's own session in the region of the queue at this URL."""
    with translated("the AWS configuration", permission="none"):
        return open_own_session(_region_of(url) or settings.region)


def open_queue_by_arn(arn: str, settings: Settings) -> Queue:
    """The queue of this ARN, in the region that it names."""
    with translated("the AWS configuration", permission="none"):
        session = open_own_session(arn.split(":")[3])
    return _find_queue(arn, aws_client(session, "sqs", settings))


def _find_queue(arn: str, sqs: Any) -> Queue:
    account, name = arn.split(":")[4:6]
    with translated(f"queue {arn}", permission="sqs:GetQueueUrl"):
        answer = sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
    return Queue(str(answer["QueueUrl"]), sqs)


def _region_of(url: str) -> str | None:
    """The region in `https://sqs.<region>.amazonaws.com/<account>/<name>`."""
    parts = (urlsplit(url).hostname or "").split(".")
    return parts[1] if len(parts) > 2 and parts[0] == "sqs" else None


def _message(entry: Mapping[str, Any]) -> Message:
    said = entry.get("Attributes", {})
    sent = said.get("SentTimestamp")
    return Message(
        message_id=entry["MessageId"],
        receipt=entry["ReceiptHandle"],
        body=entry["Body"],
        receive_count=int(said.get("ApproximateReceiveCount", 1)),
        sent_at=datetime.fromtimestamp(int(sent) / 1000, UTC) if sent else datetime.now(UTC),
        attributes={name: _read_attribute(value) for name, value in entry.get("MessageAttributes", {}).items()},
    )


def _read_attribute(entry: Mapping[str, Any]) -> Attribute:
    value = entry["BinaryValue"] if "BinaryValue" in entry else entry.get("StringValue", "")
    return Attribute(value=value, data_type=entry["DataType"])


def _spell_attribute(given: str | Attribute) -> dict[str, Any]:
    attribute = Attribute(value=given) if isinstance(given, str) else given
    name = "BinaryValue" if isinstance(attribute.value, bytes) else "StringValue"
    return {"DataType": attribute.data_type, name: attribute.value}
