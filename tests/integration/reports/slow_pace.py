"""The pace of a month, counted day by day from the rows of FOCUS bills: slow and plain, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

from billfold.period import BillingPeriod
from tests.bills.filtered_bills import Asked, Row, passes

Figures = dict[str, Decimal | None]


def measure_slowly(rows: Sequence[Row], asked: Asked, *, today: date) -> dict[str, Figures]:
    """By currency: amount, before_to_date and forecast, each client by its own days."""
    month, before = str(asked.until), f"{asked.until.starts_on - timedelta(days=1):%Y-%m}"
    rows = [row for row in rows if row["month"] in (month, before)]
    # The month before is compared also where the question does not span it.
    chosen = [row for row in rows if passes({**row, "month": month}, asked)]
    has_before = any(row["month"] == before for row in rows if asked.client in (None, row["client"]))
    sums: dict[str, Figures] = {}
    for client, currency in sorted({(row["client"], row["BillingCurrency"]) for row in chosen}):
        theirs = [row for row in rows if row["client"] == client]
        months = {row["month"] for row in theirs if row["BillingCurrency"] == currency}
        mine = [row for row in chosen if (row["client"], row["BillingCurrency"]) == (client, currency)]
        used = [row for row in theirs if row["month"] == month and row["ChargeCategory"] == "Usage"]
        through = max(map(_day, used))
        until = _day_before(through, asked.until)
        found = {
            "amount": sum((_cost(row, asked) for row in mine if row["month"] == month), Decimal(0)),
            "before_to_date": sum(
                (_cost(row, asked) for row in mine if row["month"] == before and _day(row) <= until), Decimal(0)
            )
            if has_before
            else None,
            "forecast": _forecast(mine, asked, through, min(_day(row) for row in theirs if row["month"] in months)),
        }
        old = sums.get(currency)
        sums[currency] = {name: _add(old and old[name], value) for name, value in found.items()}
    return sums


def _day_before(through: date, month: BillingPeriod) -> date:
    day = through
    while True:
        try:
            return (month.starts_on - timedelta(days=1)).replace(day=day.day)
        except ValueError:
            day -= timedelta(days=1)


def _forecast(rows: Sequence[Row], asked: Asked, through: date, first: date) -> Decimal:
    month = asked.until
    window = [day for offset in range(7, 0, -1) if (day := through - timedelta(days=offset)) >= first]
    daily = Decimal(0)
    for name, days in (("Usage", len(window)), ("Purchase", sum(day.day > 1 for day in window))):
        found = [row for row in rows if _day(row) in window and _is_daily(row) and row["ChargeCategory"] == name]
        daily += sum((_cost(row, asked) for row in found), Decimal(0)) / (days or 1)
    kept = [row for row in rows if row["month"] == str(month) and not (_is_daily(row) and _day(row) >= through)]
    days_left = (month.ends_on - through).days
    return sum((_cost(row, asked) for row in kept), Decimal(0)) + daily * days_left


def _is_daily(row: Row) -> bool:
    if row["ChargeCategory"] == "Usage":
        return True
    return row["ChargeCategory"] == "Purchase" and row["ChargeFrequency"] == "Recurring" and _day(row).day > 1


def _cost(row: Row, asked: Asked) -> Decimal:
    return Decimal(row[f"{asked.metric.capitalize()}Cost"])


def _day(row: Row) -> date:
    return date.fromisoformat(row["ChargePeriodStart"][:10])


def _add(left: Decimal | None, right: Decimal | None) -> Decimal | None:
    return right if left is None else left if right is None else left + right
