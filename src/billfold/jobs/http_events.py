"""EventBridge events that arrive over HTTP: they go to the SQS queue, or wait in PostgreSQL if there is none.

With a queue, its worker treats such an event like any other. Without one, the manifest is read at once and the delivery
waits for a worker of the server.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from billfold.app import Billfold
from billfold.aws.layout import is_data_file
from billfold.aws.notifications import CreatedObject, parse_notification
from billfold.aws.other_files import kind_of_key
from billfold.aws.queue import open_queue
from billfold.errors import MessageError, SourceError, SourceUnavailableError
from billfold.jobs.arrival import mark_pending, starts_delivery
from billfold.log import Event
from billfold.model import Client
from billfold.settings import Settings
from billfold.store.database import connect

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """How many objects the event names, and how many of them belong to a client and were passed on."""

    objects: int
    accepted: int


def receive_event(billfold: Billfold, body: bytes) -> ReceivedEvent:
    """Pass on the objects of clients that an event names.

    Raises MessageError for a body that is not an event, and SourceUnavailableError if it cannot be queued.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise MessageError("the event is not UTF-8 text") from error
    created = parse_notification(text).created
    known = [(owner, each) for each in created if (owner := _find_owner(billfold, each))]
    if known and billfold.settings.queue_url:
        _queue(billfold.settings, billfold.settings.queue_url, text)
    elif known:
        for owner, each in known:
            _request(billfold, owner, each)
    return ReceivedEvent(objects=len(created), accepted=len(known))


def _queue(settings: Settings, url: str, text: str) -> None:
    try:
        open_queue(url, settings).send(text)
    except SourceError as error:
        # EventBridge must send the event again, for any problem of the queue.
        raise SourceUnavailableError(f"the event cannot be queued: {error}") from error


def _request(billfold: Billfold, owner: Client, created: CreatedObject) -> None:
    """Do what the queue's worker does with such an event, but leave the delivery to the server's worker."""
    if kind_of_key(created.key):
        log.info(Event.OBJECT_LEFT_OUT, client=owner.client_id, reason="is not a bill")
    elif starts_delivery(created.key):
        billfold.requests.ingest(created.key, client=owner, trigger=created.source, is_event=True)
    elif is_data_file(created.key):
        with connect(billfold.database.conninfo) as connection:
            mark_pending(connection, owner, created)


def _find_owner(billfold: Billfold, created: CreatedObject) -> Client | None:
    """The client whose folder contains the object and whose account sent the event; None if there is none."""
    owner = billfold.clients.find_owner(created.bucket, created.key)
    reason = (
        "not in any client's folder"
        if owner is None
        else "the client is disabled"
        if not owner.enabled
        else "sent by another account"
        if created.account_id is None or created.account_id != owner.account_id
        else None
    )
    if reason is None:
        return owner
    log.warning(Event.EVENT_REFUSED, reason=reason, bucket=created.bucket, key=created.key, account=created.account_id)
    return None
