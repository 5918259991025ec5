"""The pace of a month: what stands, what stood a month before on the same day, and where it is heading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, localcontext

from billfold.period import BillingPeriod

# The forecast goes by the last full week, so that each weekday is in it once.
RATE_DAYS = 7
# More than any sum of costs has: nothing is rounded away.
EXACT_DIGITS = 2000
# A mean has no last digit.
_RATE_DIGITS = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyCost:
    """The cost of a day (UTC) in the bill of a month, by charge category and charge frequency (FOCUS)."""

    day: date
    month: BillingPeriod
    category: str
    frequency: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A month in one currency. `through` is the last day that it is compared up to.

    `before_to_date` is the month before up to the same day of the month, `before` all of it; None without that bill.
    `forecast` is None where no full day tells a rate, and all that stands once the month is over.
    """

    currency: str
    through: date
    is_over: bool
    amount: Decimal
    before_to_date: Decimal | None
    before: Decimal | None
    daily_rate: Decimal | None
    forecast: Decimal | None

    @property
    def change(self) -> Decimal | None:
        """What the month is above the one before, up to the same day."""
        with localcontext(prec=EXACT_DIGITS):
            return None if self.before_to_date is None else self.amount - self.before_to_date


def measure(days: Sequence[DailyCost], month: BillingPeriod, *, today: date) -> tuple[Pace, ...]:
    """The pace of a month by currency, from the daily costs of it and of the month before; sums are exact.

    The last day that usage is charged on may still be incomplete: AWS delivers a day's charges over the next ones.
    """
    through = find_last_day(days, month, today=today)
    currencies = sorted({each.currency for each in days})
    with localcontext(prec=EXACT_DIGITS):
        return tuple(_measure([each for each in days if each.currency == currency], month, through, today, currency)
                     for currency in currencies)  # fmt: skip


def find_last_day(days: Iterable[DailyCost], month: BillingPeriod, *, today: date) -> date:
    """The day up to which the month is charged: its last one when it is over, else the last one with usage."""
    end = month.ends_on - timedelta(days=1)
    if today > end:
        return end
    used = [each.day for each in days if each.month == month and each.category == "Usage" and each.day <= end]
    return max(used, default=month.starts_on)


def same_day_before(through: date, month: BillingPeriod) -> date:
    """The same day of the month before; its last day where it is shorter, or where `through` is a month's last."""
    end_before = month.starts_on - timedelta(days=1)
    if through >= month.ends_on - timedelta(days=1):
        return end_before
    return end_before.replace(day=min(through.day, end_before.day))


def _measure(days: Sequence[DailyCost], month: BillingPeriod, through: date, today: date, currency: str) -> Pace:
    amount = _sum(each for each in days if each.month == month)
    before = [each for each in days if each.month != month]
    until = same_day_before(through, month)
    is_over = today >= month.ends_on
    rate = None if is_over else _rate(days, through)
    return Pace(
        currency=currency,
        through=through,
        is_over=is_over,
        amount=amount,
        before_to_date=_sum(each for each in before if each.day <= until) if before else None,
        before=_sum(before) if before else None,
        daily_rate=rate,
        forecast=amount if is_over else _forecast(days, month, through, amount, rate),
    )


def _rate(days: Sequence[DailyCost], through: date) -> Decimal | None:
    """What a full day runs up: usage, and what recurs but on the first of a month, where monthly fees stand."""
    first = max(through - timedelta(days=RATE_DAYS), min((each.day for each in days), default=through))
    window = [first + timedelta(days=offset) for offset in range((through - first).days)]
    if not window:
        return None
    usage = _sum(each for each in days if first <= each.day < through and each.category == "Usage")
    recurring = _sum(each for each in days if first <= each.day < through and _recurs(each))
    later = sum(1 for each in window if each.day > 1)
    with localcontext(prec=_RATE_DIGITS):
        return usage / len(window) + (recurring / later if later else 0)


def _forecast(
    days: Sequence[DailyCost], month: BillingPeriod, through: date, amount: Decimal, rate: Decimal | None
) -> Decimal | None:
    """All that stands, but from `through` on the rate takes the place of what is charged daily."""
    if rate is None:
        return None
    replaced = _sum(
        each
        for each in days
        if each.month == month and each.day >= through and (_recurs(each) or each.category == "Usage")
    )
    return amount - replaced + rate * (month.ends_on - through).days


def _recurs(cost: DailyCost) -> bool:
    return cost.category == "Purchase" and cost.frequency == "Recurring" and cost.day.day > 1


def _sum(days: Iterable[DailyCost]) -> Decimal:
    return sum((each.amount for each in days), Decimal(0))
