"""Parts, overlap or duplicates: the limits, and what is compared."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billfold.model import Relation
from billfold.store.deliveries.parts import Common, Measure, judge

AMOUNTS = st.integers(min_value=0, max_value=10**12)


def common(
    here: int, there: int, in_both: int, *, currency: str = "USD", rows: tuple[int, int, int] | None = None
) -> Common:
    """What two statements hold; each line item costs 1 unless `rows` says how many there are."""
    rows_here, rows_there, rows_in_both = rows or (here, there, in_both)
    return Common(
        currency=currency,
        amount_here=Decimal(here),
        amount_there=Decimal(there),
        amount_in_both=Decimal(in_both),
        rows_here=rows_here,
        rows_there=rows_there,
        rows_in_both=rows_in_both,
        all_here=rows_here,
        all_there=rows_there,
        all_in_both=rows_in_both,
        billed_here=Decimal(here),
        billed_there=Decimal(there),
        billed_in_both=Decimal(in_both),
    )


@pytest.mark.parametrize(
    ("here", "there", "in_both", "relation"),
    [
        (100, 100, 0, Relation.PARTS),
        (10_000, 10_000, 499, Relation.PARTS),
        (10_000, 10_000, 500, Relation.OVERLAP),
        (10_000, 10_000, 9_500, Relation.OVERLAP),
        (10_000, 10_000, 9_501, Relation.DUPLICATES),
        (100, 100, 100, Relation.DUPLICATES),
        (100, 10_000, 100, Relation.OVERLAP),
        (100, 10_000, 4, Relation.PARTS),
        (95, 100, 95, Relation.OVERLAP),
        (96, 100, 96, Relation.DUPLICATES),
    ],
)
def test_the_smaller_one_shows_parts_and_the_larger_one_duplicates(
    here: int, there: int, in_both: int, relation: Relation
) -> None:
    held = [common(here, there, in_both)]

    assert judge(None, held).relation is relation
    assert judge(held, held).relation is relation


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_the_limits_are_exact_and_do_not_depend_on_who_is_first(one: int, other: int, shared: int) -> None:
    in_both = min(one, other, shared)
    smaller, larger = sorted((one, other))

    forth = judge(None, [common(one, other, in_both)])
    back = judge(None, [common(other, one, in_both)])

    assert forth.relation is back.relation
    assert (forth.cost_only_here, forth.cost_only_there) == (back.cost_only_there, back.cost_only_here)
    if in_both * 100 < smaller * 5 or not smaller:
        assert forth.relation is Relation.PARTS
    elif in_both * 100 > larger * 95:
        assert forth.relation is Relation.DUPLICATES
    else:
        assert forth.relation is Relation.OVERLAP


def test_many_cheap_line_items_or_much_money_in_common_are_no_parts() -> None:
    apart = [common(1_000, 1_000, 0)]

    assert judge([common(1_000, 1_000, 10, rows=(100, 100, 30))], apart).relation is Relation.OVERLAP
    assert judge([common(1_000, 1_000, 600, rows=(100, 100, 2))], apart).relation is Relation.OVERLAP
    assert judge([common(1_000, 1_000, 40, rows=(100, 100, 4))], apart).relation is Relation.PARTS


def test_line_items_that_all_changed_are_no_parts_where_the_days_agree() -> None:
    evidence = judge([common(100, 100, 0)], [common(100, 100, 100)])

    assert (evidence.relation, evidence.measure) == (Relation.DUPLICATES, Measure.DAILY_COSTS)


def test_one_dear_line_item_more_makes_no_duplicates() -> None:
    line_items = [common(1_000, 2_000, 1_000, rows=(100, 101, 100))]

    evidence = judge(line_items, [common(1_000, 2_000, 1_000)])

    assert evidence.relation is Relation.OVERLAP
    assert evidence.cost_only_there == {"USD": 1_000}


def test_currencies_are_judged_by_themselves() -> None:
    dollars, euros = common(100, 100, 100), common(50, 50, 0, currency="EUR")

    assert judge(None, [dollars, euros]).relation is Relation.OVERLAP
    assert judge(None, [euros, common(80, 80, 0)]).relation is Relation.PARTS


def test_a_bill_without_cost_is_judged_by_its_charges() -> None:
    free = replace(common(0, 0, 0), all_here=10, all_there=10, all_in_both=10)

    assert judge([free], None).relation is Relation.DUPLICATES
    assert judge(None, [free]).relation is Relation.DUPLICATES
    assert judge(None, [replace(free, all_in_both=0)]).relation is Relation.PARTS
