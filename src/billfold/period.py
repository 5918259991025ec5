"""Billing periods, which are calendar months in UTC as AWS spells them, and moments as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

_SPELLINGS = (
    re.compile(r"^(?P<year>\d{4})-(?P<month>\d{2})$"),
    re.compile(r"^(?P<year>\d{4})-(?P<month>\d{2})-01(?:[T ].*)?$"),
    re.compile(r"^(?P<year>\d{4})(?P<month>\d{2})01(?:T.*)?$"),
)
# Python alone would read 20260503110 as a time too.
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class BillingPeriod:
    """One month of a bill, named by its first day (UTC)."""

    starts_on: date

    def __post_init__(self) -> None:
        assert self.starts_on.day == 1, f"a billing period starts on the first: {self.starts_on}"

    def __str__(self) -> str:
        return f"{self.starts_on:%Y-%m}"

    @property
    def ends_on(self) -> date:
        """The first day of the next month: exclusive, as AWS writes bill_billing_period_end_date."""
        return date(self.starts_on.year + self.starts_on.month // 12, self.starts_on.month % 12 + 1, 1)


def parse_period(text: str) -> BillingPeriod | None:
    """The period meant by `2026-05`, `20260501T000000.000Z` or `2026-05-01T00:00:00.000Z`; None if it is none."""
    for spelling in _SPELLINGS:
        if match := spelling.match(text.strip()):
            month = int(match["month"])
            if 1 <= month <= 12 and int(match["year"]) > 0:
                return BillingPeriod(date(int(match["year"]), month, 1))
    return None


def parse_moment(text: str) -> datetime | None:
    """The instant that an ISO 8601 date (its beginning) or time means; in UTC unless it has an offset. None if none."""
    spelled = text.strip().upper()
    if not _MOMENT.match(spelled):
        return None
    try:
        moment = datetime.fromisoformat(spelled)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
