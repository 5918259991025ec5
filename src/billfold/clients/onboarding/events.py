"""How a client's bucket reports new objects: a notification to our queue, or a rule for our event bus."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from billfold.errors import UsageError
from billfold.model import Client, Notify

_MAX_RULE_NAME = 64


# The accepted ARNs, and how another is rejected. S3 does not send to FIFO queues.
_ARNS = {
    Notify.SQS: (
        re.compile(r"arn:(aws[a-z-]*):sqs:([a-z0-9-]+):(\d{12}):[\w-]{1,80}", re.ASCII),
        "arn:aws:sqs:<region>:<12 digits>:<name> of a standard queue, not a FIFO queue",
    ),
    Notify.EVENTBRIDGE: (
        re.compile(r"arn:(aws[a-z-]*):events:([a-z0-9-]+):(\d{12}):event-bus/[\w./-]{1,256}", re.ASCII),
        "arn:aws:events:<region>:<12 digits>:event-bus/<name>",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Our queue, or our event bus, by its ARN."""

    notify: Notify
    arn: str


def check(client: Client, destination: Destination, our_account_id: str) -> None:
    """Raise UsageError for a destination of another account, or one that the client's bucket cannot reach."""
    pattern, expected = _ARNS[destination.notify]
    found = pattern.fullmatch(destination.arn)
    if found is None:
        raise UsageError(f"{destination.arn!r} is not a destination of {destination.notify}: expected {expected}")
    partition, region, account = found.groups()
    if account != our_account_id:
        raise UsageError(
            f"{destination.arn} is in account {account}, not in ours, {our_account_id}",
            advice="no other account may learn of the client's objects",
        )
    if partition != _partition(client):
        raise UsageError(f"{destination.arn} is in partition {partition}, the client in {_partition(client)}")
    if destination.notify is Notify.SQS and region != client.region:
        raise UsageError(
            f"the bucket is in {client.region} and the queue in {region}: S3 notifies only queues of its own region",
            advice="use --notify eventbridge, which crosses regions",
        )


def of_new_bucket(client: Client, destination: Destination | None) -> Mapping[str, Any]:
    """The notification of a bucket that the template creates, in CloudFormation's words."""
    if destination is None:
        return {}
    if destination.notify is Notify.EVENTBRIDGE:
        return {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
    return {
        "QueueConfigurations": [
            {
                "Event": "s3:ObjectCreated:*",
                "Queue": destination.arn,
                "Filter": {"S3Key": {"Rules": [{"Name": "prefix", "Value": _filter_value(client)}]}},
            }
        ]
    }


def of_existing_bucket(client: Client, destination: Destination) -> Mapping[str, Any]:
    """The same in the words of S3's API: CloudFormation changes only buckets that it created."""
    if destination.notify is Notify.EVENTBRIDGE:
        return {"EventBridgeConfiguration": {}}
    rules = [{"Name": "prefix", "Value": _filter_value(client)}]
    return {
        "QueueConfigurations": [
            {
                "Id": f"billfold-{client.client_id}",
                "QueueArn": destination.arn,
                "Events": ["s3:ObjectCreated:*"],
                **({"Filter": {"Key": {"FilterRules": rules}}} if client.prefix else {}),
            }
        ]
    }


def rule(client: Client, event_bus_arn: str) -> dict[str, Any]:
    """Resources of a template: the rule that forwards the folder's events to us, and the role that allows it.

    EventBridge sees a bucket's objects once the bucket sends it its events (`of_new_bucket`, `of_existing_bucket`).
    """
    name = f"billfold-{client.client_id}"[:_MAX_RULE_NAME]
    arn = f"arn:{_partition(client)}:events:{client.region}:{client.account_id}:rule/{name}"
    detail: dict[str, Any] = {"bucket": {"name": [client.bucket]}}
    if client.prefix:
        detail["object"] = {"key": [{"prefix": client.prefix}]}
    return {
        "EventsRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "Description": "Lets EventBridge report new billing exports to Billfold",
                "AssumeRolePolicyDocument": _allow(
                    Principal={"Service": "events.amazonaws.com"},
                    Action="sts:AssumeRole",
                    Condition={
                        "StringEquals": {"aws:SourceAccount": client.account_id},
                        "ArnEquals": {"aws:SourceArn": arn},
                    },
                ),
                "Policies": [
                    {
                        "PolicyName": "billfold-events",
                        "PolicyDocument": _allow(Action="events:PutEvents", Resource=event_bus_arn),
                    }
                ],
            },
        },
        "EventsRule": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "Name": name,
                "Description": "Reports new billing exports to Billfold",
                "EventPattern": {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": detail},
                "State": "ENABLED",
                "Targets": [{"Id": "billfold", "Arn": event_bus_arn, "RoleArn": {"Fn::GetAtt": ["EventsRole", "Arn"]}}],
            },
        },
    }


def _filter_value(client: Client) -> str:
    """The prefix as S3's filters spell it (AWS: "Configuring event notifications using object key name filtering")."""
    return quote_plus(client.prefix, safe="/")


def _partition(client: Client) -> str:
    assert client.role_arn is not None
    return client.role_arn.split(":")[1]


def _allow(**statement: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}
