"""The mapping once more, slow and obvious: section 1 of the CUR to FOCUS rules, row by row in plain Python."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

LineItem = Mapping[str, str]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_SPLIT_COST_OPERATIONS = ("EKSPod-EC2", "ECSTask-EC2")
_ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class SlowCharge:
    """What one charge of a line item says."""

    part: int
    category: str
    frequency: str
    pricing: str | None
    status: str | None
    billed: Decimal
    effective: Decimal


def number(item: LineItem, column: str) -> Decimal | None:
    """The value as a number; an empty one and a generator's word for nothing are none."""
    text = item.get(column, "").strip()
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def is_net(items: Sequence[LineItem]) -> bool:
    """A bill is on net basis if any of its line items has a net cost."""
    return any(number(item, "line_item_net_unblended_cost") is not None for item in items)


def on_basis(item: LineItem, gross: str, net: str, *, net_basis: bool) -> Decimal | None:
    """The net twin on net basis where the row has one, else the gross value."""
    found = number(item, net) if net_basis else None
    return number(item, gross) if found is None else found


def is_split(item: LineItem) -> bool:
    """Split cost allocation of ECS, EKS or Batch: a share of the instance that it names."""
    is_known = item.get("line_item_operation") in _SPLIT_COST_OPERATIONS
    return is_known or bool(item.get("split_line_item_parent_resource_id"))


def is_only_split(item: LineItem, cost: Decimal | None) -> bool:
    """Whether such a row is no charge besides: one of a kind that is not known yet is, if it has a cost of its own."""
    return item.get("line_item_operation") in _SPLIT_COST_OPERATIONS or (is_split(item) and not cost)


def charges_of(item: LineItem, *, net_basis: bool) -> list[SlowCharge]:
    """The charges of one line item: none, one, or two."""
    line_item_type = item["line_item_line_item_type"]
    cost = on_basis(item, "line_item_unblended_cost", "line_item_net_unblended_cost", net_basis=net_basis)
    assert cost is not None

    def one(
        category: str,
        frequency: str,
        pricing: str | None,
        *,
        effective: Decimal = cost,
        status: str | None = None,
        billed: Decimal = cost,
    ) -> list[SlowCharge]:
        return [
            SlowCharge(
                part=0,
                category=category,
                frequency=frequency,
                pricing=pricing,
                status=status,
                billed=billed,
                effective=effective,
            )
        ]

    if is_only_split(item, cost):
        return []
    match line_item_type:
        case "Usage":
            spot = item.get("pricing_term") == "Spot" or "SpotUsage" in item.get("line_item_usage_type", "")
            return one("Usage", "Usage-Based", "Dynamic" if spot else "Standard")
        case "SavingsPlanCoveredUsage":
            share = on_basis(
                item,
                "savings_plan_savings_plan_effective_cost",
                "savings_plan_net_savings_plan_effective_cost",
                net_basis=net_basis,
            )
            used = "Used" if _commitment_of(item) else None
            return one("Usage", "Usage-Based", "Committed", status=used, billed=_ZERO, effective=share or _ZERO)
        case "SavingsPlanNegation":
            return []
        case "SavingsPlanUpfrontFee":
            return one("Purchase", "One-Time", "Standard", effective=_ZERO)
        case "SavingsPlanRecurringFee":
            purchase = one("Purchase", "Recurring", "Standard", effective=_ZERO) if cost else []
            return purchase + _unused(item, _unused_plan(item, net_basis=net_basis))
        case "DiscountedUsage":
            share = on_basis(item, "reservation_effective_cost", "reservation_net_effective_cost", net_basis=net_basis)
            used = "Used" if _commitment_of(item) else None
            return one("Usage", "Usage-Based", "Committed", status=used, effective=share or _ZERO)
        case "RIFee":
            purchase = one("Purchase", "Recurring", "Standard", effective=_ZERO) if cost else []
            return purchase + _unused(item, _unused_reservation(item, net_basis=net_basis))
        case "Fee" if item.get("reservation_reservation_a_r_n"):
            return one("Purchase", "One-Time", "Standard", effective=_ZERO)
        case "Fee":
            return one(
                "Purchase", "Recurring" if item.get("bill_bill_type") == "Anniversary" else "One-Time", "Standard"
            )
        case "FlatRateSubscription":
            return one("Purchase", "Recurring", "Standard")
        case "Tax":
            return one("Tax", "Recurring", None)
        case "Credit":
            return one("Credit", "One-Time", "Other")
        case "Refund":
            if item.get("line_item_tax_type"):
                return one("Tax", "One-Time", None)
            if _refunds_plan(item):
                return one("Purchase", "One-Time", "Standard", effective=_ZERO)
            return one("Purchase" if _is_of_commitment(item) else "Usage", "One-Time", "Standard")
    if line_item_type.endswith("Discount"):
        return [] if net_basis else one("Usage", "Usage-Based", "Standard")
    return one("Adjustment", "One-Time", "Other")


def residuals_of(items: Sequence[LineItem]) -> dict[tuple[str, str], Decimal]:
    """What covered usage and negations leave over, by payer and currency, where it is not zero."""
    net_basis = is_net(items)
    left: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    with localcontext() as context:
        context.prec = 500
        for item in items:
            cost = on_basis(item, "line_item_unblended_cost", "line_item_net_unblended_cost", net_basis=net_basis)
            if is_only_split(item, cost):
                continue
            if item["line_item_line_item_type"] in ("SavingsPlanCoveredUsage", "SavingsPlanNegation"):
                left[item["bill_payer_account_id"], item["line_item_currency_code"]] += cost or _ZERO
    return {place: cost for place, cost in left.items() if cost}


def source_cost_of(items: Sequence[LineItem]) -> Decimal:
    """The cost on the bill's basis, less the rows that are left out: what all charges must bill together."""
    net_basis = is_net(items)
    total = _ZERO
    with localcontext() as context:
        context.prec = 500
        for item in items:
            cost = on_basis(item, "line_item_unblended_cost", "line_item_net_unblended_cost", net_basis=net_basis)
            if is_only_split(item, cost):
                continue
            if net_basis and item["line_item_line_item_type"].endswith("Discount"):
                continue
            total += cost or _ZERO
    return total


def _unused(item: LineItem, effective: Decimal | None) -> list[SlowCharge]:
    if effective is None or effective <= 0:
        return []
    return [
        SlowCharge(
            part=1,
            category="Usage",
            frequency="Usage-Based",
            pricing="Committed",
            status="Unused" if _commitment_of(item) else None,
            billed=_ZERO,
            effective=effective,
        )
    ]


def _unused_plan(item: LineItem, *, net_basis: bool) -> Decimal | None:
    """The commitment that nobody used; on net basis reduced as the recurring (else the amortised) part is.

    Gross costs decide whether there is any: more used than committed is nothing unused, whatever a net cost says.
    """
    total = number(item, "savings_plan_total_commitment_to_date") or _ZERO
    unused = total - (number(item, "savings_plan_used_commitment") or _ZERO)
    if unused <= 0:
        return None
    if not net_basis:
        return unused
    for name in ("recurring", "amortized_upfront"):
        gross = number(item, f"savings_plan_{name}_commitment_for_billing_period")
        net = number(item, f"savings_plan_net_{name}_commitment_for_billing_period")
        if gross and net is not None:
            return unused * net / gross
    return unused


def _unused_reservation(item: LineItem, *, net_basis: bool) -> Decimal | None:
    parts = [
        on_basis(item, f"reservation_{name}", f"reservation_net_{name}", net_basis=net_basis) or _ZERO
        for name in ("unused_amortized_upfront_fee_for_billing_period", "unused_recurring_fee")
    ]
    unused = sum(parts, _ZERO)
    return unused if unused > 0 else None


def _refunds_plan(item: LineItem) -> bool:
    return item.get("line_item_product_code") == "ComputeSavingsPlans" and item.get(
        "line_item_line_item_description", ""
    ).startswith("Refund for one-time fee for Savings Plan ID")


def _commitment_of(item: LineItem) -> str:
    """Its ARN: without one FOCUS allows no status either."""
    return item.get("savings_plan_savings_plan_a_r_n") or item.get("reservation_reservation_a_r_n") or ""


def _is_of_commitment(item: LineItem) -> bool:
    return bool(_commitment_of(item) or item.get("line_item_product_code", "").endswith("SavingsPlans"))
