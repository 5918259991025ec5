"""Reports' rows: each report reads in one transaction that sees a single moment and cannot write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow, class_row

from billfold.sql import read_queries
from billfold.store.database import Database, connect

Row = TypeVar("Row")
Connection = psycopg.Connection[TupleRow]

# The columns of `sum_costs` that costs can be grouped by, and its amounts.
COST_COLUMNS = ("service", "account", "region", "category", "day", "month")
COST_METRICS = ("billed", "effective", "list", "contracted")


@contextmanager
def read(database: Database) -> Iterator[Connection]:
    """One REPEATABLE READ, READ ONLY transaction, as the reader where one is configured."""
    with connect(database.reader_conninfo or database.conninfo) as connection:
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


def sum_costs(
    connection: Connection, group_by: Sequence[str], metric: str, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Rows of the group's columns, currency and exact amount, the dearest first."""
    assert set(group_by) <= set(COST_COLUMNS)
    assert metric in COST_METRICS
    query = sql.SQL(_query("sum_costs")).format(
        group_by=sql.SQL(", ").join(map(sql.Identifier, group_by)), metric=sql.Identifier(f"{metric}_cost")
    )
    return connection.execute(query, parameters).fetchall()


def _query(name: str) -> str:
    return read_queries("billfold.store", "reports")[name]
