"""What the checks of a statement's bill read and store; tables that they share are built once in the transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from billfold.model import CostBasis
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store import planner
from billfold.store.database import Connection, Database, connect, translate_errors
from billfold.store.deliveries.partitions import partitions
from billfold.store.reports.conformance import Judgement, judge_added


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one check found: the number of rows, their exact cost by currency, and names that say what they are."""

    row_count: int
    cost: Mapping[str, Decimal]
    names: tuple[str, ...]


class CheckedBill:
    """The bill of a statement's current publication, as one transaction sees it."""

    def __init__(
        self,
        connection: Connection,
        *,
        statement_id: int,
        period: BillingPeriod,
        publication_id: int,
        delivery_id: UUID,
        basis: CostBasis,
        currency: str,
        rows_added: int,
        row_count: int,
        has_fees: bool,
    ) -> None:
        self._connection = connection
        self._statement_id = statement_id
        self._period = period
        self._publication_id = publication_id
        self._delivery_id = delivery_id
        self._rows_added = rows_added
        self._kept: list[dict[str, Any]] = []
        names = {name: sql.Identifier(table) for name, table in partitions(period).items()}
        planner.prefer_scans(self._query, period, row_count=row_count)
        self._create("create_checked_charge", **names)
        # FOCUS exports have no column with what a commitment costs.
        self.has_commitments: bool = has_fees and self._one("has_commitments")[0]
        if self.has_commitments:
            # The raw rows are read for commitments alone.
            self._create(
                "create_checked_line_item",
                **names,
                default_currency=sql.Literal(currency),
                is_net=sql.Literal(basis is CostBasis.NET),
            )
        planner.allow_lookups(self._query)

    def find(self, name: str, **parameters: Any) -> Found:
        """Run the query of this name."""
        rows = self._connection.execute(_query(name), {"statement_id": self._statement_id, **parameters}).fetchall()
        return Found(
            row_count=sum(row[1] for row in rows),
            cost={row[0]: row[2] for row in rows},
            names=tuple(dict.fromkeys(name for row in rows for name in row[3])),
        )

    def sum_usage(self) -> dict[str, Decimal]:
        """The effective cost of all usage that could be tagged, by currency."""
        return dict(self._connection.execute(_query("sum_usage")).fetchall())

    def count_commitments(self) -> tuple[int, int]:
        """How many commitments the charges name, and for how many of them the bill has the fees."""
        named, with_fees = self._one("count_commitments")
        return named, with_fees

    def judge_added(self) -> Judgement:
        """Judge the charges that the current publication added by the must-rules of FOCUS."""
        return judge_added(
            self._connection,
            self._period,
            statement_id=self._statement_id,
            publication_id=self._publication_id,
            row_count=self._rows_added,
        )

    def keep(self, name: str, *, state: str, row_count: int, cost: Mapping[str, Decimal], detail: str) -> None:
        """Keep the result of a check for `store`."""
        self._kept.append(
            {
                "publication_id": self._publication_id,
                "name": name,
                "delivery_id": str(self._delivery_id),
                "statement_id": self._statement_id,
                "state": state,
                "row_count": row_count,
                "cost": {currency: format(amount, "f") for currency, amount in sorted(cost.items())},
                "detail": detail,
            }
        )

    def store(self) -> None:
        """Store the kept results; each replaces an earlier result of the same publication."""
        self._connection.execute(_query("keep_checks"), {"kept": Jsonb(self._kept)})

    def _create(self, name: str, **names: sql.Composable) -> None:
        query = sql.SQL(read_queries("billfold.store.reports", "checks")[name])
        self._connection.execute(query.format(statement_id=sql.Literal(self._statement_id), **names))

    def _query(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode()).fetchall()

    def _one(self, name: str) -> Sequence[Any]:
        row = self._connection.execute(_query(name)).fetchone()
        assert row is not None, f"{name} returns a row"
        return row


@contextmanager
def open_checked_bill(
    database: Database, statement_id: int, *, connection: Connection | None = None
) -> Iterator[CheckedBill | None]:
    """The statement's current bill, in a transaction that commits at the end; None if the statement is empty.

    It is a transaction of this connection, else of one of its own.
    """
    with (
        connect(database.conninfo) if connection is None else nullcontext(connection) as used,
        translate_errors(),
        _lock_checks(used, statement_id),
        _snapshot(used),
    ):
        row = used.execute(_query("find_subject"), {"statement_id": statement_id}).fetchone()
        if row is None:
            yield None
            return
        bill = CheckedBill(
            used,
            statement_id=row[0],
            period=BillingPeriod(row[1]),
            publication_id=row[2],
            delivery_id=row[3],
            basis=CostBasis(row[4]),
            currency=row[5],
            rows_added=row[6],
            row_count=row[7],
            has_fees=row[8],
        )
        yield bill
        bill.store()


@contextmanager
def _lock_checks(connection: Connection, statement_id: int) -> Iterator[None]:
    connection.execute(_query("lock_checks"), {"statement_id": statement_id})
    try:
        yield
    finally:
        if _is_idle(connection):
            connection.execute(_query("unlock_checks"), {"statement_id": statement_id})


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    """A transaction that sees the same all the time."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    try:
        with connection.transaction():
            yield
    finally:
        if _is_idle(connection):
            connection.isolation_level = None


def _is_idle(connection: Connection) -> bool:
    """Whether the session still lives and waits: what is set for the checks ends with it otherwise."""
    return connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


def _query(name: str) -> bytes:
    return read_queries("billfold.store.reports", "checks")[name].encode()
