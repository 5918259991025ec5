"""The page of one delivery: its stages, its runs and its cost, and the buttons that retry or release it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from billfold.app import Billfold
from billfold.app.values import DeliveryRow, PublicationRow, RunRow
from billfold.errors import advise, is_retryable
from billfold.model import DeliveryState
from billfold.web.access import IngestAccess, ReadAccess
from billfold.web.api.ingestions import release, retry
from billfold.web.api.responses import not_found
from billfold.web.dependencies import OurBillfold
from billfold.web.forms.known_ids import KNOWN_IDS
from billfold.web.pages.rendering import frame, render

MAX_RUNS = 500
# While a delivery waits or runs.
_REFRESH_SECONDS = 3

# The stages of an ingestion in order, and what each does.
STAGES = {
    "fetch": "Download files from the bucket to the spool",
    "parse": "Read line items from the files",
    "identify": "Hash each line item",
    "compare": "Compare with the current bill",
    "land": "Write line items to PostgreSQL",
    "map": "Turn line items into charges, while others land",
    "charge": "Write charges to PostgreSQL",
    "reconcile": "Compare rows and cost with the source",
}

router = APIRouter(include_in_schema=False, dependencies=[KNOWN_IDS])


@router.get("/deliveries/{delivery_id}")
def show_delivery(request: Request, billfold: OurBillfold, access: ReadAccess, delivery_id: UUID) -> Response:
    """One delivery; the page refreshes while the delivery waits or runs."""
    found = billfold.deliveries(client=access.client_id, delivery=delivery_id)
    if not found:
        raise not_found("delivery")
    [delivery] = found
    surround = frame(billfold, access, tab="deliveries", client=delivery.client_id)
    is_moving = delivery.state == DeliveryState.RUNNING or (
        delivery.state == DeliveryState.PENDING and delivery.asked_at is not None
    )
    context: dict[str, Any] = {
        "delivery": delivery,
        "runs": billfold.runs(delivery=delivery_id, limit=MAX_RUNS),
        "stages": [(name, text, delivery.timings[name]) for name, text in STAGES.items() if name in delivery.timings],
        "latency_seconds": _latency(delivery),
        "rows_per_second": _speed,
        "publication": _find_publication(billfold, delivery),
        "is_moving": is_moving,
        "advise": advise,
        "is_retryable": is_retryable,
        "hindrance": _find_hindrance(billfold, delivery),
    }
    response = render(request, "delivery.html", frame=surround, **context)
    if is_moving:
        response.headers["Refresh"] = str(_REFRESH_SECONDS)
    return response


@router.post("/deliveries/{delivery_id}/retry")
def retry_delivery(billfold: OurBillfold, access: IngestAccess, delivery_id: UUID) -> Response:
    """The button "Try again"."""
    return _show(retry(billfold, access, delivery_id).delivery_id)


@router.post("/deliveries/{delivery_id}/release")
def release_delivery(billfold: OurBillfold, access: IngestAccess, delivery_id: UUID) -> Response:
    """The button "Release"."""
    return _show(release(billfold, access, delivery_id).delivery_id)


def _show(delivery_id: UUID) -> Response:
    return RedirectResponse(f"/deliveries/{delivery_id}", status_code=303)


def _find_hindrance(billfold: Billfold, delivery: DeliveryRow) -> str | None:
    """Why a failed or held delivery can be neither retried nor released; None if it can."""
    if delivery.state not in (DeliveryState.FAILED, DeliveryState.HELD):
        return None
    return billfold.requests.find_hindrance(delivery.delivery_id)


def _find_publication(billfold: Billfold, delivery: DeliveryRow) -> PublicationRow | None:
    """The publication that last made the delivery current."""
    found = billfold.publications(delivery=delivery.delivery_id)
    return next((row for row in found if row.publication_id == delivery.publication_id), None)


def _latency(delivery: DeliveryRow) -> float | None:
    """Seconds from the manifest in AWS to the publication; at least 0, because clocks differ."""
    if delivery.published_at is None:
        return None
    return max((delivery.published_at - delivery.delivered_at).total_seconds(), 0.0)


def _speed(row: DeliveryRow | RunRow) -> int | None:
    """Line items per second over the whole attempt."""
    return round(row.rows_read / row.duration_seconds) if row.duration_seconds and row.rows_read else None
