"""What the reports say moved between two publications or moments, against the model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billfold.reports.changes import ChangeRow, StatementChange, list_changes
from billfold.selection import ChangeColumn, Filter, Metric
from tests.bills.landing import Landing
from tests.restatement_model.bills import DailyCosts, Group, difference
from tests.restatement_model.statements import Publication, Statement

# In the order of a daily cost's amounts.
METRICS = (Metric.BILLED, Metric.EFFECTIVE, Metric.LIST, Metric.CONTRACTED)


def compare_changes(landing: Landing, statements: Sequence[Statement], *, step: int) -> Iterator[str]:
    """Where the reports of what moved disagree with the model; `step` chooses between which publications."""
    for statement in statements:
        yield from _compare_changes(landing, statement, step)
    yield from _compare_all_changes(landing, statements, step)


def _compare_changes(landing: Landing, statement: Statement, step: int) -> Iterator[str]:
    """What moved by the statement's last publication, and between two others of it."""
    last = len(statement.publications)
    if not last:
        return
    wanted = landing.value(
        "SELECT statement_id FROM billing_statements WHERE to_char(billing_period, 'YYYY-MM') = %s", statement.period
    )
    metric = METRICS[step % len(METRICS)]
    end = 1 + step % last
    start = step // 2 % (end + 1)
    for is_default, first, second in ((True, last - 1, last), (False, start, end)):
        report = list_changes(
            landing.database,
            Filter(statement=wanted),
            start=None if is_default else first,
            end=None if is_default else second,
            metric=metric,
        )
        [change] = report.changes
        for name, expected, found in _describe_change(statement, change, first, second, metric):
            if expected != found:
                between = f"{metric} changes of {statement.period} from {first} to {second}"
                yield f"{between}, {name}: expected {expected}, found {found}"


def _describe_change(
    statement: Statement, change: StatementChange, first: int, second: int, metric: Metric
) -> Iterator[tuple[str, Any, Any]]:
    """By name what the model says of a change and what the report does."""
    old, new = (statement.after(number).daily for number in (first, second))
    between = statement.publications[first:second]
    place = METRICS.index(metric)
    groups = {
        (account, service, day.isoformat(), category, currency): amounts
        for (day, account, service, category, currency), amounts in _values(old, new, place).items()
        if amounts[0] != amounts[1]
    }
    yield "publications", (first or None, second), (change.earlier and change.earlier.number, change.later.number)
    yield "rows added", sum(each.rows_added for each in between), change.rows_added
    yield "rows removed", sum(each.rows_removed for each in between), change.rows_removed
    yield "groups", groups, {(*row.group, row.currency): _ends(row) for row in change.groups}
    yield (
        "order",
        sorted((-abs(row.difference), row.group) for row in change.groups),
        [(-abs(row.difference), row.group) for row in change.groups],
    )
    yield "whether it moved", bool(groups), change.has_moved
    yield "totals", _totals(old, new, place), {row.currency: _ends(row) for row in change.totals}
    yield "late", _has_moved_late(statement, between, place), change.closed_month_moved


def _has_moved_late(statement: Statement, between: Iterable[Publication], place: int) -> bool:
    """Whether the publications after the month's end, but for the first, moved a cost, all taken together."""
    year, month = map(int, statement.period.split("-"))
    month_end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    moved: defaultdict[Group, Decimal] = defaultdict(Decimal)
    for publication in between:
        if publication.number > 1 and publication.published_at and publication.published_at >= month_end:
            before, after = statement.after(publication.number - 1).daily, publication.standing.daily
            for group, amounts in difference(before, after).items():
                moved[group] += amounts[place]
    return any(moved.values())


def _compare_all_changes(landing: Landing, statements: Sequence[Statement], step: int) -> Iterator[str]:
    """By service alone, from the moment of one publication to that of another, whatever statement they are of."""
    moments = sorted(
        publication.published_at
        for statement in statements
        for publication in statement.publications
        if publication.published_at
    )
    if not moments:
        return
    second = step % len(moments)
    first = step // 2 % (second + 1)
    start, end = moments[first], moments[second]
    report = list_changes(landing.database, Filter(), start=start, end=end, columns=[ChangeColumn.SERVICE])
    wanted: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = {}
    totals: defaultdict[str, list[tuple[Decimal, Decimal]]] = defaultdict(list)
    for statement in statements:
        old, new = (statement.after(_number_at(statement, moment)).daily for moment in (start, end))
        for currency, ends in _totals(old, new, 0).items():
            totals[currency].append(ends)
        by_service: defaultdict[tuple[str, str], list[tuple[Decimal, Decimal]]] = defaultdict(list)
        for (_, _, service, _, currency), ends in _values(old, new, 0).items():
            by_service[service, currency].append(ends)
        for (service, currency), all_ends in by_service.items():
            before, after = _add(all_ends)
            if before != after:
                wanted[statement.period, service, currency] = (before, after)
    found = {
        (change.billing_period, *row.group, row.currency): _ends(row)
        for change in report.changes
        for row in change.groups
    }
    if wanted != found:
        yield f"changes by service from {start} to {end}: expected {wanted}, found {found}"
    expected_totals = {currency: _add(ends) for currency, ends in totals.items()}
    found_totals = {row.currency: _ends(row) for row in report.totals}
    if expected_totals != found_totals:
        yield f"changes from {start} to {end} in all: expected {expected_totals}, found {found_totals}"


def _number_at(statement: Statement, moment: datetime) -> int:
    return sum(each.published_at is not None and each.published_at <= moment for each in statement.publications)


def _values(old: DailyCosts, new: DailyCosts, place: int) -> dict[Group, tuple[Decimal, Decimal]]:
    nothing = (Decimal(0),) * 5
    return {group: (old.get(group, nothing)[place], new.get(group, nothing)[place]) for group in {*old, *new}}


def _totals(old: DailyCosts, new: DailyCosts, place: int) -> dict[str, tuple[Decimal, Decimal]]:
    """By currency, of everything that stood at either end."""
    by_currency: defaultdict[str, list[tuple[Decimal, Decimal]]] = defaultdict(list)
    for group, ends in _values(old, new, place).items():
        by_currency[group[-1]].append(ends)
    return {currency: _add(ends) for currency, ends in by_currency.items()}


def _add(ends: Iterable[tuple[Decimal, Decimal]]) -> tuple[Decimal, Decimal]:
    before, after = Decimal(0), Decimal(0)
    for one, other in ends:
        before, after = before + one, after + other
    return before, after


def _ends(row: ChangeRow) -> tuple[Decimal, Decimal]:
    assert row.difference == row.new - row.old
    return row.old, row.new
