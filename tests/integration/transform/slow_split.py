"""Split cost allocation once more, slow and obvious: what each parent costs, who shares it, and what is left."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from billfold.model import CostBasis
from tests.integration.transform.slow_mapping import LineItem, basis_of, charges_of, is_split, on_basis

Place = tuple[str, ...]

_INSTANCE_HOURS = re.compile(r"(^|-)(BoxUsage|SpotUsage|HeavyUsage|DedicatedUsage|HostBoxUsage)(:|$)")
_INSTANCE_TYPES = ("Usage", "SavingsPlanCoveredUsage", "DiscountedUsage")


@dataclass(frozen=True, order=True, kw_only=True)
class SlowSplit:
    """One row of the ledger: what it is, of which parent and charge period, and what it adds."""

    allocation: str
    place: Place
    cost: Decimal


def split_rows_of(items: Sequence[LineItem]) -> list[SlowSplit]:
    """All rows of a bill's ledger, in order."""
    with localcontext() as context:
        context.prec = 500
        return sorted([*_workloads_of(items), *_rows_beside(items)])


def _parents_of(items: Sequence[LineItem]) -> dict[Place, list[Decimal]]:
    """The effective costs of the instances' hours that are split."""
    basis = basis_of(items)
    wanted = {_place(item, "split_line_item_parent_resource_id") for item in items if is_split(item)}
    parents: defaultdict[Place, list[Decimal]] = defaultdict(list)
    for item in items:
        place = _place(item, "line_item_resource_id")
        if place[1] and place in wanted and _is_instance_hour(item):
            parents[place] += [charge.effective for charge in charges_of(item, basis)]
    return {place: costs for place, costs in parents.items() if costs}


def _workloads_of(items: Sequence[LineItem]) -> list[SlowSplit]:
    parents = _parents_of(items)
    # Net is after all discounts, whichever columns these are billed by.
    discounted = CostBasis.GROSS if basis_of(items) is CostBasis.GROSS else CostBasis.NET
    rows = []
    for item in items:
        if is_split(item):
            place = _place(item, "split_line_item_parent_resource_id")
            cost = sum(
                (
                    on_basis(item, f"split_line_item_{name}", f"split_line_item_net_{name}", discounted) or 0
                    for name in ("split_cost", "unused_cost")
                ),
                Decimal(0),
            )
            rows.append(SlowSplit(allocation="workload", place=place, cost=cost if place in parents else Decimal(0)))
    return rows


def _rows_beside(items: Sequence[LineItem]) -> list[SlowSplit]:
    workloads = _workloads_of(items)
    rows = []
    for place, costs in _parents_of(items).items():
        rows += [SlowSplit(allocation="parent", place=place, cost=-cost) for cost in costs]
        allocated = sum((each.cost for each in workloads if each.place == place), Decimal(0))
        if left := sum(costs, Decimal(0)) - allocated:
            rows.append(SlowSplit(allocation="not allocated", place=place, cost=left))
    return rows


def _place(item: LineItem, resource_column: str) -> Place:
    return (
        item["line_item_usage_account_id"],
        item.get(resource_column, ""),
        item["line_item_usage_start_date"],
        item["line_item_usage_end_date"],
        item["line_item_currency_code"],
    )


def _is_instance_hour(item: LineItem) -> bool:
    if item["line_item_line_item_type"] not in _INSTANCE_TYPES:
        return False
    usage_type, family = item.get("line_item_usage_type", ""), item.get("product_product_family", "")
    if _INSTANCE_HOURS.search(usage_type):
        return True
    # The family is known where the row has a price.
    if family and item.get("pricing_rate_code"):
        return family.startswith("Compute Instance")
    operation = item.get("line_item_operation", "")
    return not usage_type and (not operation or operation.startswith("RunInstances"))
