"""Line items become charges by the rules: each row of the rules' table once, and anything at all like the slow twin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal, localcontext
from uuid import uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings

from billfold.model import CostBasis, DeliveryState
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, RESERVATION, line_item, write_bill
from tests.integration.transform.slow_mapping import (
    LineItem,
    SlowCharge,
    basis_of,
    charges_of,
    residuals_of,
    source_cost_of,
)

PLAN_FEE = {
    "savings_plan_savings_plan_a_r_n": PLAN,
    "savings_plan_total_commitment_to_date": "2",
    "savings_plan_used_commitment": "1.5",
    "savings_plan_recurring_commitment_for_billing_period": "2",
    "savings_plan_net_recurring_commitment_for_billing_period": "1.8",
    "savings_plan_amortized_upfront_commitment_for_billing_period": "0",
    "savings_plan_net_amortized_upfront_commitment_for_billing_period": "0",
}
UPFRONT_PLAN_FEE = {
    **PLAN_FEE,
    "savings_plan_recurring_commitment_for_billing_period": "0",
    "savings_plan_net_recurring_commitment_for_billing_period": "0",
    "savings_plan_amortized_upfront_commitment_for_billing_period": "2",
    "savings_plan_net_amortized_upfront_commitment_for_billing_period": "1",
}
RESERVATION_FEE = {
    "reservation_reservation_a_r_n": RESERVATION,
    "reservation_unused_amortized_upfront_fee_for_billing_period": "0.25",
    "reservation_net_unused_amortized_upfront_fee_for_billing_period": "0.2",
    "reservation_unused_recurring_fee": "0.5",
    "reservation_net_unused_recurring_fee": "0.4",
}
COVERED = {
    "savings_plan_savings_plan_a_r_n": PLAN,
    "savings_plan_savings_plan_effective_cost": "0.7",
    "savings_plan_net_savings_plan_effective_cost": "0.6",
}
RESERVED = {
    "reservation_reservation_a_r_n": RESERVATION,
    "reservation_effective_cost": "0.09",
    "reservation_net_effective_cost": "0.08",
}

# A line item with its gross cost 10 and its net cost 9, and its charges as (category, frequency, pricing category,
# commitment status, billed cost, effective cost): on gross basis, and on net basis where it is told apart.
Row = tuple[str, str, str | None, str | None, str, str]
RULES: dict[str, tuple[dict[str, str], list[Row], list[Row]]] = {
    "usage on demand": (
        line_item("Usage"),
        [("Usage", "Usage-Based", "Standard", None, "10", "10")],
        [("Usage", "Usage-Based", "Standard", None, "9", "9")],
    ),
    "spot usage by its term": (
        line_item("Usage", pricing_term="Spot"),
        [("Usage", "Usage-Based", "Dynamic", None, "10", "10")],
        [("Usage", "Usage-Based", "Dynamic", None, "9", "9")],
    ),
    "spot usage by its type": (
        line_item("Usage", line_item_usage_type="EUC1-SpotUsage:m5.large"),
        [("Usage", "Usage-Based", "Dynamic", None, "10", "10")],
        [("Usage", "Usage-Based", "Dynamic", None, "9", "9")],
    ),
    "usage covered by a Savings Plan": (
        line_item("SavingsPlanCoveredUsage", **COVERED),
        [("Usage", "Usage-Based", "Committed", "Used", "0", "0.7")],
        [("Usage", "Usage-Based", "Committed", "Used", "0", "0.6")],
    ),
    "the negation of a Savings Plan": (line_item("SavingsPlanNegation", savings_plan_savings_plan_a_r_n=PLAN), [], []),
    "the upfront fee of a Savings Plan": (
        line_item("SavingsPlanUpfrontFee", savings_plan_savings_plan_a_r_n=PLAN),
        [("Purchase", "One-Time", "Standard", None, "10", "0")],
        [("Purchase", "One-Time", "Standard", None, "9", "0")],
    ),
    "the recurring fee of a Savings Plan": (
        line_item("SavingsPlanRecurringFee", **PLAN_FEE),
        [
            ("Purchase", "Recurring", "Standard", None, "10", "0"),
            ("Usage", "Usage-Based", "Committed", "Unused", "0", "0.5"),
        ],
        [
            ("Purchase", "Recurring", "Standard", None, "9", "0"),
            ("Usage", "Usage-Based", "Committed", "Unused", "0", "0.45"),
        ],
    ),
    "the recurring fee of a Savings Plan used in full": (
        line_item("SavingsPlanRecurringFee", **{**PLAN_FEE, "savings_plan_used_commitment": "2.0"}),
        [("Purchase", "Recurring", "Standard", None, "10", "0")],
        [("Purchase", "Recurring", "Standard", None, "9", "0")],
    ),
    "usage of a reserved instance": (
        line_item("DiscountedUsage", "0", **RESERVED),
        [("Usage", "Usage-Based", "Committed", "Used", "0", "0.09")],
        [("Usage", "Usage-Based", "Committed", "Used", "0", "0.08")],
    ),
    "the fee of a reserved instance": (
        line_item("RIFee", **RESERVATION_FEE),
        [
            ("Purchase", "Recurring", "Standard", None, "10", "0"),
            ("Usage", "Usage-Based", "Committed", "Unused", "0", "0.75"),
        ],
        [
            ("Purchase", "Recurring", "Standard", None, "9", "0"),
            ("Usage", "Usage-Based", "Committed", "Unused", "0", "0.6"),
        ],
    ),
    "the upfront fee of a reserved instance": (
        line_item("Fee", reservation_reservation_a_r_n=RESERVATION),
        [("Purchase", "One-Time", "Standard", None, "10", "0")],
        [("Purchase", "One-Time", "Standard", None, "9", "0")],
    ),
    "a fee of the month": (
        line_item("Fee", bill_bill_type="Anniversary"),
        [("Purchase", "Recurring", "Standard", None, "10", "10")],
        [("Purchase", "Recurring", "Standard", None, "9", "9")],
    ),
    "a fee once": (
        line_item("Fee", bill_bill_type="Purchase"),
        [("Purchase", "One-Time", "Standard", None, "10", "10")],
        [("Purchase", "One-Time", "Standard", None, "9", "9")],
    ),
    "a subscription at a flat rate": (
        line_item("FlatRateSubscription"),
        [("Purchase", "Recurring", "Standard", None, "10", "10")],
        [("Purchase", "Recurring", "Standard", None, "9", "9")],
    ),
    "tax": (
        line_item("Tax", line_item_tax_type="VAT"),
        [("Tax", "Recurring", None, None, "10", "10")],
        [("Tax", "Recurring", None, None, "9", "9")],
    ),
    "a credit": (
        line_item("Credit"),
        [("Credit", "One-Time", "Other", None, "10", "10")],
        [("Credit", "One-Time", "Other", None, "9", "9")],
    ),
    "a refund of tax": (
        line_item("Refund", line_item_tax_type="VAT"),
        [("Tax", "One-Time", None, None, "10", "10")],
        [("Tax", "One-Time", None, None, "9", "9")],
    ),
    "a refund of a reserved instance": (
        line_item("Refund", reservation_reservation_a_r_n=RESERVATION),
        [("Purchase", "One-Time", "Standard", None, "10", "0")],
        [("Purchase", "One-Time", "Standard", None, "9", "0")],
    ),
    "Sign up charge for subscription: 363836886, planId: 1026576": (
        line_item("Fee"),
        [("Purchase", "One-Time", "Standard", None, "10", "0")],
        [("Purchase", "One-Time", "Standard", None, "9", "0")],
    ),
    "Refund of sign up charge for subscription: 363836886, planId: 1026576": (
        line_item("Refund"),
        [("Purchase", "One-Time", "Standard", None, "10", "0")],
        [("Purchase", "One-Time", "Standard", None, "9", "0")],
    ),
    "Refund for recurring fee for Savings Plan ID: 5f1d": (
        line_item("Refund", line_item_product_code="FutureSavingsPlans"),
        [("Purchase", "One-Time", "Standard", None, "10", "0")],
        [("Purchase", "One-Time", "Standard", None, "9", "0")],
    ),
    "USD 0.0309 hourly fee per Linux/UNIX, m4.large instance": (
        line_item("Refund", line_item_usage_type="HeavyUsage:m4.large"),
        [("Purchase", "One-Time", "Standard", None, "10", "0")],
        [("Purchase", "One-Time", "Standard", None, "9", "0")],
    ),
    "EDP Discount Savings Plan refund": (
        line_item("Refund", line_item_product_code="ComputeSavingsPlans", savings_plan_savings_plan_a_r_n=PLAN),
        [("Purchase", "One-Time", "Standard", None, "10", "10")],
        [("Purchase", "One-Time", "Standard", None, "9", "9")],
    ),
    "Refund for one-time fee for Savings Plan ID 5f1d": (
        line_item("Refund", line_item_product_code="ComputeSavingsPlans"),
        [("Purchase", "One-Time", "Standard", None, "10", "0")],
        [("Purchase", "One-Time", "Standard", None, "9", "0")],
    ),
    "a refund of usage": (
        line_item("Refund"),
        [("Usage", "One-Time", "Standard", None, "10", "10")],
        [("Usage", "One-Time", "Standard", None, "9", "9")],
    ),
    **{
        f"a discount of the type {name}": (
            line_item(name),
            [("Usage", "Usage-Based", "Standard", None, "10", "10")],
            [],
        )
        for name in ("EdpDiscount", "PrivateRateDiscount", "RiVolumeDiscount", "BundledDiscount", "Discount")
    },
    "an unknown type": (
        line_item("SomethingNew"),
        [("Adjustment", "One-Time", "Other", None, "10", "10")],
        [("Adjustment", "One-Time", "Other", None, "9", "9")],
    ),
    "split cost of a container": (line_item("Usage", line_item_operation="EKSPod-EC2"), [], []),
}
# These cost nothing by themselves: the fee rows of what was paid upfront, and usage that a reservation covers.
FREE_RULES: dict[str, tuple[dict[str, str], list[Row], list[Row]]] = {
    "the fee row of an all-upfront Savings Plan": (
        line_item("SavingsPlanRecurringFee", **UPFRONT_PLAN_FEE),
        [("Usage", "Usage-Based", "Committed", "Unused", "0", "0.5")],
        [("Usage", "Usage-Based", "Committed", "Unused", "0", "0.25")],
    ),
    "the fee row of an all-upfront reservation": (
        line_item("RIFee", **RESERVATION_FEE),
        [("Usage", "Usage-Based", "Committed", "Unused", "0", "0.75")],
        [("Usage", "Usage-Based", "Committed", "Unused", "0", "0.6")],
    ),
    "the fee row of an all-upfront plan used in full": (
        line_item("SavingsPlanRecurringFee", **{**UPFRONT_PLAN_FEE, "savings_plan_used_commitment": "2"}),
        [],
        [],
    ),
    "usage that a reservation covers": (
        line_item("DiscountedUsage", **RESERVED),
        [("Usage", "Usage-Based", "Committed", "Used", "0", "0.09")],
        [("Usage", "Usage-Based", "Committed", "Used", "0", "0.08")],
    ),
}


@pytest.mark.parametrize("basis", ["gross", "net"])
def test_each_rule_of_the_table_holds(landing: Landing, basis: str) -> None:
    items, wanted = _bill_of_rules(basis)
    write_bill(landing.root, items)

    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert landing.value("SELECT cost_basis FROM billing_statements") == basis
    found = _found(landing)
    assert {name: found.get(name, []) for name in wanted} == wanted
    assert landing.broken_rules() == []


def test_the_twin_agrees_with_each_rule_of_the_table() -> None:
    for basis in ("gross", "net"):
        items, wanted = _bill_of_rules(basis)
        for item in items:
            charges = [_row(charge) for charge in charges_of(item, CostBasis(basis))]

            assert charges == wanted[item["line_item_line_item_description"]], item


NUMBERS = st.one_of(
    st.sampled_from(["0", "0.0", "1", "-2.25", "4.3333E-6", "1e2", "-.5", "12.", "0.30000000000000004", "1.5e-10"]),
    st.decimals(-1000, 1000, places=6).map(lambda number: format(number, "f")),
    st.decimals(0, 10, places=10).map(lambda number: format(number, "f")),
)
OPTIONAL_NUMBERS = st.one_of(NUMBERS, st.sampled_from(["", "None", "null", "n/a", "nan", "-NaN", "Infinity"]))
TYPES = st.sampled_from(
    "Usage SavingsPlanCoveredUsage SavingsPlanNegation SavingsPlanUpfrontFee SavingsPlanRecurringFee DiscountedUsage"
    " RIFee Fee FlatRateSubscription Tax Credit Refund EdpDiscount BundledDiscount Discount Novelty".split()
)
OPTIONAL_COLUMNS = {
    "line_item_usage_type": st.sampled_from(
        ["", "BoxUsage:m5.large", "SpotUsage:m5.large", "EUC1-HeavyUsage:m5.large"]
    ),
    "line_item_operation": st.sampled_from(["", "RunInstances", "EKSPod-EC2", "ECSTask-EC2"]),
    "line_item_product_code": st.sampled_from(
        ["AmazonEC2", "ComputeSavingsPlans", "DatabaseSavingsPlans", "OCBPremiumSupport"]
    ),
    "line_item_tax_type": st.sampled_from(["", "", "VAT", "nan"]),
    "line_item_usage_amount": OPTIONAL_NUMBERS,
    "pricing_term": st.sampled_from(["", "OnDemand", "Spot", "nan"]),
    "pricing_public_on_demand_rate": OPTIONAL_NUMBERS,
    "bill_bill_type": st.sampled_from(["", "Anniversary", "Purchase", "Refund"]),
    "bill_payer_account_id": st.sampled_from(["111122223333", "999988887777"]),
    "line_item_currency_code": st.sampled_from(["USD", "USD", "EUR"]),
    "savings_plan_savings_plan_a_r_n": st.sampled_from(["", PLAN, "nan"]),
    "reservation_reservation_a_r_n": st.sampled_from(["", RESERVATION, "NaN"]),
    "savings_plan_savings_plan_effective_cost": OPTIONAL_NUMBERS,
    "savings_plan_net_savings_plan_effective_cost": OPTIONAL_NUMBERS,
    "savings_plan_total_commitment_to_date": OPTIONAL_NUMBERS,
    "savings_plan_used_commitment": OPTIONAL_NUMBERS,
    "savings_plan_recurring_commitment_for_billing_period": OPTIONAL_NUMBERS,
    "savings_plan_net_recurring_commitment_for_billing_period": OPTIONAL_NUMBERS,
    "savings_plan_amortized_upfront_commitment_for_billing_period": OPTIONAL_NUMBERS,
    "savings_plan_net_amortized_upfront_commitment_for_billing_period": OPTIONAL_NUMBERS,
    "reservation_effective_cost": OPTIONAL_NUMBERS,
    "reservation_net_effective_cost": OPTIONAL_NUMBERS,
    "reservation_unused_amortized_upfront_fee_for_billing_period": OPTIONAL_NUMBERS,
    "reservation_net_unused_amortized_upfront_fee_for_billing_period": OPTIONAL_NUMBERS,
    "reservation_unused_recurring_fee": OPTIONAL_NUMBERS,
    "reservation_net_unused_recurring_fee": OPTIONAL_NUMBERS,
}


DISCOUNTS = {
    "discount": st.one_of(
        st.just(""),
        st.dictionaries(
            st.sampled_from(
                ["EdpDiscount", "PrivateRateDiscount", "BundledDiscount", "TotalDiscount", 'odd "key": {-7}, ']
            ),
            st.one_of(
                st.sampled_from([0, -1, 2, -2.25, 4.3333e-06, 1e22, "-1.5", "none", "", None]),
                st.integers(-(10**30), 10**30),
            ),
        ).map(json.dumps),
    ),
    "discount_bundled_discount": OPTIONAL_NUMBERS,
    "discount_edp_discount": OPTIONAL_NUMBERS,
}
DESCRIPTIONS = st.sampled_from(
    [
        "Usage of",
        "Refund for one-time fee for Savings Plan ID",
        "Refund for recurring fee for Savings Plan ID:",
        "EDP Discount Savings Plan refund",
        "Sign up charge for subscription:",
        "Returned reserved instance",
        "Refund for EDP discount on upfront fee for Savings Plan ID",
        "Refund for upfront fee for SageMaker Savings Plan ID",
        "Refund for reserved node usage, fee",
    ]
)


@st.composite
def bills(draw: st.DrawFn) -> list[dict[str, str]]:
    """Line items of all kinds, gross or with net costs in some rows, each with a description of its own."""
    net = draw(st.booleans())
    named = draw(st.sampled_from([{}, DISCOUNTS, {**DISCOUNTS, "discount_total_discount": OPTIONAL_NUMBERS}]))
    # Line items that are discounts have the columns left out.
    types = draw(st.sampled_from([TYPES, TYPES.filter(lambda name: not name.endswith("Discount"))]))
    items = []
    for number in range(draw(st.integers(20, 30))):
        columns = {name: draw(values) for name, values in OPTIONAL_COLUMNS.items()}
        columns["line_item_net_unblended_cost"] = draw(OPTIONAL_NUMBERS) if net else ""
        columns["line_item_line_item_description"] = f"{draw(DESCRIPTIONS)} {number}"
        columns |= {name: draw(values) for name, values in named.items()}
        items.append(line_item(draw(types), draw(NUMBERS), **columns))
    return items


def _has_kinds(items: Sequence[LineItem]) -> bool:
    return len({item["line_item_line_item_type"] for item in items}) > 1


@pytest.mark.at_length
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@hypothesis_settings(
    max_examples=rounds(2, in_soak=12),
    deadline=None,
    # Each example is an ingestion: to shrink one would take minutes. The assertions name the line item.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
# The simplest example, which comes first, has one kind of line items: it proves little.
@given(items=bills().filter(_has_kinds), is_large=st.booleans())
def test_charges_in_postgresql_are_those_of_the_slow_twin(
    landing: Landing, items: list[dict[str, str]], is_large: bool
) -> None:
    export_path = f"exports/{uuid4().hex}"
    manifest = write_bill(landing.root, items, export_path=export_path)

    with pytest.MonkeyPatch.context() as patch:
        if is_large:
            patch.setattr("billfold.transform.bill.MAX_KEPT_ROWS", 0)
        outcome = landing.ingest(manifest)

    assert outcome.exit_error is None
    assert outcome.state is DeliveryState.PUBLISHED
    found = _charges(landing, export_path)
    wanted = _wanted(items)
    assert set(found) == set(wanted)
    for place, charge in wanted.items():
        assert found[place] == charge, (place, found[place], charge)
    with localcontext() as context:
        context.prec = 500
        assert sum(outcome.billed_cost.values()) == source_cost_of(items)
        assert sum(charge.billed for charge in found.values()) == source_cost_of(items)


def _bill_of_rules(basis: str) -> tuple[list[dict[str, str]], dict[str, list[Row]]]:
    """All rules as one bill, and the charges wanted of each line item by its description."""
    items: list[dict[str, str]] = []
    wanted: dict[str, list[Row]] = {}
    for rules, gross, net in ((RULES, "10", "9"), (FREE_RULES, "0", "0")):
        for name, (item, gross_rows, net_rows) in rules.items():
            net_cost = net if basis == "net" else ""
            item = {**item, "line_item_line_item_description": name, "line_item_net_unblended_cost": net_cost}
            free = item["line_item_line_item_type"] == "DiscountedUsage"
            item |= (
                {"line_item_unblended_cost": "0", "line_item_net_unblended_cost": "0" if net_cost else ""}
                if free
                else {"line_item_unblended_cost": gross}
            )
            items.append(item)
            wanted[name] = gross_rows if basis == "gross" else net_rows
    return items, wanted


def _found(landing: Landing) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {}
    for (description, _), charge in sorted(_charges(landing, "exports/acme").items()):
        rows.setdefault(description, []).append(_row(charge))
    return rows


def _charges(landing: Landing, export_path: str) -> dict[tuple[str, int], SlowCharge]:
    rows = landing.query(
        "SELECT charge_description, part, charge_category, charge_frequency, pricing_category,"
        " commitment_discount_status, billed_cost, effective_cost, occurrence, account_id, billing_currency"
        " FROM billing_usage_fact JOIN billing_statements USING (statement_id) JOIN dim_charge USING (charge_key)"
        " JOIN dim_sku USING (sku_key) JOIN dim_account ON account_key = billing_account_key WHERE export_path = %s",
        export_path,
    )
    return {
        (f"residual {row[9]} {row[10]}" if row[8] == 0 else row[0], row[1]): SlowCharge(
            part=row[1],
            category=row[2],
            frequency=row[3],
            pricing=row[4],
            status=row[5],
            billed=row[6],
            effective=row[7],
        )
        for row in rows
    }


def _wanted(items: Sequence[LineItem]) -> dict[tuple[str, int], SlowCharge]:
    wanted = {
        (item["line_item_line_item_description"], charge.part): charge
        for item in items
        for charge in charges_of(item, basis_of(items))
    }
    for (payer, currency), cost in residuals_of(items).items():
        wanted[f"residual {payer} {currency}", 0] = SlowCharge(
            part=0,
            category="Adjustment",
            frequency="One-Time",
            pricing="Other",
            status=None,
            billed=cost,
            effective=Decimal(0),
        )
    return wanted


def _row(charge: SlowCharge) -> Row:
    def plain(amount: Decimal) -> str:
        return format(amount.normalize(), "f")

    return (
        charge.category,
        charge.frequency,
        charge.pricing,
        charge.status,
        plain(charge.billed),
        plain(charge.effective),
    )
