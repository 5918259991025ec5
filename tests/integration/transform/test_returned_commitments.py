"""Returned Savings Plans and reservations: their fees have no effective cost, and neither has what gives them back."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from billfold.settings import Settings
from billfold.store.database import Database
from billfold.verification import verify
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, RESERVATION, line_item, write_bill

OF_PLAN = {"savings_plan_savings_plan_a_r_n": PLAN}
OF_RESERVATION = {"reservation_reservation_a_r_n": RESERVATION}
UNUSED_PLAN = {**OF_PLAN, "savings_plan_used_commitment": "0"}


def refund(cost: str, description: str, product: str = "AmazonEC2", **columns: str) -> dict[str, str]:
    return line_item(
        "Refund",
        cost,
        line_item_product_code=product,
        line_item_line_item_description=description,
        **columns,
    )


def effective_costs(landing: Landing) -> dict[str, Decimal]:
    return dict(
        landing.query(
            'SELECT "ChargeDescription", sum("EffectiveCost") FROM focus_cost_and_usage GROUP BY 1 ORDER BY 1'
        )
    )


def warnings(landing: Landing) -> list[str]:
    """The checks that warn, but for those of names: these bills have no tags, and a product that nobody knows yet."""
    rows = landing.query("SELECT name FROM billing_checks WHERE state = 'warned' ORDER BY 1")
    return [name for (name,) in rows if name not in ("untagged_cost", "unmapped_services")]


def test_the_sample_of_returned_plans_costs_nothing(
    database: Database, settings: Settings, shared_samples: Path
) -> None:
    landing = Landing.make(database, settings, shared_samples / "field" / "savings-plans-returned")

    outcome = landing.ingest()

    assert outcome.billed_cost == {"USD": Decimal("-8769.54")}
    assert landing.value("SELECT sum(effective_cost) FROM billing_usage_fact") == Decimal("-8769.54")
    assert outcome.findings == ()
    assert warnings(landing) == []


def test_a_fee_that_is_given_back_has_no_effective_cost(landing: Landing) -> None:
    returns = [
        refund("-1", "Refund for one-time fee for Savings Plan ID: 5f1d3c52", "ComputeSavingsPlans"),
        refund("-2", "Refund for one-time fee for Savings Plan ID: 5f1d3c53", "MachineLearningSavingsPlans"),
        refund("-3", "Refund for recurring fee for Savings Plan ID: 5f1d3c54", "SomeFutureSavingsPlans"),
        refund("-4", "refund for one-time fee for savings plan id 5f1d3c55, region EU", "AmazonEC2"),
        refund("-5", "Savings Plan returned within 7 days", "DatabaseSavingsPlans"),
        refund("-6", "", "ComputeSavingsPlans", **OF_PLAN),
        refund("-7", "Refund for reserved instance", **OF_RESERVATION),
        refund("-8", "Refund: Sign up charge for subscription: 363836886, planId: 1026576"),
        refund("-9", "USD 0.0309 hourly fee per Linux/UNIX, m4.large", line_item_usage_type="HeavyUsage:m4.large"),
        refund("-13", "Refund for one-time fee for SageMaker Savings Plan ID: 5f1d3c56", "AmazonSageMaker"),
        refund("-14", "Refund for the purchase of a reserved cache node", "AmazonElastiCache"),
        refund("-15", "Cancelled Reserved Instance, upfront payment", "AmazonRDS"),
        line_item("RIFee", "-10", line_item_line_item_description="month given back", **OF_RESERVATION),
        line_item("Fee", "-11", line_item_line_item_description="upfront given back", **OF_RESERVATION),
        line_item("SavingsPlanUpfrontFee", "-12", line_item_line_item_description="plan given back", **OF_PLAN),
    ]
    write_bill(landing.root, returns)

    outcome = landing.ingest()

    assert outcome.billed_cost == {"USD": Decimal(-120)}
    assert {name: cost for name, cost in effective_costs(landing).items() if cost} == {}
    assert landing.query('SELECT DISTINCT "ChargeCategory" FROM focus_cost_and_usage') == [("Purchase",)]
    assert outcome.findings == ()
    assert warnings(landing) == []


def test_what_else_is_refunded_keeps_its_cost(landing: Landing) -> None:
    refunds = [
        refund("-1", "EDP Discount Savings Plan refund", "ComputeSavingsPlans"),
        refund("-2", "EDP refund", "ComputeSavingsPlans", **OF_PLAN),
        refund("-3", "Private pricing adjustment", "MachineLearningSavingsPlans"),
        refund("-4", "RI volume discount refund", **OF_RESERVATION),
        refund("-5", "Adjustment", "DatabaseSavingsPlans"),
        refund("-6", "Refund for EC2 usage"),
        refund("-7", "Refund of the annual fee of a domain", "AmazonRegistrar"),
        refund("-8", "Refund for one-time fee for Savings Plan ID: 1", "ComputeSavingsPlans", line_item_tax_type="VAT"),
        refund("-9", "Refund for EDP discount on upfront fee for Savings Plan ID: 2", "ComputeSavingsPlans"),
        refund("-10", "Discount on the sign up charge for subscription: 3"),
        refund("-11", "Refund for usage that a reserved instance covers, usage fee", "AmazonRDS"),
    ]
    write_bill(landing.root, refunds)

    outcome = landing.ingest()

    assert outcome.billed_cost == {"USD": Decimal(-66)}
    assert effective_costs(landing) == {
        item["line_item_line_item_description"]: Decimal(item["line_item_unblended_cost"]) for item in refunds
    }
    # None of them is the purchase of a commitment, whose effective cost must be 0.
    assert landing.value('SELECT count(*) FROM focus_cost_and_usage WHERE "CommitmentDiscountId" IS NOT NULL') == 0
    assert "focus_rules" not in warnings(landing)


def test_a_recurring_fee_given_back_takes_its_unused_share_with_it(landing: Landing) -> None:
    unused_reservation = {"reservation_unused_recurring_fee": "4", "reservation_unused_quantity": "8", **OF_RESERVATION}
    returned_reservation = {**unused_reservation, "reservation_unused_recurring_fee": "-4"}
    recurring = "savings_plan_recurring_commitment_for_billing_period"
    write_bill(
        landing.root,
        [
            line_item("SavingsPlanRecurringFee", "10", savings_plan_total_commitment_to_date="10", **UNUSED_PLAN)
            | {recurring: "10"},
            line_item("SavingsPlanRecurringFee", "-10", savings_plan_total_commitment_to_date="-10", **UNUSED_PLAN)
            | {recurring: "-10"},
            line_item("RIFee", "4", **unused_reservation),
            line_item("RIFee", "-4", **returned_reservation),
        ],
    )

    outcome = landing.ingest()

    assert outcome.billed_cost == {"USD": Decimal(0)}
    assert landing.query("SELECT count(*), sum(effective_cost), max(effective_cost) FROM billing_usage_fact") == [
        (8, Decimal(0), Decimal(10))
    ]
    assert outcome.findings == ()
    assert warnings(landing) == []
    assert all(verdict.is_true for verdict in verify(settings=landing.settings, database=landing.database))


def test_a_returned_reservation_counts_back_what_was_bought(landing: Landing) -> None:
    write_bill(
        landing.root,
        [
            line_item("Fee", "100", line_item_usage_amount="2", **OF_RESERVATION),
            refund("-100", "Refund", line_item_usage_amount="2", **OF_RESERVATION),
        ],
    )

    landing.ingest()

    assert landing.query(
        'SELECT "BilledCost", "EffectiveCost", "CommitmentDiscountQuantity", "PricingQuantity", "ResourceId"'
        ' FROM focus_cost_and_usage ORDER BY "BilledCost"'
    ) == [(-100, 0, -2, -2, RESERVATION), (100, 0, 2, 2, RESERVATION)]
