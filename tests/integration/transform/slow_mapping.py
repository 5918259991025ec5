"""The mapping once more, slow and obvious: section 1 of the CUR to FOCUS rules, row by row in plain Python."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext

from billfold.model import CostBasis

LineItem = Mapping[str, str]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
# Tools write these where a value is missing.
_NAN = ("nan", "+nan", "-nan")
_SPLIT_COST_OPERATIONS = ("EKSPod-EC2", "ECSTask-EC2")
_ZERO = Decimal(0)
_NO_DISCOUNTS = (CostBasis.GROSS, CostBasis.NET)


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


def basis_of(items: Sequence[LineItem]) -> CostBasis:
    """Net if any line item has a net cost; gross if none names a discount, or line items hold the discounts."""
    if any(number(item, "line_item_net_unblended_cost") is not None for item in items):
        return CostBasis.NET
    named = [(number(item, "line_item_unblended_cost"), term) for item in items for term in discounts_of(item) if term]
    has_items = any(
        item["line_item_line_item_type"].endswith("Discount") and number(item, "line_item_unblended_cost")
        for item in items
    )
    if has_items or not named:
        return CostBasis.GROSS
    signs = [term > 0 for cost, term in named if cost and cost > 0]
    return CostBasis.GROSS_MINUS_DISCOUNTS if signs.count(True) > signs.count(False) else CostBasis.GROSS_PLUS_DISCOUNTS


def discounts_of(item: LineItem) -> list[Decimal]:
    """The total discount, else the map's values and those of the columns for a kind that the map does not name."""
    total = number(item, "discount_total_discount")
    if total is not None:
        return [total]
    try:
        held = json.loads(item.get("discount") or "{}", parse_float=str, parse_int=str)
    except ValueError:
        held = {}
    for key, value in held.items():
        kind = key.lower().removeprefix("discount/").removeprefix("discount_").replace("_", "")
        if kind == "totaldiscount" and (total := number({"value": str(value)}, "value")) is not None:
            return [total]
    named = "".join(letter for letter in item.get("discount", "").lower() if "a" <= letter <= "z")
    columns = {
        name: item[name]
        for name in item
        if name.startswith("discount_") and name.removeprefix("discount_").replace("_", "") not in named
    }
    values = [number({"value": str(value)}, "value") for value in (*held.values(), *columns.values())]
    return [value for value in values if value is not None]


def cost_of(item: LineItem, basis: CostBasis) -> Decimal:
    """The row's cost on the bill's basis, with its discounts where they are billed."""
    cost = on_basis(item, "line_item_unblended_cost", "line_item_net_unblended_cost", basis)
    assert cost is not None
    if basis in _NO_DISCOUNTS:
        return cost
    with localcontext() as context:
        context.prec = 500
        discount = sum(discounts_of(item), _ZERO)
        return cost - discount if basis is CostBasis.GROSS_MINUS_DISCOUNTS else cost + discount


def on_basis(item: LineItem, gross: str, net: str, basis: CostBasis) -> Decimal | None:
    """The net twin on net basis where the row has one, else the gross value."""
    found = number(item, net) if basis is CostBasis.NET else None
    return number(item, gross) if found is None else found


def is_split(item: LineItem) -> bool:
    """Split cost allocation of ECS, EKS or Batch: a share of the instance that it names."""
    is_known = item.get("line_item_operation") in _SPLIT_COST_OPERATIONS
    return is_known or bool(item.get("split_line_item_parent_resource_id"))


def is_only_split(item: LineItem, basis: CostBasis) -> bool:
    """Whether such a row is no charge besides: one of a kind that is not known yet is, if it has a cost of its own."""
    is_known = item.get("line_item_operation") in _SPLIT_COST_OPERATIONS
    return is_known or (is_split(item) and _is_free(item, basis))


def _is_free(item: LineItem, basis: CostBasis) -> bool:
    """Whether neither a cost nor a discount makes it cost something."""
    return not on_basis(item, "line_item_unblended_cost", "line_item_net_unblended_cost", basis) and (
        basis in _NO_DISCOUNTS or not any(discounts_of(item))
    )


def charges_of(item: LineItem, basis: CostBasis) -> list[SlowCharge]:
    """The charges of one line item: none, one, or two."""
    item = {name: value for name, value in item.items() if value.strip().lower() not in _NAN}
    line_item_type = item["line_item_line_item_type"]
    cost = cost_of(item, basis)
    is_free = _is_free(item, basis)

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

    if is_only_split(item, basis):
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
                basis,
            )
            used = "Used" if _commitment_of(item) else None
            return one("Usage", "Usage-Based", "Committed", status=used, billed=_ZERO, effective=share or _ZERO)
        case "SavingsPlanNegation":
            return []
        case "SavingsPlanUpfrontFee":
            return one("Purchase", "One-Time", "Standard", effective=_ZERO)
        case "SavingsPlanRecurringFee":
            purchase = one("Purchase", "Recurring", "Standard", effective=_ZERO) if not is_free else []
            return purchase + _unused(item, _unused_plan(item, basis), basis)
        case "DiscountedUsage":
            share = on_basis(item, "reservation_effective_cost", "reservation_net_effective_cost", basis)
            used = "Used" if _commitment_of(item) else None
            return one("Usage", "Usage-Based", "Committed", status=used, effective=share or _ZERO)
        case "RIFee":
            purchase = one("Purchase", "Recurring", "Standard", effective=_ZERO) if not is_free else []
            return purchase + _unused(item, _unused_reservation(item, basis), basis)
        case "Fee" if item.get("reservation_reservation_a_r_n") or _description(item).startswith("sign up charge for"):
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
            if _gives_back_commitment(item):
                return one("Purchase", "One-Time", "Standard", effective=_ZERO)
            return one("Purchase" if _is_of_commitment(item) else "Usage", "One-Time", "Standard")
    if line_item_type.endswith("Discount"):
        return [] if basis is CostBasis.NET else one("Usage", "Usage-Based", "Standard")
    return one("Adjustment", "One-Time", "Other")


def residuals_of(items: Sequence[LineItem]) -> dict[tuple[str, str], Decimal]:
    """What covered usage and negations leave over, by payer and currency, where it is not zero."""
    basis = basis_of(items)
    left: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    with localcontext() as context:
        context.prec = 500
        for item in items:
            if is_only_split(item, basis):
                continue
            if item["line_item_line_item_type"] in ("SavingsPlanCoveredUsage", "SavingsPlanNegation"):
                left[item["bill_payer_account_id"], item["line_item_currency_code"]] += cost_of(item, basis)
    return {place: cost for place, cost in left.items() if cost}


def source_cost_of(items: Sequence[LineItem]) -> Decimal:
    """The cost on the bill's basis, less the rows that are left out: what all charges must bill together."""
    basis = basis_of(items)
    total = _ZERO
    with localcontext() as context:
        context.prec = 500
        for item in items:
            if is_only_split(item, basis):
                continue
            if basis is CostBasis.NET and item["line_item_line_item_type"].endswith("Discount"):
                continue
            total += cost_of(item, basis)
    return total


def _unused(item: LineItem, effective: Decimal | None, basis: CostBasis) -> list[SlowCharge]:
    # What a fee below 0 gives back, it gives back of what was not used as well.
    if not effective or (effective < 0 and not _is_below_zero(item, basis)):
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


def _unused_plan(item: LineItem, basis: CostBasis) -> Decimal | None:
    """The commitment that nobody used; on net basis reduced as the recurring (else the amortised) part is.

    Gross costs decide whether there is any: more used than committed is nothing unused, whatever a net cost says.
    """
    total = number(item, "savings_plan_total_commitment_to_date") or _ZERO
    unused = total - (number(item, "savings_plan_used_commitment") or _ZERO)
    if unused < 0 and not _is_below_zero(item, basis):
        return None
    if basis is not CostBasis.NET:
        return unused
    for name in ("recurring", "amortized_upfront"):
        gross = number(item, f"savings_plan_{name}_commitment_for_billing_period")
        net = number(item, f"savings_plan_net_{name}_commitment_for_billing_period")
        if gross and net is not None:
            with localcontext() as context:
                context.prec = 500
                return (unused * net / gross).quantize(Decimal("1e-18"), rounding=ROUND_HALF_UP)
    return unused


def _unused_reservation(item: LineItem, basis: CostBasis) -> Decimal | None:
    parts = [
        on_basis(item, f"reservation_{name}", f"reservation_net_{name}", basis) or _ZERO
        for name in ("unused_amortized_upfront_fee_for_billing_period", "unused_recurring_fee")
    ]
    return sum(parts, _ZERO)


def _is_below_zero(item: LineItem, basis: CostBasis) -> bool:
    cost = on_basis(item, "line_item_unblended_cost", "line_item_net_unblended_cost", basis)
    return cost is not None and cost < 0


def _gives_back_commitment(item: LineItem) -> bool:
    """Whether a refund gives back a commitment's fee: by its description, else because it names the commitment."""
    description = _description(item)
    names_discount = (
        "discount" in description
        or bool({"edp", "ppa", "spp"} & set(re.findall(r"\w+", description)))
        or "private rate" in description
        or "private pricing" in description
    )
    if not names_discount and "sign up charge for subscription" in description:
        return True
    before_plan, plan, _ = description.partition("savings plan")
    _, fee, between = before_plan.partition(" fee for ")
    is_refund = description.startswith(("refund for ", "refund of "))
    if not names_discount and is_refund and plan and fee and len(between.split()) <= 4:
        return True
    if names_discount or "credit" in description:
        return False
    is_paid = any(word in description for word in ("fee", "return", "cancel", "upfront", "purchase"))
    is_reservation = any(f"reserved {thing}" in description for thing in ("instance", "node", "capacity"))
    if not _is_of_commitment(item):
        return is_paid and (is_reservation or bool(plan)) and not re.search(r"\b(usage\b|cover)", description)
    return (
        bool(_commitment_of(item)) or "HeavyUsage" in item.get("line_item_usage_type", "") or is_paid or is_reservation
    )


def _description(item: LineItem) -> str:
    return item.get("line_item_line_item_description", "").lower()


def _commitment_of(item: LineItem) -> str:
    """Its ARN: without one FOCUS allows no status either."""
    return item.get("savings_plan_savings_plan_a_r_n") or item.get("reservation_reservation_a_r_n") or ""


def _is_of_commitment(item: LineItem) -> bool:
    return bool(
        _commitment_of(item) or item.get("line_item_product_code", "").endswith("SavingsPlans")
    ) or "HeavyUsage" in item.get("line_item_usage_type", "")
