"""The checks of a bill: each is passed by what is right, warned of by what is not, and refuses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from structlog.testing import capture_logs

from billfold.bills.rollback import roll_back
from billfold.documents import format_money
from billfold.model import DeliveryState
from billfold.quality import CHECKS, make_checks, record_checks
from billfold.reports.checks import CheckRow, list_checks
from billfold.selection import Filter
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, RESERVATION, line_item, write_bill

LATER = {
    "line_item_usage_start_date": "2026-05-03T05:00:00.000Z",
    "line_item_usage_end_date": "2026-05-03T06:00:00.000Z",
}
OTHER_PLAN = {"savings_plan_savings_plan_a_r_n": f"{PLAN}-2"}
OTHER_RESERVATION = {"reservation_reservation_a_r_n": f"{RESERVATION}-2"}


def plan_hour(
    used: str = "0.7", unblended: str = "1", negation: str = "-1", recurring: str = "2", **columns: str
) -> list[dict[str, str]]:
    """One hour of a Savings Plan of 2 USD an hour: covered usage, its negation, and the fee with what is unused."""
    plan = {"savings_plan_savings_plan_a_r_n": PLAN, **columns}
    return [
        line_item("SavingsPlanCoveredUsage", unblended, savings_plan_savings_plan_effective_cost=used, **plan),
        line_item("SavingsPlanNegation", negation, **plan),
        line_item(
            "SavingsPlanRecurringFee",
            recurring,
            savings_plan_total_commitment_to_date="2",
            savings_plan_used_commitment="0.7",
            savings_plan_recurring_commitment_for_billing_period=recurring,
            savings_plan_amortized_upfront_commitment_for_billing_period="0",
            **plan,
        ),
    ]


def reservation(used: str = "0.1", upfront: str = "0.75") -> list[dict[str, str]]:
    """A reserved instance that costs 0.25 of RIFee and an amortised fee of 0.75, used for 0.1 and unused for 0.9."""
    arn = {"reservation_reservation_a_r_n": RESERVATION}
    return [
        line_item("DiscountedUsage", "0", reservation_effective_cost=used, **arn),
        line_item(
            "RIFee",
            "0.25",
            reservation_amortized_upfront_fee_for_billing_period=upfront,
            reservation_unused_amortized_upfront_fee_for_billing_period="0.65",
            reservation_unused_recurring_fee="0.25",
            **arn,
        ),
    ]


def checks_of(landing: Landing, *, every: bool = False, **wanted: Any) -> dict[str, CheckRow]:
    report = list_checks(landing.database, Filter(limit=1000, **wanted), every=every)
    return {row.name: row for row in report.rows}


def spelled(row: CheckRow) -> tuple[str, int, Mapping[str, str]]:
    return row.state, row.row_count, {currency: format_money(cost) for currency, cost in row.cost.items()}


def test_a_bill_without_fault_passes_every_check_but_that_of_tags(landing: Landing) -> None:
    tags = {"resource_tags": '{"user_env": "prod", "aws_created_by": "x"}', "product_region_code": "us-east-1"}
    # Neither a rounded negation nor a commitment whose fee is in another bill is a fault.
    without_fees = [
        *plan_hour(negation="-1.0000000001", **tags | OTHER_PLAN)[:2],
        line_item("DiscountedUsage", "0", reservation_effective_cost="1", **tags | OTHER_RESERVATION),
    ]
    write_bill(
        landing.root,
        [line_item(**tags), *plan_hour(**tags), *plan_hour(**tags, **LATER), *reservation(), *without_fees],
    )

    landing.ingest()

    checks = checks_of(landing)
    assert set(checks) == set(CHECKS)
    # These few columns are no whole charges by the rules of FOCUS.
    assert {name for name, row in checks.items() if row.state == "warned"} - {"focus_rules"} == {"untagged_cost"}
    # The reserved usage has no tag: it is billed 0, and costs 0.1.
    assert spelled(checks["untagged_cost"]) == ("warned", 1, {"USD": "0.1"})
    assert spelled(checks["savings_plan_residual"]) == ("passed", 1, {"USD": "-0.0000000001"})
    assert spelled(checks["commitment_identity"]) == ("passed", 0, {})
    assert "2 of 4 commitments have their fees in this bill" in checks["commitment_identity"].detail


def test_what_nobody_has_mapped_is_warned_of_by_currency_and_logged_until_it_is_made_again(landing: Landing) -> None:
    write_bill(
        landing.root,
        [
            line_item(cost="1.000000000000000001", line_item_product_code="AmazonFoo"),
            line_item(cost="2", line_item_product_code="AmazonFoo", line_item_currency_code="EUR"),
            line_item(cost="3.1", product_region_code="xx-north-9"),
            line_item(cost="0.2", product_region_code="xx-north-9"),
            line_item(cost="4", product_region_code="us-east-1"),
            line_item("Surprise", cost="5"),
            line_item("Tax", cost="6", line_item_product_code="AmazonFoo"),
            # A seller's product in AWS Marketplace is no service of AWS's.
            line_item(
                cost="7",
                line_item_product_code="abc123",
                line_item_legal_entity="Example Software Ltd",
                bill_invoicing_entity="Amazon Web Services, Inc.",
            ),
        ],
    )

    with capture_logs() as events:
        landing.ingest()

    checks = checks_of(landing)
    assert spelled(checks["unmapped_services"]) == ("warned", 2, {"EUR": "2", "USD": "1.000000000000000001"})
    assert checks["unmapped_services"].detail.endswith(" AmazonFoo")
    assert spelled(checks["unmapped_regions"]) == ("warned", 2, {"USD": "3.3"})
    assert checks["unmapped_regions"].detail.endswith(" xx-north-9")
    assert spelled(checks["unknown_line_types"]) == ("warned", 1, {"USD": "5"})
    assert checks["unknown_line_types"].detail.endswith(" Surprise")
    assert spelled(checks["savings_plan_hours"]) == ("passed", 0, {})
    [event] = [one for one in events if one.get("name") == "unmapped_regions"]
    assert (event["event"], event["log_level"], event["rows"], event["cost"]) == (
        *("check_warned", "warning"),
        *(2, {"USD": "3.3"}),
    )

    landing.execute("UPDATE dim_region SET region_name = 'Nowhere' WHERE region_id = 'xx-north-9'")
    make_checks(landing.database, statement_id=1)

    assert spelled(checks_of(landing)["unmapped_regions"]) == ("passed", 0, {})
    assert landing.count("billing_checks") == len(CHECKS)


def test_plans_and_reservations_of_legacy_columns_that_do_not_add_up_are_warned_of(landing: Landing) -> None:
    items = [*plan_hour(used="0.6", negation="-0.75"), *plan_hour(**LATER), *reservation(used="0.15")]
    write_bill(landing.root, [{legacy_header(name): value for name, value in item.items()} for item in items])

    landing.ingest()

    checks = checks_of(landing)
    assert spelled(checks["savings_plan_residual"]) == ("warned", 1, {"USD": "0.25"})
    assert spelled(checks["savings_plan_hours"]) == ("warned", 1, {"USD": "0.25"})
    assert f"{PLAN} 2026-05-03 04:00" in checks["savings_plan_hours"].detail
    # The plan is short of 0.1, the reservation is over by 0.05.
    assert spelled(checks["commitment_identity"]) == ("warned", 2, {"USD": "0.15"})


def legacy_header(name: str) -> str:
    """`savings_plan_savings_plan_a_r_n` as `savingsPlan/SavingsPlanARN`."""
    for category in ("savings_plan", "line_item", "bill", "reservation"):
        if name.startswith(f"{category}_"):
            first, *rest = category.split("_")
            words = name.removeprefix(f"{category}_").replace("_a_r_n", "_ARN").split("_")
            spelled = "".join(word if word == "ARN" else word.capitalize() for word in words)
            return f"{first}{''.join(map(str.capitalize, rest))}/{spelled}"
    raise AssertionError(name)


def test_net_costs_are_compared_with_net_fees(landing: Landing) -> None:
    covered, negation, fee = plan_hour()
    net = [
        {**covered, "line_item_net_unblended_cost": "0.9", "savings_plan_net_savings_plan_effective_cost": "0.63"},
        {**negation, "line_item_net_unblended_cost": "-0.9"},
        {
            **fee,
            "line_item_net_unblended_cost": "1.8",
            "savings_plan_net_recurring_commitment_for_billing_period": "1.8",
            "savings_plan_net_amortized_upfront_commitment_for_billing_period": "0",
        },
    ]
    write_bill(landing.root, net)

    landing.ingest()

    checks = checks_of(landing)
    assert landing.value("SELECT cost_basis FROM billing_statements") == "net"
    assert "1 of 1 commitments" in checks["commitment_identity"].detail
    assert [checks[name].state for name in ("commitment_identity", "savings_plan_hours")] == ["passed", "passed"]


def test_each_publication_keeps_its_checks_and_a_rollback_has_its_own_when_they_are_asked_for(landing: Landing) -> None:
    write_bill(landing.root, [line_item(cost="1", product_region_code="xx-north-9")])
    first = landing.ingest()
    write_bill(landing.root, [line_item(cost="2", product_region_code="us-east-1")], revision=2)
    second = landing.ingest()

    current = list_checks(landing.database, Filter(limit=1000)).rows
    every = list_checks(landing.database, Filter(limit=1000), every=True).rows
    warned = checks_of(landing, state="warned", every=True)

    assert {(row.delivery_id, row.publication_number, row.is_current) for row in current} == {
        (second.delivery_id, 2, True)
    }
    assert {row.delivery_id for row in every} == {first.delivery_id, second.delivery_id}
    assert len(every) == 2 * len(CHECKS)
    assert warned["unmapped_regions"].publication_number == 1

    assert second.delivery_id is not None
    roll_back(second.delivery_id, settings=landing.settings, database=landing.database)
    record_checks(landing.database, statement_id=1)

    report = list_checks(landing.database, Filter(limit=1000))
    assert report.unchecked == ()
    [region] = [row for row in report.rows if row.name == "unmapped_regions"]
    assert (region.publication_number, region.state, region.cost) == (3, "warned", {"USD": "1"})

    # An empty statement has nothing to check.
    assert first.delivery_id is not None
    roll_back(first.delivery_id, settings=landing.settings, database=landing.database)

    assert make_checks(landing.database, statement_id=1) == ()
    assert list_checks(landing.database, Filter()).unchecked == ()


def test_checks_that_fail_leave_the_delivery_published(landing: Landing) -> None:
    landing.execute("ALTER TABLE billing_checks RENAME TO elsewhere")
    write_bill(landing.root, [line_item()])

    with capture_logs() as events:
        outcome = landing.ingest()

    assert outcome.state is DeliveryState.PUBLISHED
    assert [event["statement_id"] for event in events if event["event"] == "checks_failed"] == [1]
    landing.execute("ALTER TABLE elsewhere RENAME TO billing_checks")
    assert list_checks(landing.database, Filter()).unchecked == (1,)
