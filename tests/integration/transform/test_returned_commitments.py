"""Returned Savings Plans and reservations: their fees have no effective cost, and neither has what gives them back."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billfold.model import DeliveryOutcome
from billfold.verification import verify
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, RESERVATION, line_item, write_bill

OF_PLAN = {"savings_plan_savings_plan_a_r_n": PLAN}
OF_RESERVATION = {"reservation_reservation_a_r_n": RESERVATION}
OTHER_PLAN, OTHER_RESERVATION = f"{PLAN}-2", f"{RESERVATION}-2"
UNUSED_PLAN = {"savings_plan_savings_plan_a_r_n": OTHER_PLAN, "savings_plan_used_commitment": "0"}
UNUSED_RESERVATION = {
    "reservation_reservation_a_r_n": OTHER_RESERVATION,
    "reservation_unused_recurring_fee": "4",
    "reservation_unused_quantity": "8",
}
RECURRING = "savings_plan_recurring_commitment_for_billing_period"


def refund(cost: str, description: str, product: str = "AmazonEC2", **columns: str) -> dict[str, str]:
    return line_item(
        "Refund",
        cost,
        line_item_product_code=product,
        line_item_line_item_description=description,
        **columns,
    )


RETURNS = [
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
OTHER_REFUNDS = [
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
RETURNED_MONTH = [
    line_item("SavingsPlanRecurringFee", "10", savings_plan_total_commitment_to_date="10", **UNUSED_PLAN)
    | {RECURRING: "10"},
    line_item("SavingsPlanRecurringFee", "-10", savings_plan_total_commitment_to_date="-10", **UNUSED_PLAN)
    | {RECURRING: "-10"},
    line_item("RIFee", "4", **UNUSED_RESERVATION),
    line_item("RIFee", "-4", **{**UNUSED_RESERVATION, "reservation_unused_recurring_fee": "-4"}),
]
BOUGHT_AND_RETURNED = [
    line_item("Fee", "100", line_item_usage_amount="2", **OF_RESERVATION),
    refund("-100", "Refund", line_item_usage_amount="2", **OF_RESERVATION),
]
# The parts of one bill, each of another account.
PARTS = dict(enumerate([RETURNS, OTHER_REFUNDS, RETURNED_MONTH, BOUGHT_AND_RETURNED]))


def charges(landing: Landing, part: list[dict[str, str]], columns: str) -> list[tuple[object, ...]]:
    [number] = [number for number, each in PARTS.items() if each is part]
    return landing.query(
        f'SELECT {columns} FROM focus_cost_and_usage WHERE "SubAccountId" = %s GROUP BY 1 ORDER BY 1', f"{number:012}"
    )


@pytest.fixture(scope="module")
def outcome(shared_landing: Landing) -> DeliveryOutcome:
    items = [{**item, "line_item_usage_account_id": f"{number:012}"} for number, part in PARTS.items() for item in part]
    write_bill(shared_landing.root, items)
    outcome = shared_landing.ingest()
    assert outcome.billed_cost == {"USD": Decimal(-186)}
    return outcome


def test_a_bill_of_returns_is_true_and_nothing_is_remarkable(shared_landing: Landing, outcome: DeliveryOutcome) -> None:
    warned = shared_landing.query("SELECT name FROM billing_checks WHERE state = 'warned' ORDER BY 1")

    assert outcome.findings == ()
    # These bills have no tags, and a product that nobody knows yet.
    assert warned == [("unmapped_services",), ("untagged_cost",)]
    assert all(
        verdict.is_true for verdict in verify(settings=shared_landing.settings, database=shared_landing.database)
    )


def test_a_fee_that_is_given_back_has_no_effective_cost(shared_landing: Landing, outcome: DeliveryOutcome) -> None:
    assert charges(shared_landing, RETURNS, '"ChargeCategory", sum(abs("EffectiveCost"))') == [("Purchase", 0)]
    assert len(charges(shared_landing, RETURNS, '"ChargeDescription"')) == len(RETURNS)


def test_what_else_is_refunded_keeps_its_cost(shared_landing: Landing, outcome: DeliveryOutcome) -> None:
    found = charges(
        shared_landing,
        OTHER_REFUNDS,
        '"ChargeDescription", sum("EffectiveCost"), count("CommitmentDiscountId")',
    )

    # None of them is the purchase of a commitment, whose effective cost must be 0.
    assert found == sorted(
        (item["line_item_line_item_description"], Decimal(item["line_item_unblended_cost"]), 0)
        for item in OTHER_REFUNDS
    )


def test_a_recurring_fee_given_back_takes_its_unused_share_with_it(
    shared_landing: Landing, outcome: DeliveryOutcome
) -> None:
    found = charges(
        shared_landing,
        RETURNED_MONTH,
        '"CommitmentDiscountId", count(*), sum("BilledCost"), sum("EffectiveCost"), max("EffectiveCost")',
    )

    assert found == [(OTHER_RESERVATION, 4, 0, 0, 4), (OTHER_PLAN, 4, 0, 0, 10)]


def test_a_returned_reservation_counts_back_what_was_bought(shared_landing: Landing, outcome: DeliveryOutcome) -> None:
    columns = '"BilledCost", sum("EffectiveCost"), sum("CommitmentDiscountQuantity"), sum("PricingQuantity"),'

    assert charges(shared_landing, BOUGHT_AND_RETURNED, columns + ' max("ResourceId")') == [
        (-100, 0, -2, -2, RESERVATION),
        (100, 0, 2, 2, RESERVATION),
    ]
