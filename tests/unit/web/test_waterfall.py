"""The waterfall: its bars lead from the old total to the new one, and its axis shows what moved."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billfold.reports.changes import ChangeRow, ComparedPublication, StatementChange
from billfold.reports.lists import Choices
from billfold.reports.moves import ComparedRange, MoveReport
from billfold.web.forms.change_query import read_change_query
from billfold.web.pages.waterfall import DRAWN_MOVERS, SHOWN_MOVERS, Movement, list_movements


def publication(number: int) -> ComparedPublication:
    moment = datetime(2026, 6, number, tzinfo=UTC)
    return ComparedPublication(
        publication_id=number, number=number, kind="delivery", published_at=moment, delivery_id=None
    )


def row(old: Decimal, new: Decimal, *group: str) -> ChangeRow:
    return ChangeRow(group=group, currency="USD", old=old, new=new, difference=new - old)


def draw(old: str, *moves: str, counted: bool = True, group_count: int | None = None) -> Movement:
    """The movement of a total by groups, in this order, with how much each moved."""
    amounts = [Decimal(move) for move in moves]
    groups = tuple(row(Decimal(1), 1 + amount, f"group {number}") for number, amount in enumerate(amounts))
    change = StatementChange(
        statement_id=3,
        client_id="acme",
        export_name="cur",
        billing_period="2026-05",
        counted=counted,
        earlier=publication(1),
        later=publication(2),
        rows_added=1,
        rows_removed=1,
        has_moved=True,
        closed_month_moved=False,
        totals=(row(Decimal(old), Decimal(old) + sum(amounts)),),
        groups=groups,
    )
    report = MoveReport(
        rows=(),
        has_more=False,
        compared=ComparedRange(statement=3),
        change=change,
        group_count=len(groups) if group_count is None else group_count,
        ends=(),
        choices=Choices(exports=(), periods=()),
    )
    [movement] = list_movements(report, read_change_query(start="", end=""))
    return movement


def test_bars_lead_from_the_old_total_to_the_new_one() -> None:
    movement = draw("100", "20", "-5.005", "0.000000000000000001")

    [bars] = movement.chart["data"]
    assert bars["measure"] == ["absolute", "relative", "relative", "relative", "total"]
    assert bars["text"] == ["100.00", "+20.00", "\N{MINUS SIGN}5.00", "+<0.01", "115.00"]
    assert bars["customdata"][2] == "group 1: \N{MINUS SIGN}5.00 USD"
    assert sum(bars["x"][:-1]) == bars["x"][-1]


def test_smaller_movers_are_drawn_together_and_listed_up_to_a_limit() -> None:
    movement = draw("1000", *["1"] * (SHOWN_MOVERS + 2))

    [bars] = movement.chart["data"]
    assert len(bars["x"]) == DRAWN_MOVERS + 3
    assert bars["x"][-2] == SHOWN_MOVERS + 2 - DRAWN_MOVERS
    assert (len(movement.movers), movement.left_out, movement.smaller) == (SHOWN_MOVERS, 2, Decimal(2))


@pytest.mark.parametrize(
    ("old", "moves", "is_cut"),
    [
        ("1000000", ("12", "-3"), True),
        ("-1000000", ("12",), True),
        ("100", ("80",), False),
        ("0", ("12",), False),
        ("5", ("-10",), False),
        ("0", ("-10",), False),
    ],
)
def test_small_moves_of_a_large_total_cut_the_axis(old: str, moves: tuple[str, ...], is_cut: bool) -> None:
    movement = draw(old, *moves)

    low, high = movement.chart["layout"]["xaxis"]["range"]
    levels = [float(old), float(movement.total.new), *([] if is_cut else [0])]
    assert movement.is_cut == is_cut
    assert low < min(levels) <= max(levels) < high
    assert (low > 0 or high < 0) == is_cut


def test_a_bill_that_does_not_count_leads_to_no_costs() -> None:
    assert all(mover.costs for mover in draw("1", "1").movers)
    assert not any(mover.costs for mover in draw("1", "1", counted=False).movers)


def test_kinds_are_summed_only_where_all_movers_are_known() -> None:
    assert draw("10", "-1", "2").sums == (
        ("added", 0, Decimal(0)),
        ("removed", 1, Decimal(-1)),
        ("changed", 1, Decimal(2)),
    )
    assert draw("10", "-1", "2", group_count=3).sums == ()


def test_an_amount_that_would_run_out_of_the_chart_is_labelled_by_its_first_digits() -> None:
    movement = draw("0", "1234567890123456789012345678.5", "-1e26", "999999999999.99")

    [bars] = movement.chart["data"]
    assert bars["text"][1:4] == ["+1.23e+27", "\N{MINUS SIGN}1.00e+26", "+999,999,999,999.99"]
    assert bars["customdata"][1] == "group 0: 1,234,567,890,123,456,789,012,345,678.50 USD"
