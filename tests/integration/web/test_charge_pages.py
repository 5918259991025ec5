"""The charges behind a sum, page by page: each is shown once, largest first, even if many cost the same."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from uuid import UUID

import pytest

from billfold.errors import UsageError
from billfold.period import BillingPeriod, parse_period
from billfold.reports.spending import Question, list_charges, report_spending
from billfold.store.reports.spending import ChargePlace
from billfold.web.forms.charge_cursor import format_charge_cursor, read_charge_cursor
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill

PLACE = ChargePlace(cost=Decimal("-0.0000000123"), statement_id=7, row_hash=UUID(int=9), occurrence=2, part=1)
COSTS = ("9", "4", "4", "4", "4.0000000001", "0", "-3", "-3")


def may() -> BillingPeriod:
    period = parse_period("2026-05")
    assert isinstance(period, BillingPeriod)
    return period


def test_pages_show_every_charge_once(landing: Landing) -> None:
    items = [line_item(cost=cost, line_item_line_item_description=f"item {n}") for n, cost in enumerate(COSTS)]
    write_bill(landing.root, items)
    landing.ingest()

    for limit in (1, 2, 3, 8):
        pages = list(show_pages(landing, limit))

        shown = [row for page in pages for row in page]
        assert [amount for amount, _ in shown] == sorted(map(Decimal, COSTS), reverse=True), limit
        assert {description for _, description in shown} == {f"item {n}" for n in range(len(COSTS))}, limit
        assert {len(page) for page in pages[:-1]} <= {limit}


def show_pages(landing: Landing, limit: int) -> Iterator[list[tuple[Decimal, str]]]:
    """The amounts and descriptions of one page after the other, as its link leads to the next."""
    after = None
    while True:
        page = list_charges(landing.database, Question(), may(), after=after, limit=limit)
        yield [(row.amount, row.description) for row in page.rows]
        if page.last is None:
            return
        after = read_charge_cursor(format_charge_cursor(page.last))


def test_sums_of_more_digits_than_pythons_own_are_not_rounded(landing: Landing) -> None:
    costs = {"AmazonEC2": "123456789012.34567890123456789012", "AmazonS3": "0.00000000000000000001"}
    for month, factor in (("2026-04", 1), ("2026-05", 2)):
        items = [
            line_item(
                cost=cost,
                line_item_product_code=name,
                line_item_line_item_description=f"copy {copy}",
                bill_billing_period_start_date=f"{month}-01T00:00:00.000Z",
                line_item_usage_start_date=f"{month}-03T04:00:00.000Z",
                line_item_usage_end_date=f"{month}-03T05:00:00.000Z",
            )
            for name, cost in costs.items()
            for copy in range(factor)
        ]
        write_bill(landing.root, items, period=month)
    landing.ingest_all()

    [spending] = report_spending(landing.database, Question()).currencies

    assert spending.total.month == Decimal("246913578024.69135780246913578026")
    assert spending.total.change == Decimal("123456789012.34567890123456789013")
    assert spending.pace
    assert spending.pace.change == spending.total.change
    # All groups have a series of their own: there are no others, not even of a rounding's worth.
    assert {series.name for series in spending.series} == set(costs)


def test_a_large_credit_is_drawn_beside_the_largest_cost(landing: Landing) -> None:
    items = [line_item(cost=str(cost), line_item_product_code=f"Service{cost}") for cost in range(1, 12)]
    write_bill(landing.root, [*items, line_item("Refund", cost="-5", line_item_product_code="Refunds")])
    landing.ingest()

    [spending] = report_spending(landing.database, Question()).currencies

    assert [series.name for series in spending.series] == [
        *(f"Service{cost}" for cost in range(11, 3, -1)), "Refunds", None,
    ]  # fmt: skip
    assert sum(spending.series[-1].amounts) == 1 + 2 + 3


def test_savings_of_more_digits_than_pythons_own_are_not_rounded(landing: Landing) -> None:
    price = "123456789012.34567890123456789012"
    prices = {"pricing_public_on_demand_cost": price, "line_item_line_item_description": "dear"}
    write_bill(landing.root, [line_item(cost="0.00000000000000000001", **prices)])
    landing.ingest()

    [spending] = report_spending(landing.database, Question()).currencies

    assert spending.savings
    assert spending.savings.list == Decimal(price)
    assert spending.savings.negotiated == Decimal("123456789012.34567890123456789011")


def test_a_cursor_is_read_as_it_was_written() -> None:
    assert read_charge_cursor(format_charge_cursor(PLACE)) == PLACE
    assert read_charge_cursor("") is None


@pytest.mark.parametrize(
    "told",
    [
        None,
        7,
        [],
        ["1", 7, str(UUID(int=9)), 2],
        ["NaN", 7, str(UUID(int=9)), 2, 1],
        ["1e999999", 7, str(UUID(int=9)), 2, 1],
        ["1", 2**31, str(UUID(int=9)), 2, 1],
        ["1", 7, "no uuid", 2, 1],
        ["1", None, str(UUID(int=9)), 2, 1],
        [{}, 7, 9, 2, 1],
    ],
)
def test_what_is_no_place_is_refused(told: object) -> None:
    with pytest.raises(UsageError, match="the page link is invalid or out of date"):
        read_charge_cursor(base64.urlsafe_b64encode(json.dumps(told).encode()).decode())


@pytest.mark.parametrize("text", ["x", "====", "\u00e9", "AAAA"])
def test_an_invalid_cursor_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the page link is invalid or out of date"):
        read_charge_cursor(text)
