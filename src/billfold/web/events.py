"""EventBridge's events by HTTP: an API destination sends them, and they go on through the worker's queue.

The request ends when the event is in the queue: nothing is read from S3 meanwhile (AWS: an API destination waits five
seconds for its answer). What the worker decides of an event from the queue it decides of this one too.

Without a queue the server's own worker takes them up. Then the request reads the manifest and no data.
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
from billfold.bills.requests import request
from billfold.clients.registry import find_owner
from billfold.errors import MessageError, SourceError, SourceUnavailableError
from billfold.jobs.intake import mark_pending, starts_delivery
from billfold.model import Client
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.api.responses import describe_failures
from billfold.web.statuses import tell_failure

# AWS: an event of EventBridge has 256 KiB at most.
MAX_EVENT_BYTES = 256 * 2**10

_FAILURES = {
    400: "The Host is not allowed.",
    401: "The secret is missing or wrong.",
    404: "BILLFOLD_EVENTS_SECRET is not set.",
    413: "It is too large.",
    422: "It is no event.",
    503: "PostgreSQL or the queue does not answer: try again.",
}

log = structlog.get_logger(__name__)


def make_router(settings: Settings, database: Database) -> APIRouter:
    """The routes for events; without a secret they answer 404, as if there were none."""
    router = APIRouter(prefix="/v1/events")

    @router.post("/eventbridge", status_code=202, responses=describe_failures(_FAILURES))
    async def take_event(request: Request, x_billfold_secret: Annotated[str, Header()] = "") -> Any:
        if settings.events_secret is None:
            return tell_failure(404, "http", "Not Found")
        if not secrets.compare_digest(x_billfold_secret.encode(), settings.events_secret.encode()):
            log.warning("event_refused", reason="wrong secret")
            return tell_failure(401, "unauthorized", "the header X-Billfold-Secret is missing or wrong")
        body = await _read(request)
        if body is None:
            return tell_failure(413, "too_large", f"an event has {MAX_EVENT_BYTES} bytes at most")
        return await run_in_threadpool(_take, settings, database, body)

    return router


def _take(settings: Settings, database: Database, body: bytes) -> dict[str, int]:
    """Hand on what is a client's; how many objects the event names, and how many of them are."""
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
        # Whatever is wrong with the queue, the event must come again.
        raise SourceUnavailableError(f"the event cannot be queued: {error}") from error


def _ask(settings: Settings, database: Database, owner: Client, created: CreatedObject) -> None:
    """What the worker of a queue does with such an event, but that the delivery waits for the server's worker."""
    if kind_of_key(created.key):
        log.info("object_left_out", client=owner.client_id, reason="is not a bill")
    elif starts_delivery(created.key):
        request(owner, created.key, requested_by=created.source, settings=settings, database=database, is_event=True)
    elif is_data_file(created.key):
        mark_pending(owner, created, database)


def _find_owner(settings: Settings, database: Database, created: CreatedObject) -> Client | None:
    """The client in whose folder the object lies, and whose account sent the event; None for anybody else's."""
    owner = find_owner(database, settings, created.bucket, created.key)
    reason = (
        "nobody's bucket and folder"
        if owner is None
        else "disabled client"
        if not owner.enabled
        else "another account than the client's"
        if created.account_id is None or created.account_id != owner.account_id
        else None
    )
    if reason is None:
        return owner
    log.warning("event_refused", reason=reason, bucket=created.bucket, key=created.key, account=created.account_id)
    return None


async def _read(request: Request) -> bytes | None:
    """The body; None where it is larger than an event can be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_EVENT_BYTES:
            return None
    return bytes(body)
