"""The pace of a month: the charges so far, those of the month before up to the same day, and a forecast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, localcontext

from billfold.period import BillingPeriod
from billfold.store.reports.costs import LastDay, MeasuredCost
from billfold.store.reports.spending import ChargedDays

# The forecast uses the last full week, which has each weekday once.
RATE_DAYS = 7
# A mean may have infinitely many digits.
_RATE_DIGITS = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRange:
    """The earliest and the latest of some days; both are the same if clients agree."""

    first: date
    last: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The days that count for one client in one currency; no filter of costs changes them.

    `through` is the last day that the month is charged up to, None without a bill of the month. The rate is that of the
    days from `rate_from` up to, without it, `rate_until`; `compared_until` is the last day of the month before that
    is compared.
    """

    through: date | None
    rate_from: date
    rate_until: date
    compared_until: date | None


Spans = Mapping[tuple[str, str], Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A month in one currency: the sum of each client's own pace.

    `through` are the last days that clients are charged up to, `compared_until` the same days of the month before; None
    if no client has a bill of the month. `before_to_date` is the month before up to these days, `before` all of it;
    None without a bill of that month. `forecast` is None if no client has a full day to take a rate from, and equals
    the charges once the month is over; a client without a rate is in it with its charges so far.
    """

    currency: str
    through: DayRange | None
    compared_until: DayRange | None
    is_over: bool
    amount: Decimal
    before_to_date: Decimal | None
    before: Decimal | None
    daily_rate: Decimal | None
    forecast: Decimal | None

    @property
    def change(self) -> Decimal | None:
        """How much more the month costs than the one before, up to the same day."""
        return None if self.before_to_date is None else self.amount - self.before_to_date

    @property
    def forecast_change(self) -> Decimal | None:
        """How much the forecast exceeds the whole month before."""
        return None if self.forecast is None or self.before is None else self.forecast - self.before


def find_spans(charged: Sequence[ChargedDays], month: BillingPeriod, *, today: date) -> dict[tuple[str, str], Span]:
    """The days that count, by client and currency.

    A month is charged up to its last day once it is over, else up to the last day with usage in the client's bills in
    that currency, or in any of the client's bills if these have none. That day may still be incomplete: AWS delivers
    a day's charges over the next ones.
    """
    billed = {each.client for each in charged if each.has_month}
    latest: dict[str, date] = {}
    for each in charged:
        if each.last_usage_on:
            latest[each.client] = max(each.last_usage_on, latest.get(each.client, each.last_usage_on))
    spans = {}
    for each in charged:
        through: date | None = None
        if today >= month.ends_on:
            through = _last_day(month)
        elif each.client in billed:
            through = each.last_usage_on or latest.get(each.client, month.starts_on)
        rate_until = through or month.starts_on
        spans[each.client, each.currency] = Span(
            through=through,
            rate_from=max(rate_until - timedelta(days=RATE_DAYS), each.first_on),
            rate_until=rate_until,
            compared_until=same_day_before(through, month) if through else None,
        )
    return spans


def same_day_before(through: date, month: BillingPeriod) -> date:
    """The same day of the month before; its last day if it is shorter, or if `through` is a month's last."""
    end_before = month.starts_on - timedelta(days=1)
    if through >= _last_day(month):
        return end_before
    return end_before.replace(day=min(through.day, end_before.day))


def list_compared_days(spans: Spans) -> list[LastDay]:
    """The last days of the month before that are compared, of each client and currency that has one."""
    return [
        LastDay(client=client, currency=currency, day=span.compared_until)
        for (client, currency), span in spans.items()
        if span.compared_until
    ]


def range_days(days: Iterable[date | None]) -> DayRange | None:
    """The earliest and the latest of the days that are known, None without any."""
    known = [day for day in days if day]
    return DayRange(first=min(known), last=max(known)) if known else None


def measure(
    costs: Iterable[MeasuredCost], spans: Spans, month: BillingPeriod, *, today: date, has_before: bool
) -> tuple[Pace, ...]:
    """The pace of a month by currency: of each client by its own days, then added; sums are exact.

    `has_before` says whether there is any bill of the month before.
    """
    by_currency: dict[str, list[MeasuredCost]] = {}
    for each in costs:
        by_currency.setdefault(each.currency, []).append(each)
    is_over = today >= month.ends_on
    return tuple(
        _add_up(currency, found, spans, month, is_over=is_over, has_before=has_before)
        for currency, found in sorted(by_currency.items())
    )


def _add_up(
    currency: str,
    costs: Sequence[MeasuredCost],
    spans: Spans,
    month: BillingPeriod,
    *,
    is_over: bool,
    has_before: bool,
) -> Pace:
    of_currency = [span for (_, of), span in spans.items() if of == currency]
    rates = [None if is_over else _rate(each, spans[each.client, currency]) for each in costs]
    forecasts = [
        each.amount if rate is None else _forecast(each, spans[each.client, currency], month, rate)
        for each, rate in zip(costs, rates, strict=True)
    ]
    known = [rate for rate in rates if rate is not None]
    return Pace(
        currency=currency,
        through=range_days(span.through for span in of_currency),
        compared_until=range_days(span.compared_until for span in of_currency),
        is_over=is_over,
        amount=_sum(each.amount for each in costs),
        before_to_date=_sum(each.before_to_date for each in costs) if has_before else None,
        before=_sum(each.before for each in costs) if has_before else None,
        daily_rate=_sum(known) if known else None,
        forecast=_sum(forecasts) if known or is_over else None,
    )


def _rate(cost: MeasuredCost, span: Span) -> Decimal | None:
    """The cost of a full day: usage, and recurring fees except those of the first of a month, which are monthly."""
    window = [span.rate_from + timedelta(days=offset) for offset in range((span.rate_until - span.rate_from).days)]
    if not window:
        return None
    later = sum(1 for each in window if each.day > 1)
    with localcontext(prec=_RATE_DIGITS):
        return cost.usage / len(window) + (cost.recurring / later if later else 0)


def _forecast(cost: MeasuredCost, span: Span, month: BillingPeriod, rate: Decimal) -> Decimal:
    """All charges, except that from `rate_until` on the rate replaces daily charges."""
    return cost.amount - cost.replaced + rate * (month.ends_on - span.rate_until).days


def _last_day(month: BillingPeriod) -> date:
    return month.ends_on - timedelta(days=1)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))
