"""The page of changes: it shows what the report of changes says, to the last digit, and nobody else's bill."""

from __future__ import annotations

import html
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from billfold.documents import format_money
from billfold.period import parse_period
from billfold.reports.changes import list_changes
from billfold.reports.lists import list_statements
from billfold.selection import ChangeColumn, Filter, Metric
from tests.bills.landing import Landing
from tests.bills.page_bills import MARKUP
from tests.processes.pages import Pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The pages of bills, and the statement of acme's May, which was restated."""

    landing: Landing
    pages: Pages
    may: int


@pytest.fixture
def shown(page_bills: Landing, pages: Pages) -> Shown:
    [may] = list_statements(page_bills.database, Filter(period=parse_period("2026-05")))
    return Shown(landing=page_bills, pages=pages, may=may.statement_id)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("column", list(ChangeColumn))
def test_movers_are_those_of_the_report_to_the_last_digit(shown: Shown, metric: Metric, column: ChangeColumn) -> None:
    rows = shown.pages.read_csv(f"/changes.csv?statement={shown.may}&from=1&to=2&by={column}&metric={metric}")

    [change] = list_changes(
        shown.landing.database, Filter(statement=shown.may), start=1, end=2, columns=[column], metric=metric
    ).changes
    assert [(row[column], row["currency"], row["old"], row["new"], row["difference"]) for row in rows] == [
        (*row.group, row.currency, *map(format_money, (row.old, row.new, row.difference))) for row in change.groups
    ]
    assert {(row["client"], row["month"], row["from"], row["to"]) for row in rows} <= {("acme", "2026-05", "1", "2")}
    assert rows or metric not in ("billed", "effective")


def test_without_a_choice_it_is_the_newest_publication_that_moved(pages: Pages) -> None:
    chosen = pages.show("/changes")

    assert "acme · acme 2026-05 past month changed" in chosen
    assert "Before 105.00 USD publication 1" in chosen
    assert "After 220.25 USD publication 2" in chosen
    assert "Change +115.25 USD" in chosen
    assert "EUR Before" not in chosen
    assert chosen.count("Changes by service, USD") == 1


def test_what_came_what_went_and_what_changed_adds_up(shown: Shown) -> None:
    page = shown.pages.show(f"/changes?statement={shown.may}")

    assert "New +100.25 USD 1 group" in page
    assert "Gone \N{MINUS SIGN}40.00 USD 1 group" in page
    assert "Changed +55.00 USD 11 groups" in page


def test_the_first_publication_of_a_bill_is_no_move(shown: Shown) -> None:
    theirs = shown.pages.show("/changes?client=globex")
    first = shown.pages.show(f"/changes?statement={shown.may}&to=1")

    assert "No restatements yet" in theirs
    assert "theirs 2026-04" in theirs
    assert "first bill" in theirs
    assert "past month changed" not in theirs
    assert "First publication: nothing to compare with" in first


def test_any_two_publications_can_be_compared(shown: Shown) -> None:
    same = shown.pages.show(f"/changes?statement={shown.may}&from=2&to=2")
    all_of_it = shown.pages.show(f"/changes?statement={shown.may}&from=0&to=2")

    assert "No changes" in same
    assert "Before 0.00 USD" in all_of_it
    assert "After 220.25 USD" in all_of_it
    assert "After 5.50 EUR" in all_of_it


def test_the_list_is_filtered_by_what_the_address_says(pages: Pages) -> None:
    by_export = pages.read_csv("/changes.csv?export=theirs")
    by_month = pages.read_csv("/changes.csv?period=2026-05")
    effective = pages.read_csv("/changes.csv?period=2026-05&metric=effective&client=acme")

    assert {(row["client"], row["billed_after"]) for row in by_export} == {("globex", "64")}
    assert [
        (row["publication"], row["currency"], row["billed_difference"], row["billed_after"]) for row in by_month
    ] == [
        ("2", "EUR", "", "5.5"),
        ("2", "USD", "115.250000000000000001", "220.250000000000000001"),
        ("1", "EUR", "", "5.5"),
        ("1", "USD", "", "105"),
    ]
    assert [row["closed_month_moved"] for row in by_month] == ["yes", "yes", "no", "no"]
    assert effective[1]["effective_difference"] == "115.250000000000000001"
    assert "No matching publications" in pages.show("/changes?period=2020-01")
    assert "No matching publications" in pages.show("/changes?page=9")


def test_movers_lead_to_their_costs(shown: Shown) -> None:
    page = shown.pages.load(f"/changes?statement={shown.may}&metric=effective").body.decode()

    name = quote("Service10", safe="")
    address = f"/costs?client=acme&since=2026-05&until=2026-05&metric=effective&group=account&service={name}"
    assert html.escape(address) in page
    shown.pages.load(address)
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert MARKUP not in page


def test_a_token_of_one_client_sees_its_own_changes_alone(shown: Shown) -> None:
    token = shown.pages.their_token

    own = shown.pages.show("/changes", token)

    assert "theirs 2026-04" in own
    assert "acme" not in own
    missing = shown.pages.show(f"/changes?statement={shown.may}", token, status=404)
    assert f"statement {shown.may} not found" in missing
    assert "acme" not in missing
    assert "acme" not in shown.pages.show(f"/changes?statement={shown.may}&from=1&to=2", token, status=404)
    shown.pages.show("/changes?client=acme", token, status=403)
    assert {row["client"] for row in shown.pages.read_csv("/changes.csv", token)} == {"globex"}


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("metric=gross", "metric must be one of billed, effective, list, contracted"),
        ("by=colour", "by must be one of service, account, region, category, day"),
        ("period=may", "period must be a month such as 2026-05"),
        ("statement=one", "statement must be a whole number"),
        ("statement=0", "statement must be a whole number"),
        (f"statement={'9' * 5000}", "statement must be a whole number"),
        ("from=1", "from and to need a statement"),
        ("statement=1&to=0", "to must be a whole number"),
        ("statement=1&from=2&to=1", "is after"),
        ("export=%00", "export must be text"),
        ("page=0", "page must be a whole number"),
    ],
)
def test_an_invalid_query_is_explained_on_a_page(pages: Pages, query: str, complaint: str) -> None:
    assert complaint in pages.show(f"/changes?{query}", status=400)


def test_a_publication_that_a_statement_never_had_is_not_found(pages: Pages) -> None:
    assert "has no publication 9" in pages.show("/changes?statement=1&from=9", status=404)
