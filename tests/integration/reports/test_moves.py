"""Which publications moved a bill, above all one of a month that was over, and which did not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest

from billfold.bills.rollback import roll_back
from billfold.documents import changes_document
from billfold.period import BillingPeriod
from billfold.reports.changes import StatementChange, list_changes
from billfold.reports.lists import list_publications, list_statements
from billfold.reports.moves import list_moves, report_moves
from billfold.selection import ChangeColumn, Filter, Metric
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill
from tests.bills.restated import (
    JUNE_TIMES,
    MAY_TIMES,
    S3,
    Restated,
    expected_groups,
    expected_totals,
    groups_of,
    item,
    may_versions,
    on_day,
    totals_of,
)

MAY, JUNE = BillingPeriod(date(2026, 5, 1)), BillingPeriod(date(2026, 6, 1))


def test_a_month_that_moved_after_its_end_is_told_from_one_that_moved_before(restated: Restated) -> None:
    assert not restated.change(restated.may, start=1, end=2).closed_month_moved
    assert restated.change(restated.may, start=2, end=3).closed_month_moved
    assert restated.change(restated.may, start=0, end=3).closed_month_moved
    assert restated.change(restated.may).closed_month_moved
    assert not restated.change(restated.june).closed_month_moved
    assert restated.changes().closed_months_moved == 1


def test_the_month_is_over_at_its_last_midnight_in_utc(restated_copy: Restated) -> None:
    for published_at, is_over in (
        (datetime(2026, 5, 31, 23, 59, 59, 999999, tzinfo=UTC), False),
        (datetime(2026, 6, 1, tzinfo=UTC), True),
    ):
        restated_copy.landing.execute(
            "UPDATE billing_publications SET published_at = %s WHERE statement_id = %s AND number = 3",
            published_at,
            restated_copy.may,
        )

        assert restated_copy.change(restated_copy.may, end=3).closed_month_moved == is_over


def test_a_closed_month_is_told_whatever_the_columns_are(restated: Restated) -> None:
    """From the second publication to the third, 0.75 moved from one day to another, and 1.10 of the twin came."""
    change = restated.change(restated.may, start=2, end=3, columns=[ChangeColumn.CATEGORY])

    assert change.closed_month_moved
    assert [row.difference for row in change.groups] == [Decimal("1.10")]


def test_what_a_closed_month_took_back_did_not_move_it(restated: Restated) -> None:
    """The fourth bill is the second again, the first is from before the month's end."""
    assert not restated.change(restated.may, start=2, end=4).closed_month_moved
    assert not restated.change(restated.may, start=2, end=4).has_moved
    assert not restated.change(restated.may, start=0, end=1).closed_month_moved


@pytest.mark.parametrize("metric", list(Metric))
def test_each_publication_in_the_list_moved_what_changes_say_of_it(restated: Restated, metric: Metric) -> None:
    moves = list_moves(restated.landing.database, Filter(limit=100), metric=metric)

    assert [move.published_at for move in moves] == sorted((*MAY_TIMES, *JUNE_TIMES), reverse=True)
    for move in moves:
        change = restated.change(move.statement_id, start=move.number - 1, end=move.number, metric=metric)
        moved = {} if move.is_first else {row.currency: row.difference for row in change.totals}
        shown = {currency: Decimal(cost) for currency, cost in move.difference.items()}
        assert shown == {currency: moved[currency] for currency in shown}, move
        assert set(shown) == ({row.currency for row in change.groups} if not move.is_first else set()), move
        assert move.has_moved == (change.has_moved and not move.is_first), move
        assert move.closed_month_moved == change.closed_month_moved, move
        if metric is Metric.BILLED:
            for held, side in ((move.billed_cost_before, 0), (move.billed_cost_after, 1)):
                totals = {currency: sums[side] for currency, sums in totals_of(change.totals).items() if sums[side]}
                assert {currency: Decimal(cost) for currency, cost in held.items() if Decimal(cost)} == totals, move


def test_the_list_of_moves_is_filtered_and_paged(restated: Restated) -> None:
    def numbers(offset: int = 0, **wanted: Any) -> tuple[list[tuple[int, int]], bool]:
        report = report_moves(
            restated.landing.database,
            Filter(**wanted),
            None,
            column=ChangeColumn.SERVICE,
            metric=Metric.BILLED,
            limit=10,
            offset=offset,
        )
        return [(move.statement_id, move.number) for move in report.rows], report.has_more

    assert numbers(period=JUNE) == ([(restated.june, 2), (restated.june, 1)], False)
    assert numbers(export="b") == numbers(statement=restated.june) == numbers(period=JUNE)
    assert numbers(period=MAY, limit=2) == ([(restated.may, 5), (restated.may, 4)], True)
    assert numbers(period=MAY, limit=2, offset=3) == ([(restated.may, 2), (restated.may, 1)], False)
    assert numbers(client="globex") == ([], False)


def test_a_first_publication_comes_from_nothing_and_moves_no_closed_month(landing: Landing) -> None:
    outcome = landing.ingest(write_bill(landing.root, [line_item(cost="1.25"), line_item(cost="2")]))
    landing.execute("UPDATE billing_publications SET published_at = '2026-08-01Z'")

    [change] = list_changes(landing.database, Filter()).changes

    assert change.earlier is None
    assert (change.later.number, change.later.kind, change.later.delivery_id) == (1, "delivery", outcome.delivery_id)
    assert (change.rows_added, change.rows_removed) == (2, 0)
    assert totals_of(change.totals) == {"USD": (Decimal(0), Decimal("3.25"))}
    assert not change.closed_month_moved


def test_what_moves_between_regions_moved(landing: Landing) -> None:
    for revision, region in enumerate(("us-east-1", "eu-west-1"), start=1):
        write_bill(landing.root, [line_item(cost="2.5", product_region_code=region)], revision=revision)
        landing.ingest()

    [change] = list_changes(landing.database, Filter(), columns=[ChangeColumn.REGION]).changes

    assert {(row.group, row.difference) for row in change.groups} == {
        (("us-east-1",), Decimal("-2.5")),
        (("eu-west-1",), Decimal("2.5")),
    }
    assert change.has_moved
    [last, _] = list_moves(landing.database, Filter())
    assert (dict(last.difference), last.has_moved) == ({"USD": last.difference["USD"]}, True)
    assert Decimal(last.difference["USD"]) == 0


def test_what_moves_between_members_of_one_name_moved_whatever_the_columns_are(landing: Landing) -> None:
    """Zones of one region are members of their own: one loses on one day what the other one wins on another day."""
    for revision, (first, second) in enumerate((("2", "4"), ("3", "3")), start=1):
        items = [
            item("first", first, line_item_availability_zone="us-east-1a"),
            item("second", second, line_item_availability_zone="us-east-1b", **on_day(7), **S3),
        ]
        write_bill(landing.root, items, revision=revision)
        landing.ingest()

    for columns in [chosen for size in range(1, 6) for chosen in combinations(ChangeColumn, size)]:
        [change] = list_changes(landing.database, Filter(), columns=columns).changes
        assert (change.has_moved, change.closed_month_moved) == (True, True), columns
        tells_them_apart = {*columns} & {ChangeColumn.ACCOUNT, ChangeColumn.SERVICE, ChangeColumn.DAY}
        assert len(change.groups) == (2 if tells_them_apart else 0), columns


def test_pruned_history_changes_no_answer(restated_copy: Restated) -> None:
    def compare() -> list[StatementChange]:
        return [
            restated_copy.change(restated_copy.may, start=start, end=end) for start, end in ((0, 2), (1, 3), (2, 5))
        ]

    before = compare()

    restated_copy.landing.execute("DELETE FROM billing_usage_fact_history")
    restated_copy.landing.execute("DELETE FROM raw_aws_billing_rows_history")

    assert compare() == before


def test_rollbacks_and_undos_are_publications_like_any(landing: Landing) -> None:
    deliveries = [
        landing.ingest(write_bill(landing.root, items, revision=revision)).delivery_id
        for revision, items in enumerate(may_versions()[:2], start=1)
    ]
    for delivery_id, undo in (
        (deliveries[1], False),
        (deliveries[1], True),
        (deliveries[1], False),
        (deliveries[0], False),
    ):
        assert delivery_id
        roll_back(delivery_id, settings=landing.settings, database=landing.database, undo=undo)
    [statement] = list_statements(landing.database, Filter())
    restated = Restated(landing=landing, may=statement.statement_id, june=0)

    publications = list_publications(landing.database, Filter())[::-1]

    assert [(row.kind, row.restored_number) for row in publications] == [
        ("delivery", None),
        ("delivery", None),
        ("rollback", 1),
        ("undo", 2),
        ("rollback", 1),
        ("rollback", 0),
    ]
    assert (statement.publication_kind, statement.current_delivery_id, publications[-1].delivery_id) == (
        "rollback",
        None,
        None,
    )
    for start, end in ((1, 2), (2, 3), (1, 3), (3, 4), (0, 4), (2, 5), (4, 6), (0, 6), (6, 6)):
        old, new = (restated.held(restated.may, number) for number in (start, end))
        change = restated.change(restated.may, start=start, end=end)
        assert groups_of(change) == expected_groups(old, new), (start, end)
        assert totals_of(change.totals) == expected_totals(old, new), (start, end)
        assert change.later.kind == publications[end - 1].kind


def test_identical_content_moves_nothing(restated_copy: Restated) -> None:
    landing = restated_copy.landing
    # By force it is published although it is what stands.
    landing.ingest(write_bill(landing.root, may_versions()[-1][::-1], revision=6), force=True)

    change = restated_copy.change(restated_copy.may)

    assert change.earlier
    assert (change.earlier.number, change.later.number, change.rows_added, change.rows_removed) == (5, 6, 0, 0)
    assert (change.has_moved, change.groups, change.closed_month_moved) == (False, (), False)
    assert [total.currency for total in change.totals if total.old == total.new] == ["USD"]


def test_the_document_is_exact_and_holds_statements_that_did_not_move(restated: Restated) -> None:
    document = changes_document(restated.changes(start=MAY_TIMES[1], end=MAY_TIMES[3]))

    [june, may] = document["changes"]
    assert (may["from"]["number"], may["to"]["number"], may["groups"], may["closed_month_moved"]) == (2, 4, [], False)
    assert [total["difference"] for total in may["totals"]] == ["0", "0"]
    assert may["totals"][1]["old"] == may["totals"][1]["new"] == "17.310000000000000003"
    assert (june["from"], june["totals"]) == (
        None,
        [{"currency": "USD", "old": "0", "new": "6", "difference": "6"}],
    )
    assert june["groups"][0].keys() == {"account", "service", "day", "category", "currency", "old", "new", "difference"}
    assert document["totals"][1] == {
        "currency": "USD",
        "old": "17.310000000000000003",
        "new": "23.310000000000000003",
        "difference": "6",
    }
