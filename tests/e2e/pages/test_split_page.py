"""Costs with containers in place of their instances, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.bills.landing import Landing
from tests.bills.split_bills import CLUSTER, INSTANCE
from tests.integration.reports.test_split_reports import bills as bills
from tests.processes.visitor import PHONE, Visitor, find_severe
from tests.processes.web_server import run_web_server
from tests.services import NewDatabase

__all__ = ["NewDatabase", "bills"]


@pytest.fixture(scope="module")
def address(bills: Landing) -> Iterator[str]:
    with run_web_server(bills.settings, bills.database) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_the_switch_keeps_the_total_and_leads_down_to_pods(visitor: Visitor) -> None:
    page = visitor.visit("/costs?metric=effective&since=2026-05&until=2026-05")
    total = page.locator('[data-total="USD"]').inner_text()

    page.get_by_role("link", name="On", exact=True).click()
    expect(page.locator('[data-total="USD"]')).to_have_text(total)
    page.get_by_role("link", name="Cluster", exact=True).click()
    visitor.shoot("costs-split")
    expect(page.locator('[data-total="USD"]')).to_have_text(total)
    page.get_by_role("link", name=CLUSTER, exact=True).first.click()
    page.get_by_role("link", name="checkout", exact=True).first.click()
    page.get_by_role("link", name="web", exact=True).first.click()

    assert visitor.query()["group"] == ["pod"]
    assert visitor.query()["workload"] == ["web"]
    page.get_by_role("link", name="Off", exact=True).click()
    expect(page.locator('[data-total="USD"]')).to_have_text(total)
    assert visitor.query() == {"metric": ["effective"], "since": ["2026-05"], "until": ["2026-05"]}


def test_the_charge_of_an_instance_leads_to_its_workloads(visitor: Visitor) -> None:
    page = visitor.visit("/costs/charges?until=2026-05")
    visitor.shoot("charges-split")

    page.locator("tr", has_text=INSTANCE).get_by_role("link", name="Workloads").first.click()

    assert visitor.query()["parent"] == [INSTANCE]
    expect(page.locator("table.costs").first).to_contain_text("web")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_in_both_colours(visitor: Visitor, scheme: str) -> None:
    visitor.page.set_viewport_size(PHONE)
    visitor.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page = visitor.visit("/costs?group=workload")
    visitor.shoot(f"costs-split-phone-{scheme}")

    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert find_severe(page) == []
