"""History: past publications in order, the rows of one of them restored, old ones forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from billfold.model import CostBasis, Delivery, LeftOut, PublicationKind, SourceObject, Totals
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import BulkConnection, Connection, lock_timeout
from billfold.store.deliveries.partitions import partitions

# Instead of a publication to restore: the state before the first one.
NOTHING = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PastPublication:
    """A publication of a statement: the totals after it, and how it came to be."""

    publication_id: int
    number: int
    kind: PublicationKind
    delivery_id: UUID | None
    restored_publication_id: int | None
    published_at: datetime
    cost_basis: CostBasis
    hash_version: int
    mapping_version: int
    totals: Totals
    left_out: tuple[LeftOut, ...]
    unproved: dict[str, Decimal]
    is_remembered: bool


def list_publications(connection: Connection, statement_id: int) -> tuple[PastPublication, ...]:
    """All publications of a statement in their order; `is_remembered` while all their rows can be restored."""
    rows = connection.execute(_query("list_publications"), {"statement_id": statement_id}).fetchall()
    return tuple(
        PastPublication(
            publication_id=row[0],
            number=row[1],
            kind=PublicationKind(row[2]),
            delivery_id=row[3],
            restored_publication_id=row[4],
            published_at=row[5],
            cost_basis=CostBasis(row[6]),
            hash_version=row[7],
            mapping_version=row[8],
            totals=Totals(
                row_count=row[9],
                charge_count=row[10],
                billed=_money(row[11]),
                gross=_money(row[12]),
                net=_money(row[13]),
            ),
            left_out=_left_out(row[14]),
            unproved=_money(row[15]),
            is_remembered=row[16],
        )
        for row in rows
    )


def find_latest_delivery(connection: Connection, statement_id: int, publication_ids: Sequence[int]) -> UUID | None:
    """The latest delivery that became current by one of these publications and was not rolled back."""
    row = connection.execute(
        _query("find_latest_delivery"), {"statement_id": statement_id, "publication_ids": list(publication_ids)}
    ).fetchone()
    return row[0] if row else None


def list_adopted(connection: Connection, publication_ids: Sequence[int]) -> tuple[str, ...]:
    """The standalone files that these publications took over, unless they are statements of their own again."""
    rows = connection.execute(_query("list_adopted"), {"publication_ids": list(publication_ids)}).fetchall()
    return tuple(name for (name,) in rows)


def read_delivery(connection: Connection, delivery_id: UUID) -> Delivery:
    """A delivery as it was registered, with the files that it named then."""
    row = connection.execute(_query("read_delivery"), {"delivery_id": delivery_id}).fetchone()
    assert row is not None, "a published delivery is known"
    bucket, export_path, export_name, period, delivered_at, execution_id, manifest_key, manifest_etag = row
    files = connection.execute(_query("list_files"), {"delivery_id": delivery_id}).fetchall()

    def remember(source_bucket: str, key: str, etag: str, size_bytes: int = 0) -> SourceObject:
        # The time of a single file is not kept.
        return SourceObject(bucket=source_bucket, key=key, etag=etag, size_bytes=size_bytes, modified_at=delivered_at)

    return Delivery(
        bucket=bucket,
        export_path=export_path,
        export_name=export_name,
        period=BillingPeriod(period) if period else None,
        files=tuple(remember(*file) for file in files),
        delivered_at=delivered_at,
        manifest=remember(bucket, manifest_key, manifest_etag) if manifest_key else None,
        execution_id=execution_id,
    )


def restore_bill(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int, restored_publication_id: int
) -> None:
    """Withdraw the rows added after the restored publication and restore those withdrawn since; NOTHING empties it.

    Rows that were current all the time are not touched. Withdrawn rows go to history, restored ones are copies from it.
    """
    queries = read_queries("billfold.store.deliveries", "charges")
    names = partitions(period)
    steps: Sequence[str] = ("withdraw_rows_since", "withdraw_charges_since")
    if restored_publication_id != NOTHING:
        steps = (*steps, "restore_rows", "restore_charges")
    for name in steps:
        bulk.execute(queries[name].format(**names), statement_id, publication_id, restored_publication_id)
    split_steps: Sequence[str] = ("withdraw_split_since",)
    if restored_publication_id != NOTHING:
        split_steps = (*split_steps, "restore_split")
    queries = read_queries("billfold.store.deliveries", "split_costs")
    for name in split_steps:
        bulk.execute(queries[name].format(**names), statement_id, publication_id, restored_publication_id)


def mark_rolled_back(
    bulk: BulkConnection, *, statement_id: int, publication_id: int, publication_ids: Sequence[int]
) -> None:
    """The deliveries that became current by these publications are rolled back by this one."""
    ids = ",".join(map(str, publication_ids))
    bulk.execute(_query("roll_back_deliveries"), statement_id, publication_id, ids)


def mark_taken_back(
    bulk: BulkConnection, *, statement_id: int, publication_id: int, rollback_publication_id: int
) -> None:
    """The deliveries that the rollback took back are published again; those that it made current are rolled back."""
    bulk.execute(_query("fall_back"), statement_id, rollback_publication_id)
    bulk.execute(_query("take_back_deliveries"), statement_id, publication_id, rollback_publication_id)


def mark_published_again(bulk: BulkConnection, delivery_id: UUID | None, *, publication_id: int) -> None:
    """A delivery that was rolled back earlier is published again by this publication."""
    if delivery_id:
        bulk.execute(_query("mark_published_again"), str(delivery_id), publication_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgettable:
    """A statement with history that was withdrawn up to `publication_id`, which was published at `published_at`."""

    statement_id: int
    client_id: str
    export_name: str
    billing_period: BillingPeriod
    publication_id: int
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How many withdrawn line items and charges of a statement were deleted, or would be."""

    statement: Forgettable
    row_count: int
    charge_count: int


def list_forgettable(connection: Connection, before: datetime, *, client_id: str | None) -> tuple[Forgettable, ...]:
    """The statements with history withdrawn up to that moment, the oldest month first."""
    rows = connection.execute(_query("list_forgettable"), {"moment": before, "client": client_id}).fetchall()
    return tuple(
        Forgettable(
            statement_id=row[0],
            client_id=row[1],
            export_name=row[2],
            billing_period=BillingPeriod(row[3]),
            publication_id=row[4],
            published_at=row[5],
        )
        for row in rows
    )


def count(connection: Connection, statement: Forgettable) -> Forgotten:
    """What `forget` would delete."""
    counts = [_value(connection, name, _forgetting(statement)) for name in ("count_rows", "count_charges")]
    return Forgotten(statement=statement, row_count=counts[0], charge_count=counts[1])


def forget(connection: Connection, statement: Forgettable, *, lock_timeout_seconds: int) -> Forgotten:
    """Delete the history withdrawn up to that publication, and record since when history is complete; one transaction.

    Raises RunConflictError if a publication holds the statement longer than `lock_timeout_seconds`.
    """
    parameters = _forgetting(statement)
    with lock_timeout(connection, lock_timeout_seconds, "the statement is being published"), connection.transaction():
        connection.execute(_query("forget_before"), parameters)
        row_count, charge_count = (
            connection.execute(_query(name), parameters).rowcount for name in ("forget_rows", "forget_charges")
        )
        connection.execute(_query("forget_split"), parameters)
    return Forgotten(statement=statement, row_count=row_count, charge_count=charge_count)


def _forgetting(statement: Forgettable) -> dict[str, Any]:
    return {
        "statement_id": statement.statement_id,
        "billing_period": statement.billing_period.starts_on,
        "publication_id": statement.publication_id,
        "remembered_since": statement.published_at,
    }


def _value(connection: Connection, name: str, parameters: dict[str, Any]) -> int:
    row = connection.execute(_query(name), parameters).fetchone()
    assert row is not None
    return int(row[0])


def _left_out(entries: list[dict[str, Any]]) -> tuple[LeftOut, ...]:
    return tuple(
        LeftOut(
            reason=entry["reason"], currency=entry["currency"], row_count=entry["rows"], cost=Decimal(entry["cost"])
        )
        for entry in entries
    )


def _money(amounts: dict[str, str]) -> dict[str, Decimal]:
    return {currency: Decimal(amount) for currency, amount in amounts.items()}


def _query(name: str) -> str:
    return read_queries("billfold.store.deliveries", "history")[name]
