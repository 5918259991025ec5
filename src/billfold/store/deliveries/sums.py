"""Sums: what a publication added and withdrew, read back from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from billfold.model import MoneyColumns, Totals
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import BulkConnection
from billfold.store.deliveries.partitions import partitions


def sum_landed(
    bulk: BulkConnection,
    period: BillingPeriod,
    *,
    statement_id: int,
    publication_id: int,
    currency: str,
    columns: MoneyColumns,
    source: Totals,
) -> tuple[Totals, Totals]:
    """What this publication added and what it withdrew, read back from raw JSON and facts.

    Each ->> reads a row's whole JSON, so only what the source can hold is read: net costs if it has some, currencies
    if it has several. `currency` is that of line items that name none.
    """
    queries = read_queries("billfold.store.deliveries", "charges")
    names = partitions(period)
    is_single = len(source.gross) == 1
    added_rows = queries["sum_raw_added"].format(
        raw=names["raw"],
        currency="$3::text" if is_single else f"coalesce({_value(columns.currency)}, $3::text)",
        gross_cost=f"({_value(columns.gross)})::numeric",
        net_cost=f"billfold_number({_value(columns.net)})" if columns.net else "0::numeric",
    )
    only_currency = next(iter(source.gross)) if is_single else currency
    added = _as_totals(
        bulk.query(added_rows, statement_id, publication_id, only_currency),
        bulk.query(queries["sum_charges"].format(fact=names["fact"], mark="added_by"), statement_id, publication_id),
    )
    return added, sum_withdrawn(
        bulk, period, statement_id=statement_id, publication_id=publication_id, currency=currency
    )


def sum_withdrawn(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int, currency: str
) -> Totals:
    """What this publication withdrew, read back from the history."""
    names = partitions(period)
    return _sum_known(
        bulk, names["raw_history"], names["fact_history"], "removed_by", statement_id, publication_id, currency
    )


def sum_restored(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int, currency: str
) -> Totals:
    """What this publication restored from the history, read from the current rows."""
    names = partitions(period)
    return _sum_known(bulk, names["raw"], names["fact"], "added_by", statement_id, publication_id, currency)


def sum_charged(bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int) -> Totals:
    """Count and billed cost of the charges that this publication added, read back."""
    query = read_queries("billfold.store.deliveries", "charges")["sum_charges"]
    names = partitions(period)
    rows = bulk.query(query.format(fact=names["fact"], mark="added_by"), statement_id, publication_id)
    return _as_totals([], rows)


def _sum_known(
    bulk: BulkConnection, raw: str, fact: str, mark: str, statement_id: int, publication_id: int, currency: str
) -> Totals:
    queries = read_queries("billfold.store.deliveries", "charges")
    return _as_totals(
        bulk.query(queries["sum_raw_known"].format(table=raw, mark=mark), statement_id, publication_id, currency),
        bulk.query(queries["sum_charges"].format(fact=fact, mark=mark), statement_id, publication_id),
    )


def _as_totals(rows: Sequence[tuple[Any, ...]], charges: Sequence[tuple[Any, ...]]) -> Totals:
    return Totals(
        row_count=sum(row[1] for row in rows),
        charge_count=sum(row[1] for row in charges),
        gross={row[0]: Decimal(row[2]) for row in rows},
        net={row[0]: Decimal(row[3]) for row in rows},
        billed={row[0]: Decimal(row[2]) for row in charges},
    )


def _value(headers: Sequence[str]) -> str:
    """The value of a row's JSON under the first of these headers that it has."""
    found = [f"raw.row_data->>{_literal(header)}" for header in headers]
    return f"coalesce({', '.join(found)})" if len(found) > 1 else found[0] if found else "NULL::text"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
