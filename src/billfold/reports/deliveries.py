"""The calendar of deliveries: which days they arrived on, for which client and month, and how they ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from uuid import UUID

from billfold.model import DeliveryState
from billfold.store.database import Database
from billfold.store.reports import reading

CALENDAR_DAYS = 35
MAX_CALENDAR_ROWS = 60

# States that need attention come before running ones, and those before good ones.
_WORST_FIRST = (
    DeliveryState.FAILED,
    DeliveryState.HELD,
    DeliveryState.ROLLED_BACK,
    DeliveryState.RUNNING,
    DeliveryState.PENDING,
    DeliveryState.PUBLISHED,
    DeliveryState.SUPERSEDED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarDay:
    """What AWS delivered on a day: how many deliveries by state. `delivery_id` is None if there were several."""

    client_id: str
    billing_period: str | None
    day: date
    states: Mapping[str, int]
    delivery_id: UUID | None

    @property
    def worst_state(self) -> str:
        """The most important state of the day: a failure is shown first."""
        return next(state for state in _WORST_FIRST if state in self.states)

    @property
    def delivery_count(self) -> int:
        return sum(self.states.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarRow:
    """A client's billing month, None if only the content says which; `days` are those of the calendar, in order."""

    client_id: str
    billing_period: str | None
    days: tuple[CalendarDay | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The days (UTC, the oldest first) and the billing months with deliveries in them."""

    days: tuple[date, ...]
    rows: tuple[CalendarRow, ...]
    is_truncated: bool


def list_calendar(
    database: Database, *, client: str | None = None, until: date, limit: int = MAX_CALENDAR_ROWS
) -> Calendar:
    """The calendar that ends with a day, of one client or of all, each client's newest billing month first."""
    days = tuple(until - timedelta(days=back) for back in reversed(range(CALENDAR_DAYS)))
    parameters = {"client": client, "since": days[0], "until": until, "limit": limit + 1}
    with reading.read(database) as connection:
        found = reading.fetch(connection, "list_calendar", CalendarDay, parameters)
    rows = []
    for (client_id, period), came in groupby(found, key=lambda each: (each.client_id, each.billing_period)):
        by_day = {each.day: each for each in came}
        rows.append(CalendarRow(client_id=client_id, billing_period=period, days=tuple(map(by_day.get, days))))
    return Calendar(days=days, rows=tuple(rows[:limit]), is_truncated=len(rows) > limit)
