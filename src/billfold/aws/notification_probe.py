"""Doctor's probe of a bucket's notifications: where it announces new manifests in the client's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from billfold.aws.layout import is_manifest
from billfold.model import Client, Probe, ProbeState

_NAME = "notification"
# The end of each manifest's name. A filter is case-sensitive.
_MANIFEST = "Manifest.json"


def judge_notification(answer: Mapping[str, Any], client: Client, queue_url: str | None) -> Probe:
    """What S3's answer to GetBucketNotificationConfiguration means for the client.

    `queue_url` is the worker's queue, None if no worker runs here.
    """
    if "EventBridgeConfiguration" in answer:
        return Probe(
            name=_NAME,
            state=ProbeState.OK,
            found="the bucket sends events to EventBridge, whose rules cannot be seen here",
        )
    targets = [
        str(entry.get("QueueArn") or entry.get("TopicArn"))
        for kind in ("QueueConfigurations", "TopicConfigurations")
        for entry in answer.get(kind, ())
        if _announces(entry, client.prefix)
    ]
    if not targets:
        return Probe(
            name=_NAME,
            state=ProbeState.WARNING,
            found="the bucket does not announce new manifests in the folder: deliveries come in when"
            " `billfold schedule` looks",
            fix=f"deploy the template of `billfold onboard --client {client.client_id}`",
        )
    found = f"new objects are announced to {targets[0]}"
    if queue_url is None:
        return Probe(name=_NAME, state=ProbeState.OK, found=found)
    ours = [target for target in targets if _is_queue(target, queue_url)]
    if ours:
        return Probe(name=_NAME, state=ProbeState.OK, found=f"new objects are announced to {ours[0]}")
    return Probe(
        name=_NAME,
        state=ProbeState.UNKNOWN,
        found=f"{found}, which is not the queue of BILLFOLD_QUEUE_URL",
        fix=f"make sure that {targets[0]} forwards events to {queue_url}, or correct BILLFOLD_QUEUE_URL",
    )


def _announces(entry: Mapping[str, Any], prefix: str) -> bool:
    """Whether a notification covers every manifest that is created below the prefix."""
    is_of_creation = any(event.startswith("s3:ObjectCreated:") for event in entry.get("Events", ()))
    rules = [
        # Values are URL-encoded (AWS: "Configuring event notifications using object key name filtering").
        (str(rule.get("Name", "")).lower(), unquote_plus(str(rule.get("Value", ""))))
        for rule in entry.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    ]
    return is_of_creation and all(
        prefix.startswith(value) if name == "prefix" else _may_end_manifest(value) for name, value in rules
    )


def _may_end_manifest(suffix: str) -> bool:
    return _MANIFEST.endswith(suffix) or (suffix.endswith(_MANIFEST) and is_manifest(suffix))


def _is_queue(target: str, queue_url: str) -> bool:
    """Whether an ARN names the queue at a URL: both end with its name, which a topic may share."""
    name = urlsplit(queue_url).path.rstrip("/").rpartition("/")[2]
    return target.split(":")[2:3] == ["sqs"] and target.rpartition(":")[2] == name
