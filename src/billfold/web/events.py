"""EventBridge events over HTTP: an API destination of EventBridge sends them.

AWS: an API destination waits five seconds for its answer, so the request only passes the event on.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool

from billfold.jobs.http_events import ReceivedEvent
from billfold.jobs.http_events import receive_event as pass_on
from billfold.log import Event
from billfold.web.api.responses import describe_failures
from billfold.web.dependencies import OurBillfold
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


@router.post("/eventbridge", status_code=202, response_model=None, responses=describe_failures(_FAILURES))
async def receive_event(
    request: Request, billfold: OurBillfold, x_billfold_secret: Annotated[str, Header()] = ""
) -> Any:
    """Receive an EventBridge event; without a configured secret the route answers 404, as if it did not exist."""
    secret = billfold.settings.events_secret
    if secret is None:
        return fail(404, "http", "Not Found")
    if not secrets.compare_digest(x_billfold_secret.encode(), secret.encode()):
        log.warning(Event.EVENT_REFUSED, reason="wrong secret")
        return fail(401, "unauthorized", "the header X-Billfold-Secret is missing or wrong")
    body = await _read(request)
    if body is None:
        return fail(413, "too_large", f"an event has at most {MAX_EVENT_BYTES} bytes")
    received: ReceivedEvent = await run_in_threadpool(pass_on, billfold, body)
    return {"objects": received.objects, "accepted": received.accepted}


async def _read(request: Request) -> bytes | None:
    """The body; None if it is larger than an event can be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_EVENT_BYTES:
            return None
    return bytes(body)
