"""Amounts of any size in one client's bill: every page shows them, and the other clients' figures beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from billfold.cli import main
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill
from tests.processes.pages import Pages, run_pages

# The first is what Python's own context of 28 digits cannot round to the cent; the last is more than a float holds.
LARGE = {
    "USD": "99999999999999999999999999",
    "EUR": "1e26",
    "XTS": "-12345678901234567890123456789012345678.9",
    "XXX": "0.00000000000000000000000000000000000001",
    "JPY": "9" * 400,
    "AUD": "-1e-30",
}
PAGES = ("/", "/costs?group=account&metric=effective&client=odd", "/changes", "/deliveries", "/checks", "/clients")
DOCUMENTS = ("/v1/costs?by=service", "/v1/statements", "/v1/deliveries", "/v1/changes", "/v1/checks", "/metrics")
TABLES = ("/costs.csv", "/changes.csv", "/checks.csv")
COMMANDS = ("costs", "statements", "deliveries", "changes", "publications", "checks")


@pytest.fixture(scope="module")
def bills(shared_landing: Landing) -> Landing:
    """acme's bill is a usual one; odd's was restated to amounts that no money is."""
    write_bill(shared_landing.root, [line_item(cost="12.34")])
    assert shared_landing.ingest().exit_error is None
    odd = replace(shared_landing, root=shared_landing.root.parent / "odd").with_client(client_id="odd", prefix="odd/")
    for revision, amounts in enumerate((dict.fromkeys(LARGE, "1"), LARGE), start=1):
        items = [line_item(cost=cost, line_item_currency_code=currency) for currency, cost in amounts.items()]
        write_bill(odd.root, items, export_path="exports/odd", revision=revision)
        assert odd.ingest(force=True).exit_error is None
    return shared_landing


@pytest.fixture(scope="module")
def pages(bills: Landing) -> Iterator[Pages]:
    with run_pages(bills, their_client="acme") as pages:
        yield pages


def list_charts(page: str) -> list[Any]:
    """What the page's charts draw; a number that JSON does not know fails."""
    found = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, flags=re.DOTALL)
    return [json.loads(chart, parse_constant=pytest.fail) for chart in found]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_shown(pages: Pages, path: str) -> None:
    list_charts(pages.load(path).body.decode())


@pytest.mark.parametrize("path", [*DOCUMENTS, *TABLES])
def test_every_document_and_table_is_sent(pages: Pages, path: str) -> None:
    assert pages.load(path).body


def test_a_page_shows_each_amount_to_the_smallest_unit_of_its_currency(pages: Pages) -> None:
    page = pages.show("/")

    for amount in (
        "100,000,000,000,000,000,000,000,011.34",
        "100,000,000,000,000,000,000,000,000.00",
        "\N{MINUS SIGN}12,345,678,901,234,567,890,123,456,789,012,345,678.90",
        ",".join(["9", *["999"] * 133]) + " JPY",
    ):
        assert amount in page
    assert "NaN" not in page
    assert "12.34" in pages.show("/?client=acme")


def test_the_pages_of_a_movement_and_of_its_charges_are_shown(bills: Landing, pages: Pages) -> None:
    [(statement,)] = bills.query("SELECT statement_id FROM billing_statements WHERE client_id = 'odd'")
    deliveries = bills.query("SELECT delivery_id FROM billing_deliveries")

    moved = pages.load(f"/changes?statement={statement}&from=1&to=2").body.decode()
    pages.show("/costs/charges?until=2026-05&client=odd")
    pages.load(f"/changes.csv?statement={statement}&from=1&to=2")
    for (delivery_id,) in deliveries:
        pages.show(f"/deliveries/{delivery_id}")

    # 400 digits have no place on an axis: that chart alone is left out.
    assert len(list_charts(moved)) == len(LARGE) - 1
    assert moved.count("This chart cannot be drawn") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_them(
    bills: Landing,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    environment.setenv("DATABASE_URL", bills.database.conninfo)

    code = main([command])

    assert code == 0, capsys.readouterr().err
