"""The page of checks: bad bills first, money as the checks have it, reconciled to the last digit, and nobody else's."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pytest

from billfold.bills.rollback import roll_back
from billfold.documents import format_money
from billfold.period import parse_period
from billfold.quality import CHECKS
from billfold.reports.bill_quality import report_quality
from billfold.reports.checks import list_checks
from billfold.reports.lists import list_statements
from billfold.selection import Filter
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.processes.pages import Pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The pages of bills, and what they were landed into."""

    landing: Landing
    pages: Pages

    def statement(self, period: str, export: str = "acme") -> int:
        wanted = Filter(client="acme", export=export, period=parse_period(period))
        [row] = list_statements(self.landing.database, wanted)
        return row.statement_id


@pytest.fixture
def shown(page_bills: Landing, pages: Pages) -> Shown:
    return Shown(landing=page_bills, pages=pages)


def test_the_table_is_what_the_report_of_checks_says(shown: Shown) -> None:
    rows = [row for row in shown.pages.read_csv("/checks.csv") if row["check"] in CHECKS]

    found = {(row["statement"], row["check"], row["state"], row["rows"], row["currency"], row["cost"]) for row in rows}
    report = list_checks(shown.landing.database, Filter())
    assert found == {
        (str(row.statement_id), row.name, row.state, str(row.row_count), currency, cost and format_money(cost))
        for row in report.rows
        for currency, cost in row.cost.items() or [("", "")]
    }
    assert len({(row["statement"], row["check"]) for row in rows}) == 6 * len(CHECKS)


def test_bad_bills_come_first(shown: Shown) -> None:
    report = report_quality(shown.landing.database, Filter())

    order = [(each.bill.state, bool(each.bill.severe_count), each.bill.billing_period) for each in report.bills]
    assert order == [
        ("warned", True, "2026-04"),
        ("warned", True, "2026-02"),
        ("warned", True, "2026-02"),
        ("unchecked", False, "2026-04"),
        ("warned", False, "2026-05"),
        ("passed", False, "2026-03"),
        ("passed", False, "2026-03"),
    ]
    assert [row.name for row in report.bills[0].checks[:2]] == ["savings_plan_hours", "savings_plan_residual"]
    counts = report.counts
    assert (counts.bill_count, counts.warned_count, counts.severe_count, counts.unchecked_count) == (7, 4, 3, 1)
    assert (counts.passed_count, counts.failed_count, counts.uncounted_count) == (2, 0, 1)


def test_money_is_of_the_bills_that_count(shown: Shown) -> None:
    sums = {each.name: each for each in report_quality(shown.landing.database, Filter()).sums}

    assert set(sums) == set(CHECKS)
    overlap, tags = sums["overlap"], sums["untagged_cost"]
    assert (overlap.warned_count, overlap.bill_count, dict(overlap.cost)) == (2, 6, {"USD": overlap.cost["USD"]})
    assert Decimal(overlap.cost["USD"]) == Decimal("24.75")
    assert (tags.warned_count, tags.row_count, Decimal(tags.cost["USD"])) == (1, 1, Decimal(7))
    shown.landing.execute("UPDATE billing_statements SET counted = false WHERE billing_period = '2026-05-01'")
    try:
        without = {each.name: each for each in report_quality(shown.landing.database, Filter()).sums}
    finally:
        shown.landing.execute("UPDATE billing_statements SET counted = true WHERE billing_period = '2026-05-01'")
    assert (without["untagged_cost"].warned_count, without["untagged_cost"].cost) == (1, {})


def test_the_page_says_what_it_counts(pages: Pages) -> None:
    page = pages.show("/checks")

    assert "Bills 7 1 not counted" in page
    assert "Amounts may be wrong 3 all match their source" in page
    assert "Names may be wrong 1 amounts are right" in page
    assert "Passed 2 passed every check" in page
    assert "Not checked 1 see which" in page
    assert "Overlapping exports Warns if a bill, or a part of it, is counted twice" in page
    assert "2 of 6 2 charges 24.75 USD billed cost" in page


def test_bills_are_filtered_by_what_the_address_says(pages: Pages) -> None:
    def bills(query: str) -> set[tuple[str, str, str]]:
        return {(row["client"], row["export"], row["month"]) for row in pages.read_csv(f"/checks.csv?{query}")}

    assert bills("state=unchecked") == {("globex", "theirs", "2026-04")}
    assert bills("state=passed") == {("acme", "acme", "2026-03"), ("acme", "again", "2026-03")}
    assert bills("check=untagged_cost") == {("acme", "acme", "2026-05")}
    assert bills("export=again&period=2026-02") == {("acme", "again", "2026-02")}
    assert bills("client=globex&state=warned") == set()
    assert "No matching bills" in pages.show("/checks?state=failed")
    assert "No matching bills" in pages.show("/checks?page=2")


def test_bills_that_were_never_checked_say_so(pages: Pages) -> None:
    page = pages.show("/checks?client=globex")

    assert "not checked theirs 2026-04 current bill not checked" in page
    assert "To check it now, run billfold checks --statement" in page
    [line] = [row for row in pages.read_csv("/checks.csv?client=globex") if row["check"] != "reconciliation"]
    assert (line["state"], line["detail"]) == ("unchecked", "the current bill was not checked")


def test_months_with_several_exports_say_which_one_counts(pages: Pages) -> None:
    page = pages.show("/checks?period=2026-03")
    twice = pages.show("/checks?period=2026-02")

    assert "acme · 2026-03 acme cur-2.0" in page
    assert "counted 1 12.25 USD" in page
    assert "not counted duplicate: another export of this bill is counted 1 12.50 USD" in page
    assert "counted twice or in part" not in page
    assert twice.count("counted 1") == 2
    assert "counted twice or in part" in twice


def test_source_charges_and_daily_costs_agree_to_the_last_digit(pages: Pages) -> None:
    rows = [row for row in pages.read_csv("/checks.csv") if row["check"] == "reconciliation"]

    assert len(rows) == 8
    assert {(row["state"], row["cost"]) for row in rows} == {("passed", "0")}
    may = next(row for row in rows if row["month"] == "2026-05" and row["currency"] == "USD")
    exact = "220.250000000000000001"
    assert may["detail"] == f"source {exact}, charges {exact}, daily costs {exact}"
    assert "Excluded: \N{MINUS SIGN}0.90 USD (1 line item, negation" in pages.show("/checks?period=2026-04&client=acme")


def test_a_bill_is_compared_with_its_own_source_and_comes_first_where_it_disagrees(landing: Landing) -> None:
    for period, revision, cost in (("2026-04", 1, "2"), ("2026-05", 1, "2"), ("2026-05", 2, "5")):
        items = described("1.25", cost, bill_billing_period_start_date=f"{period}-01T00:00:00.000Z")
        outcome = landing.ingest(write_bill(landing.root, items, period=period, revision=revision))
    roll_back(outcome.delivery_id, settings=landing.settings, database=landing.database)

    brought_back, _ = report_quality(landing.database, Filter()).bills

    assert (brought_back.bill.publication_number, brought_back.is_reconciled) == (3, True)
    assert [(each.source, each.daily) for each in brought_back.reconciliations] == [(Decimal("3.25"), Decimal("3.25"))]

    landing.execute(
        "UPDATE billing_daily_cost SET billed_cost = billed_cost + 0.000000000000000001"
        " WHERE billing_period = '2026-05-01'"
    )
    landing.execute(
        'UPDATE billing_publications SET billed_cost_after = \'{"USD": "3.24"}\''
        " WHERE billed_cost_after IS NOT NULL AND statement_id ="
        " (SELECT statement_id FROM billing_statements WHERE billing_period = '2026-04-01')"
    )

    report = report_quality(landing.database, Filter())

    april, may = report.bills
    assert (april.bill.billing_period, april.bill.state, april.is_reconciled) == ("2026-04", "failed", False)
    assert (may.bill.state, may.is_reconciled) == ("warned", False)
    assert [each.difference for each in april.reconciliations] == [Decimal("-0.01")]
    assert [each.difference for each in may.reconciliations] == [Decimal("1E-18")]
    assert report.counts.failed_count == 1


def test_a_token_of_one_client_sees_its_own_checks_alone(pages: Pages) -> None:
    token = pages.their_token

    page = pages.show("/checks", token)

    assert "theirs 2026-04" in page
    assert "acme" not in page
    assert "Bills 1" in page
    pages.show("/checks?client=acme", token, status=403)
    assert {row["client"] for row in pages.read_csv("/checks.csv", token)} == {"globex"}


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("state=bad", "state must be one of failed, unchecked, warned, passed"),
        ("check=colour", "check must be one of overlap"),
        ("period=2026-13", "period must be a month such as 2026-05"),
        ("client=%00", "client must be text"),
        ("page=x", "page must be a whole number"),
    ],
)
def test_an_invalid_query_is_explained_on_a_page(pages: Pages, query: str, complaint: str) -> None:
    assert complaint in pages.show(f"/checks?{query}", status=400)
