"""Billing periods in the spellings of AWS."""

from __future__ import annotations

from datetime import date

import pytest

from billfold.period import BillingPeriod, parse_period


@pytest.mark.parametrize(
    "text",
    [
        "2026-05",
        " 2026-05 ",
        "2026-05-01",
        "20260501",
        "20260501T000000.000Z",
        "2026-05-01T00:00:00.000Z",
        "2026-05-01 00:00:00",
    ],
)
def test_every_spelling_of_a_month_is_understood(text: str) -> None:
    assert parse_period(text) == BillingPeriod(date(2026, 5, 1))


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-00", "0000-05", "2026-05-02", "20260502", "May 2026"])
def test_what_is_no_month_is_none(text: str) -> None:
    assert parse_period(text) is None


def test_a_period_ends_where_the_next_begins() -> None:
    assert BillingPeriod(date(2026, 5, 1)).ends_on == date(2026, 6, 1)
    assert BillingPeriod(date(2026, 12, 1)).ends_on == date(2027, 1, 1)


def test_periods_are_named_and_ordered_by_month() -> None:
    december, january = BillingPeriod(date(2025, 12, 1)), BillingPeriod(date(2026, 1, 1))

    assert december < january
    assert str(january) == "2026-01"


def test_a_period_starts_on_the_first() -> None:
    with pytest.raises(AssertionError):
        BillingPeriod(date(2026, 5, 2))
