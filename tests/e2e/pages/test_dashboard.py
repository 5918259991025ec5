"""The dashboard in a real browser: exact numbers, addresses that keep what was chosen, and nothing from elsewhere."""

from __future__ import annotations

import csv
import io
import re
import socket
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from billfold.period import parse_period
from billfold.reports.costs import sum_costs
from billfold.selection import CostColumn, Selection
from billfold.store.database import Database
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill
from tests.bills.split_bills import instance, pod
from tests.processes.visitor import DESK, PHONE, Visitor, find_severe
from tests.processes.web_server import HOME_SECRET, run_web_server
from tests.services import NewDatabase, make_shared_landing

MAY = parse_period("2026-05")
# A4 with Chromium's margins, in its pixels.
PAPER: ViewportSize = {"width": 718, "height": 1000}
THEMES: dict[Literal["light", "dark"], str] = {"light": "rgb(246, 246, 243)", "dark": "rgb(19, 23, 22)"}
MARKUP = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def bills(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """Two months of fifteen services, two regions, two currencies and a container, with amounts of many digits."""
    landing = make_shared_landing(new_database, tmp_path_factory)
    for month, factor in (("2026-04", "1"), ("2026-05", "3")):
        write_bill(landing.root, list_items(month, Decimal(factor)), period=month)
    landing.ingest_all()
    return landing


def list_items(month: str, factor: Decimal) -> list[dict[str, str]]:
    def item(day: int, cost: str, **columns: str) -> dict[str, str]:
        return line_item(
            cost=str(Decimal(cost) * factor),
            bill_billing_period_start_date=f"{month}-01T00:00:00.000Z",
            line_item_usage_start_date=f"{month}-{day:02d}T04:00:00.000Z",
            line_item_usage_end_date=f"{month}-{day:02d}T05:00:00.000Z",
            **{"product_region_code": "eu-west-1", "resource_tags": '{"user_env":"web"}', **columns},
        )

    services = [
        item(day, f"{number}.0000000123", line_item_product_code=f"Service{number:02d}")
        for number in range(1, 13)
        for day in (1, 2, 3)
    ]
    on_day = {name: value for name, value in item(6, "0").items() if name.endswith("_date")}
    return [
        *services,
        *({**split, **on_day} for split in (instance("4"), pod("web", "0.5"))),
        item(4, "7.5", line_item_product_code="AmazonS3", product_region_code="us-east-1"),
        item(4, "2.25", line_item_product_code=MARKUP),
        item(5, "5.005", line_item_currency_code="EUR"),
        item(
            5,
            "0.25",
            line_item_line_item_description="a description of many words " * 5,
            line_item_usage_amount="1234.56789",
            pricing_unit="Lambda-Provisioned-GB-Seconds",
            product_product_name="A product whose name is rather long",
        ),
    ]


@pytest.fixture(scope="module")
def address(bills: Landing, listener: socket.socket) -> Iterator[str]:
    with run_web_server(bills.settings, bills.database, listener) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def empty_address(bills: Landing, new_database: NewDatabase) -> Iterator[str]:
    """A server into which nothing ever came."""
    with run_web_server(bills.settings, new_database(16)) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def reader(visitor: Visitor) -> Iterator[Page]:
    """Somebody whose browser runs no scripts."""
    browser = visitor.page.context.new_cdp_session(visitor.page)
    browser.send("Emulation.setScriptExecutionDisabled", {"value": True})
    yield visitor.page
    browser.send("Emulation.setScriptExecutionDisabled", {"value": False})
    browser.detach()


def read_csv(address: str, query: str) -> list[dict[str, str]]:
    owner = {"Authorization": f"Bearer {HOME_SECRET}"}
    request = urllib.request.Request(f"{address}/costs.csv{query}", headers=owner)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return list(csv.DictReader(io.StringIO(answer.read().decode())))


def total(database: Database, currency: str, **wanted: Any) -> Decimal:
    found = sum_costs(database, columns=[CostColumn.MONTH], **wanted)
    return sum((row.amount for row in found.totals if row.currency == currency), Decimal(0))


def digits(amount: Decimal, currency: str) -> str:
    return f"{amount:.2f} {currency}"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/costs?group=account&service=nothing", "nothing"),
        ("/costs/charges?until=2026-05", "charges"),
        ("/costs?group=workload", "costs-split"),
    ],
)
def test_pages_fit_a_phone_and_are_accessible_in_both_themes(visitor: Visitor, path: str, name: str) -> None:
    assert visitor.find_faults(path, name) == {}


def test_totals_are_what_the_costs_report_says_and_lead_down_to_charges(visitor: Visitor, bills: Landing) -> None:
    visitor.page.set_viewport_size(PHONE)
    page = visitor.visit("/")
    visitor.shoot("costs-phone")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    edges = page.locator("table.costs").first.evaluate(
        "table => [table.tHead, table.tFoot].map(part => [...part.rows[0].cells].map(cell => cell.offsetLeft))"
    )
    assert edges[0] == edges[1]
    page.set_viewport_size(DESK)
    reached = visitor.tab_through(40)
    assert reached[0] == "Skip to content"
    assert {"Costs", "client", "Effective", "Account", "f-since", "f-tag", "Filter"} <= set(reached)

    for currency in ("USD", "EUR"):
        exact = total(bills.database, currency)
        expect(page.locator(f"[data-total={currency}]")).to_have_text(digits(exact, currency))
    money = page.locator("[data-total=USD] .money")
    expect(money).to_have_attribute("title", re.compile(r"^\d+\.\d{3,} USD$"))
    # Names are text and never markup.
    expect(page.locator("table.costs tbody th", has_text=MARKUP)).to_have_count(1)

    page.get_by_role("link", name="AmazonS3").first.click()
    page.get_by_role("link", name="Charges in 2026-05").click()
    assert visitor.query()["service"] == ["AmazonS3"]
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody td").last).to_have_text("22.50 USD")
    assert page.locator("tbody time").get_attribute("title")


def test_csv_and_chart_are_of_the_days_and_sums_of_the_page(visitor: Visitor, bills: Landing, address: str) -> None:
    page = visitor.visit("/costs?group=region&since=2026-05")

    rows = read_csv(address, "?group=region&since=2026-05")

    found = sum_costs(bills.database, columns=[CostColumn.REGION], month=MAY)
    assert {(row["region"], row["currency"]): Decimal(row["cost"]) for row in rows} == {
        (row.group[0], row.currency): row.amount for row in found.rows
    }
    assert page.locator("table.costs tbody tr").count() == len(rows)
    # The axis of a single day names it.
    ticks = page.get_by_role("img", name="EUR").locator(".xtick text")
    assert ticks.all_text_contents() == ["2026-05-05"]


def test_filters_and_groups_stay_in_the_address(visitor: Visitor, bills: Landing) -> None:
    page = visitor.visit("/costs?metric=effective")

    page.get_by_label("Region", exact=True).fill("us-east-1")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**region=us-east-1**")

    kept = {"metric": ["effective"], "since": ["2026-04"], "until": ["2026-05"]}
    assert visitor.query() == {**kept, "region": ["us-east-1"]}
    expected = total(bills.database, "USD", selection=Selection(regions=["us-east-1"]))
    expect(page.locator("[data-total=USD]")).to_have_text(digits(expected, "USD"))
    page.get_by_role("link", name="Remove the filter Region us-east-1").click()
    expect(page.locator("[data-total=USD]")).not_to_have_text(digits(expected, "USD"))
    assert visitor.query() == kept

    page.get_by_label("key", exact=True).fill("env")
    page.get_by_role("button", name="Group").click()
    page.wait_for_url("**tag_key=env**")
    expect(page.locator("table.costs tbody th").first).to_have_text("web")


def test_charts_have_the_colours_of_the_page_in_the_systems_theme_and_the_chosen_one(visitor: Visitor) -> None:
    page = visitor.visit("/")
    bar, tick = (page.locator(f".chart-area {part}").first for part in (".point path", ".ytick text"))

    def colours() -> list[str]:
        """Of the share in the table, which is a bar's, of a note, which is a tick's, and of the page."""
        found = "part => getComputedStyle(document.querySelector(part))"
        shown = [
            page.evaluate(f"({found})('td.share svg').fill"),
            page.evaluate(f"({found})('.panel .note').color"),
            page.evaluate(f"({found})('body').backgroundColor"),
        ]
        for part, colour in zip((bar, tick), shown[:2], strict=True):
            expect(part).to_have_css("fill", colour)
        return shown

    def switch() -> list[str]:
        page.get_by_role("button", name="Switch between light and dark").click()
        return colours()

    light = colours()
    page.emulate_media(color_scheme="dark")
    dark = colours()
    chosen = switch()
    page.reload()
    remembered, other = colours(), switch()
    page.evaluate("localStorage.clear()")

    assert (light[0], dark[0]) == ("rgb(47, 125, 104)", "rgb(87, 179, 151)")
    assert [light[2], dark[2]] == [*THEMES.values()]
    assert light[1] != dark[1]
    assert (chosen, remembered, other) == (light, light, dark)


def test_arrow_keys_choose_a_client_without_leaving_the_page(visitor: Visitor, bills: Landing) -> None:
    bills.execute("INSERT INTO billing_clients (client_id) VALUES ('globex')")
    page = visitor.visit("/checks")
    show = page.get_by_role("button", name="Show")
    expect(show).to_be_hidden()

    page.get_by_label("Client").focus()
    page.keyboard.press("ArrowDown")
    expect(show).to_be_visible()
    stayed = page.url
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/checks?client=acme")
    bills.execute("DELETE FROM billing_clients WHERE client_id = 'globex'")

    assert stayed.endswith("/checks")


def test_charges_show_their_cost_without_scrolling(visitor: Visitor) -> None:
    page = visitor.visit("/costs/charges?until=2026-05")

    room, needed = page.locator(".scroll").evaluate("table => [table.clientWidth, table.scrollWidth]")

    assert needed <= room
    expect(page.locator("tbody tr", has_text="a description")).to_contain_text("Lambda-Provisioned-GB-Seconds")


def test_charts_fit_another_window_and_paper_in_light_colours(visitor: Visitor) -> None:
    page = visitor.visit("/")
    figure = page.locator("[data-chart]").last
    measure = (
        "figure => ['.chart-area', '.main-svg'].map(part => figure.querySelector(part).getBoundingClientRect().%s)"
    )
    wide = figure.evaluate(measure % "height")

    # They keep clear of what follows.
    page.set_viewport_size({"width": 700, "height": 900})
    narrow_width = figure.locator(".chart-area").evaluate("area => area.clientWidth")
    expect(figure.locator(".main-svg").first).to_have_attribute("width", str(narrow_width))
    narrow = figure.evaluate(measure % "height")
    page.set_viewport_size(DESK)
    expect(figure.locator(".main-svg").first).not_to_have_attribute("width", str(narrow_width))

    assert narrow[0] == narrow[1] > wide[0] == wide[1]
    assert figure.evaluate(measure % "height") == wide

    page.get_by_role("button", name="Switch between light and dark").click()
    screen = page.evaluate("[document.documentElement.dataset.theme, getComputedStyle(document.body).color]")
    # As a browser does that prints: the event first, while the window has its width yet.
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.set_viewport_size(PAPER)
    page.emulate_media(media="print")
    visitor.shoot("costs-paper")
    paper = page.evaluate(
        "[document.documentElement.scrollWidth, document.querySelector('table.costs').offsetWidth,"
        " document.querySelector('.main-svg').getBoundingClientRect().right, getComputedStyle(document.body).color]"
    )
    hidden = [page.locator(part).first.is_visible() for part in (".top", ".filters", ".switches", ".button")]
    page.emulate_media(media="screen")
    page.set_viewport_size(DESK)
    page.evaluate("dispatchEvent(new Event('afterprint'))")

    assert max(paper[:3]) <= PAPER["width"]
    assert hidden == [False] * 4
    assert paper[3] == "rgb(29, 36, 34)" != screen[1]
    assert page.evaluate("[document.documentElement.dataset.theme, getComputedStyle(document.body).color]") == screen
    page.evaluate("localStorage.clear()")


def test_without_scripts_the_numbers_are_there_in_the_systems_theme(reader: Page, address: str) -> None:
    reader.goto(f"{address}/")

    expect(reader.get_by_text("The chart needs JavaScript").first).to_be_visible()
    expect(reader.get_by_text("Drawing").first).to_be_hidden()
    expect(reader.get_by_role("button", name="Switch between")).to_be_hidden()
    expect(reader.locator("[data-total=EUR]")).to_be_visible()
    for scheme, colour in THEMES.items():
        reader.emulate_media(color_scheme=scheme)
        expect(reader.locator("body")).to_have_css("background-color", colour)


def test_a_browser_sees_failures_as_pages(visitor: Visitor) -> None:
    page = visitor.visit("/costs?since=yesterday")
    visitor.complaints.clear()

    expect(page.get_by_role("heading")).to_have_text("This request is not valid")
    expect(page.get_by_text("since must be a month such as 2026-05")).to_be_visible()
    assert find_severe(page) == []


@pytest.mark.parametrize("path", ["/", "/deliveries"])
def test_a_new_home_says_how_to_begin(visitor: Visitor, empty_address: str, path: str) -> None:
    visitor.address = empty_address
    visitor.page.set_viewport_size(PHONE)
    page = visitor.visit(path)

    expect(page.locator("main code").first).to_contain_text("billfold ")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert find_severe(page) == []
