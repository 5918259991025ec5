"""EventBridge's events by HTTP: an API destination sends them, and they go on through the worker's queue.

The request ends when the event is in the queue: nothing is read from S3 meanwhile (AWS: an API destination waits five
seconds for its answer). What the worker decides of an event from the queue it decides of this one too.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool

from billfold.clients import find_owner
from billfold.config import Settings
from billfold.errors import ConfigurationError, MessageError, SourceError, SourceUnavailableError
from billfold.exports.notifications import CreatedObject, parse_notification
from billfold.exports.queue import open_queue
from billfold.store.database import Database
from billfold.web.statuses import tell_failure

# AWS: an event of EventBridge has 256 KiB at most.
MAX_EVENT_BYTES = 256 * 2**10

log = structlog.get_logger(__name__)


def make_router(settings: Settings, database: Database) -> APIRouter:
    """The routes for events; without a secret they answer 404, as if there were none."""
    router = APIRouter(prefix="/v1/events")

    @router.post("/eventbridge", status_code=202)
    async def take_event(request: Request, x_billfold_secret: Annotated[str, Header()] = "") -> Any:
        if settings.events_secret is None:
            return tell_failure(404, "http", "Not Found")
        if not secrets.compare_digest(x_billfold_secret.encode(), settings.events_secret.encode()):
            log.warning("event_refused", reason="wrong secret")
            return tell_failure(401, "unauthorized", "the header X-Billfold-Secret is missing or wrong")
        body = await _read(request)
        if body is None:
            return tell_failure(413, "too_large", f"an event has {MAX_EVENT_BYTES} bytes at most")
        return await run_in_threadpool(_pass_on, settings, database, body)

    return router


def _pass_on(settings: Settings, database: Database, body: bytes) -> dict[str, int]:
    """Into the queue with it, if anything of it is a client's; how many objects it names, and how many of them are."""
    if settings.queue_url is None:
        raise ConfigurationError("BILLFOLD_QUEUE_URL is not set: events by HTTP go through the worker's queue")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise MessageError("the event is not UTF-8 text") from error
    created = parse_notification(text).created
    known = [each for each in created if _is_clients(settings, database, each)]
    if known:
        try:
            open_queue(settings.queue_url, settings).send(text)
        except SourceError as error:
            # Whatever is wrong with the queue, the event must come again.
            raise SourceUnavailableError(f"the event cannot be queued: {error}") from error
    return {"objects": len(created), "accepted": len(known)}


def _is_clients(settings: Settings, database: Database, created: CreatedObject) -> bool:
    """Whether the object lies in the folder of a client whose account sent the event."""
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
    if reason:
        log.warning("event_refused", reason=reason, bucket=created.bucket, key=created.key, account=created.account_id)
    return reason is None


async def _read(request: Request) -> bytes | None:
    """The body; None where it is larger than an event can be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_EVENT_BYTES:
            return None
    return bytes(body)
