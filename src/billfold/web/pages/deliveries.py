"""The page of deliveries: which clients are late, a calendar, and the list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from billfold.model import DeliveryState
from billfold.web.access import ReadAccess
from billfold.web.cursors import next_cursor
from billfold.web.dependencies import OurBillfold
from billfold.web.forms.delivery_query import DeliveryQuery, read_delivery_query
from billfold.web.forms.known_ids import KNOWN_IDS
from billfold.web.pages.rendering import frame, render

if TYPE_CHECKING:
    from billfold.app.values import ClientFreshness

PAGE_SIZE = 50
MAX_FRESHNESS_ROWS = 12

DeliveryQueryOf = Annotated[DeliveryQuery, Depends(read_delivery_query)]

router = APIRouter(include_in_schema=False, dependencies=[KNOWN_IDS])


@router.get("/deliveries")
def show_deliveries(request: Request, billfold: OurBillfold, access: ReadAccess, query: DeliveryQueryOf) -> Response:
    """Freshness, calendar and list."""
    surround = frame(billfold, access, tab="deliveries", client=query.client)
    rows = billfold.deliveries(
        client=surround.client,
        export=query.export,
        month=query.period,
        state=query.state,
        delivered_on=query.day,
        after=query.after,
        limit=PAGE_SIZE + 1,
    )
    last = rows[PAGE_SIZE - 1] if len(rows) > PAGE_SIZE else None
    freshness = billfold.clients.freshness(surround.client)
    calendar = billfold.dashboard.calendar(client=surround.client, until=query.until)
    span = timedelta(days=len(calendar.days))
    now = datetime.now(UTC)
    context: dict[str, Any] = {
        "query": query,
        "deliveries": rows[:PAGE_SIZE],
        "next_cursor": next_cursor(last.created_at, last.delivery_id) if last else None,
        "choices": billfold.dashboard.choices(surround.client),
        "states": [(state, state.replace("_", " ")) for state in DeliveryState],
        "freshness": sorted(freshness, key=_latest_first)[:MAX_FRESHNESS_ROWS],
        "client_count": len(freshness),
        "late_count": sum(row.late_since is not None for row in freshness),
        "calendar": calendar,
        "earlier": query.until - span,
        "later": min(query.until + span, now.date()),
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
