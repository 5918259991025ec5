"""The page of deliveries: which clients are late, a calendar, and the list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from billfold import reports
from billfold.model import DeliveryState
from billfold.reports import ClientFreshness
from billfold.reports.deliveries import CALENDAR_DAYS
from billfold.web.access import ReadAccess
from billfold.web.cursors import next_cursor
from billfold.web.dependencies import OurDatabase, OurSettings
from billfold.web.forms.delivery_query import DeliveryQuery, read_delivery_query
from billfold.web.pages.rendering import frame, render

PAGE_SIZE = 50
MAX_FRESHNESS_ROWS = 12

DeliveryQueryOf = Annotated[DeliveryQuery, Depends(read_delivery_query)]

router = APIRouter(include_in_schema=False)


@router.get("/deliveries")
def show_deliveries(
    request: Request, settings: OurSettings, database: OurDatabase, access: ReadAccess, query: DeliveryQueryOf
) -> Response:
    """Freshness, calendar and list."""
    surround = frame(database, access, tab="deliveries", client=query.client)
    rows = reports.list_deliveries(database, query.filter(surround.client, PAGE_SIZE + 1))
    last = rows[PAGE_SIZE - 1] if len(rows) > PAGE_SIZE else None
    freshness = reports.list_client_freshness(database, settings.described_client_id, surround.client)
    now = datetime.now(UTC)
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
        "later": min(query.until + timedelta(days=CALENDAR_DAYS), now.date()),
        "now": now,
    }
    return render(request, "deliveries.html", frame=surround, **context)


def _latest_first(row: ClientFreshness) -> tuple[bool, bool, datetime, str]:
    """Late clients first, longest wait first; then the others, oldest delivery first; those without a schedule last."""
    return (
        row.late_since is None,
        not row.is_expected,
        row.late_since or row.last_delivered_at or datetime.max.replace(tzinfo=UTC),
        row.client_id,
    )
