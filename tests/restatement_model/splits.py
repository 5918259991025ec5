"""Split cost allocation said again in plain Python: what pods cost, beside the instances that they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from tests.restatement_model.bills import COVERED, Item, RowKey, charges_of

WORKLOAD, PARENT, NOT_ALLOCATED = "workload", "parent", "not allocated"

# What is split: the account, the instance, the day (these bills have one hour of each) and the currency.
Place = tuple[str, str, int, str]
# What the row is of (a line item, or a place), which of the identical ones, and its allocation.
SplitKey = tuple[Item | Place, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """A row of the ledger that adds up to 0 for each place, as far as it is compared."""

    allocation: str
    day: date
    account: str
    parent: str
    currency: str
    has_parent: bool
    cost: Decimal

    @property
    def facts(self) -> tuple[object, ...]:
        """As one record."""
        return (self.allocation, self.day, self.account, self.parent, self.currency, self.has_parent, self.cost)


def splits_of(rows: Collection[RowKey], basis: str, period: str) -> dict[SplitKey, SplitRow]:
    """The pods of a bill, their instances with the opposite sign, and what of each instance its pods leave over."""

    def row(place: Place, allocation: str, cost: Decimal, *, has_parent: bool = True) -> SplitRow:
        account, parent, day, currency = place
        return SplitRow(
            allocation=allocation,
            day=date.fromisoformat(f"{period}-{day:02d}"),
            account=account,
            parent=parent,
            currency=currency,
            has_parent=has_parent,
            cost=cost,
        )

    places = {_place_of(item, item.parent) for item, _ in rows if item.is_split}
    instances = _find_instances(rows, basis, period, places)
    shared = {_place_of(item, item.resource) for item, _ in instances}
    left_over: defaultdict[Place, Decimal] = defaultdict(Decimal)
    found: dict[SplitKey, SplitRow] = {}
    for (item, occurrence), effective in instances.items():
        place = _place_of(item, item.resource)
        found[item, occurrence, PARENT] = row(place, PARENT, -effective)
        left_over[place] += effective
    for item, occurrence in rows:
        if item.is_split:
            place = _place_of(item, item.parent)
            # A pod whose instance is not in the bill must not add its cost to it.
            cost = _cost_of_pod(item, basis) if place in shared else Decimal(0)
            found[item, occurrence, WORKLOAD] = row(place, WORKLOAD, cost, has_parent=place in shared)
            left_over[place] -= cost
    for place, cost in left_over.items():
        if cost:
            found[place, 0, NOT_ALLOCATED] = row(place, NOT_ALLOCATED, cost)
    return found


def _find_instances(
    rows: Collection[RowKey], basis: str, period: str, places: Collection[Place]
) -> Mapping[RowKey, Decimal]:
    """The usage of instances that pods share, with its effective cost."""
    charges = charges_of(rows, basis, period)
    return {
        (item, occurrence): charges[item, occurrence, 0].effective
        for item, occurrence in rows
        if item.is_instance and item.kind in ("Usage", COVERED) and _place_of(item, item.resource) in places
    }


def _place_of(item: Item, instance: str) -> Place:
    return (item.account, instance, item.day, item.currency)


def _cost_of_pod(item: Item, basis: str) -> Decimal:
    split = item.net_split if basis != "gross" and item.net_split else item.split
    return Decimal(split or 0) + Decimal(item.unused or 0)
