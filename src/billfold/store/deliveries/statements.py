"""Statements: what each of them holds now, and which others a delivery concerns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.rows import TupleRow

from billfold.model import Client, CostBasis, Delivery, SourceObject, Totals
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import Connection, connect_at_last, lock_timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentStatement:
    """A statement and what it holds now; without a publication it is empty.

    `undiscounted` is its cost without credits, refunds and discounts, by currency; None if that was not kept.
    """

    statement_id: int
    bucket: str
    export_path: str
    billing_period: BillingPeriod
    publication_id: int | None
    delivery_id: UUID | None
    delivered_at: datetime | None
    cost_basis: CostBasis | None
    mapping_version: int | None
    hash_version: int
    currency: str
    totals: Totals
    undiscounted: Mapping[str, Decimal] | None
    file_versions: frozenset[tuple[str, str]]
    file_digests: tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentFile:
    """A data file of a statement's current delivery, and the line items in it."""

    ingestion_run_id: UUID
    key: str
    row_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwningStatement:
    """The statement that a standalone file belongs to; `name` is its export and month."""

    statement_id: int
    name: str
    is_counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLocation:
    """One location under which a standalone file, or an export, is known: a statement's bucket, and its key in it."""

    statement_id: int
    bucket: str
    key: str
    is_current: bool
    is_counted: bool


def absolute_key(bucket: str, key: str) -> str:
    """A key, or an export's path, with its bucket: the same for any folder above a local file that is its bucket."""
    return bucket if key == "." else f"{bucket.removesuffix('/')}/{key}"


def find_statement(connection: Connection, client: Client, delivery: Delivery) -> CurrentStatement | None:
    """The delivery's statement; None if nothing was ever published for it."""
    row = connection.execute(_query("find_statement"), _statement_key(client, delivery, delivery.period)).fetchone()
    return _current_statement(connection, row) if row else None


def read_statement(connection: Connection, statement_id: int) -> CurrentStatement:
    """The statement of this id."""
    client_id, bucket, export_path, period = _one(connection, "key_of_statement", {"statement_id": statement_id})
    key = {"client_id": client_id, "bucket": bucket, "export_path": export_path, "billing_period": period}
    return _current_statement(connection, _one(connection, "find_statement", key))


def say_whether_done(conninfo: str, before: CurrentStatement, name: str, done: str) -> str:
    """After an interruption: `name` is `done` if the statement has another publication than before."""
    with connect_at_last(conninfo) as connection:
        is_done = read_statement(connection, before.statement_id).publication_id != before.publication_id
    return f"{name} is {done}" if is_done else f"{name} is unchanged"


def find_of_manifest(
    connection: Connection,
    client: Client,
    manifest: SourceObject,
    *,
    statement: tuple[str, BillingPeriod] | None,
    execution_id: str | None,
) -> tuple[int, str] | None:
    """Id and export name of the statement whose current delivery the manifest is of.

    `statement` (path of its export, period), if the key names it, is the one whose execution ids are compared too.
    """
    row = connection.execute(
        _query("find_of_manifest"),
        {
            "client_id": client.client_id,
            "bucket": manifest.bucket,
            "manifest_key": manifest.key,
            "manifest_etag": manifest.etag,
            "execution_id": execution_id,
            "export_path": statement[0] if statement else None,
            "billing_period": statement[1].starts_on if statement else None,
        },
    ).fetchone()
    return (row[0], row[1]) if row else None


def list_current_files(connection: Connection, delivery_id: UUID) -> tuple[CurrentFile, ...]:
    """The files of a delivery in their order."""
    rows = connection.execute(_query("list_current_files"), {"delivery_id": delivery_id}).fetchall()
    return tuple(CurrentFile(ingestion_run_id=row[0], key=row[1], row_count=row[2]) for row in rows)


def list_months_of_version(
    connection: Connection, client: Client, delivery: Delivery
) -> list[tuple[BillingPeriod, UUID]]:
    """The months for which this version of the delivery's first file is current, each with its delivery."""
    if not delivery.files:
        return []
    file = delivery.files[0]
    key = {**_statement_key(client, delivery, None), "key": file.key, "etag": file.etag}
    rows = connection.execute(_query("list_months_of_version"), key).fetchall()
    return [(BillingPeriod(period), delivery_id) for period, delivery_id in rows]


def ensure_statement(
    connection: Connection,
    client: Client,
    delivery: Delivery,
    period: BillingPeriod,
    *,
    hash_version: int,
    lock_timeout_seconds: int,
) -> CurrentStatement:
    """The statement of this period, made if it is new, and the partitions that its rows go to.

    Raises RunConflictError if the partitions cannot be attached within `lock_timeout_seconds`.
    """
    key = _statement_key(client, delivery, period)
    connection.execute(
        _query("ensure_statement"),
        {**key, "export_name": delivery.export_name, "hash_version": hash_version, "currency": client.currency},
    )
    with lock_timeout(connection, lock_timeout_seconds, f"the partitions of {period} are locked"):
        connection.execute(_query("create_partitions"), {"billing_period": period.starts_on})
    row = connection.execute(_query("find_statement"), key).fetchone()
    assert row is not None
    return _current_statement(connection, row)


def find_owning_statement(
    connection: Connection, client: Client, delivery: Delivery, *, place: tuple[str, BillingPeriod] | None
) -> OwningStatement | None:
    """The statement whose current delivery a standalone file belongs to; None for a file of its own.

    `place` is the statement (absolute key of its export, period) in whose layout the file lies.
    """
    row = connection.execute(
        _query("find_owning_statement"),
        {
            "client_id": client.client_id,
            "file": absolute_key(delivery.bucket, delivery.files[0].key),
            "place": place[0] if place else None,
            "place_period": place[1].starts_on if place else None,
        },
    ).fetchone()
    return (
        OwningStatement(statement_id=row[0], name=f"{row[1]} {BillingPeriod(row[2])}", is_counted=row[3])
        if row
        else None
    )


def list_standalone(
    connection: Connection, client: Client, delivery: Delivery, period: BillingPeriod
) -> dict[int, str]:
    """The statements of standalone files that a delivery with a manifest may take over: absolute keys by statement."""
    rows = connection.execute(
        _query("list_standalone"),
        {
            "client_id": client.client_id,
            "files": [absolute_key(delivery.bucket, file.key) for file in delivery.files],
            "folder": f"{absolute_key(delivery.bucket, delivery.export_path)}/",
            "billing_period": period.starts_on,
        },
    ).fetchall()
    return dict(rows)


def is_known_source(connection: Connection, client: Client, place: str) -> bool:
    """Whether a bill of the client came in from the local file at this address."""
    row = connection.execute(_query("is_known_source"), {"client_id": client.client_id, "place": place}).fetchone()
    return row is not None and bool(row[0])


def list_buckets(connection: Connection, client: Client) -> list[str]:
    """The buckets of everything that was ever published for the client."""
    return [bucket for (bucket,) in connection.execute(_query("list_buckets"), {"client_id": client.client_id})]


def list_locations(connection: Connection, client: Client, delivery: Delivery) -> list[KnownLocation]:
    """All locations of a standalone delivery's file: current and counted first, then those in its own bucket."""
    key = delivery.files[0].key
    rows = connection.execute(
        _query("list_locations"),
        {"client_id": client.client_id, "bucket": delivery.bucket, "file": absolute_key(delivery.bucket, key)},
    ).fetchall()
    return [
        KnownLocation(statement_id=row[0], bucket=row[1], key=row[2], is_current=row[3], is_counted=row[4])
        for row in rows
    ]


def list_export_locations(connection: Connection, client: Client, delivery: Delivery) -> list[KnownLocation]:
    """The locations of a delivery's export and month, as `list_locations`; `key` is the path of the export."""
    parameters = {
        **_statement_key(client, delivery, delivery.period),
        "export": absolute_key(delivery.bucket, delivery.export_path),
    }
    rows = connection.execute(_query("list_export_locations"), parameters).fetchall()
    return [
        KnownLocation(statement_id=row[0], bucket=row[1], key=row[2], is_current=row[3], is_counted=row[4])
        for row in rows
    ]


def list_counted(connection: Connection, statement_ids: Sequence[int]) -> set[int]:
    """Those of these statements that are counted."""
    rows = connection.execute(_query("list_counted"), {"statement_ids": list(statement_ids)}).fetchall()
    return {statement_id for (statement_id,) in rows}


def find_columns(connection: Connection, client: Client, delivery: Delivery, period: BillingPeriod) -> dict[str, str]:
    """The columns of the previous bill with their types; empty if none is known."""
    row = connection.execute(_query("find_columns"), _statement_key(client, delivery, period)).fetchone()
    return dict(row[0]) if row else {}


def list_residuals(connection: Connection, statement: CurrentStatement) -> dict[UUID, Decimal]:
    """The Adjustment charges for residuals of Savings Plans in the statement, by row_hash."""
    rows = connection.execute(
        _query("list_residuals"),
        {"statement_id": statement.statement_id, "billing_period": statement.billing_period.starts_on},
    ).fetchall()
    return dict(rows)


def _current_statement(connection: Connection, row: TupleRow) -> CurrentStatement:
    (statement_id, publication_id, delivery_id, period, basis, mapping_version, hash_version, rows, charges) = row[:9]
    billed, gross, net, delivered_at, currency, bucket, export_path, undiscounted = row[9:]
    files = connection.execute(_query("list_delivery_files"), {"delivery_id": delivery_id}).fetchall()
    return CurrentStatement(
        statement_id=statement_id,
        bucket=bucket,
        export_path=export_path,
        billing_period=BillingPeriod(period),
        publication_id=publication_id,
        delivery_id=delivery_id,
        delivered_at=delivered_at,
        cost_basis=CostBasis(basis) if basis else None,
        mapping_version=mapping_version,
        hash_version=hash_version,
        currency=currency,
        totals=Totals(
            row_count=rows,
            charge_count=charges or 0,
            gross=_money(gross),
            net=_money(net),
            billed=_money(billed),
        ),
        undiscounted=_money(undiscounted) if undiscounted is not None or publication_id is None else None,
        file_versions=frozenset((key, etag) for key, etag, _ in files),
        file_digests=tuple(sorted((sha256 for _, _, sha256 in files), key=str)),
    )


def _statement_key(client: Client, delivery: Delivery, period: BillingPeriod | None) -> dict[str, str | date | None]:
    return {
        "client_id": client.client_id,
        "bucket": delivery.bucket,
        "export_path": delivery.export_path,
        "billing_period": period.starts_on if period else None,
    }


def _money(amounts: dict[str, str] | None) -> dict[str, Decimal]:
    return {currency: Decimal(amount) for currency, amount in (amounts or {}).items()}


def _one(connection: Connection, name: str, parameters: dict[str, Any]) -> TupleRow:
    row = connection.execute(_query(name), parameters).fetchone()
    assert row is not None, f"{name} returns a row"
    return row


def _query(name: str) -> bytes:
    return read_queries("billfold.store.deliveries", "statements")[name].encode()
