"""The pages of changes and of checks in a real browser: what is highlighted, where it leads, and who can read it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.bills.landing import Landing
from tests.bills.page_bills import MARKUP
from tests.processes.visitor import DESK, PHONE, Visitor
from tests.processes.web_server import run_web_server

VIEWS = {
    "/changes": "changes",
    "/changes?client=globex": "changes-none-moved",
    "/changes?period=2020-01": "changes-nothing",
    "/checks": "checks",
    "/checks?period=2020-01": "checks-nothing",
}


@pytest.fixture(scope="module")
def address(page_bills: Landing, listener: socket.socket) -> Iterator[str]:
    with run_web_server(page_bills.settings, page_bills.database, listener) as server:
        yield f"http://127.0.0.1:{server.port}"


def row_of(page: Page, table: str, text: str) -> Any:
    return page.locator(f"table.{table} tbody tr", has_text=text)


@pytest.mark.parametrize("path", list(VIEWS))
def test_pages_fit_a_phone_and_are_accessible_in_both_themes(visitor: Visitor, path: str) -> None:
    assert visitor.find_faults(path, VIEWS[path]) == {}


def test_the_waterfall_goes_from_the_old_total_to_the_new_one_and_leads_to_costs(visitor: Visitor) -> None:
    page = visitor.visit("/changes?metric=effective")
    amounts = page.locator(".chart-area .bartext")
    texts = amounts.all_text_contents()
    names = page.locator(".chart-area .ytick").all_text_contents()

    assert (texts[0], texts[-1]) == ("105.00", "220.25")
    assert texts[1:4] == ["+100.25", "\N{MINUS SIGN}40.00", "+10.00"]
    assert names[0] == "publication 1"
    assert names[-2:] == ["all others", "publication 2"]
    expect(page.locator("[data-moved=USD] .money").last).to_have_attribute("title", "115.250000000000000001 USD")
    # Names are text.
    expect(row_of(page, "movers", MARKUP)).to_have_count(1)
    expect(page.locator("table.movers b")).to_have_count(0)

    # Beside the bars of a narrow chart the amounts would lie over the names, and end outside of the screen.
    page.set_viewport_size(PHONE)
    expect(amounts).to_have_count(0)
    expect(page.locator("table.movers").first).to_contain_text("100.25")
    page.set_viewport_size(DESK)
    expect(amounts).to_have_count(len(texts))

    bar = page.locator(".chart-area .point path").nth(1).bounding_box()
    assert bar
    page.mouse.click(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    page.wait_for_url("**/costs?**")
    assert visitor.query() == {
        "client": ["acme"],
        "metric": ["effective"],
        "group": ["account"],
        "service": ["Comes"],
        "since": ["2026-05"],
        "until": ["2026-05"],
    }


def test_publications_are_opened_compared_and_filtered(visitor: Visitor) -> None:
    page = visitor.visit("/changes?metric=list&by=region")
    wanted = {"Changes", "Effective", "Account", "f-export", "f-period", "Filter", "f-from", "Compare"}
    assert wanted <= set(visitor.tab_through(30))
    moved = page.locator("table.moves tr.highlighted")
    expect(moved).to_have_count(1)
    expect(moved).to_contain_text("past month changed")
    assert page.locator("table.moves tbody time").first.get_attribute("title")

    page.get_by_label("From publication").select_option("0")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**from=0**")
    kept = {"metric": ["list"], "by": ["region"]}
    assert visitor.query() == {**kept, "statement": ["1"], "from": ["0"], "to": ["2"]}
    expect(page.get_by_role("heading", name="Changes by region, EUR")).to_be_visible()

    row_of(page, "moves", "first bill").first.get_by_role("link").click()
    expect(page.get_by_text("First publication: nothing to compare with")).to_be_visible()
    assert {*visitor.query()} == {*kept, "statement", "from", "to"}

    page.get_by_label("Month", exact=True).select_option("2026-03")
    page.get_by_label("Export", exact=True).select_option("again")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**period=2026-03**")
    assert visitor.query() == {**kept, "export": ["again"], "period": ["2026-03"]}
    expect(page.locator("table.moves tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Clear").click()
    assert visitor.query() == kept


def test_the_client_is_kept_from_view_to_view(visitor: Visitor) -> None:
    page = visitor.visit("/changes?period=2020-01")

    page.get_by_label("Client").select_option("globex")
    page.wait_for_url("**client=globex**")
    page.get_by_role("link", name="Checks", exact=True).click()

    expect(page.get_by_role("heading", name="Checks")).to_be_visible()
    assert visitor.query() == {"client": ["globex"]}
    expect(page.get_by_text(re.compile("billfold checks --statement \\d+ --refresh"))).to_be_visible()


def test_doubtful_bills_come_first_and_are_open(visitor: Visitor) -> None:
    page = visitor.visit("/checks")
    wanted = {"Checks", "f-export", "f-period", "f-state", "f-check", "Filter", "Download CSV"}
    assert wanted <= set(visitor.tab_through(30))
    bills = page.locator("details.bill")
    names = bills.locator(".fold-name").all_text_contents()

    assert [name.strip() for name in names][:3] == [
        "acme · acme 2026-04",
        "acme · acme 2026-02",
        "acme · again 2026-02",
    ]
    assert "globex · theirs 2026-04" in names[3]
    expect(bills.first).to_have_attribute("open", "")
    expect(bills.last).not_to_have_attribute("open", "")
    expect(bills.first.locator("tbody tr").first).to_contain_text("Savings Plans by hour")

    bills.last.locator("> summary").focus()
    page.keyboard.press("Enter")
    expect(bills.last).to_have_attribute("open", "")

    page.get_by_role("link", name="Overlapping exports").click()
    assert visitor.query() == {"check": ["overlap"]}
    expect(bills).to_have_count(2)
    expect(page.get_by_text("counted twice, beside").first).to_be_visible()
