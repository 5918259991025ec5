"""EventBridge events over HTTP: an API destination sends them, and this route passes them on to the SQS queue.

The request ends when the event is in the queue and reads nothing from S3 (AWS: an API destination waits five seconds
for its answer). The worker treats it like any other event of the queue.

Without a queue, the server's own worker ingests the delivery. Then the request reads the manifest, but no data.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool

from billfold.aws.layout import is_data_file
from billfold.aws.notifications import CreatedObject, parse_notification
from billfold.aws.other_files import kind_of_key
from billfold.aws.queue import open_queue
from billfold.bills.requests import ask
from billfold.clients.registry import find_owner
from billfold.errors import MessageError, SourceError, SourceUnavailableError
from billfold.jobs.intake import mark_pending, starts_delivery
from billfold.log import Event
from billfold.model import Client
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.api.responses import describe_failures
from billfold.web.dependencies import OurDatabase, OurSettings
from billfold.web.error_responses import fail

# AWS: an event of EventBridge has 256 KiB at most.
MAX_EVENT_BYTES = 256 * 2**10

_FAILURES = {
    400: "The Host is not allowed.",
    401: "The secret is missing or wrong.",
    404: "BILLFOLD_EVENTS_SECRET is not set.",
    413: "The event is too large.",
    422: "The body is not an event.",
    503: "PostgreSQL or the queue is not available: try again.",
}

router = APIRouter(prefix="/v1/events")

log = structlog.get_logger(__name__)


@router.post("/eventbridge", status_code=202, responses=describe_failures(_FAILURES))
async def receive_event(
    request: Request, settings: OurSettings, database: OurDatabase, x_billfold_secret: Annotated[str, Header()] = ""
) -> Any:
    """Receive an EventBridge event; without a configured secret the route answers 404, as if it did not exist."""
    if settings.events_secret is None:
        return fail(404, "http", "Not Found")
    if not secrets.compare_digest(x_billfold_secret.encode(), settings.events_secret.encode()):
        log.warning(Event.EVENT_REFUSED, reason="wrong secret")
        return fail(401, "unauthorized", "the header X-Billfold-Secret is missing or wrong")
    body = await _read(request)
    if body is None:
        return fail(413, "too_large", f"an event has at most {MAX_EVENT_BYTES} bytes")
    return await run_in_threadpool(_pass_on, settings, database, body)


def _pass_on(settings: Settings, database: Database, body: bytes) -> dict[str, int]:
    """Pass on the objects of clients. Returns how many objects the event names, and how many it passed on."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise MessageError("the event is not UTF-8 text") from error
    created = parse_notification(text).created
    known = [(owner, each) for each in created if (owner := _find_owner(settings, database, each))]
    if known and settings.queue_url:
        _queue(settings, settings.queue_url, text)
    elif known:
        for owner, each in known:
            _ask(settings, database, owner, each)
    return {"objects": len(created), "accepted": len(known)}


def _queue(settings: Settings, url: str, text: str) -> None:
    try:
        open_queue(url, settings).send(text)
    except SourceError as error:
        # EventBridge must send the event again, for any problem of the queue.
        raise SourceUnavailableError(f"the event cannot be queued: {error}") from error


def _ask(settings: Settings, database: Database, owner: Client, created: CreatedObject) -> None:
    """Do what the queue's worker does with such an event, but leave the delivery to the server's worker."""
    if kind_of_key(created.key):
        log.info(Event.OBJECT_LEFT_OUT, client=owner.client_id, reason="is not a bill")
    elif starts_delivery(created.key):
        ask(owner, created.key, asked_by=created.source, settings=settings, database=database, is_event=True)
    elif is_data_file(created.key):
        mark_pending(owner, created, database)


def _find_owner(settings: Settings, database: Database, created: CreatedObject) -> Client | None:
    """The client whose folder holds the object and whose account sent the event; None if there is no such client."""
    owner = find_owner(database, settings, created.bucket, created.key)
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


async def _read(request: Request) -> bytes | None:
    """The body; None if it is larger than an event can be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_EVENT_BYTES:
            return None
    return bytes(body)
