"""What moved: any two states of a statement, compared with sums of the charges that each of them held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import combinations, combinations_with_replacement
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from billfold import reports
from billfold.bills.rollback import roll_back
from billfold.documents import changes_document, report_document
from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.reports import ChangeReport, ChangeRow, StatementChange
from billfold.selection import ChangeColumn, Filter, Metric
from billfold.settings import load_settings
from billfold.store.database import READER_ROLE, Database, connect
from tests.bills.landing import Landing
from tests.bills.line_items import described, line_item, write_bill
from tests.integration.conftest import NewDatabase

MAY, JUNE = BillingPeriod(date(2026, 5, 1)), BillingPeriod(date(2026, 6, 1))
OTHER_ACCOUNT = "777788889999"
# Of each statement's publications, in their order: May is over at the third of its own.
MAY_TIMES = tuple(
    datetime(2026, month, day, 10, tzinfo=UTC) for month, day in ((5, 10), (5, 20), (6, 3), (6, 8), (6, 9))
)
JUNE_TIMES = tuple(datetime(2026, 6, day, 12, tzinfo=UTC) for day in (5, 15))
# The charges that a statement held after a publication: from facts and history alone, never from what reports read.
HELD = """
    SELECT coalesce(sub.account_id, payer.account_id, '') AS account,
        coalesce(service.service_name, service.service_code, '') AS service,
        to_char(charge_period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
        coalesce(charge.charge_category, '') AS category, billing_currency AS currency, sum({metric}_cost) AS cost
    FROM (
        SELECT statement_id, added_by, NULL::bigint AS removed_by, charge_period_start, billing_account_key,
            sub_account_key, service_key, charge_key, billing_currency, {metric}_cost FROM billing_usage_fact
        UNION ALL
        SELECT statement_id, added_by, removed_by, charge_period_start, billing_account_key, sub_account_key,
            service_key, charge_key, billing_currency, {metric}_cost FROM billing_usage_fact_history
    ) AS held
    LEFT JOIN dim_account AS sub ON sub.account_key = sub_account_key
    LEFT JOIN dim_account AS payer ON payer.account_key = billing_account_key
    LEFT JOIN dim_service AS service USING (service_key)
    LEFT JOIN dim_charge AS charge USING (charge_key)
    WHERE statement_id = %s AND added_by <= %s AND coalesce(removed_by > %s, true)
    GROUP BY 1, 2, 3, 4, 5"""

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restated:
    """Two exports with their publications: (publication id, number) from 1 on; ids of the statements."""

    landing: Landing
    may: int
    june: int

    def publications(self, statement: int) -> list[int]:
        query = "SELECT publication_id FROM billing_publications WHERE statement_id = %s ORDER BY number"
        return [publication_id for (publication_id,) in self.landing.query(query, statement)]

    def held(self, statement: int, number: int, metric: str = "billed") -> dict[Group, Decimal]:
        """Cost by account, service, day, category and currency after this publication; nothing after number 0."""
        if number == 0:
            return {}
        publication_id = self.publications(statement)[number - 1]
        rows = self.landing.query(HELD.format(metric=metric), statement, publication_id, publication_id)
        return {row[:-1]: row[-1] for row in rows}

    def changes(self, **options: Any) -> ChangeReport:
        wanted = Filter(statement=options.pop("statement", None), period=options.pop("period", None))
        return reports.list_changes(self.landing.database, wanted, **options)

    def change(self, statement: int, **options: Any) -> StatementChange:
        [change] = self.changes(statement=statement, **options).changes
        return change


def item(name: str, cost: str, **columns: str) -> dict[str, str]:
    return line_item(cost=cost, line_item_line_item_description=name, **columns)


def on_day(day: int, month: int = 5) -> dict[str, str]:
    return {
        "bill_billing_period_start_date": f"2026-{month:02}-01T00:00:00.000Z",
        "line_item_usage_start_date": f"2026-{month:02}-{day:02}T04:00:00.000Z",
        "line_item_usage_end_date": f"2026-{month:02}-{day:02}T05:00:00.000Z",
    }


S3 = {"line_item_product_code": "AmazonS3", "line_item_usage_account_id": OTHER_ACCOUNT}
EURO = {"line_item_currency_code": "EUR"}


def may_versions() -> list[list[dict[str, str]]]:
    """Five bills: rows come, go and change; a cost moves to another day; back to the second; a currency goes."""
    first = [
        item("steady", "10.000000000000000001"),
        item("twin", "1.10"),
        item("twin", "1.10"),
        item("grows", "2.5", pricing_public_on_demand_cost="4.5"),
        item("goes", "3", **S3),
        item("moves", "0.75", **on_day(7)),
        item("tax", "0.61", line_item_line_item_type="Tax"),
        item("euro", "5", **EURO),
    ]
    grown = item("grows", "2.500000000000000002", pricing_public_on_demand_cost="5")
    second = [*first[:3], grown, *first[5:], item("comes", "1.25", **S3, **on_day(9))]
    third = [one for one in second if one is not first[5]] + [item("moves", "0.75", **on_day(8)), item("twin", "1.10")]
    fifth = [one for one in second if one.get("line_item_currency_code") != "EUR"]
    return [first, second, third, second, fifth]


@pytest.fixture(scope="module")
def restated_once(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Restated:
    """May has five publications, June of another export two; all times are set. Tests work on clones."""
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
        variables.setenv("BILLFOLD_HOME", str(tmp_path_factory.mktemp("home")))
        # The last bill lacks a whole currency.
        variables.setenv("BILLFOLD_HOLD_BELOW_PERCENT", "0")
        landing = Landing.make(new_database(16), load_settings(), tmp_path_factory.mktemp("bucket"))
        for revision, items in enumerate(may_versions(), start=1):
            landing.ingest(write_bill(landing.root, items, revision=revision))
        for revision, costs in enumerate((("1", "2", "3"), ("1", "2", "3.5")), start=1):
            items = described(*costs, **on_day(4, 6))
            landing.ingest(
                write_bill(landing.root, items, revision=revision, period="2026-06", export_path="exports/b")
            )
    ids = dict(landing.query("SELECT to_char(billing_period, 'MM'), statement_id FROM billing_statements"))
    restated = Restated(landing=landing, may=ids["05"], june=ids["06"])
    for statement, times in ((restated.may, MAY_TIMES), (restated.june, JUNE_TIMES)):
        assert len(restated.publications(statement)) == len(times)
        for number, published_at in enumerate(times, start=1):
            landing.execute(
                "UPDATE billing_publications SET published_at = %s WHERE statement_id = %s AND number = %s",
                published_at,
                statement,
                number,
            )
    return restated


@pytest.fixture
def restated(restated_once: Restated) -> Iterator[Restated]:
    """A clone that no other test sees."""
    landing = restated_once.landing
    origin = str(conninfo_to_dict(landing.database.conninfo)["dbname"])
    name = f"{origin}_{uuid4().hex[:8]}"
    with connect(make_conninfo(landing.database.conninfo, dbname="postgres")) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {origin} STRATEGY file_copy".encode())
        conninfo = make_conninfo(landing.database.conninfo, dbname=name)
        reader = make_conninfo(conninfo, user=READER_ROLE)
        clone = Database(conninfo=conninfo, reader_conninfo=reader, is_embedded=True)
        yield replace(restated_once, landing=replace(landing, database=clone))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def expected_groups(
    old: Mapping[Group, Decimal], new: Mapping[Group, Decimal], places: Sequence[int] = (0, 1, 2, 3)
) -> set[tuple[Group, str, Decimal, Decimal, Decimal]]:
    """The groups that differ, with old, new and difference, by the columns at these places."""
    sums: dict[tuple[Group, str], list[Decimal]] = {}
    for side, held in enumerate((old, new)):
        for key, cost in held.items():
            sums.setdefault((tuple(key[place] for place in places), key[4]), [Decimal(0), Decimal(0)])[side] += cost
    return {(*key, before, after, after - before) for key, (before, after) in sums.items() if before != after}


def expected_totals(old: Mapping[Group, Decimal], new: Mapping[Group, Decimal]) -> dict[str, tuple[Decimal, Decimal]]:
    return {
        currency: (
            sum((cost for key, cost in old.items() if key[4] == currency), Decimal(0)),
            sum((cost for key, cost in new.items() if key[4] == currency), Decimal(0)),
        )
        for currency in sorted({key[4] for key in (*old, *new)})
    }


def groups_of(change: StatementChange) -> set[tuple[Group, str, Decimal, Decimal, Decimal]]:
    assert len({(row.group, row.currency) for row in change.groups}) == len(change.groups)
    return {(row.group, row.currency, row.old, row.new, row.difference) for row in change.groups}


def totals_of(rows: Sequence[ChangeRow]) -> dict[str, tuple[Decimal, Decimal]]:
    assert all(row.difference == row.new - row.old and row.group == () for row in rows)
    return {row.currency: (row.old, row.new) for row in rows}


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


def test_a_first_publication_comes_from_nothing(landing: Landing) -> None:
    write_bill(landing.root, described("1.25", "2"))
    outcome = landing.ingest()

    [change] = reports.list_changes(landing.database, Filter()).changes

    assert change.earlier is None
    assert (change.later.number, change.later.kind, change.later.delivery_id) == (1, "delivery", outcome.delivery_id)
    assert (change.rows_added, change.rows_removed) == (2, 0)
    assert totals_of(change.totals) == {"USD": (Decimal(0), Decimal("3.25"))}
    assert not change.closed_month_moved


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


def test_the_totals_of_all_are_the_costs_as_of_both_moments(restated: Restated) -> None:
    database = restated.landing.database
    restated.landing.execute(
        "UPDATE billing_publications SET counted = false WHERE statement_id = %s AND number = 1", restated.june
    )
    moments = sorted((*MAY_TIMES, *JUNE_TIMES, datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)))

    for start, end in combinations_with_replacement(moments, 2):
        totals = totals_of(restated.changes(start=start, end=end).totals)

        for side, moment in enumerate((start, end)):
            spent: dict[str, Decimal] = {}
            for total in reports.sum_costs(database, as_of=moment).totals:
                spent[total.currency] = spent.get(total.currency, Decimal(0)) + total.amount
            assert {currency: sums[side] for currency, sums in totals.items() if sums[side]} == spent, (start, end)


def test_a_statement_that_does_not_count_is_compared_and_in_no_total(restated: Restated) -> None:
    for table in ("billing_statements", "billing_publications"):
        restated.landing.execute(f"UPDATE {table} SET counted = false WHERE statement_id = %s", restated.june)

    report = restated.changes()

    june, may = report.changes
    assert (june.counted, june.has_moved, may.counted) == (False, True, True)
    assert totals_of(report.totals) == totals_of(may.totals)


def test_a_month_that_moved_after_its_end_is_told_from_one_that_moved_before(restated: Restated) -> None:
    assert not restated.change(restated.may, start=1, end=2).closed_month_moved
    assert restated.change(restated.may, start=2, end=3).closed_month_moved
    assert restated.change(restated.may, start=0, end=3).closed_month_moved
    assert restated.change(restated.may).closed_month_moved
    assert not restated.change(restated.june).closed_month_moved
    assert restated.changes().closed_months_moved == 1


def test_the_month_is_over_at_its_last_midnight_in_utc(restated: Restated) -> None:
    for published_at, is_over in (
        (datetime(2026, 5, 31, 23, 59, 59, 999999, tzinfo=UTC), False),
        (datetime(2026, 6, 1, tzinfo=UTC), True),
    ):
        restated.landing.execute(
            "UPDATE billing_publications SET published_at = %s WHERE statement_id = %s AND number = 3",
            published_at,
            restated.may,
        )

        assert restated.change(restated.may, end=3).closed_month_moved == is_over


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


def test_the_first_publication_of_a_closed_month_moves_nothing(landing: Landing) -> None:
    write_bill(landing.root, described("1.25"))
    landing.ingest()
    landing.execute("UPDATE billing_publications SET published_at = '2026-08-01Z'")

    report = reports.list_changes(landing.database, Filter())

    assert report.closed_months_moved == 0


@pytest.mark.parametrize("metric", list(Metric))
def test_each_publication_in_the_list_moved_what_changes_say_of_it(restated: Restated, metric: Metric) -> None:
    moves = reports.list_moves(restated.landing.database, Filter(limit=100), metric=metric)

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
        report = reports.report_moves(
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


def test_what_moves_between_regions_moved(landing: Landing) -> None:
    for revision, region in enumerate(("us-east-1", "eu-west-1"), start=1):
        write_bill(landing.root, [line_item(cost="2.5", product_region_code=region)], revision=revision)
        landing.ingest()

    [change] = reports.list_changes(landing.database, Filter(), columns=[ChangeColumn.REGION]).changes

    assert {(row.group, row.difference) for row in change.groups} == {
        (("us-east-1",), Decimal("-2.5")),
        (("eu-west-1",), Decimal("2.5")),
    }
    assert change.has_moved
    [last, _] = reports.list_moves(landing.database, Filter())
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
        [change] = reports.list_changes(landing.database, Filter(), columns=columns).changes
        assert (change.has_moved, change.closed_month_moved) == (True, True), columns
        tells_them_apart = {*columns} & {ChangeColumn.ACCOUNT, ChangeColumn.SERVICE, ChangeColumn.DAY}
        assert len(change.groups) == (2 if tells_them_apart else 0), columns


def test_pruned_history_changes_no_answer(restated: Restated) -> None:
    before = [restated.change(restated.may, start=start, end=end) for start, end in ((0, 2), (1, 3), (2, 5))]

    restated.landing.execute("DELETE FROM billing_usage_fact_history")
    restated.landing.execute("DELETE FROM raw_aws_billing_rows_history")

    assert [restated.change(restated.may, start=start, end=end) for start, end in ((0, 2), (1, 3), (2, 5))] == before


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
    [statement] = reports.list_statements(landing.database, Filter())
    restated = Restated(landing=landing, may=statement.statement_id, june=0)

    publications = reports.list_publications(landing.database, Filter())[::-1]

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


def test_identical_content_moves_nothing(landing: Landing) -> None:
    items = may_versions()[0]
    landing.ingest(write_bill(landing.root, items))
    # By force it is published although it is what stands.
    landing.ingest(write_bill(landing.root, items[::-1], revision=2), force=True)

    [change] = reports.list_changes(landing.database, Filter()).changes

    assert change.earlier
    assert (change.earlier.number, change.later.number, change.rows_added, change.rows_removed) == (1, 2, 0, 0)
    assert (change.has_moved, change.groups, change.closed_month_moved) == (False, (), False)
    assert [total.currency for total in change.totals if total.old == total.new] == ["EUR", "USD"]


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
    rows = reports.list_publications(restated.landing.database, Filter())
    may = reports.list_publications(restated.landing.database, Filter(statement=restated.may, limit=2))

    assert [(row.billing_period, row.number) for row in rows[:3]] == [("2026-06", 2), ("2026-05", 5), ("2026-05", 4)]
    assert [(row.number, row.is_current) for row in may] == [(5, True), (4, False)]
    assert len(rows) == 7
    assert {row.statement_id: row.number for row in rows if row.is_current} == {restated.may: 5, restated.june: 2}
    assert all(row.restored_number is None and row.kind == "delivery" for row in rows)
    document = report_document("publications", rows)["publications"][0]
    assert (document["billed_cost_before"], document["billed_cost_after"]) == ({"USD": "6"}, {"USD": "6.5"})
    assert (document["client"], document["export"], document["rows_after"]) == ("acme", "b", 3)


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


def run_billfold(landing: Landing, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, on the database of the test."""
    source = Path(reports.__file__).parents[2]
    variables = {**os.environ, "DATABASE_URL": landing.database.conninfo, "PYTHONPATH": str(source)}
    command = [sys.executable, "-m", "billfold", *words]
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=120)


def test_the_document_of_a_command_is_never_shortened(landing: Landing) -> None:
    items = [item(f"item {day}", f"{day}.01", **on_day(day), **more) for day in range(1, 31) for more in ({}, S3)]
    write_bill(landing.root, items)
    landing.ingest()

    ended = run_billfold(landing, "changes", "--json", "--limit", "3")
    table = run_billfold(landing, "changes", "--limit", "3")

    [change] = json.loads(ended.stdout)["changes"]
    assert (ended.returncode, ended.stderr, len(change["groups"])) == (0, "", 60)
    assert table.stdout.count(" Usage ") == 3
    assert "57 smaller changes are left out" in table.stdout


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
def test_an_option_that_cannot_be_read_is_one_line_of_usage(landing: Landing, words: tuple[str, str]) -> None:
    ended = run_billfold(landing, "changes", *words, "--json")

    document = json.loads(ended.stdout)
    assert (ended.returncode, document["changes"], document["error"]["code"]) == (2, [], "usage")
    assert [line.startswith("error: ") for line in ended.stderr.splitlines()] == [True]
