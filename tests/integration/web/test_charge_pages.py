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
from billfold.reports.spending import CurrencySpending, Question, list_charges, report_spending
from billfold.selection import Selection
from billfold.store.reports.spending import ChargePlace
from billfold.web.forms.charge_cursor import format_charge_cursor, read_charge_cursor
from tests.bills.landing import Landing
from tests.bills.line_items import LineItem, line_item, write_bill

PLACE = ChargePlace(cost=Decimal("-0.0000000123"), statement_id=7, row_hash=UUID(int=9), occurrence=2, part=1)
LONG = {"AmazonEC2": "123456789012.34567890123456789012", "AmazonS3": "0.00000000000000000001"}
PRICE = "123456789012.34567890123456789012"
COSTS = ("9", "4", "4", "4", "4.0000000001", "0", "-3", "-3")


def may() -> BillingPeriod:
    period = parse_period("2026-05")
    assert isinstance(period, BillingPeriod)
    return period


@pytest.fixture(scope="module")
def bills(shared_landing: Landing) -> Landing:
    """Two months of costs of many digits in USD; in May many in JPY, a credit in EUR, savings in GBP."""
    april, may = list_long("2026-04", copies=1), list_long("2026-05", copies=2)
    yen = {"line_item_currency_code": "JPY", "product_region_code": "ap-northeast-1"}
    may += [line_item(cost=cost, line_item_line_item_description=f"item {n}", **yen) for n, cost in enumerate(COSTS)]
    euro = {"line_item_currency_code": "EUR"}
    may += [line_item(cost=str(cost), line_item_product_code=f"Service{cost}", **euro) for cost in range(1, 12)]
    may += [line_item("Refund", cost="-5", line_item_product_code="Refunds", **euro)]
    dear = {"pricing_public_on_demand_cost": PRICE, "line_item_currency_code": "GBP"}
    may += [line_item(cost="0.00000000000000000001", **dear)]
    for month, items in (("2026-04", april), ("2026-05", may)):
        write_bill(shared_landing.root, items, period=month)
    shared_landing.ingest_all()
    return shared_landing


def list_long(month: str, *, copies: int) -> list[LineItem]:
    return [
        line_item(
            cost=cost,
            line_item_product_code=name,
            line_item_line_item_description=f"copy {copy}",
            bill_billing_period_start_date=f"{month}-01T00:00:00.000Z",
            line_item_usage_start_date=f"{month}-03T04:00:00.000Z",
            line_item_usage_end_date=f"{month}-03T05:00:00.000Z",
        )
        for name, cost in LONG.items()
        for copy in range(copies)
    ]


def spending_in(bills: Landing, currency: str) -> CurrencySpending:
    return next(each for each in report_spending(bills.database, Question()).currencies if each.currency == currency)


def test_pages_show_every_charge_once(bills: Landing) -> None:
    for limit in (1, 2, 3, 8):
        pages = list(show_pages(bills, limit))

        shown = [row for page in pages for row in page]
        assert [amount for amount, _ in shown] == sorted(map(Decimal, COSTS), reverse=True), limit
        assert {description for _, description in shown} == {f"item {n}" for n in range(len(COSTS))}, limit
        assert {len(page) for page in pages[:-1]} <= {limit}


def show_pages(landing: Landing, limit: int) -> Iterator[list[tuple[Decimal, str]]]:
    """The amounts and descriptions of one page after the other, as its link leads to the next."""
    in_yen = Question(selection=Selection(regions=["ap-northeast-1"]))
    after = None
    while True:
        page = list_charges(landing.database, in_yen, may(), after=after, limit=limit)
        yield [(row.amount, row.description) for row in page.rows]
        if page.last is None:
            return
        after = read_charge_cursor(format_charge_cursor(page.last))


def test_sums_of_more_digits_than_pythons_own_are_not_rounded(bills: Landing) -> None:
    spending = spending_in(bills, "USD")

    assert spending.total.month == Decimal("246913578024.69135780246913578026")
    assert spending.total.change == Decimal("123456789012.34567890123456789013")
    assert spending.pace
    assert spending.pace.change == spending.total.change
    # All groups have a series of their own: there are no others, not even of a rounding's worth.
    assert {series.name for series in spending.series} == {*LONG}


def test_a_large_credit_is_drawn_beside_the_largest_cost(bills: Landing) -> None:
    spending = spending_in(bills, "EUR")

    assert [series.name for series in spending.series] == [
        *(f"Service{cost}" for cost in range(11, 3, -1)), "Refunds", None,
    ]  # fmt: skip
    assert sum(spending.series[-1].amounts) == 1 + 2 + 3


def test_savings_of_more_digits_than_pythons_own_are_not_rounded(bills: Landing) -> None:
    spending = spending_in(bills, "GBP")

    assert spending.savings
    assert spending.savings.list == Decimal(PRICE)
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
