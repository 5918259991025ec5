"""Billing periods: calendar months in UTC, as AWS spells them in keys, manifests and rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

_SPELLINGS = (
    re.compile(r"^(?P<year>\d{4})-(?P<month>\d{2})$"),
    re.compile(r"^(?P<year>\d{4})-(?P<month>\d{2})-01(?:[T ].*)?$"),
    re.compile(r"^(?P<year>\d{4})(?P<month>\d{2})01(?:T.*)?$"),
)


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
