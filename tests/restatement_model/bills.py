"""Line items and the charges that they become: the mapping said again, in plain Python, for a few types of AWS's."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from tests.bills.line_items import PAYER, PLAN

COVERED, NEGATION, FEE, DISCOUNT = (
    "SavingsPlanCoveredUsage",
    "SavingsPlanNegation",
    "SavingsPlanRecurringFee",
    "EdpDiscount",
)
RESIDUAL_DESCRIPTION = "Savings Plan covered usage and negation do not cancel out"

# How much of each hour's commitment the fees of these bills say was used.
_USED = "1"
_NEVER_EMPTY = (
    "bill_payer_account_id",
    "bill_billing_period_start_date",
    "line_item_line_item_type",
    "line_item_line_item_description",
    "line_item_usage_start_date",
    "line_item_usage_end_date",
    "line_item_usage_account_id",
    "line_item_product_code",
    "line_item_currency_code",
    "line_item_unblended_cost",
)
COLUMNS = (
    *_NEVER_EMPTY,
    "line_item_net_unblended_cost",
    "savings_plan_savings_plan_a_r_n",
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
    "discount",
    "discount_total_discount",
    "line_item_iam_principal",
    "line_item_operation",
    "line_item_resource_id",
    "line_item_usage_type",
    "split_line_item_net_split_cost",
    "split_line_item_parent_resource_id",
    "split_line_item_split_cost",
    "split_line_item_unused_cost",
    "tags",
)

Money = dict[str, Decimal]
# A daily cost's day, account, service, category and currency.
Group = tuple[date, str, str, str, str]
# Of each group the four costs (billed, effective, list, contracted) and the number of charges.
DailyCosts = Mapping[Group, tuple[Decimal, ...]]


@dataclass(frozen=True, slots=True)
class Item:
    """One line item; equal ones are identical rows, and no others are. Costs are as AWS spells them, '' for none.

    `share` is the effective cost of covered usage, and the commitment of a Savings Plan's fee; 0 for all others. `tags`
    are keys and values of CUR 2.0's column `tags`, sorted. `discount` is what the row's discount columns hold, without
    net columns. `resource` is the instance of an EC2 row, or the pod of a split row: such a row has a `parent`, the
    instance that it shares, and its `split` and `unused` cost of it.
    """

    cost: str
    kind: str = "Usage"
    name: str = "a"
    day: int = 1
    account: str = "444455556666"
    service: str = "AmazonEC2"
    currency: str = "USD"
    net: str = ""
    share: str = "0"
    tags: tuple[tuple[str, str], ...] = ()
    discount: str = ""
    principal: str = ""
    resource: str = ""
    parent: str = ""
    split: str = ""
    unused: str = ""
    net_split: str = ""

    def __post_init__(self) -> None:
        assert self.share == "0" or self.kind in (COVERED, FEE), "a share that no column holds"
        assert self.parent or not (self.split or self.unused or self.net_split), "a split cost without a parent"

    @property
    def is_split(self) -> bool:
        """Whether it is a row of split cost allocation: a pod's share of an instance that another row bills."""
        return bool(self.parent)

    @property
    def is_instance(self) -> bool:
        """Whether it bills an instance, which pods may share."""
        return bool(self.resource) and not self.parent

    def columns(self, period: str) -> dict[str, str]:
        """The line item as a row of CUR 2.0, its empty columns left out."""
        columns = {
            "bill_payer_account_id": PAYER,
            "bill_billing_period_start_date": f"{period}-01T00:00:00.000Z",
            "line_item_line_item_type": self.kind,
            "line_item_line_item_description": self.name,
            "line_item_usage_start_date": f"{period}-{self.day:02d}T04:00:00.000Z",
            "line_item_usage_end_date": f"{period}-{self.day:02d}T05:00:00.000Z",
            "line_item_usage_account_id": self.account,
            "line_item_product_code": self.service,
            "line_item_currency_code": self.currency,
            "line_item_unblended_cost": self.cost,
        }
        if self.net:
            columns["line_item_net_unblended_cost"] = self.net
        if self.kind in (COVERED, NEGATION, FEE):
            columns["savings_plan_savings_plan_a_r_n"] = PLAN
        if self.kind == COVERED:
            columns["savings_plan_savings_plan_effective_cost"] = self.share
        if self.kind == FEE:
            columns["savings_plan_total_commitment_to_date"] = self.share
            columns["savings_plan_used_commitment"] = _USED
        return columns | self._further_columns()

    def _further_columns(self) -> dict[str, str]:
        columns = {
            "discount": f'{{"EdpDiscount":{self.discount}}}' if self.discount else "",
            "discount_total_discount": self.discount,
            "line_item_iam_principal": self.principal,
            "line_item_resource_id": self.resource,
            "split_line_item_net_split_cost": self.net_split,
            "split_line_item_parent_resource_id": self.parent,
            "split_line_item_split_cost": self.split,
            "split_line_item_unused_cost": self.unused,
            "tags": json.dumps(dict(self.tags)) if self.tags else "",
        }
        if self.is_instance:
            columns |= {"line_item_operation": "RunInstances", "line_item_usage_type": "USE1-BoxUsage:m5.large"}
        if self.is_split:
            columns |= {"line_item_operation": "EKSPod-EC2", "line_item_usage_type": "USE1-EKS-EC2-vCPU-Hours"}
        return {name: value for name, value in columns.items() if value}


# What the keys of CUR 2.0's `tags` begin with; only resource tags and cost categories lose it.
_RESOURCE_TAG, _COST_CATEGORY = "resourceTags/", "costCategory/"

Tags = frozenset[tuple[str, str]]
# An item and which of its identical rows it is, from 1 on.
RowKey = tuple[Item, int]
# What the charge is of (a row, or what Savings Plans leave over in a currency, with occurrence 0), and its part.
ChargeKey = tuple[Item | str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A charge as far as it is compared: where it stands, whose it is, and its four costs, exact."""

    day: date
    account: str
    service: str
    category: str
    currency: str
    description: str
    billed: Decimal
    effective: Decimal
    list: Decimal
    contracted: Decimal
    tags: Tags = frozenset()
    cost_categories: Tags = frozenset()
    principal: str = ""

    @property
    def group(self) -> Group:
        return (self.day, self.account, self.service, self.category, self.currency)

    @property
    def costs(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        return (self.billed, self.effective, self.list, self.contracted)


def columns_in_use(items: Iterable[Item], period: str) -> list[str]:
    """The columns that at least one of the items fills, and those that no bill can lack."""
    used = {name for item in items for name in item.columns(period)}
    return [name for name in COLUMNS if name in used or name in _NEVER_EMPTY]


def number(items: Iterable[Item]) -> list[RowKey]:
    """Each item with its occurrence: identical rows are told apart by counting them."""
    seen: defaultdict[Item, int] = defaultdict(int)
    keys = []
    for item in items:
        seen[item] += 1
        keys.append((item, seen[item]))
    return keys


def basis_of(items: Collection[Item]) -> str:
    """Which costs count: the net ones as soon as one item has one, else the gross ones with the rows' discounts.

    Discounts that are line items are not counted a second time from the columns. The sign is the one that most
    discounts of rows that cost something have: AWS writes them below 0.
    """
    if any(item.net for item in items):
        return "net"
    named = [item for item in items if Decimal(item.discount or 0)]
    if not named or any(item.kind == DISCOUNT and Decimal(item.cost) for item in items):
        return "gross"
    above = [Decimal(item.discount) > 0 for item in named if Decimal(item.cost) > 0]
    return "gross minus discounts" if above.count(True) > above.count(False) else "gross plus discounts"


def charges_of(rows: Collection[RowKey], basis: str, period: str) -> dict[ChargeKey, Charge]:
    """All charges of a bill, with what its Savings Plans leave over."""
    charges: dict[ChargeKey, Charge] = {
        (item, occurrence, part): charge
        for item, occurrence in rows
        for part, charge in _charges_of_item(item, basis, period).items()
    }
    leftovers: defaultdict[str, Decimal] = defaultdict(Decimal)
    for item, _ in rows:
        if item.kind in (COVERED, NEGATION) and not item.is_split:
            leftovers[item.currency] += cost_of(item, basis)
    for currency, cost in leftovers.items():
        if cost:
            charges["left over in " + currency, 0, 0] = Charge(
                day=date.fromisoformat(f"{period}-01"),
                account=PAYER,
                service="Savings Plans",
                category="Adjustment",
                currency=currency,
                description=RESIDUAL_DESCRIPTION,
                billed=cost,
                effective=Decimal(0),
                list=cost,
                contracted=cost,
            )
    return charges


def cost_of(item: Item, basis: str) -> Decimal:
    """The item's cost on the statement's basis, with its discount where that is billed."""
    if basis == "net":
        return Decimal(item.net or item.cost)
    discount = {"gross": 0, "gross plus discounts": 1, "gross minus discounts": -1}[basis] * Decimal(item.discount or 0)
    return Decimal(item.cost) + discount


def worth_of(items: Collection[Item], basis: str) -> Money:
    """What a loss is judged by: gross costs above zero without discounts; none where nothing of them is billed."""
    judged = [item for item in items if item.kind != DISCOUNT and Decimal(item.cost) > 0]
    worth: defaultdict[str, Decimal] = defaultdict(Decimal)
    billed: defaultdict[str, Decimal] = defaultdict(Decimal)
    for item in judged:
        worth[item.currency] += Decimal(item.cost)
        billed[item.currency] += cost_of(item, basis)
    return {currency: cost for currency, cost in worth.items() if billed[currency] > 0}


def _is_free(item: Item, basis: str) -> bool:
    """Whether neither a cost nor a discount says anything, even where the two cancel out."""
    discounts = Decimal(item.discount or 0) if basis.endswith("discounts") else 0
    return not discounts and cost_of(item, basis) == 0


def is_left_out(item: Item, basis: str) -> bool:
    """Whether the money of the item counts nowhere: it stands on other rows, or there is none."""
    if item.is_split:
        return True
    if item.kind == DISCOUNT:
        return basis == "net"
    return item.kind == FEE and _is_free(item, basis) and Decimal(item.share) <= Decimal(_USED)


def left_out(rows: Iterable[RowKey], basis: str) -> dict[tuple[str, str], tuple[int, Decimal]]:
    """Rows that become no charge: how many, and their cost, by the first word of the reason and currency."""
    reasons = {DISCOUNT: "discount,", FEE: "fee", NEGATION: "negation,"}
    found: defaultdict[tuple[str, str], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for item, _ in rows:
        if item.kind == NEGATION or is_left_out(item, basis):
            reason = "split" if item.is_split else reasons[item.kind]
            count, cost = found[reason, item.currency]
            found[reason, item.currency] = (count + 1, cost + cost_of(item, basis))
    return dict(found)


def daily_costs(charges: Iterable[Charge]) -> DailyCosts:
    """The costs and the number of the charges of each group."""
    sums: dict[Group, tuple[Decimal, ...]] = {}
    for charge in charges:
        before = sums.get(charge.group, (Decimal(0),) * 5)
        amounts = (*charge.costs, Decimal(1))
        sums[charge.group] = tuple(one + other for one, other in zip(before, amounts, strict=True))
    return sums


def difference(old: DailyCosts, new: DailyCosts) -> DailyCosts:
    """The groups that differ, and by how much."""
    nothing = (Decimal(0),) * 5
    moved = {
        group: tuple(
            after - before for before, after in zip(old.get(group, nothing), new.get(group, nothing), strict=True)
        )
        for group in {*old, *new}
    }
    return {group: amounts for group, amounts in moved.items() if any(amounts)}


def _charges_of_item(item: Item, basis: str, period: str) -> dict[int, Charge]:
    """By part: 0 is the charge of the item itself, 1 what nobody used of a commitment."""
    cost, gross, nothing = cost_of(item, basis), Decimal(item.cost), Decimal(0)

    def charge(category: str, billed: Decimal, effective: Decimal, public: Decimal, contracted: Decimal) -> Charge:
        return Charge(
            day=date.fromisoformat(f"{period}-{item.day:02d}"),
            account=item.account,
            service=item.service,
            category=category,
            currency=item.currency,
            description=item.name,
            billed=billed,
            effective=effective,
            list=public,
            contracted=contracted,
            tags=frozenset(
                (key.removeprefix(_RESOURCE_TAG), value)
                for key, value in item.tags
                if not key.startswith(_COST_CATEGORY)
            ),
            cost_categories=frozenset(
                (key.removeprefix(_COST_CATEGORY), value) for key, value in item.tags if key.startswith(_COST_CATEGORY)
            ),
            principal=item.principal,
        )

    if item.kind == NEGATION or is_left_out(item, basis):
        return {}
    if item.kind == COVERED:
        return {0: charge("Usage", nothing, Decimal(item.share), gross, cost)}
    if item.kind == FEE:
        unused = Decimal(item.share) - Decimal(_USED)
        fee = {} if _is_free(item, basis) else {0: charge("Purchase", cost, nothing, gross, cost)}
        # A fee below 0 gives a commitment back, and with it what was not used of it.
        has_unused = unused > 0 or (unused < 0 and Decimal((basis == "net" and item.net) or item.cost) < 0)
        return {**fee, 1: charge("Usage", nothing, unused, nothing, nothing)} if has_unused else fee
    category = item.kind if item.kind in ("Tax", "Credit") else "Usage"
    return {0: charge(category, cost, cost, gross if category == "Usage" else cost, cost)}
