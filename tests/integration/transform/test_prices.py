"""Prices, quantities, units, commitments and resources of charges, each rule by example."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, RESERVATION, line_item, write_bill

SKU = {"product_sku": "SKU1", "pricing_rate_code": "SKU1.TERM.RATE", "line_item_usage_type": "BoxUsage:m5.large"}
USED = {"line_item_usage_amount": "4", "pricing_unit": "Hrs", "pricing_public_on_demand_rate": "0.5", **SKU}
FLEXIBLE = {"reservation_reservation_a_r_n": RESERVATION, "line_item_normalized_usage_amount": "16"}

# A line item with the FOCUS columns that it must give; numbers are compared as numbers.
EXAMPLES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "the public rate times the amount is the list cost": (
        line_item(cost="1.5", **USED),
        {"ListUnitPrice": "0.5", "ListCost": "2", "ContractedUnitPrice": "0.375", "ContractedCost": "1.5"},
    ),
    "units are spelled as FOCUS spells them": (
        line_item(cost="2", **USED),
        {"PricingQuantity": "4", "PricingUnit": "Hours", "ConsumedQuantity": "4", "ConsumedUnit": "Hours"},
    ),
    "a unit is known in any case": (
        line_item(cost="2", **{**USED, "pricing_unit": " hRS "}),
        {"PricingUnit": "Hours", "ConsumedUnit": "Hours"},
    ),
    "a unit that the table does not know stays as it is": (
        line_item(cost="2", **{**USED, "pricing_unit": "Flux-Capacitors"}),
        {"PricingUnit": "Flux-Capacitors", "ConsumedUnit": "Flux-Capacitors"},
    ),
    "a tier of a price is told by the rate that was billed": (
        line_item(cost="0.34", line_item_unblended_rate="0.085", **{**USED, "pricing_public_on_demand_rate": "0.05"}),
        {"ListUnitPrice": "0.085", "ListCost": "0.34", "ContractedUnitPrice": "0.085"},
    ),
    "a rate of nothing is a free tier and no price": (
        line_item(cost="0", line_item_unblended_rate="0", **USED),
        {"ListUnitPrice": "0.5", "ListCost": "2", "ContractedUnitPrice": "0", "ContractedCost": "0"},
    ),
    "without a public rate the public cost is the list cost": (
        line_item(cost="2", pricing_public_on_demand_cost="3", line_item_usage_amount="4", pricing_unit="Hrs"),
        {"ListCost": "3", "ListUnitPrice": "0.75"},
    ),
    "spot usage is in no price list": (
        line_item(cost="0.4", pricing_term="Spot", **USED),
        {"ListCost": "0.4", "ListUnitPrice": "0.1", "PricingCategory": "Dynamic"},
    ),
    "a cost without an amount is of one": (
        line_item(cost="7", line_item_usage_amount="0", **SKU),
        {"PricingQuantity": "1", "PricingUnit": "Units", "ListUnitPrice": "7", "ContractedUnitPrice": "7"},
    ),
    "a fee is of one": (
        line_item("Fee", "12", **SKU),
        {"PricingQuantity": "1", "PricingUnit": "Units", "ListUnitPrice": "12", "ConsumedQuantity": None},
    ),
    "tax has neither price nor quantity": (
        line_item("Tax", "3", line_item_usage_amount="1", pricing_unit="Hrs", **SKU),
        {
            **dict.fromkeys(["PricingQuantity", "PricingUnit", "ListUnitPrice", "ContractedUnitPrice"], None),
            **dict.fromkeys(["SkuId", "SkuPriceId", "SkuMeter", "PricingCategory"], None),
            "ListCost": "3",
        },
    ),
    "a credit keeps its SKU and has no price": (
        line_item("Credit", "-3", **USED),
        {"SkuId": "SKU1", "SkuPriceId": None, "PricingQuantity": "0", "PricingUnit": "Hours", "ListUnitPrice": None},
    ),
    "a refund takes units back": (
        line_item("Refund", "-3", **USED),
        {"PricingQuantity": "-4", "ListUnitPrice": "0.75", "ContractedUnitPrice": "0.75", "ConsumedQuantity": "0"},
    ),
    "a discount is one of what lowers the bill": (
        line_item("EdpDiscount", "-3", savings_plan_savings_plan_a_r_n=PLAN, **USED),
        {
            "PricingQuantity": "-1",
            "PricingUnit": "Units",
            "ListUnitPrice": "3",
            "CommitmentDiscountId": None,
            "CommitmentDiscountCategory": None,
        },
    ),
    "usage under a Savings Plan draws rate times amount from it": (
        line_item(
            "SavingsPlanCoveredUsage",
            "2",
            savings_plan_savings_plan_a_r_n=PLAN,
            savings_plan_savings_plan_rate="0.3",
            savings_plan_savings_plan_effective_cost="1.2",
            **USED,
        ),
        {
            "CommitmentDiscountQuantity": "1.2",
            "CommitmentDiscountUnit": "USD",
            "ContractedCost": "2",
            "ListCost": "2",
            "CommitmentDiscountType": "Savings Plan",
        },
    ),
    "usage of a reservation for all sizes counts normalised units": (
        line_item("DiscountedUsage", "0", reservation_effective_cost="1", **FLEXIBLE, **USED),
        {
            "CommitmentDiscountQuantity": "16",
            "CommitmentDiscountUnit": "Normalized Hours",
            "ListCost": "2",
            "ContractedCost": "2",
        },
    ),
    "usage of a reservation for one size counts hours": (
        line_item(
            "DiscountedUsage", "0", reservation_effective_cost="1", reservation_reservation_a_r_n=RESERVATION, **USED
        ),
        {"CommitmentDiscountQuantity": "4", "CommitmentDiscountUnit": "Hours"},
    ),
    "an instance is told by its id": (
        line_item(line_item_resource_id="i-0abc", **USED),
        {"ResourceType": "instance"},
    ),
    "a resource is what its ARN says": (
        line_item(line_item_resource_id="arn:aws:logs:us-east-1:444455556666:log-group:/aws/x", **USED),
        {"ResourceType": "log-group"},
    ),
    "a bucket has a short ARN": (
        line_item(line_item_resource_id="assets", **{**USED, "line_item_product_code": "AmazonS3"}),
        {"ResourceType": "bucket", "ServiceCategory": "Storage"},
    ),
    "storage inside EC2 is storage": (
        line_item(**{**USED, "line_item_usage_type": "EBS:VolumeUsage.gp3"}),
        {"ServiceCategory": "Storage", "ServiceSubcategory": "Block Storage"},
    ),
    "a service that nobody knows is other": (
        line_item(**{**USED, "line_item_product_code": "AmazonTeleport"}),
        {"ServiceCategory": "Other", "ServiceSubcategory": "Other (Other)"},
    ),
    "the properties of a price have FOCUS's names": (
        line_item(
            product='{"vcpu":"2","memory":"8 GiB","region":"us-east-1","instance_type_family":"m5"}',
            product_instance_type="m5.large",
            product_product_family="Compute Instance",
            **USED,
        ),
        {
            "SkuPriceDetails": {
                "CoreCount": 2,
                "MemorySize": 8,
                "InstanceSeries": "m5",
                "InstanceType": "m5.large",
                "x_product_family": "Compute Instance",
            }
        },
    ),
    "what has no SKU is known by its product": (
        line_item("Fee", "12", line_item_product_code="2wqkpek696qhdeo7lbbjncqli"),
        {"SkuId": "2wqkpek696qhdeo7lbbjncqli", "SkuPriceId": "2wqkpek696qhdeo7lbbjncqli", "SkuPriceDetails": None},
    ),
    "a zone is in its region": (
        line_item(line_item_availability_zone="us-east-1b", **USED),
        {"RegionId": "us-east-1", "RegionName": "US East (N. Virginia)"},
    ),
    "a region has its name": (
        line_item(product_region_code="eu-central-1", **USED),
        {"RegionId": "eu-central-1", "RegionName": "Europe (Frankfurt)"},
    ),
    "an account without a name bears its id": (line_item(**USED), {"SubAccountName": "444455556666"}),
    "the billing currency is the pricing currency": (
        line_item(cost="1.5", **USED),
        {"PricingCurrency": "USD", "PricingCurrencyEffectiveCost": "1.5", "PricingCurrencyListUnitPrice": "0.5"},
    ),
}


FEES = [
    line_item(
        "SavingsPlanRecurringFee",
        "2",
        savings_plan_savings_plan_a_r_n=PLAN,
        savings_plan_total_commitment_to_date="2",
        savings_plan_used_commitment="1.5",
        **SKU,
    ),
    line_item(
        "RIFee",
        "10",
        reservation_reservation_a_r_n=RESERVATION,
        reservation_unused_recurring_fee="3",
        reservation_unused_quantity="5",
        reservation_unused_normalized_unit_quantity="20",
        reservation_total_reserved_units="744",
        reservation_total_reserved_normalized_units="2976",
        **SKU,
    ),
]


@pytest.fixture(scope="module")
def bill(shared_landing: Landing) -> Landing:
    """All examples and fees in one bill."""
    items = [{**item, "line_item_line_item_description": name} for name, (item, _) in EXAMPLES.items()]
    fees = [{**item, "line_item_line_item_description": "fee"} for item in FEES]
    write_bill(shared_landing.root, [*items, *fees])
    assert shared_landing.ingest().exit_error is None
    return shared_landing


def test_each_example_gives_its_columns(bill: Landing) -> None:
    found = {charge["ChargeDescription"]: charge for charge in bill.charges()}
    differences = {
        name: (column, value, found[name][column])
        for name, (_, columns) in EXAMPLES.items()
        for column, value in columns.items()
        if not _is_same(found[name][column], value)
    }
    assert differences == {}
    assert bill.broken_rules() == []


def test_fees_of_commitments_give_what_was_bought_and_what_was_not_used(bill: Landing) -> None:
    charges = {
        (charge["CommitmentDiscountCategory"], charge["CommitmentDiscountStatus"]): (
            charge["ResourceType"],
            charge["PricingQuantity"],
            charge["PricingUnit"],
            charge["ListCost"],
            charge["ListUnitPrice"],
            charge["CommitmentDiscountQuantity"],
            charge["CommitmentDiscountUnit"],
        )
        for charge in bill.charges()
        if charge["ChargeDescription"] == "fee"
    }
    assert charges == {
        ("Spend", None): ("savingsplan", 1, "Units", 2, 2, 2, "USD"),
        ("Spend", "Unused"): ("savingsplan", Decimal("0.5"), "USD", 0, 0, Decimal("0.5"), "USD"),
        ("Usage", None): ("reserved-instances", 1, "Units", 10, 10, 2976, "Normalized Hours"),
        ("Usage", "Unused"): ("reserved-instances", 5, "Units", 0, 0, 20, "Normalized Hours"),
    }


def net(gross: str, cost: str, discount: str = "") -> dict[str, str]:
    return line_item(cost=gross, line_item_net_unblended_cost=cost, discount_total_discount=discount)


# Net costs, each kind in a currency of its own, and whether the gross costs and the discounts explain them.
NET_COSTS: dict[str, tuple[list[dict[str, str]], bool]] = {
    "USD, the gross costs less the rows' discounts": ([net("10", "9", "-1"), net("4", "4")], False),
    "EUR, the sign is the other way round": ([net("10", "9", "1")], False),
    "GBP, discounts are line items": ([net("10", "9"), line_item("EdpDiscount", "-1")], False),
    "CHF, nothing explains them": ([net("10", "9")], True),
    "SEK, the discounts explain a part": ([net("10", "8", "-1")], True),
}


def test_net_costs_are_proved_by_the_discounts(landing: Landing) -> None:
    bill = [{**item, "line_item_currency_code": name[:3]} for name, (items, _) in NET_COSTS.items() for item in items]
    write_bill(landing.root, bill)

    outcome = landing.ingest()

    assert outcome.billed_cost == {"USD": 13, "EUR": 9, "GBP": 9, "CHF": 9, "SEK": 8}
    told = {
        name for name in NET_COSTS if any(f"the net costs in {name[:3]} are" in finding for finding in outcome.findings)
    }
    assert told == {name for name, (_, is_told) in NET_COSTS.items() if is_told}
    assert len(outcome.findings) == len(told)


def _is_same(found: Any, wanted: Any) -> bool:
    if isinstance(found, Decimal) and isinstance(wanted, str):
        return found == Decimal(wanted)
    return bool(found == wanted)
