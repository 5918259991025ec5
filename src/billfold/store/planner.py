"""Hints for PostgreSQL's planner: a large part of a month is scanned, by several processes.

A partition that was never analysed looks almost empty, so PostgreSQL would look its rows up through an index, one by
one. An ANALYZE in a transaction would hold a lock that other statements wait for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from billfold.period import BillingPeriod
from billfold.sql import read_queries

# With at least this many rows it is cheaper to scan a partition than to look them up,
_FROM_ROWS = 50_000
# unless they are less than this fraction of it.
_SMALLEST_PART = 4

Query = Callable[[str], list[tuple[Any, ...]]]


def prefer_scans(query: Query, period: BillingPeriod, *, row_count: int) -> bool:
    """Let the transaction scan the month's partitions if this many rows of one statement are a large part of them.

    `query` runs a query without parameters in the transaction and returns its rows. Returns whether it was done.
    """
    if row_count < _FROM_ROWS:
        return False
    queries = read_queries("billfold.store", "planner")
    [(month_row_count,)] = query(queries["count_month"].format(billing_period=period.starts_on.isoformat()))
    if row_count * _SMALLEST_PART < month_row_count:
        return False
    query(queries["prefer_scans"])
    return True


def allow_lookups(query: Query) -> None:
    """Let the rest of the transaction use indexes again."""
    query(read_queries("billfold.store", "planner")["allow_lookups"])


def prefer_hashing(query: Query) -> None:
    """Let the transaction join charges with their dimensions by hash tables alone."""
    query(read_queries("billfold.store", "planner")["prefer_hashing"])
