"""The pages of deliveries: who is late, what came on which day, the list, and one delivery with its runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from billfold import reports
from billfold.bills.requests import find_hindrance
from billfold.errors import advise, is_retryable
from billfold.model import DeliveryState
from billfold.reports import ClientFreshness, DeliveryRow, PublicationRow, RunRow
from billfold.reports.deliveries import CALENDAR_DAYS
from billfold.selection import Filter
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.access import ReadAccess
from billfold.web.api.responses import missing
from billfold.web.cursors import next_cursor
from billfold.web.forms.list_query import ListQuery, read_list_query
from billfold.web.pages.rendering import frame, render

PAGE_SIZE = 50
MAX_FRESHNESS_ROWS = 12
MAX_RUNS = 500
# How soon the page of a delivery looks again while it waits or runs.
_LOOK_AGAIN_SECONDS = 3

# The stages of an ingestion in their order, and what each does.
STAGES = {
    "fetch": "files from the bucket to the spool",
    "parse": "files to line items",
    "identify": "each line item's hash",
    "compare": "with the bill that stands",
    "land": "line items to PostgreSQL",
    "map": "line items to charges, beside landing",
    "charge": "charges to PostgreSQL",
    "reconcile": "rows and money against the source",
}

ListQueryOf = Annotated[ListQuery, Depends(read_list_query)]


def make_router(settings: Settings, database: Database) -> APIRouter:
    """`/deliveries` shows freshness, calendar and list, `/deliveries/{id}` one delivery."""
    router = APIRouter(include_in_schema=False)

    @router.get("/deliveries")
    def show_deliveries(request: Request, access: ReadAccess, query: ListQueryOf) -> Response:
        surround = frame(database, access, tab="deliveries", client=query.client)
        rows = reports.list_deliveries(database, query.filter(surround.client, PAGE_SIZE + 1))
        last = rows[PAGE_SIZE - 1] if len(rows) > PAGE_SIZE else None
        freshness = reports.list_client_freshness(database, settings.described_client_id, surround.client)
        context: dict[str, Any] = {
            "query": query,
            "deliveries": rows[:PAGE_SIZE],
            "next_cursor": next_cursor(last.created_at, last.delivery_id) if last else None,
            "choices": reports.list_choices(database, surround.client),
            "states": [(state, state.replace("_", " ")) for state in DeliveryState],
            "freshness": sorted(freshness, key=_latest_first)[:MAX_FRESHNESS_ROWS],
            "client_count": len(freshness),
            "late_count": sum(row.late_since is not None for row in freshness),
            "calendar": reports.list_calendar(database, client=surround.client, until=query.until),
            "earlier": query.until - timedelta(days=CALENDAR_DAYS),
            "later": min(query.until + timedelta(days=CALENDAR_DAYS), _now().date()),
            "now": _now(),
        }
        return render(request, "deliveries.html", frame=surround, **context)

    @router.get("/deliveries/{delivery_id}")
    def show_delivery(request: Request, access: ReadAccess, delivery_id: UUID) -> Response:
        found = reports.list_deliveries(database, Filter(client=access.client_id, delivery=delivery_id))
        if not found:
            raise missing("delivery")
        [delivery] = found
        surround = frame(database, access, tab="deliveries", client=delivery.client_id)
        is_moving = delivery.state == DeliveryState.RUNNING or (
            delivery.state == DeliveryState.PENDING and delivery.asked_at is not None
        )
        runs = reports.list_runs(database, Filter(delivery=delivery_id, limit=MAX_RUNS))
        context: dict[str, Any] = {
            "delivery": delivery,
            "runs": runs,
            "stages": [
                (name, text, delivery.timings[name]) for name, text in STAGES.items() if name in delivery.timings
            ],
            "latency_seconds": _latency(delivery),
            "rows_per_second": _speed,
            "publication": _find_publication(database, delivery),
            "is_moving": is_moving,
            "advise": advise,
            "is_retryable": is_retryable,
            "hindrance": _find_hindrance(settings, database, delivery),
        }
        response = render(request, "delivery.html", frame=surround, **context)
        if is_moving:
            response.headers["Refresh"] = str(_LOOK_AGAIN_SECONDS)
        return response

    return router


def _latest_first(row: ClientFreshness) -> tuple[bool, bool, datetime, str]:
    """Who is late comes first, the one that waits longest before the others; then who was served longest ago.

    Of whom nothing is expected comes last.
    """
    return (
        row.late_since is None,
        not row.is_expected,
        row.late_since or row.last_delivered_at or datetime.max.replace(tzinfo=UTC),
        row.client_id,
    )


def _find_hindrance(settings: Settings, database: Database, delivery: DeliveryRow) -> str | None:
    """Why the page offers neither another attempt nor a release, where it could."""
    if delivery.state not in (DeliveryState.FAILED, DeliveryState.HELD):
        return None
    return find_hindrance(delivery.delivery_id, settings=settings, database=database)


def _find_publication(database: Database, delivery: DeliveryRow) -> PublicationRow | None:
    """The publication by which the delivery last became current."""
    found = reports.list_publications(database, Filter(delivery=delivery.delivery_id))
    return next((row for row in found if row.publication_id == delivery.publication_id), None)


def _latency(delivery: DeliveryRow) -> float | None:
    """From AWS's manifest to the bill that stands, in seconds; clocks may differ, so never less than none."""
    if delivery.published_at is None:
        return None
    return max((delivery.published_at - delivery.delivered_at).total_seconds(), 0.0)


def _speed(row: DeliveryRow | RunRow) -> int | None:
    """Line items per second over the whole attempt."""
    return round(row.rows_read / row.duration_seconds) if row.duration_seconds and row.rows_read else None


def _now() -> datetime:
    return datetime.now(UTC)
