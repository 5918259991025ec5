"""Held deliveries: what they were judged by, what was found in them, and how a newer one supersedes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import psycopg

from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import BulkConnection, Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a delivery was held by: if any of this changes, it is judged again.

    `publication_ids` are the current ones, in order: its statement's, and those of the files that it would take over.
    """

    statement_id: int
    min_percent: int
    publication_ids: tuple[int, ...]
    mapping_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What is known of a delivery whose line items were compared; `rows_read` has a number for each file, in order."""

    rows_read: tuple[int, ...]
    columns: Mapping[str, str]
    findings: tuple[str, ...]
    timings: Mapping[str, float]


def find_judgement(connection: Connection, delivery_id: UUID) -> Judgement | None:
    """What the delivery was last held by; None if that was not kept."""
    row = connection.execute(_query("find_judgement"), {"delivery_id": delivery_id}).fetchone()
    if row is None:
        return None
    statement_id, min_percent, publication_ids, mapping_version = row
    return Judgement(
        statement_id=statement_id,
        min_percent=min_percent,
        publication_ids=tuple(publication_ids),
        mapping_version=mapping_version,
    )


def keep_judgement(
    connection: Connection,
    delivery_id: UUID,
    run_ids: Sequence[UUID],
    judgement: Judgement,
    compared: Compared,
    *,
    period: BillingPeriod,
    export_format: str,
    source_cost: Mapping[str, Decimal],
) -> None:
    """Keep what a delivery is held by and what was found in it; `source_cost` is what it would bill, by currency."""
    facts = {
        "delivery_id": delivery_id,
        "statement_id": judgement.statement_id,
        "billing_period": period.starts_on,
        "format": export_format,
        "rows_read": sum(compared.rows_read),
        "source_cost": json.dumps({currency: format(cost, "f") for currency, cost in sorted(source_cost.items())}),
        "mapping_version": judgement.mapping_version,
        "findings": json.dumps(compared.findings),
        "columns": json.dumps(dict(compared.columns)),
        "timings": json.dumps({stage: round(seconds, 3) for stage, seconds in compared.timings.items()}),
        "min_percent": judgement.min_percent,
        "publication_ids": list(judgement.publication_ids),
    }
    with connection.transaction():
        connection.execute(_query("keep_judgement"), facts)
        for file_number, (run_id, rows_read) in enumerate(zip(run_ids, compared.rows_read, strict=True)):
            file = {"file_number": file_number, "ingestion_run_id": run_id, "rows_read": rows_read}
            connection.execute(_query("keep_rows_of_run"), file)
            connection.execute(_query("keep_rows_of_file"), {**file, "delivery_id": delivery_id})


def end_holds(bulk: BulkConnection, *, statement_id: int, delivery_id: UUID) -> None:
    """Supersede the held deliveries before this one, in the transaction that makes it current."""
    bulk.execute(_text("end_holds"), statement_id, str(delivery_id))


def end_holds_beside(connection: Connection, *, statement_id: int, delivery_id: UUID) -> None:
    """The same for a delivery that becomes current without a publication."""
    # The query is written for the bulk loader, whose parameters have numbers.
    psycopg.RawCursor(connection).execute(_query("end_holds"), [statement_id, str(delivery_id)])


def _query(name: str) -> bytes:
    return _text(name).encode()


def _text(name: str) -> str:
    return read_queries("billfold.store.deliveries", "hold")[name]
