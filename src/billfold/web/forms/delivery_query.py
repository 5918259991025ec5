"""The query of the deliveries page, such as `?client=acme&period=2026-05&state=failed`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from billfold.errors import UsageError
from billfold.model import DeliveryState
from billfold.period import BillingPeriod
from billfold.web.api.parameters import Cursor
from billfold.web.cursors import read_cursor, read_moment
from billfold.web.forms.fields import choose, read_month, read_text

# The years that bills can have; the calendar shows a few weeks more.
_FIRST_DAY, _LAST_DAY = date(2000, 1, 1), date(2199, 12, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryQuery:
    """Which deliveries to list. `day` filters the list, `until` is the last day of the calendar (UTC)."""

    client: str | None
    export: str | None
    period: BillingPeriod | None
    state: DeliveryState | None
    day: date | None
    until: date
    cursor: str | None

    @property
    def after(self) -> tuple[datetime, UUID] | None:
        """Where the list begins; raises UsageError for an invalid cursor."""
        place = read_cursor(self.cursor, read_moment, UUID)
        return None if place is None else (place[0], place[1])

    def parameters(self) -> dict[str, Any]:
        """The query as parameters, without the defaults, for the first page of the list."""
        return {
            "client": self.client,
            "export": self.export,
            "period": self.period,
            "state": self.state,
            "day": self.day,
            "until": None if self.until == _today() else self.until,
        }


def read_delivery_query(
    client: str = "",
    export: str = "",
    period: str = "",
    state: str = "",
    day: str = "",
    until: str = "",
    cursor: Cursor = None,
) -> DeliveryQuery:
    """Read the query. Raises UsageError for an invalid value; the message names its field."""
    return DeliveryQuery(
        client=read_text("client", client),
        export=read_text("export", export),
        period=read_month("period", period),
        state=DeliveryState(choose("state", state, tuple(DeliveryState))) if state else None,
        day=_read_day("day", day),
        until=_read_day("until", until) or _today(),
        cursor=cursor or None,
    )


def _read_day(name: str, text: str) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise UsageError(f"{name} must be a day such as 2026-05-31")
    return day


def _today() -> date:
    return datetime.now(UTC).date()
