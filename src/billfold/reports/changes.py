"""Changes: each statement's costs at two of its publications, and the groups that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from billfold.errors import UsageError
from billfold.selection import DEFAULT_CHANGE_COLUMNS, ChangeColumn, Filter, Metric, Point
from billfold.store.database import Connection, Database
from billfold.store.reports import reading
from billfold.store.reports.changes import ChangedCost, sum_changes

# This many statements are named if one of them must be chosen.
_NAMED_STATEMENTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPublication:
    """The publication that was current at one end of a comparison."""

    publication_id: int
    number: int
    kind: str
    published_at: datetime
    delivery_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """Exact costs of one group before and after: `group` has a value for each requested column, '' for none.

    A total has no group.
    """

    group: tuple[str, ...]
    currency: str
    old: Decimal
    new: Decimal
    difference: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementChange:
    """How one statement changed from the publication `earlier` (None: it was empty) to the publication `later`.

    `rows_added` and `rows_removed` are line items, summed over the publications after `earlier` up to `later`. Totals
    are of everything in the statement at either end, by currency; `groups` are those that differ, the largest
    difference first.

    `has_moved`: the cost of at least one account, service, region, day and charge category differs.
    `closed_month_moved`: the publications in between that were made when the billing period was over (UTC), without
    the statement's first, changed at least one such cost, taken together. Both depend on the metric, but not on the
    requested columns.
    """

    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    counted: bool
    earlier: ComparedPublication | None
    later: ComparedPublication
    rows_added: int
    rows_removed: int
    has_moved: bool
    closed_month_moved: bool
    totals: tuple[ChangeRow, ...]
    groups: tuple[ChangeRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeReport:
    """How statements changed, the newest month first, including those that did not.

    `totals` hold by currency what all statements that counted at either end cost there: between two moments they are
    the costs as of the one and as of the other. `group_count` is the number of groups that differ, even where a limit
    leaves some of them out of the statements.
    """

    metric: Metric
    columns: tuple[ChangeColumn, ...]
    changes: tuple[StatementChange, ...]
    totals: tuple[ChangeRow, ...]
    group_count: int

    @property
    def closed_months_moved(self) -> int:
        """The number of statements that changed after their month was over."""
        return sum(change.closed_month_moved for change in self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _MatchedStatement:
    statement_id: int
    export_name: str
    billing_period: str
    last_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """A statement and the publications that were current at both ends."""

    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    from_publication_id: int | None
    from_number: int | None
    from_kind: str | None
    from_published_at: datetime | None
    from_delivery_id: UUID | None
    from_counted: bool
    to_publication_id: int
    to_number: int
    to_kind: str
    to_published_at: datetime
    to_delivery_id: UUID | None
    to_counted: bool
    rows_added: int
    rows_removed: int

    @property
    def earlier(self) -> ComparedPublication | None:
        if self.from_publication_id is None:
            return None
        assert self.from_number is not None
        assert self.from_kind is not None
        assert self.from_published_at is not None
        return ComparedPublication(
            publication_id=self.from_publication_id,
            number=self.from_number,
            kind=self.from_kind,
            published_at=self.from_published_at,
            delivery_id=self.from_delivery_id,
        )

    @property
    def later(self) -> ComparedPublication:
        return ComparedPublication(
            publication_id=self.to_publication_id,
            number=self.to_number,
            kind=self.to_kind,
            published_at=self.to_published_at,
            delivery_id=self.to_delivery_id,
        )


def list_changes(
    database: Database,
    wanted: Filter,
    *,
    start: Point | None = None,
    end: Point | None = None,
    columns: Sequence[ChangeColumn] = DEFAULT_CHANGE_COLUMNS,
    metric: Metric = Metric.BILLED,
    limit: int | None = None,
) -> ChangeReport:
    """How the statements that match `wanted`, counted or not, changed from `start` to `end`.

    Without `end` it is the present; without `start` the publication before the one that is current at the end, so that
    the default shows what each statement's latest publication moved. A statement without a publication at the end is
    missing. `limit` keeps that many groups, the largest differences of all statements. The result is exact
    even if history was pruned. Raises UsageError if a number is given and not exactly one statement matches or has such
    a publication, and if the end is before the start.
    """
    with reading.read(database) as connection:
        return read_changes(connection, wanted, start=start, end=end, columns=columns, metric=metric, limit=limit)


def read_changes(
    connection: Connection,
    wanted: Filter,
    *,
    start: Point | None,
    end: Point | None,
    columns: Sequence[ChangeColumn],
    metric: Metric,
    limit: int | None,
) -> ChangeReport:
    """The same within the transaction of a larger report."""
    assert columns
    numbers = [point for point in (start, end) if isinstance(point, int)]
    if numbers:
        matched = reading.fetch(connection, "match_statements", _MatchedStatement, wanted.parameters())
        _check_numbers(numbers, matched)
    if end == 0:
        raise UsageError("nothing is before publication 0", advice="the first publication of a statement is 1")
    spans = reading.fetch(
        connection, "list_spans", _Span, {**wanted.parameters(), **_bind("from", start), **_bind("to", end)}
    )
    _check_order(start, end, spans)
    rows = sum_changes(connection, spans, columns=columns, metric=metric, limit=limit) if spans else []
    return _report(spans, rows, tuple(columns), metric)


def _check_numbers(numbers: Sequence[int], matched: Sequence[_MatchedStatement]) -> None:
    """A publication's number is unique only within its statement."""
    if len(matched) != 1:
        named = [f"{one.statement_id} ({one.export_name} {one.billing_period})" for one in matched[:_NAMED_STATEMENTS]]
        if len(matched) > len(named):
            named.append(f"{len(matched) - len(named)} more")
        raise UsageError(
            f"a publication's number needs one statement, {len(matched) or 'none'} match{'' if matched else 'es'}"
            + (f": {', '.join(named)}" if named else ""),
            advice="name one of them by its id",
        )
    [statement] = matched
    for number in numbers:
        if number > statement.last_number:
            raise UsageError(
                f"statement {statement.statement_id} ({statement.export_name} {statement.billing_period}) has no"
                f" publication {number}",
                advice=f"its last is {statement.last_number}",
            )


def _check_order(start: Point | None, end: Point | None, spans: Sequence[_Span]) -> None:
    is_reversed = any((span.from_number or 0) > span.to_number for span in spans)
    if isinstance(start, datetime) and isinstance(end, datetime):
        is_reversed = start > end
    if is_reversed:
        raise UsageError(f"the start {_format(start)} is after the end {_format(end)}", advice="swap them")


def _format(point: Point | None) -> str:
    return point.isoformat() if isinstance(point, datetime) else str(point)


def _bind(name: str, point: Point | None) -> dict[str, Point | None]:
    return {
        f"{name}_number": point if isinstance(point, int) else None,
        f"{name}_moment": point if isinstance(point, datetime) else None,
    }


def _report(
    spans: Sequence[_Span], rows: Sequence[ChangedCost], columns: tuple[ChangeColumn, ...], metric: Metric
) -> ChangeReport:
    by_statement: dict[int | None, list[ChangedCost]] = {}
    for row in rows:
        by_statement.setdefault(row.statement_id, []).append(row)
    return ChangeReport(
        metric=metric,
        columns=columns,
        changes=tuple(_change(span, by_statement.get(span.statement_id, []), columns) for span in spans),
        totals=_totals(by_statement.get(None, [])),
        group_count=rows[0].group_count if rows else 0,
    )


def _change(span: _Span, rows: Sequence[ChangedCost], columns: tuple[ChangeColumn, ...]) -> StatementChange:
    return StatementChange(
        statement_id=span.statement_id,
        client_id=span.client_id,
        export_name=span.export_name,
        billing_period=span.billing_period,
        counted=span.to_counted,
        earlier=span.earlier,
        later=span.later,
        rows_added=span.rows_added,
        rows_removed=span.rows_removed,
        has_moved=any(row.has_moved for row in rows),
        closed_month_moved=any(row.restated_late for row in rows),
        totals=_totals(rows),
        groups=tuple(_row(row, tuple(getattr(row, column) for column in columns)) for row in rows if row.level == 0),
    )


def _totals(rows: Sequence[ChangedCost]) -> tuple[ChangeRow, ...]:
    return tuple(_row(row, ()) for row in sorted(rows, key=lambda row: row.currency) if row.level > 0 and row.is_held)


def _row(row: ChangedCost, group: tuple[Any, ...]) -> ChangeRow:
    return ChangeRow(group=group, currency=row.currency, old=row.old, new=row.new, difference=row.difference)
