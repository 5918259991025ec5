"""Figures in a real browser: clients of unequal freshness, percentages that mean something, and no endless decimals."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from playwright.sync_api import Page, expect

from tests.bills.line_items import line_item, write_bill
from tests.processes.visitor import Visitor
from tests.processes.web_server import run_web_server
from tests.services import NewDatabase, make_shared_landing

# A month that is never over.
APRIL, MAY = "2099-04", "2099-05"
TINY = "0.0000000000000000000000001"
MINUS = "\N{MINUS SIGN}"


def item(month: str, day: int, cost: str, **columns: str) -> dict[str, str]:
    return line_item(
        cost=cost,
        bill_billing_period_start_date=f"{month}-01T00:00:00.000Z",
        line_item_usage_start_date=f"{month}-{day:02d}T04:00:00.000Z",
        line_item_usage_end_date=f"{month}-{day:02d}T05:00:00.000Z",
        **{"line_item_usage_amount": TINY, "product_region_code": "eu-west-1", **columns},
    )


def list_april() -> list[dict[str, str]]:
    return [
        *(item(APRIL, day, "2") for day in range(1, 31)),
        item(APRIL, 2, TINY, line_item_product_code="WasTiny"),
        item(APRIL, 2, "-30", line_item_product_code="WasCredit"),
        item(APRIL, 2, "4", line_item_product_code="Stays"),
        item(APRIL, 2, "1500", line_item_currency_code="JPY"),
    ]


def list_may(last_day: int) -> list[dict[str, str]]:
    return [
        *(item(MAY, day, "3") for day in range(1, last_day + 1)),
        item(MAY, 2, "7", line_item_product_code="WasTiny"),
        item(MAY, 2, "8", line_item_product_code="WasCredit"),
        item(MAY, 2, "4.0000000000000000000000001", line_item_product_code="Stays"),
        item(MAY, 2, "9", line_item_product_code="IsNew"),
        item(MAY, 2, "1650.4", line_item_currency_code="JPY"),
    ]


@pytest.fixture(scope="module")
def address(
    new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory, listener: socket.socket
) -> Iterator[str]:
    """acme is charged up to 20 May, globex up to 10 May; acme's bill was restated by a tiny amount."""
    acme = make_shared_landing(new_database, tmp_path_factory)
    globex = replace(acme, root=acme.root.parent / "globex").with_client(client_id="globex", prefix="globex/")
    for landing, last_day in ((acme, 20), (globex, 10)):
        landing.ingest(write_bill(landing.root, list_april(), period=APRIL))
        landing.ingest(write_bill(landing.root, list_may(last_day), period=MAY))
    more = [*list_may(20), item(MAY, 3, TINY, line_item_product_code="IsNew"), item(MAY, 3, "1")]
    acme.ingest(write_bill(acme.root, more, period=MAY, revision=2))
    with run_web_server(acme.settings, acme.database, listener) as server:
        yield f"http://127.0.0.1:{server.port}"


def read_figures(page: Page, currency: str) -> dict[str, Decimal]:
    """The amounts at the top of the page by what they are called."""
    figures = page.get_by_label(f"{MAY} in {currency}").locator(".figure")
    amounts = {}
    for figure in figures.all():
        shown = figure.locator("dd > .money").inner_text().split()[0]
        amounts[figure.locator("dt").inner_text()] = Decimal(shown.replace(",", "").replace(MINUS, "-"))
    return amounts


def row_of(page: Page, service: str) -> list[str]:
    row = page.locator("table.costs tbody tr", has_text=service).first
    return [text.strip() for text in row.locator("td.number").all_inner_texts()]


def assert_plain(page: Page) -> None:
    """No figure has endless decimals or a signed zero."""
    text = page.locator("main").inner_text()

    assert not re.search(r"\.[0-9]{7}", text)
    assert not re.search(rf"[+{MINUS}-]0(\.0+)? ", text)
    assert not re.search(r"1,6[0-9]{2}\.", text)
    for marked in page.locator(".money.more, .money.less").all_inner_texts():
        assert re.search("[1-9]", marked)


def test_figures_of_all_clients_are_the_sum_of_each_up_to_its_own_day(visitor: Visitor) -> None:
    page = visitor.visit("/")

    dollars, yen = (read_figures(page, currency) for currency in ("USD", "JPY"))
    assert len(dollars) == len(yen) == 4
    assert dollars[f"{MAY} to date"] == (3 * 20 + 1) + 3 * 10 + 2 * (7 + 8 + 4 + 9)
    assert dollars["Previous month, same day"] == 2 * 20 + 2 * 10 + 2 * (4 - 30)
    assert (yen[f"{MAY} to date"], yen["Previous month, same day"]) == (3301, 3000)
    expect(page.locator(".head p")).to_contain_text("charges up to 2099-05-10 to 2099-05-20, by client")
    # Percentages need something to compare with.
    assert row_of(page, "IsNew")[-1] == "new"
    assert row_of(page, "WasTiny")[-1] == "new"
    assert row_of(page, "WasCredit")[-1] == "\N{EN DASH}"
    assert row_of(page, "Stays")[-2:] == ["0.00 USD", "0.0%"]
    assert_plain(page)


def test_the_page_says_up_to_which_day_a_client_is_charged(visitor: Visitor) -> None:
    page = visitor.visit("/?client=globex&service=IsNew")

    expect(page.locator(".head p")).to_contain_text("charges up to 2099-05-10")
    expect(page.get_by_label(f"{MAY} in USD").locator(".figure").nth(1)).to_contain_text("(new), up to 2099-04-10")


@pytest.mark.parametrize("path", ["/changes", f"/costs/charges?until={MAY}"])
def test_no_figure_has_endless_decimals_or_a_signed_zero(visitor: Visitor, path: str) -> None:
    assert_plain(visitor.visit(path))


def test_pages_fit_a_phone_and_are_accessible_in_both_themes(visitor: Visitor) -> None:
    assert visitor.find_faults("/", "figures") == {}
