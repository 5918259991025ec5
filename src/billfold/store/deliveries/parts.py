"""Parts: whether two statements of one month are parts of one bill, duplicates of it, or overlap, by what both hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from enum import StrEnum
from fractions import Fraction

from billfold.model import Relation

# Below this share of the smaller of two statements, they are parts of one bill.
PARTS_BELOW = Fraction(5, 100)
# Above this share of the larger one, they are duplicates.
DUPLICATES_ABOVE = Fraction(95, 100)

# More digits than any sum of bills has: no difference is rounded.
_DIGITS = 2000


class Measure(StrEnum):
    """What of two statements was compared: equal line items, or what both cost on each day."""

    LINE_ITEMS = "line items"
    DAILY_COSTS = "daily costs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What two statements hold in one currency: here, there, and in both of them.

    `amount_…` are absolute: what a charge bills, or its effective cost if a commitment covers it. `rows_…` count
    rows that cost something, `all_…` all rows; daily costs count charges. `billed_…` are sums of billed cost.
    """

    currency: str
    amount_here: Decimal
    amount_there: Decimal
    amount_in_both: Decimal
    rows_here: int
    rows_there: int
    rows_in_both: int
    all_here: int
    all_there: int
    all_in_both: int
    billed_here: Decimal
    billed_there: Decimal
    billed_in_both: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which part of the smaller and of the larger statement is in both."""

    of_smaller: Fraction
    of_larger: Fraction

    @property
    def means_parts(self) -> bool:
        return self.of_smaller < PARTS_BELOW

    @property
    def means_duplicates(self) -> bool:
        return self.of_larger > DUPLICATES_ABOVE

    @property
    def holds_smaller(self) -> bool:
        """Whether the larger one holds the smaller one."""
        return self.of_smaller > DUPLICATES_ABOVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How two statements relate, and the evidence for it; money is billed cost by currency.

    `line_items_in_both` is None if their line items cannot be compared.
    """

    relation: Relation
    measure: Measure
    share: Share
    line_items_in_both: int | None
    cost_in_both: Mapping[str, Decimal]
    cost_only_here: Mapping[str, Decimal]
    cost_only_there: Mapping[str, Decimal]


def share_line_items(held: Sequence[Common]) -> Share:
    """The share of equal line items, by number and by amount: the greater of the smaller one, the lesser of the larger.

    Line items without any cost do not count, unless one of the statements holds nothing else.
    """
    here, there = sum(each.rows_here for each in held), sum(each.rows_there for each in held)
    if here and there:
        by_number = _share([(here, there, sum(each.rows_in_both for each in held))])
    else:
        by_number = _share([_count_all(held)])
    by_amount = share_amounts(held)
    return Share(
        of_smaller=max(by_number.of_smaller, by_amount.of_smaller),
        of_larger=min(by_number.of_larger, by_amount.of_larger),
    )


def share_amounts(held: Sequence[Common]) -> Share:
    """The share of the amounts in both, in the currency that is the strongest evidence against parts and duplicates.

    If one of the statements costs nothing at all, charges are counted instead.
    """
    if not any(each.amount_here for each in held) or not any(each.amount_there for each in held):
        return _share([_count_all(held)])
    return _share([(each.amount_here, each.amount_there, each.amount_in_both) for each in held])


def judge(line_items: Sequence[Common] | None, daily_costs: Sequence[Common] | None) -> Evidence:
    """How two statements relate; `daily_costs` may be None if their line items prove duplicates.

    They are parts only if neither equal line items nor daily costs say otherwise: a restated line item equals no other,
    and a daily one does not equal its hourly ones, but their costs are equal.
    """
    by_line_item = share_line_items(line_items) if line_items is not None else None
    count = sum(each.all_in_both for each in line_items) if line_items is not None else None
    if line_items is not None and by_line_item is not None and (by_line_item.means_duplicates or daily_costs is None):
        return _evidence(_relate(by_line_item), Measure.LINE_ITEMS, by_line_item, count, line_items)
    assert daily_costs is not None, "line items that cannot be compared, or are not equal, leave it to the daily costs"
    by_day = share_amounts(daily_costs)
    relation = _relate(by_day)
    if line_items is not None and by_line_item is not None and relation is Relation.PARTS:
        return _evidence(_relate(by_line_item), Measure.LINE_ITEMS, by_line_item, count, line_items)
    return _evidence(relation, Measure.DAILY_COSTS, by_day, count, daily_costs)


def _relate(share: Share) -> Relation:
    if share.means_parts:
        return Relation.PARTS
    return Relation.DUPLICATES if share.means_duplicates else Relation.OVERLAP


def _count_all(held: Sequence[Common]) -> tuple[int, int, int]:
    return (
        sum(each.all_here for each in held),
        sum(each.all_there for each in held),
        sum(each.all_in_both for each in held),
    )


def _share(weighed: Sequence[tuple[Decimal | int, Decimal | int, Decimal | int]]) -> Share:
    """The share of each (here, there, in both): 0 of anything that only one of them has."""
    of_smaller, of_larger = [Fraction(0)], [Fraction(1)]
    for here, there, in_both in weighed:
        smaller, larger = sorted((Fraction(here), Fraction(there)))
        if smaller:
            of_smaller.append(Fraction(in_both) / smaller)
        if larger:
            of_larger.append(Fraction(in_both) / larger)
    return Share(of_smaller=max(of_smaller), of_larger=min(of_larger) if len(of_larger) > 1 else Fraction(0))


def _evidence(
    relation: Relation, measure: Measure, share: Share, line_items_in_both: int | None, held: Sequence[Common]
) -> Evidence:
    with localcontext(prec=_DIGITS):
        return Evidence(
            relation=relation,
            measure=measure,
            share=share,
            line_items_in_both=line_items_in_both,
            cost_in_both={each.currency: each.billed_in_both for each in held},
            cost_only_here={each.currency: each.billed_here - each.billed_in_both for each in held},
            cost_only_there={each.currency: each.billed_there - each.billed_in_both for each in held},
        )
