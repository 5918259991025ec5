"""The pace of a month: each client by its own days, then added; examples that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from billfold.period import BillingPeriod
from billfold.reports.pace import DayRange, Pace, find_spans, list_compared_days, measure, same_day_before
from billfold.store.reports.costs import MeasuredCost
from billfold.store.reports.spending import ChargedDays

APRIL = BillingPeriod(date(2026, 4, 1))
MAY = BillingPeriod(date(2026, 5, 1))
TODAY = date(2026, 5, 21)


def charged(
    last: int | None, *, first: date = date(2026, 4, 1), client: str = "acme", currency: str = "USD", has: bool = True
) -> ChargedDays:
    last_usage_on = None if last is None else date(2026, 5, last)
    return ChargedDays(client=client, currency=currency, has_month=has, first_on=first, last_usage_on=last_usage_on)


def cost(amount: str, *, client: str = "acme", currency: str = "USD", **parts: str) -> MeasuredCost:
    names = ("before_to_date", "before", "usage", "recurring", "replaced")
    known: Mapping[str, Decimal] = {name: Decimal(parts.get(name, "0")) for name in names}
    return MeasuredCost(client=client, currency=currency, amount=Decimal(amount), **known)


def pace_of(days: list[ChargedDays], *costs: MeasuredCost, today: date = TODAY, has_before: bool = True) -> Pace:
    [pace] = measure(costs, find_spans(days, MAY, today=today), MAY, today=today, has_before=has_before)
    return pace


def test_forecast_is_what_is_charged_and_a_week_s_mean_for_the_days_left() -> None:
    # Ten full days of 2; the eleventh may still grow, so the rate takes its place too.
    pace = pace_of([charged(11)], cost("20.5", usage="14", replaced="0.5"))

    assert pace.through == DayRange(first=date(2026, 5, 11), last=date(2026, 5, 11))
    assert pace.daily_rate == 2
    assert pace.forecast == 10 * 2 + 21 * 2


def test_the_rate_is_of_the_last_week_or_of_all_days_there_are() -> None:
    week = find_spans([charged(11)], MAY, today=TODAY)["acme", "USD"]
    young = find_spans([charged(11, first=date(2026, 5, 9))], MAY, today=TODAY)["acme", "USD"]

    assert (week.rate_from, week.rate_until) == (date(2026, 5, 4), date(2026, 5, 11))
    assert (young.rate_from, young.rate_until) == (date(2026, 5, 9), date(2026, 5, 11))
    assert pace_of([charged(11, first=date(2026, 5, 9))], cost("8", usage="8")).daily_rate == 4


def test_recurring_fees_are_spread_over_days_other_than_the_first_of_a_month() -> None:
    # From 27 April to 3 May, without the first of May.
    pace = pace_of([charged(4)], cost("12", usage="7", recurring="18"))

    assert pace.daily_rate == 1 + 3


def test_month_that_is_over_is_its_own_forecast() -> None:
    pace = pace_of([charged(3)], cost("5", before="4", before_to_date="4"), today=date(2026, 6, 1))

    assert (pace.is_over, pace.forecast, pace.before, pace.before_to_date) == (True, 5, 4, 4)
    assert pace.through == DayRange(first=date(2026, 5, 31), last=date(2026, 5, 31))


def test_a_first_day_tells_no_rate() -> None:
    pace = pace_of([charged(1, first=date(2026, 5, 1))], cost("5"), has_before=False)

    assert (pace.daily_rate, pace.forecast, pace.before, pace.change) == (None, None, None, None)


def test_a_month_before_without_this_cost_is_compared_as_zero() -> None:
    pace = pace_of([charged(9)], cost("5"))

    assert (pace.before, pace.before_to_date, pace.change) == (0, 0, 5)


def test_last_days_of_months_answer_each_other() -> None:
    assert same_day_before(date(2026, 5, 31), MAY) == date(2026, 4, 30)
    assert same_day_before(date(2026, 4, 30), APRIL) == date(2026, 3, 31)
    assert same_day_before(date(2026, 4, 29), APRIL) == date(2026, 3, 29)


def test_currencies_have_a_pace_each() -> None:
    days = [charged(2), charged(2, currency="EUR")]
    costs = [cost("5"), cost("4", currency="EUR")]

    paces = measure(costs, find_spans(days, MAY, today=TODAY), MAY, today=TODAY, has_before=True)

    assert {pace.currency: pace.amount for pace in paces} == {"USD": 5, "EUR": 4}


def test_clients_of_unequal_freshness_are_compared_and_forecast_by_their_own_days() -> None:
    days = [charged(20), charged(10, client="globex")]
    fresh = cost("40", before_to_date="38", before="60", usage="14", replaced="2")
    stale = cost("10", client="globex", before_to_date="10", before="30", usage="7", replaced="1")

    both, one, other = (
        pace_of(days, fresh, stale),
        pace_of(days[:1], fresh),
        pace_of(days[1:], stale),
    )

    assert both.through == DayRange(first=date(2026, 5, 10), last=date(2026, 5, 20))
    assert both.compared_until == DayRange(first=date(2026, 4, 10), last=date(2026, 4, 20))
    assert (one.forecast, other.forecast, both.forecast) == (38 + 2 * 12, 9 + 1 * 22, 38 + 2 * 12 + 9 + 1 * 22)
    assert (one.daily_rate, other.daily_rate, both.daily_rate) == (2, 1, 3)
    assert (both.before_to_date, both.before, both.change) == (48, 90, 2)


def test_a_client_without_a_full_day_is_forecast_as_it_is_charged() -> None:
    days = [charged(11), charged(1, client="new", first=date(2026, 5, 1))]

    pace = pace_of(days, cost("22", usage="14", replaced="2"), cost("3", client="new"))

    assert pace.forecast == 20 + 21 * 2 + 3


def test_a_client_without_a_bill_of_the_month_is_not_compared_but_goes_on() -> None:
    days = [charged(None, has=False)]

    pace = pace_of(days, cost("0", before="30", usage="7"))

    assert list_compared_days(find_spans(days, MAY, today=TODAY)) == []
    assert (pace.through, pace.compared_until) == (None, None)
    assert pace.forecast == 31


def test_a_currency_whose_bills_have_no_usage_has_the_clients_last_day() -> None:
    spans = find_spans([charged(9), charged(None, currency="EUR"), charged(3, currency="JPY")], MAY, today=TODAY)
    lone = find_spans([charged(None)], MAY, today=TODAY)

    assert {currency: span.through for (_, currency), span in spans.items()} == {
        "USD": date(2026, 5, 9),
        "EUR": date(2026, 5, 9),
        "JPY": date(2026, 5, 3),
    }
    assert lone["acme", "USD"].through == date(2026, 5, 1)
