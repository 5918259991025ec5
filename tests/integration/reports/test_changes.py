"""What moved: any two states of a statement, compared with sums of the charges that each of them held."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest

from billfold.documents import report_document
from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.reports.costs import sum_costs
from billfold.reports.lists import list_publications
from billfold.selection import ChangeColumn, Filter, Metric
from billfold.store.database import Database
from tests.bills.restated import (
    JUNE_TIMES,
    MAY_TIMES,
    Restated,
    expected_groups,
    expected_totals,
    groups_of,
    totals_of,
)
from tests.processes.operator import Operator

MAY, JUNE = BillingPeriod(date(2026, 5, 1)), BillingPeriod(date(2026, 6, 1))


@pytest.fixture
def operator(database: Database, tmp_path: Path) -> Operator:
    return Operator(home=tmp_path / "home", folder=tmp_path).with_database(database)


@pytest.mark.parametrize("metric", list(Metric))
def test_any_two_publications_differ_by_the_charges_that_each_of_them_held(restated: Restated, metric: Metric) -> None:
    for start, end in combinations_with_replacement(range(6), 2):
        if end == 0:
            continue
        old, new = (restated.held(restated.may, number, metric) for number in (start, end))

        change = restated.change(restated.may, start=start, end=end, metric=metric)

        assert groups_of(change) == expected_groups(old, new), (start, end)
        assert totals_of(change.totals) == expected_totals(old, new), (start, end)
        assert change.has_moved == bool(change.groups)


def test_the_bills_of_these_tests_move_as_meant(restated: Restated) -> None:
    states = [restated.held(restated.may, number) for number in range(6)]

    assert states[2] == states[4]
    assert len({tuple(sorted(state.items())) for state in states}) == 5
    assert sum(sum(state.values()) for state in states[3:4]) - sum(states[2].values()) == Decimal("1.10")
    assert any(key[4] == "EUR" for key in states[4])
    assert not any(key[4] == "EUR" for key in states[5])
    assert {key[3] for key in states[1]} == {"Usage", "Tax"}
    assert len({key[0] for key in states[1]}) == 2


@pytest.mark.parametrize(
    ("columns", "places"),
    [
        ([ChangeColumn.SERVICE], (1,)),
        ([ChangeColumn.CATEGORY, ChangeColumn.ACCOUNT], (3, 0)),
        ([ChangeColumn.DAY], (2,)),
    ],
)
def test_groups_are_by_the_columns_asked_for(
    restated: Restated, columns: list[ChangeColumn], places: tuple[int, ...]
) -> None:
    for start, end in ((0, 1), (1, 2), (2, 3), (1, 5)):
        old, new = (restated.held(restated.may, number) for number in (start, end))

        change = restated.change(restated.may, start=start, end=end, columns=columns)

        assert groups_of(change) == expected_groups(old, new, places), (start, end)
        assert totals_of(change.totals) == expected_totals(old, new)


def test_largest_movers_come_first_whatever_their_sign(restated: Restated) -> None:
    change = restated.change(restated.may, start=1, end=2)

    sizes = [abs(row.difference) for row in change.groups]
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)
    assert change.groups[0].difference == -3


def test_without_ends_it_is_what_each_statements_latest_publication_moved(restated: Restated) -> None:
    report = restated.changes()

    assert [change.statement_id for change in report.changes] == [restated.june, restated.may]
    for change, last in zip(report.changes, (2, 5), strict=True):
        old, new = (restated.held(change.statement_id, number) for number in (last - 1, last))
        assert change.earlier
        assert (change.earlier.number, change.later.number) == (last - 1, last)
        assert groups_of(change) == expected_groups(old, new)
        assert totals_of(change.totals) == expected_totals(old, new)


def test_rows_are_summed_over_the_publications_in_between(restated: Restated) -> None:
    query = "SELECT rows_added, rows_removed FROM billing_publications WHERE statement_id = %s ORDER BY number"
    rows = restated.landing.query(query, restated.may)

    for start, end in ((0, 1), (0, 5), (1, 4), (3, 3)):
        change = restated.change(restated.may, start=start, end=end)

        between = rows[start:end]
        assert change.rows_added == sum(added for added, _ in between)
        assert change.rows_removed == sum(removed for _, removed in between)


def test_an_end_alone_shows_what_the_publication_there_moved(restated: Restated) -> None:
    by_number = restated.change(restated.may, end=3)
    by_moment = restated.change(restated.may, end=MAY_TIMES[2] + timedelta(days=1))

    assert by_number == by_moment == restated.change(restated.may, start=2, end=3)


def test_a_start_alone_goes_up_to_now(restated: Restated) -> None:
    assert restated.change(restated.may, start=2) == restated.change(restated.may, start=2, end=5)
    assert restated.change(restated.may, start=MAY_TIMES[1]) == restated.change(restated.may, start=2, end=5)


def test_between_moments_each_statement_has_its_own_publications(restated: Restated) -> None:
    report = restated.changes(start=MAY_TIMES[1] - timedelta(microseconds=1), end=datetime(2026, 6, 5, 12, tzinfo=UTC))

    june, may = report.changes
    assert may.earlier
    assert (may.earlier.number, may.later.number) == (1, 3)
    assert (june.earlier, june.later.number) == (None, 1)
    assert groups_of(june) == expected_groups({}, restated.held(restated.june, 1))
    assert groups_of(may) == expected_groups(restated.held(restated.may, 1), restated.held(restated.may, 3))


def test_a_publication_stands_from_its_very_moment_on(restated: Restated) -> None:
    at = MAY_TIMES[3]

    change = restated.change(restated.may, start=at - timedelta(microseconds=1), end=at)

    assert change.earlier
    assert (change.earlier.number, change.later.number) == (3, 4)


def test_a_statement_without_a_publication_yet_is_missing(restated: Restated) -> None:
    before = restated.changes(end=MAY_TIMES[0] - timedelta(seconds=1))
    between = restated.changes(end=MAY_TIMES[2])

    assert (before.changes, before.totals, before.group_count) == ((), (), 0)
    assert [change.statement_id for change in between.changes] == [restated.may]


def test_the_totals_of_all_are_the_costs_as_of_both_moments(restated_copy: Restated) -> None:
    database = restated_copy.landing.database
    restated_copy.landing.execute(
        "UPDATE billing_publications SET counted = false WHERE statement_id = %s AND number = 1", restated_copy.june
    )
    moments = sorted((*MAY_TIMES, *JUNE_TIMES, datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)))

    for start, end in combinations_with_replacement(moments, 2):
        totals = totals_of(restated_copy.changes(start=start, end=end).totals)

        for side, moment in enumerate((start, end)):
            spent: dict[str, Decimal] = {}
            for total in sum_costs(database, as_of=moment).totals:
                spent[total.currency] = spent.get(total.currency, Decimal(0)) + total.amount
            assert {currency: sums[side] for currency, sums in totals.items() if sums[side]} == spent, (start, end)


def test_a_statement_that_does_not_count_is_compared_and_in_no_total(restated_copy: Restated) -> None:
    for table in ("billing_statements", "billing_publications"):
        restated_copy.landing.execute(f"UPDATE {table} SET counted = false WHERE statement_id = %s", restated_copy.june)

    report = restated_copy.changes()

    june, may = report.changes
    assert (june.counted, june.has_moved, may.counted) == (False, True, True)
    assert totals_of(report.totals) == totals_of(may.totals)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 6}, "has no publication 6: its last is 5"),
        ({"start": 1, "end": 99}, "has no publication 99: its last is 5"),
        ({"start": 3, "end": 2}, "the start 3 is after the end 2"),
        ({"end": 0}, "nothing is before publication 0"),
        (
            {"start": MAY_TIMES[1], "end": MAY_TIMES[0]},
            "the start 2026-05-20T10:00:00+00:00 is after the end 2026-05-10T10",
        ),
        ({"start": MAY_TIMES[3], "end": 2}, "is after the end 2"),
        ({"start": 2, "end": MAY_TIMES[0]}, "the start 2 is after"),
    ],
)
def test_points_that_make_no_sense_are_refused_in_one_line(
    restated: Restated, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        restated.changes(statement=restated.may, **options)

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_number_needs_one_statement_and_the_refusal_names_those_that_match(restated: Restated) -> None:
    with pytest.raises(UsageError) as several:
        restated.changes(start=1)
    with pytest.raises(UsageError, match="needs one statement, none matches"):
        restated.changes(statement=10_000, start=1)

    assert f"2 match: {restated.may} (acme 2026-05), {restated.june} (b 2026-06): name one" in str(several.value)
    assert restated.changes(period=MAY, start=1).changes[0].statement_id == restated.may


def test_a_filter_lets_only_its_statements_through(restated: Restated) -> None:
    assert [change.billing_period for change in restated.changes(period=JUNE).changes] == ["2026-06"]
    assert restated.changes(statement=restated.may).changes[0].export_name == "acme"
    assert restated.changes(statement=10_000).changes == ()


def test_a_limit_leaves_groups_out_and_no_total(restated: Restated) -> None:
    whole = restated.changes(start=MAY_TIMES[0])
    limited = restated.changes(start=MAY_TIMES[0], limit=2)

    sizes = sorted((abs(row.difference) for change in whole.changes for row in change.groups), reverse=True)
    kept = [abs(row.difference) for change in limited.changes for row in change.groups]
    assert sorted(kept, reverse=True) == sizes[:2]
    assert limited.group_count == whole.group_count == len(sizes) > 2
    assert limited.totals == whole.totals
    assert [change.totals for change in limited.changes] == [change.totals for change in whole.changes]
    assert [change.has_moved for change in limited.changes] == [change.has_moved for change in whole.changes]


def test_publications_are_listed_the_newest_first(restated: Restated) -> None:
    rows = list_publications(restated.landing.database, Filter())
    may = list_publications(restated.landing.database, Filter(statement=restated.may, limit=2))

    assert [(row.billing_period, row.number) for row in rows[:3]] == [("2026-06", 2), ("2026-05", 5), ("2026-05", 4)]
    assert [(row.number, row.is_current) for row in may] == [(5, True), (4, False)]
    assert len(rows) == 7
    assert {row.statement_id: row.number for row in rows if row.is_current} == {restated.may: 5, restated.june: 2}
    assert all(row.restored_number is None and row.kind == "delivery" for row in rows)
    document = report_document("publications", rows)["publications"][0]
    assert (document["billed_cost_before"], document["billed_cost_after"]) == ({"USD": "6"}, {"USD": "6.5"})
    assert (document["client"], document["export"], document["rows_after"]) == ("acme", "b", 3)


def test_the_document_of_a_command_is_never_shortened(operator: Operator, restated: Restated) -> None:
    there = operator.with_database(restated.landing.database)
    words = ("changes", "--from", MAY_TIMES[0].isoformat(), "--limit", "1")
    count = restated.changes(start=MAY_TIMES[0]).group_count

    ended = there.call(*words, "--json")
    table = there.call(*words)

    assert (ended.code, ended.err) == (0, "")
    assert sum(len(change["groups"]) for change in ended.document["changes"]) == count > 2
    assert f"{count - 1} smaller changes are left out" in table.out


@pytest.mark.parametrize(
    "words",
    [
        ("--from", "yesterday"),
        ("--to", "2026-13-01"),
        ("--from", "-1"),
        ("--by", "colour"),
        ("--from", "1" * 30),
        ("--to", "2026-05-03T1"),
    ],
)
def test_an_option_that_cannot_be_read_is_one_line_of_usage(operator: Operator, words: tuple[str, str]) -> None:
    ended = operator.call("changes", *words, "--json")

    document = ended.document
    assert (ended.code, document["changes"], document["error"]["code"]) == (2, [], "usage")
    assert [line.startswith("error: ") for line in ended.err.splitlines()] == [True]
