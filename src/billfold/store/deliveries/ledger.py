"""The ledger: what a bill's line items cost, summed exactly by PostgreSQL."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa

from billfold.model import Discounts, Ledger, LeftOut, Residual, Totals
from billfold.sql import read_queries
from billfold.store.database import BulkConnection


def sum_held_undiscounted(bulk: BulkConnection, statement_id: int) -> dict[str, Decimal]:
    """By currency, a statement's cost without credits, refunds and discounts, from its daily costs."""
    query = read_queries("billfold.store.deliveries", "ledger")["sum_held_undiscounted"]
    return {row[0]: Decimal(row[1]) for row in bulk.query(query, statement_id)}


def sum_ledger(bulk: BulkConnection, lines: pa.RecordBatchReader) -> Ledger:
    """The exact sums of a delivery's line items, from their texts; nothing stays in the database."""
    queries = read_queries("billfold.store.deliveries", "ledger")
    bulk.execute(queries["create_ledger"])
    bulk.load("ledger", lines, temporary=True)
    totals = bulk.query(queries["sum_totals"])
    remarks = dict(bulk.query(queries["count_remarks"]))
    ledger = Ledger(
        totals=Totals(
            row_count=sum(row[1] for row in totals),
            gross={row[0]: Decimal(row[2]) for row in totals},
            net={row[0]: Decimal(row[3]) for row in totals},
            billed={row[0]: Decimal(row[4]) for row in totals},
        ),
        residuals=tuple(
            Residual(billing_account_id=row[0], billing_currency=row[1], cost=Decimal(row[2]))
            for row in bulk.query(queries["sum_residuals"])
        ),
        left_out=tuple(
            LeftOut(reason=row[0], currency=row[1], row_count=row[2], cost=Decimal(row[3]))
            for row in bulk.query(queries["sum_left_out"])
        ),
        unknown_types=dict(bulk.query(queries["count_unknown_types"])),
        rows_billed_as_effective=remarks.get("billed is effective", 0),
        overdrawn_rows=remarks.get("overdrawn", 0),
        covered_rows_without_share=remarks.get("no effective cost", 0),
        undiscounted={row[0]: Decimal(row[1]) for row in bulk.query(queries["sum_undiscounted"])},
        unproved={row[0]: Decimal(row[1]) for row in bulk.query(queries["sum_unproved"])},
        discounts={
            row[0]: Discounts(
                named=Decimal(row[1]),
                line_items=Decimal(row[2]),
                raising=Decimal(row[3]),
                on_commitments=Decimal(row[4]),
                off_parts=Decimal(row[5]),
            )
            for row in bulk.query(queries["sum_discounts"])
        },
        rows_with_unreadable_discounts=bulk.query(queries["count_unreadable_discounts"])[0][0],
        split_rows_with_a_cost=remarks.get("split with a cost", 0),
    )
    bulk.rollback()
    return ledger
