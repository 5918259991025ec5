"""Data quality of current bills: their states, their checks in total, and the sums of their daily costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from psycopg import sql
from psycopg.rows import class_row

from billfold.sql import read_queries
from billfold.store.database import Connection

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class BillCounts:
    """How many bills there are, and in which state; `severe_count` of the warned ones may have wrong amounts."""

    bill_count: int
    failed_count: int
    unchecked_count: int
    warned_count: int
    severe_count: int
    passed_count: int
    uncounted_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedBill:
    """A bill and its state; money is exact text by currency.

    `source_cost` is what the delivery's files add up to on the statement's basis, less what was left out;
    `charged_cost` what the charges did when they were published. Each entry of `left_out` has `reason`, `currency`,
    `rows` and `cost`. `checked_at` is None if the current bill was not checked.
    """

    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    counted: bool
    yields: bool
    publication_number: int
    published_at: datetime
    checked_at: datetime | None
    row_count: int
    charge_count: int
    source_cost: Mapping[str, str]
    charged_cost: Mapping[str, str]
    left_out: Sequence[Mapping[str, Any]]
    warned_count: int
    severe_count: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSum:
    """One check over all bills: rows and exact money by currency are of the warned ones that count."""

    name: str
    bill_count: int
    warned_count: int
    row_count: int
    cost: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedBill:
    """A bill of a month that its client has several of; `has_warned`: the month counts twice, or not in full.

    `related` are the others that have costs of one of its accounts: what both hold, and who decided what that means.
    """

    client_id: str
    billing_period: str
    statement_id: int
    export_name: str
    counted: bool
    yields: bool
    format: str | None
    charge_count: int
    charged_cost: Mapping[str, str]
    has_warned: bool
    related: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _DailySum:
    statement_id: int
    cost: Mapping[str, str]


def count_bills(connection: Connection, parameters: Mapping[str, Any]) -> BillCounts:
    """How many bills are in which state."""
    [counts] = _fetch(connection, "count_bills", BillCounts, parameters)
    return counts


def list_bills(connection: Connection, parameters: Mapping[str, Any]) -> tuple[JudgedBill, ...]:
    """The bills, the worst first, from `offset` on and at most `limit` of them."""
    return _fetch(connection, "list_bills", JudgedBill, parameters)


def sum_warnings(connection: Connection, parameters: Mapping[str, Any]) -> tuple[CheckSum, ...]:
    """Each check of the current bills, in total."""
    return _fetch(connection, "sum_warnings", CheckSum, parameters)


def sum_daily_costs(connection: Connection, statement_ids: Sequence[int]) -> dict[int, Mapping[str, str]]:
    """The billed cost of each statement's daily costs, exact text by currency."""
    sums = _fetch(connection, "sum_daily_costs", _DailySum, {"statement_ids": list(statement_ids)})
    return {each.statement_id: each.cost for each in sums}


def list_shared_months(connection: Connection, parameters: Mapping[str, Any]) -> tuple[SharedBill, ...]:
    """Bills of months with several exports, those with a warning first."""
    return _fetch(connection, "list_shared_months", SharedBill, parameters)


def _fetch(connection: Connection, name: str, row: type[Row], parameters: Mapping[str, Any]) -> tuple[Row, ...]:
    queries = read_queries("billfold.store.reports", "quality")
    query = sql.SQL(queries[name]).format(judged_bill=sql.SQL(queries["judged_bill"]))
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return tuple(cursor.execute(query, parameters))
