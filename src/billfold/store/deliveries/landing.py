"""Landing: raw rows and charges come into their tables or move to history, inside the publishing transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store import planner
from billfold.store.database import BulkConnection
from billfold.store.deliveries.partitions import partitions

# The tables of daily costs, what is added to each, and the key that only one of them has.
_ROLL_UPS = (("billing_daily_cost", "moved_day", ""), ("billing_daily_tag_cost", "moved_tag_day", "tag_set_key,"))


@contextmanager
def stream_current_rows(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int
) -> Iterator[pa.RecordBatchReader]:
    """The statement's current pairs (row_hash, occurrence) as an Arrow stream."""
    query = read_queries("billfold.store.deliveries", "charges")["current_rows"].format(**partitions(period))
    with bulk.stream(query, statement_id) as rows:
        yield rows
    bulk.rollback()


@contextmanager
def stream_landed_rows(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int
) -> Iterator[pa.RecordBatchReader]:
    """The statement's raw rows (row_hash, occurrence, row_data as text) as an Arrow stream, in bounded memory."""
    # The statement's id is part of the text: with a bound parameter the driver would hold the whole result in memory.
    query = read_queries("billfold.store.deliveries", "charges")["landed_rows"]
    with bulk.stream(query.format(statement_id=int(statement_id), **partitions(period))) as rows:
        yield rows
    bulk.rollback()


def land_rows(bulk: BulkConnection, period: BillingPeriod, rows: pa.RecordBatchReader, *, row_count: int) -> None:
    """COPY the added line items into the partition of their month."""
    bulk.load(partitions(period)["raw"], rows)
    # The reconciliation reads them back.
    planner.prefer_scans(bulk.query, period, row_count=row_count)


def withdraw(
    bulk: BulkConnection,
    period: BillingPeriod,
    removed: pa.RecordBatchReader,
    *,
    statement_id: int,
    publication_id: int,
    all_charges: bool,
) -> None:
    """Move the removed line items and their charges to history; with `all_charges` every charge of the statement."""
    queries = read_queries("billfold.store.deliveries", "charges")
    names = partitions(period)
    bulk.execute("CREATE TEMP TABLE removed_row (row_hash uuid, occurrence integer) ON COMMIT DROP")
    bulk.load("removed_row", removed, temporary=True)
    bulk.execute("ANALYZE removed_row")
    bulk.execute(queries["withdraw_rows"].format(**names), statement_id, publication_id)
    charges = queries["withdraw_all_charges" if all_charges else "withdraw_charges"]
    bulk.execute(charges.format(**names), statement_id, publication_id)


def withdraw_charges(bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int) -> None:
    """Move every charge of the statement to history; its line items stay."""
    query = read_queries("billfold.store.deliveries", "charges")["withdraw_all_charges"]
    bulk.execute(query.format(**partitions(period)), statement_id, publication_id)


def land_charges(bulk: BulkConnection, period: BillingPeriod, charges: pa.RecordBatchReader) -> None:
    """Load the charges as text into a staging table, and from there, computed exactly, into the facts."""
    queries = read_queries("billfold.store.deliveries", "charges")
    bulk.execute(queries["create_staging"])
    bulk.load("charge_staging", charges, temporary=True)
    bulk.execute(queries["insert_charges"].format(partition=partitions(period)["fact"]))


def roll_up(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int, is_first: bool
) -> None:
    """Add what this publication added and withdrew to the daily costs, with and without tags.

    The differences of those without tags are kept as its restatement. A first publication has none: all of it is new.
    """
    queries = read_queries("billfold.store.deliveries", "charges")
    bulk.execute(queries["create_moved_tags"])
    bulk.execute(queries["sum_moved_tags"].format(**partitions(period)), statement_id, publication_id)
    bulk.execute(queries["create_moved"])
    bulk.execute(queries["sum_moved"])
    for daily, moved, tag_set_key in _ROLL_UPS:
        onto = "" if is_first else queries["onto"].format(tag_set_key=tag_set_key)
        bulk.execute(queries["roll_up"].format(daily=daily, moved=moved, onto=onto))
        if not is_first:
            bulk.execute(queries["drop_empty_days"].format(daily=daily), statement_id)
    if not is_first:
        bulk.execute(queries["keep_restatement"], publication_id)
    bulk.execute(queries["drop_moved"])
