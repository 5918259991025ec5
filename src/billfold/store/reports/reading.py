"""Reports' rows: each report reads in one transaction that sees a single moment and cannot write."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from billfold.sql import read_queries
from billfold.store.database import Connection, Database, connect

Row = TypeVar("Row")


# The amounts that a report can show.
COST_METRICS = ("billed", "effective", "list", "contracted")


# Sums of many cells: with less memory the planner sorts them all for fear of many groups, and compiling takes longer
# than adding up. It is only as large as needed.
_SUMMING = {"work_mem": "64MB", "jit": "off"}
# Where the queries of the reports are.
_FILES = (
    *(
        ("billfold.store.reports", file)
        for file in "reports changes checks focus freshness deliveries metrics identifiers".split()
    ),
    ("billfold.store.clients", "owners"),
)


@contextmanager
def read(database: Database, **options: str) -> Iterator[Connection]:
    """One REPEATABLE READ, READ ONLY transaction, as the reader if one is configured; options are PostgreSQL's."""
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
    """The ids of all clients with ingested bills."""
    return tuple(client for (client,) in connection.execute(_query("list_clients")))


def list_eldest_clients(connection: Connection, limit: int) -> frozenset[str]:
    """The ids of the oldest clients, at most `limit` of them."""
    return frozenset(client for (client,) in connection.execute(_query("list_eldest_clients"), {"limit": limit}))


def list_deliveries_between(connection: Connection, first: UUID, last: UUID, *, most: int) -> list[UUID]:
    """The ids of deliveries from the first to the last of these, at most `limit` of them."""
    parameters = {"first": first, "last": last, "most": most}
    return [found for (found,) in connection.execute(_query("find_deliveries_between"), parameters)]


def list_neighbours(connection: Connection, delivery_ids: Collection[UUID]) -> list[UUID]:
    """The ids of the deliveries just before and after each of these, in the order of ids."""
    parameters = {"delivery_ids": list(delivery_ids)}
    return [found for (found,) in connection.execute(_query("list_neighbours"), parameters)]


def _query(name: str) -> str:
    return next(queries[name] for package, file in _FILES if name in (queries := read_queries(package, file)))
