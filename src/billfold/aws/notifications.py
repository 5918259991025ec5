"""What a queue message says: which objects were created, or which key a user requests.

Sources: "Event message structure" and "EventBridge event structure" in the guide of Amazon S3, "Parsing message
formats" in the guide of Amazon SNS. Other messages are recognized, so that they are deleted and never come again.

    S3        {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {…}}]}, keys form-encoded
    SNS       {"Type": "Notification", "Message": "<one of the others as text>"}; raw delivery sends only the text
    events    {"source": "aws.s3", "detail-type": "Object Created", "account": …, "detail": {…}}, keys as they are
    our own   {"billfold": {"client": "acme", "key": "exports/acme/…-Manifest.json"}}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from billfold.aws.foreign_json import UnreadableJsonError, read_json
from billfold.aws.keys import MAX_KEY_BYTES, is_clean
from billfold.aws.layout import decode_event_key
from billfold.errors import MessageError
from billfold.model import TriggerSource
from billfold.period import BillingPeriod

# An EventBridge event may come through a topic, and that topic's message through another; more is never needed.
_MAX_ENVELOPES = 3
_CREATED = "ObjectCreated:"
_CREATED_BY_EVENTBRIDGE = "Object Created"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedObject:
    """A created object, according to its event, which may be old, repeated or forged.

    `key` is decoded. `etag`, if known, has no quotes. `account_id` is the event's: EventBridge guarantees it, and an
    event that S3 sends to a queue has none. `sequencer` orders the events of one key.
    """

    bucket: str
    key: str
    source: TriggerSource
    etag: str | None = None
    size_bytes: int | None = None
    sequencer: str | None = None
    account_id: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Billfold's own message: read this key as this client. `source` is who requested it.

    `month` is the billing period that a user gave for a file that names none.
    """

    client_id: str
    key: str
    source: TriggerSource = TriggerSource.SQS
    month: BillingPeriod | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """The content of one message; `ignored` names the parts that Billfold does not use, such as `s3:TestEvent`."""

    created: tuple[CreatedObject, ...] = ()
    requests: tuple[Request, ...] = ()
    ignored: tuple[str, ...] = ()


def parse_notification(body: str) -> Notification:
    """The content of a message's body. JSON that is not an S3 event is ignored, with a name for the log.

    Raises MessageError for a body that is not JSON, and for an event or request that lacks its subject.
    """
    return _parse(_load(body), envelopes=0)


def format_event(created: CreatedObject) -> str:
    """S3's notification of this object alone, as `parse_notification` reads it."""
    record = {
        "eventSource": "aws:s3",
        "eventName": f"{_CREATED}Put",
        "awsRegion": created.region,
        "s3": {
            "bucket": {"name": created.bucket},
            "object": {
                "key": quote_plus(created.key, safe="/"),
                "size": created.size_bytes,
                "eTag": created.etag,
                "sequencer": created.sequencer,
            },
        },
    }
    return json.dumps({"Records": [record]})


def _load(text: str) -> Any:
    try:
        return read_json(text)
    except UnreadableJsonError as error:
        raise MessageError(
            f"the message {error.reason}", advice="neither Billfold nor AWS sends such a message"
        ) from error


def _parse(document: Any, *, envelopes: int) -> Notification:
    if not isinstance(document, dict):
        return Notification(ignored=(f"JSON {type(document).__name__}",))
    if "billfold" in document:
        return Notification(requests=(_request(document["billfold"]),))
    if isinstance(document.get("Records"), list):
        return _parse_records(document["Records"])
    if document.get("Event") == "s3:TestEvent":
        return Notification(ignored=("s3:TestEvent",))
    if "detail-type" in document and "source" in document:
        return _parse_event(document)
    if document.get("Type") == "Notification" and "TopicArn" in document and isinstance(document.get("Message"), str):
        if envelopes == _MAX_ENVELOPES:
            raise MessageError(f"the message is wrapped more than {_MAX_ENVELOPES} times")
        return _parse(_load(document["Message"]), envelopes=envelopes + 1)
    return Notification(ignored=(_name(document.get("Type"), "foreign JSON"),))


def _parse_records(records: list[Any]) -> Notification:
    created: list[CreatedObject] = []
    ignored: list[str] = [] if records else ["no records"]
    for record in records:
        source = record.get("eventSource") if isinstance(record, dict) else None
        name = str(record.get("eventName", "")).removeprefix("s3:") if source == "aws:s3" else ""
        if name.startswith(_CREATED):
            created.append(_created_by_s3(record))
        else:
            ignored.append(_name(name, "foreign record"))
    return Notification(created=tuple(created), ignored=tuple(ignored))


def _created_by_s3(record: Mapping[str, Any]) -> CreatedObject:
    of_event = _inside(record, "s3", "object")
    return CreatedObject(
        bucket=_text(_inside(record, "s3", "bucket"), "name"),
        key=_key(decode_event_key(_text(of_event, "key"))),
        source=TriggerSource.SQS,
        etag=_etag(of_event.get("eTag")),
        size_bytes=_size(of_event.get("size")),
        sequencer=_optional(of_event.get("sequencer")),
        region=_optional(record.get("awsRegion")),
    )


def _parse_event(event: Mapping[str, Any]) -> Notification:
    if event["source"] != "aws.s3" or event["detail-type"] != _CREATED_BY_EVENTBRIDGE:
        return Notification(ignored=(_name(event["detail-type"], "foreign event"),))
    of_event = _inside(event, "detail", "object")
    created = CreatedObject(
        bucket=_text(_inside(event, "detail", "bucket"), "name"),
        key=_key(_text(of_event, "key")),
        source=TriggerSource.EVENTBRIDGE,
        etag=_etag(of_event.get("etag")),
        size_bytes=_size(of_event.get("size")),
        sequencer=_optional(of_event.get("sequencer")),
        # Without an account, nothing shows whether the bucket's owner sent it.
        account_id=_text(event, "account"),
        region=_optional(event.get("region")),
    )
    return Notification(created=(created,))


def _request(request: Any) -> Request:
    if not isinstance(request, dict):
        raise MessageError('the request is not an object such as {"client": …, "key": …}')
    return Request(client_id=_text(request, "client"), key=_key(_text(request, "key")))


def _inside(document: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    found: Any = document
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise MessageError(f"the event has no {'.'.join(names)}")
    return found


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value or not is_clean(value):
        raise MessageError(f"the event's {name} is missing or not valid text")
    return value


def _key(key: str) -> str:
    if not is_clean(key) or len(key.encode()) > MAX_KEY_BYTES:
        raise MessageError("the event's key is not a possible S3 key")
    return key


def _etag(value: Any) -> str | None:
    etag = (_optional(value) or "").strip('"')
    return etag or None


def _optional(value: Any) -> str | None:
    return value if isinstance(value, str) and value and is_clean(value) else None


def _size(value: Any) -> int | None:
    # In JSON a size may be 5.0 or true; the size in the bucket is what counts.
    return value if type(value) is int and 0 <= value < 2**63 else None


def _name(value: Any, otherwise: str) -> str:
    """A short name for the log, from outside text."""
    return "".join(_printable(str(value)))[:80] if isinstance(value, str) and value else otherwise


def _printable(text: str) -> Iterator[str]:
    return (character for character in text if character.isprintable())
