"""The routes that request work: ingest a key, retry a failed delivery, release a held one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID

from fastapi import HTTPException, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from billfold.app import Billfold
from billfold.app.values import MAX_KEY_BYTES, RequestedDelivery
from billfold.documents import report_document
from billfold.errors import UsageError
from billfold.web.access import Access, IngestAccess
from billfold.web.api.parameters import TEXT_PATTERN
from billfold.web.api.responses import (
    FAILURES,
    answer,
    describe_failures,
    describe_success,
    not_found,
    schema_of_row,
)
from billfold.web.api.routers import make_router
from billfold.web.dependencies import OurBillfold

router = make_router("deliveries")

_DELIVERY = schema_of_row(RequestedDelivery)
_DELIVERIES = {
    "type": "object",
    "required": ["deliveries"],
    "properties": {"deliveries": {"type": "array", "minItems": 1, "items": _DELIVERY}},
}
_WAITING = "The delivery waits for a worker: `Location` shows its state."
_INGESTION_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: describe_success("All of it is ingested already: nothing was requested.", _DELIVERIES),
    202: describe_success(_WAITING, _DELIVERIES),
    **describe_failures(
        {
            **FAILURES,
            400: "The client is disabled or has no bucket, the folder holds more than one request may ask for, or"
            " the Host is not allowed.",
            403: "The token is for another client or lacks the scope, or the key is outside the client's folder.",
            404: "The client does not exist, or there is no bill at the key.",
            413: "The manifest is too large.",
            422: "The body is not valid, or the manifest cannot be read.",
            502: "AWS denies access to the bucket.",
            503: "PostgreSQL or S3 is not available, or AWS is still writing the delivery: try again.",
        }
    ),
}
_RETRY_RESPONSES: dict[int | str, dict[str, Any]] = {
    202: describe_success(_WAITING, _DELIVERY),
    **describe_failures({**FAILURES, 409: "The delivery did not fail, or its files can no longer be read."}),
}
_RELEASE_RESPONSES: dict[int | str, dict[str, Any]] = {
    202: describe_success(_WAITING, _DELIVERY),
    **describe_failures({**FAILURES, 409: "The delivery is not held, or its files can no longer be read."}),
}


def _check_key(key: str) -> str:
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"an S3 key has at most {MAX_KEY_BYTES} bytes")
    return key


class IngestionRequest(BaseModel):
    """A manifest, a data file or a folder in the client's bucket."""

    model_config = ConfigDict(extra="forbid")

    client: Annotated[
        str | None,
        Field(max_length=1_000, pattern=TEXT_PATTERN, description="Default: the token's client or BILLFOLD_CLIENT."),
    ] = None
    month: Annotated[
        str | None,
        Field(
            pattern=r"^\d{4}-(0[1-9]|1[0-2])$",
            description="The billing period (YYYY-MM) of a single file that does not name one itself.",
        ),
    ] = None
    key: Annotated[str, Field(min_length=1, max_length=MAX_KEY_BYTES, pattern=TEXT_PATTERN), AfterValidator(_check_key)]


@router.post("/ingestions", status_code=202, responses=_INGESTION_RESPONSES)
def request_ingestion(billfold: OurBillfold, access: IngestAccess, wanted: IngestionRequest) -> Response:
    """Ingest a key of the client's bucket in the background.

    The request reads the manifest to find the deliveries; a folder may hold up to 100. A second request for a delivery
    that waits for its turn changes nothing; a delivery that failed and waits for its next attempt is tried at once.
    """
    _refuse_unknown_client(billfold, access.narrow(wanted.client))
    rows = billfold.requests.ingest(wanted.key, client=access.narrow(wanted.client), month=wanted.month)
    document = report_document("deliveries", rows)
    waiting = [row for row in rows if row.asked_at]
    return _accept(document, waiting[0]) if waiting else answer(document)


@router.post("/deliveries/{delivery_id}/retry", status_code=202, responses=_RETRY_RESPONSES)
def retry_delivery(billfold: OurBillfold, access: IngestAccess, delivery_id: UUID) -> Response:
    """Retry a failed delivery in the background."""
    return _accept_one(retry(billfold, access, delivery_id))


@router.post("/deliveries/{delivery_id}/release", status_code=202, responses=_RELEASE_RESPONSES)
def release_delivery(billfold: OurBillfold, access: IngestAccess, delivery_id: UUID) -> Response:
    """Release a held delivery: it is published in the background, although it would remove most of the bill.

    If its key holds a newer delivery by then, that one is ingested instead, and may be held itself. A second request
    while it waits for its turn changes nothing.
    """
    return _accept_one(release(billfold, access, delivery_id))


def retry(billfold: Billfold, access: Access, delivery_id: UUID) -> RequestedDelivery:
    """Request another attempt; raises HTTPException 404 for a delivery of another client, 409 for one not to retry."""
    with _one_delivery(billfold, access, delivery_id):
        return billfold.requests.retry(delivery_id)


def release(billfold: Billfold, access: Access, delivery_id: UUID) -> RequestedDelivery:
    """Release a held delivery; raises HTTPException 404 for one of another client, 409 for one that is not held."""
    with _one_delivery(billfold, access, delivery_id):
        return billfold.requests.release(delivery_id, token_id=access.token_id)


def _refuse_unknown_client(billfold: Billfold, client_id: str | None) -> None:
    """Raise HTTPException 404 for a client that is neither registered nor has any bill."""
    if client_id in (None, billfold.settings.client):
        return
    try:
        billfold.clients.find(client_id)
    except UsageError as error:
        raise not_found("client") from error


@contextmanager
def _one_delivery(billfold: Billfold, access: Access, delivery_id: UUID) -> Iterator[None]:
    """A request about a delivery that the token may see; a state that does not allow it is a conflict."""
    if not billfold.deliveries(client=access.client_id, delivery=delivery_id):
        raise not_found("delivery")
    try:
        yield
    except UsageError as error:
        raise HTTPException(409, str(error)) from error


def _accept_one(row: RequestedDelivery) -> Response:
    return _accept(report_document("deliveries", [row])["deliveries"][0], row)


def _accept(document: dict[str, Any], row: RequestedDelivery) -> Response:
    return answer(document, status=202, headers={"Location": f"/v1/deliveries/{row.delivery_id}"})
