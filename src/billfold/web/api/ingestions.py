"""The routes that ask for work: an ingestion by key, another attempt at what failed, the release of what is held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from billfold import reports
from billfold.aws.keys import MAX_KEY_BYTES
from billfold.bills.requests import request, request_again, request_release
from billfold.clients import registry as clients
from billfold.errors import UsageError
from billfold.model import TriggerSource
from billfold.period import parse_period
from billfold.reports import Filter
from billfold.reports.documents import report_document
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.store.jobs.requests import RequestedDelivery
from billfold.web.access import Access, IngestAccess
from billfold.web.api.responses import (
    FAILURES,
    PREFIX,
    TEXT_PATTERN,
    answer,
    describe_failures,
    describe_success,
    missing,
    schema_of_row,
)

_DELIVERY = schema_of_row(RequestedDelivery)
_DELIVERIES = {
    "type": "object",
    "required": ["deliveries"],
    "properties": {"deliveries": {"type": "array", "minItems": 1, "items": _DELIVERY}},
}
_WAITING = "It waits for a worker: `Location` is where it can be seen."
_OF_ASKING: dict[int | str, dict[str, Any]] = {
    200: describe_success("All of it stands already: nothing was asked for.", _DELIVERIES),
    202: describe_success(_WAITING, _DELIVERIES),
    **describe_failures(
        {
            **FAILURES,
            400: "The client is disabled or has no bucket, the folder holds too much to ask for at once, or"
            " the Host is not allowed.",
            403: "The token is not for this client or lacks the scope, or the key is not in the client's folder.",
            404: "There is no such client, or no bill stands at the key.",
            413: "The manifest is too large.",
            422: "The body cannot be what it has to be, or the manifest cannot be read.",
            502: "The bucket refuses us.",
            503: "PostgreSQL or S3 does not answer, or the delivery is being written: try again.",
        }
    ),
}
_OF_RETRYING: dict[int | str, dict[str, Any]] = {
    202: describe_success(_WAITING, _DELIVERY),
    **describe_failures({**FAILURES, 409: "It did not fail, or cannot be read any more."}),
}
_OF_RELEASING: dict[int | str, dict[str, Any]] = {
    202: describe_success(_WAITING, _DELIVERY),
    **describe_failures({**FAILURES, 409: "It is not held, or cannot be read any more."}),
}


def _check_key(key: str) -> str:
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"a key of S3 has {MAX_KEY_BYTES} bytes at most")
    return key


class Wanted(BaseModel):
    """A manifest, a data file or a folder of the client's bucket."""

    model_config = ConfigDict(extra="forbid")

    client: Annotated[
        str | None,
        Field(max_length=1_000, pattern=TEXT_PATTERN, description="The token's client, or else BILLFOLD_CLIENT."),
    ] = None
    month: Annotated[
        str | None,
        Field(
            pattern=r"^\d{4}-(0[1-9]|1[0-2])$",
            description="YYYY-MM: the billing period of one file that names none itself.",
        ),
    ] = None
    key: Annotated[str, Field(min_length=1, max_length=MAX_KEY_BYTES, pattern=TEXT_PATTERN), AfterValidator(_check_key)]


def make_router(settings: Settings, database: Database) -> APIRouter:
    """The routes; what they are asked for is done by a worker, never in the request."""
    router = APIRouter(prefix=PREFIX, tags=["deliveries"])

    @router.post("/ingestions", status_code=202, responses=_OF_ASKING)
    def ask_for_key(access: IngestAccess, wanted: Wanted) -> Response:
        """Ingest what a key of the client's bucket means, in the background.

        Its manifest is read at once, and tells the deliveries; a folder means a hundred of them at most. Asking again
        for one that waits for its turn changes nothing; one that failed, and waits for its next attempt, is tried at
        once.
        """
        _refuse_unknown(settings, database, access.narrow(wanted.client))
        client = clients.resolve_client(database, settings, access.narrow(wanted.client))
        rows = request(
            client,
            wanted.key,
            requested_by=TriggerSource.API,
            settings=settings,
            database=database,
            month=parse_period(wanted.month) if wanted.month else None,
        )
        document = report_document("deliveries", rows)
        waiting = [row for row in rows if row.asked_at]
        return _accept(document, waiting[0]) if waiting else answer(document)

    @router.post("/deliveries/{delivery_id}/retry", status_code=202, responses=_OF_RETRYING)
    def retry_delivery(access: IngestAccess, delivery_id: UUID) -> Response:
        """Try a delivery that failed once more, in the background."""
        return _accept_one(retry(settings, database, access, delivery_id))

    @router.post("/deliveries/{delivery_id}/release", status_code=202, responses=_OF_RELEASING)
    def release_delivery(access: IngestAccess, delivery_id: UUID) -> Response:
        """Let a held delivery through: it is ingested in the background, although it leaves little of the bill.

        Where another delivery stands at its key by then, that one comes in instead, and is judged by itself. Asking
        again while it waits for its turn changes nothing.
        """
        return _accept_one(release(settings, database, access, delivery_id))

    return router


def _refuse_unknown(settings: Settings, database: Database, client_id: str | None) -> None:
    """Raise HTTPException 404 for a client that is neither registered nor ever had a bill."""
    if client_id in (None, settings.client):
        return
    try:
        clients.find_known(database, client_id)
    except UsageError as error:
        raise missing("client") from error


def retry(settings: Settings, database: Database, access: Access, delivery_id: UUID) -> RequestedDelivery:
    """Ask for a delivery again; raises HTTPException 404 for another client's, and 409 for one that cannot be tried."""
    with _of_one_delivery(database, access, delivery_id):
        return request_again(delivery_id, settings=settings, database=database)


def release(settings: Settings, database: Database, access: Access, delivery_id: UUID) -> RequestedDelivery:
    """Release a held delivery; raises HTTPException 404 for another client's, and 409 for one that is not held."""
    with _of_one_delivery(database, access, delivery_id):
        return request_release(delivery_id, token_id=access.token_id, settings=settings, database=database)


@contextmanager
def _of_one_delivery(database: Database, access: Access, delivery_id: UUID) -> Iterator[None]:
    """What is asked for of a delivery that may be seen; a state in which it cannot be done is a conflict."""
    if not reports.list_deliveries(database, Filter(client=access.client_id, delivery=delivery_id)):
        raise missing("delivery")
    try:
        yield
    except UsageError as error:
        raise HTTPException(409, str(error)) from error


def _accept_one(row: RequestedDelivery) -> Response:
    return _accept(report_document("deliveries", [row])["deliveries"][0], row)


def _accept(document: dict[str, Any], row: RequestedDelivery) -> Response:
    return answer(document, status=202, headers={"Location": f"/v1/deliveries/{row.delivery_id}"})
