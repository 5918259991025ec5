"""Reports' rows: each report reads in one transaction that sees a single moment and cannot write."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from billfold.sql import read_queries
from billfold.store.database import Connection, Database, connect

Row = TypeVar("Row")


# The amounts that a report can be of.
COST_METRICS = ("billed", "effective", "list", "contracted")
# Sums of many cells: with less memory the planner sorts them all for fear of many groups, and compiling takes longer
# than adding up. It is asked for only as far as it is needed.
_SUMMING = {"work_mem": "64MB", "jit": "off"}
# The columns of `sum_changes` that changes can be grouped by.
CHANGE_COLUMNS = ("account", "service", "region", "day", "category")


class Span(Protocol):
    """The publications between which a statement's costs are compared; none to begin with means nothing."""

    @property
    def statement_id(self) -> int: ...
    @property
    def from_publication_id(self) -> int | None: ...
    @property
    def from_counted(self) -> bool: ...
    @property
    def to_publication_id(self) -> int: ...
    @property
    def to_counted(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedCost:
    """A group that differs (level 0), the total of a statement (1) or of all (3); costs are exact.

    `has_moved` says whether any daily cost of its statement differs, `restated_late` whether publications after the
    month's end moved any; a total that nothing at either end belongs to is not `is_held`. The `group_count` of every
    row is of all groups that differ.
    """

    level: int
    statement_id: int | None
    account: str | None
    service: str | None
    region: str | None
    day: str | None
    category: str | None
    currency: str
    old: Decimal
    new: Decimal
    difference: Decimal
    has_moved: bool
    restated_late: bool
    is_held: bool
    group_count: int


@contextmanager
def read(database: Database, **options: str) -> Iterator[Connection]:
    """One REPEATABLE READ, READ ONLY transaction, as the reader where one is configured; options as PostgreSQL's."""
    with connect(database.reader_conninfo or database.conninfo, **{**_SUMMING, **options}) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            yield connection


def fetch(connection: Connection, name: str, row: type[Row], parameters: Mapping[str, Any]) -> tuple[Row, ...]:
    """The rows of a named query, each as a `row`, whose fields are the query's columns."""
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return tuple(cursor.execute(_query(name), parameters))


def list_clients(connection: Connection) -> tuple[str, ...]:
    """The ids of all clients that were ever ingested."""
    return tuple(client for (client,) in connection.execute(_query("list_clients")))


def list_eldest_clients(connection: Connection, limit: int) -> frozenset[str]:
    """The ids of the clients that came first, at most so many."""
    return frozenset(client for (client,) in connection.execute(_query("list_eldest_clients"), {"limit": limit}))


def list_deliveries_between(connection: Connection, first: UUID, last: UUID, *, most: int) -> list[UUID]:
    """The ids of deliveries from the first to the last of these, at most so many."""
    parameters = {"first": first, "last": last, "most": most}
    return [found for (found,) in connection.execute(_query("find_deliveries_between"), parameters)]


def list_neighbours(connection: Connection, delivery_ids: Collection[UUID]) -> list[UUID]:
    """The ids of the deliveries just before and after each of these, in the order of ids."""
    parameters = {"delivery_ids": list(delivery_ids)}
    return [found for (found,) in connection.execute(_query("list_neighbours"), parameters)]


def sum_changes(
    connection: Connection, spans: Sequence[Span], *, columns: Sequence[str], metric: str, limit: int | None
) -> tuple[ChangedCost, ...]:
    """Groups by these columns that differ, the largest difference first and at most `limit` of them, then totals."""
    assert set(columns) <= set(CHANGE_COLUMNS)
    assert metric in COST_METRICS
    parameters = {
        "statement_ids": [span.statement_id for span in spans],
        "from_ids": [span.from_publication_id for span in spans],
        "to_ids": [span.to_publication_id for span in spans],
        "from_counted": [span.from_counted for span in spans],
        "to_counted": [span.to_counted for span in spans],
        "columns": [str(column) for column in columns],
        "metric": str(metric),
        "limit": limit,
    }
    return fetch(connection, "sum_changes", ChangedCost, parameters)


def _query(name: str) -> str:
    files = ("reports", "changes", "owners", "checks", "focus", "freshness", "deliveries", "metrics", "identifiers")
    return next(queries[name] for file in files if name in (queries := read_queries("billfold.store", file)))
