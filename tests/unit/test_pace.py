"""The pace of a month: examples with a rate that can be told by heart."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from billfold.period import BillingPeriod
from billfold.reports.pace import DailyCost, Pace, measure, same_day_before

APRIL = BillingPeriod(date(2026, 4, 1))
MAY = BillingPeriod(date(2026, 5, 1))


def cost(day: int, amount: str, *, month: BillingPeriod = MAY, **fields: str) -> DailyCost:
    return DailyCost(
        day=month.starts_on.replace(day=day),
        month=month,
        amount=Decimal(amount),
        **{"category": "Usage", "frequency": "Usage-Based", "currency": "USD", **fields},
    )


def pace_of(*days: DailyCost, today: date = date(2026, 5, 12)) -> Pace:
    [pace] = measure(days, MAY, today=today)
    return pace


def test_forecast_is_what_stands_and_a_week_s_mean_for_the_days_left() -> None:
    pace = pace_of(*(cost(day, "2") for day in range(1, 11)), cost(11, "0.5"))

    # Ten full days stand; the eleventh may still grow, so the rate takes its place too.
    assert pace.through == date(2026, 5, 11)
    assert pace.daily_rate == 2
    assert pace.forecast == 10 * 2 + 21 * 2


def test_only_the_last_week_tells_the_rate() -> None:
    pace = pace_of(*(cost(day, "100") for day in (1, 2, 3)), *(cost(day, "7") for day in range(4, 12)))

    assert pace.daily_rate == 7


def test_purchases_once_and_monthly_fees_are_not_repeated() -> None:
    days = [cost(day, "1") for day in range(1, 9)]
    once = cost(5, "1000", category="Purchase", frequency="One-Time")
    monthly = cost(1, "30", category="Purchase", frequency="Recurring")
    tax = cost(4, "9", category="Tax")

    pace = pace_of(*days, once, monthly, tax)

    assert pace.daily_rate == 1
    assert pace.forecast == 1039 + 31


def test_hourly_fees_of_savings_plans_are_in_the_rate() -> None:
    fees = [cost(day, "3", category="Purchase", frequency="Recurring") for day in range(1, 9)]

    pace = pace_of(*fees, *(cost(day, "1") for day in range(1, 9)))

    assert pace.daily_rate == 4
    assert pace.forecast == 31 * 4


def test_month_that_is_over_is_its_own_forecast() -> None:
    pace = pace_of(cost(3, "5"), cost(2, "4", month=APRIL), today=date(2026, 6, 1))

    assert (pace.is_over, pace.forecast, pace.before, pace.before_to_date) == (True, 5, 4, 4)


def test_a_first_day_tells_no_rate() -> None:
    pace = pace_of(cost(1, "5"), today=date(2026, 5, 1))

    assert (pace.daily_rate, pace.forecast, pace.before) == (None, None, None)


def test_the_month_before_counts_up_to_the_same_day() -> None:
    pace = pace_of(cost(2, "5"), cost(2, "4", month=APRIL), cost(3, "100", month=APRIL))

    assert (pace.before_to_date, pace.before) == (4, 104)


def test_last_days_of_months_answer_each_other() -> None:
    assert same_day_before(date(2026, 5, 31), MAY) == date(2026, 4, 30)
    assert same_day_before(date(2026, 4, 30), APRIL) == date(2026, 3, 31)
    assert same_day_before(date(2026, 4, 29), APRIL) == date(2026, 3, 29)


def test_currencies_have_a_pace_each() -> None:
    paces = measure([cost(2, "5"), cost(2, "4", currency="EUR")], MAY, today=date(2026, 6, 1))

    assert {pace.currency: pace.amount for pace in paces} == {"USD": 5, "EUR": 4}
