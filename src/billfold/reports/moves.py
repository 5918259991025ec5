"""Moves: the latest publications with what each changed, and the changes of one of their statements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from billfold.reports.changes import StatementChange, read_changes
from billfold.reports.lists import Choices, PublicationRow, read_choices
from billfold.selection import ChangeColumn, Filter, Metric
from billfold.store.database import Connection, Database
from billfold.store.reports import reading

# This many publications of a statement are offered; any other is available by its number.
MAX_ENDS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A publication and what it changed; money is exact text by currency.

    `difference` is of the requested metric, and has the currencies in which at least one account, service,
    region, day and charge category differs. A statement's first publication adds its bill and moves nothing.
    `closed_month_moved`: it moved although the billing period was over (UTC). The billed costs are those of
    the whole statement, for any metric. `is_standing` and `is_current` are as in `PublicationRow`.
    """

    publication_id: int
    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    number: int
    kind: str
    published_at: datetime
    counted: bool
    is_current: bool
    is_standing: bool
    billed_cost_before: Mapping[str, str]
    billed_cost_after: Mapping[str, str]
    difference: Mapping[str, str]
    has_moved: bool
    closed_month_moved: bool

    @property
    def is_first(self) -> bool:
        """Whether the statement never had a bill before."""
        return self.number == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRange:
    """The chosen statement, and the numbers of the publications at both ends: see `list_changes`."""

    statement: int
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveReport:
    """Publications, the newest first, and what changed in one statement, as of one moment.

    `has_more` says whether older ones follow. `compared` is None if nothing was chosen and none of them moved
    anything, `change` also if there is no such bill. `group_count` is the number of groups that differ in `change`.
    `ends` are the latest publications of that statement.
    """

    rows: tuple[Move, ...]
    has_more: bool
    compared: ComparedRange | None
    change: StatementChange | None
    group_count: int
    ends: tuple[PublicationRow, ...]
    choices: Choices


def list_moves(
    database: Database, wanted: Filter, *, metric: Metric = Metric.BILLED, offset: int = 0
) -> tuple[Move, ...]:
    """What each publication changed, as `list_changes` reports it; at most `wanted.limit` of them."""
    with reading.read(database) as connection:
        return _read_moves(connection, wanted, metric=metric, offset=offset)


def report_moves(
    database: Database,
    wanted: Filter,
    compared: ComparedRange | None,
    *,
    column: ChangeColumn,
    metric: Metric,
    limit: int,
    offset: int = 0,
) -> MoveReport:
    """The publications that match `wanted`, and the changes of a statement by `column`.

    If no statement is chosen, it is that of the newest publication that moved something. `limit` keeps that many
    groups, the largest differences. Raises UsageError as `list_changes` does.
    """
    with reading.read(database) as connection:
        rows = _read_moves(connection, replace(wanted, limit=wanted.limit + 1), metric=metric, offset=offset)
        page = rows[: wanted.limit]
        chosen = compared or _find_newest(page)
        changes: tuple[StatementChange, ...] = ()
        group_count = 0
        ends: tuple[PublicationRow, ...] = ()
        if chosen:
            statement = Filter(client=wanted.client, statement=chosen.statement, limit=MAX_ENDS)
            report = read_changes(
                connection,
                statement,
                start=chosen.start,
                end=chosen.end,
                columns=[column],
                metric=metric,
                limit=limit,
            )
            changes, group_count = report.changes, report.group_count
            ends = reading.fetch(connection, "list_publications", PublicationRow, statement.parameters())
        return MoveReport(
            rows=page,
            has_more=len(rows) > len(page),
            compared=chosen,
            change=next(iter(changes), None),
            group_count=group_count,
            ends=ends,
            choices=read_choices(connection, wanted.client),
        )


def _read_moves(connection: Connection, wanted: Filter, *, metric: Metric, offset: int) -> tuple[Move, ...]:
    parameters = {**wanted.parameters(), "metric": str(metric), "offset": offset}
    return reading.fetch(connection, "list_moves", Move, parameters)


def _find_newest(moves: tuple[Move, ...]) -> ComparedRange | None:
    """The newest publication that changed something."""
    newest = next((move for move in moves if move.has_moved), None)
    return ComparedRange(statement=newest.statement_id, start=newest.number - 1, end=newest.number) if newest else None
