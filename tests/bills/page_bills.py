"""Bills that pages have something to tell of: restated, counted twice or not at all, in doubt, and never checked."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from billfold.quality import make_checks
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, LineItem, described, line_item, write_bill
from tests.services import NewDatabase, make_shared_landing

MARKUP = "<b>bold</b>"
TAGGED = {"resource_tags": '{"user_env":"web"}', "product_region_code": "eu-west-1"}


def may_bill(*, grown: bool) -> list[LineItem]:
    """Two currencies and fourteen services, of which all but two move; a service comes, another one goes."""
    services = [
        line_item(
            cost=str(Decimal(number) * (2 if grown else 1)), line_item_product_code=f"Service{number:02d}", **TAGGED
        )
        for number in range(1, 11)
    ]
    changed = line_item(cost="3.000000000000000001" if grown else "3", line_item_product_code=MARKUP, **TAGGED)
    other = line_item(cost="100.25" if grown else "40", line_item_product_code="Comes" if grown else "Goes", **TAGGED)
    stays = line_item(cost="7", line_item_product_code="AmazonEC2")
    euro = line_item(cost="5.5", line_item_product_code="AmazonS3", line_item_currency_code="EUR", **TAGGED)
    return [*services, changed, other, stays, euro]


def in_month(month: str) -> dict[str, str]:
    """The columns that put a line item into a month."""
    return {
        "bill_billing_period_start_date": f"{month}-01T00:00:00.000Z",
        "line_item_usage_start_date": f"{month}-03T04:00:00.000Z",
        "line_item_usage_end_date": f"{month}-03T05:00:00.000Z",
    }


@pytest.fixture(scope="session")
def page_bills(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """Two clients' bills, landed once for all tests of pages, which leave them as they are.

    acme's May was restated when it was over; its April has hours of a Savings Plan that do not cancel out; its March is
    there in two exports, of which one counts, and its February in two that both count. globex has one bill, of April,
    which was never checked.
    """
    landing = make_shared_landing(new_database, tmp_path_factory)
    for revision, grown in enumerate((False, True), start=1):
        write_bill(landing.root, may_bill(grown=grown), revision=revision)
        landing.ingest()
    plan = {"savings_plan_savings_plan_a_r_n": PLAN, **in_month("2026-04"), **TAGGED}
    hours = [
        line_item("SavingsPlanCoveredUsage", "1", savings_plan_savings_plan_effective_cost="0.7", **plan),
        line_item("SavingsPlanNegation", "-0.9", **plan),
    ]
    landing.ingest(write_bill(landing.root, hours, period="2026-04"))
    for month in ("2026-03", "2026-02"):
        for path, cost in (("exports/acme", "12.25"), ("exports/again", "12.5")):
            items = described(cost, **in_month(month), **TAGGED)
            landing.ingest(write_bill(landing.root, items, period=month, export_path=path))
    theirs = replace(landing, root=landing.root.parent / "theirs").with_client(client_id="globex", prefix="globex/")
    april = described("64", **in_month("2026-04"))
    theirs.ingest(write_bill(theirs.root, april, export_path="exports/theirs", period="2026-04"))
    landing.execute(
        "UPDATE billing_publications SET published_at = '2026-06-01Z'::timestamptz + publication_id * interval '1 hour'"
    )
    # An operator who lets both count has it done by a command; here only the state matters.
    landing.execute("UPDATE billing_statements SET counted = true, yields = false WHERE billing_period = '2026-02-01'")
    for (statement_id,) in landing.query("SELECT statement_id FROM billing_statements"):
        make_checks(landing.database, statement_id=statement_id)
    landing.execute(
        "DELETE FROM billing_checks USING billing_statements AS statement"
        " WHERE statement.statement_id = billing_checks.statement_id AND statement.client_id = 'globex'"
    )
    return landing
