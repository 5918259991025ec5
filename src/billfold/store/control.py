"""Control rows outside the publishing transaction: what is being ingested, by whom, and how it ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from billfold.errors import BillfoldError, RunConflictError, UsageError
from billfold.model import (
    Client,
    CostBasis,
    Delivery,
    DeliveryState,
    RunStatus,
    SpooledFile,
    Totals,
    TriggerSource,
)
from billfold.period import BillingPeriod
from billfold.sql import read_queries

Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredDelivery:
    """A delivery's row and the runs of its files, in the files' order."""

    delivery_id: UUID
    run_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentStatement:
    """A statement and what it holds now; without a publication it holds nothing."""

    statement_id: int
    billing_period: BillingPeriod
    publication_id: int | None
    delivery_id: UUID | None
    delivered_at: datetime | None
    cost_basis: CostBasis | None
    mapping_version: int | None
    hash_version: int
    currency: str
    totals: Totals
    file_versions: frozenset[tuple[str, str]]


def ensure_client(connection: Connection, client: Client) -> None:
    """Keep the client's row as it is configured."""
    connection.execute(
        _query("ensure_client"),
        {
            name: getattr(client, name)
            for name in ("client_id", "role_arn", "external_id", "bucket", "prefix", "region", "account_id", "currency")
        },
    )


def claim(connection: Connection, client: Client, delivery: Delivery, *, wait_seconds: int) -> None:
    """Hold the statement: one worker at a time, until this connection ends.

    Raises RunConflictError when another worker holds it longer than `wait_seconds`.
    """
    statement = f"{client.client_id} {delivery.bucket} {delivery.export_path} {_period_text(delivery)}"
    with _lock_timeout(
        connection, wait_seconds, f"another worker holds {delivery.export_name} {_period_text(delivery)}"
    ):
        connection.execute(_query("lock_statement"), {"statement": statement})


def register_delivery(
    connection: Connection, client: Client, delivery: Delivery, trigger: TriggerSource
) -> RegisteredDelivery:
    """The delivery's row and one run per file version, pending unless they are known already.

    Raises UsageError when a file version belongs to another client.
    """
    with connection.transaction():
        row = _one(
            connection,
            "register_delivery",
            {
                "client_id": client.client_id,
                "bucket": delivery.bucket,
                "export_path": delivery.export_path,
                "export_name": delivery.export_name,
                "billing_period": delivery.period.starts_on if delivery.period else None,
                "manifest_key": delivery.manifest.key if delivery.manifest else None,
                "manifest_etag": delivery.manifest.etag if delivery.manifest else None,
                "execution_id": delivery.execution_id,
                "content_digest": _digest(delivery),
                "delivered_at": delivery.delivered_at,
                "trigger_source": trigger,
            },
        )
        delivery_id: UUID = row[0]
        run_ids = []
        for file_number, file in enumerate(delivery.files):
            run_id, owner, _ = _one(
                connection,
                "register_run",
                {
                    "client_id": client.client_id,
                    "delivery_id": delivery_id,
                    "source_bucket": file.bucket,
                    "source_s3_key": file.key,
                    "source_etag": file.etag,
                    "trigger_source": trigger,
                    "size_bytes": file.size_bytes,
                },
            )
            if owner != client.client_id:
                raise UsageError(
                    f"{file.bucket}/{file.key} belongs to client {owner}, not to {client.client_id}",
                    advice="a bucket and prefix belong to one client",
                )
            connection.execute(
                _query("register_delivery_file"),
                {"delivery_id": delivery_id, "ingestion_run_id": run_id, "file_number": file_number},
            )
            run_ids.append(run_id)
    return RegisteredDelivery(delivery_id=delivery_id, run_ids=tuple(run_ids))


def find_statement(connection: Connection, client: Client, delivery: Delivery) -> CurrentStatement | None:
    """The delivery's statement as it stands; None where nothing was ever published for it."""
    row = connection.execute(_query("find_statement"), _statement_key(client, delivery, delivery.period)).fetchone()
    return _current_statement(connection, row) if row else None


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

    Raises RunConflictError when the partitions cannot be attached within `lock_timeout_seconds`.
    """
    key = _statement_key(client, delivery, period)
    connection.execute(
        _query("ensure_statement"),
        {**key, "export_name": delivery.export_name, "hash_version": hash_version, "currency": client.currency},
    )
    with _lock_timeout(connection, lock_timeout_seconds, f"the partitions of {period} are locked"):
        connection.execute(_query("create_partitions"), {"billing_period": period.starts_on})
    row = connection.execute(_query("find_statement"), key).fetchone()
    assert row is not None
    return _current_statement(connection, row)


def start(connection: Connection, registered: RegisteredDelivery, trigger: TriggerSource) -> None:
    """A new attempt begins: delivery and runs are running; what a dead worker left running has failed."""
    with connection.transaction():
        parameters = {
            "delivery_id": registered.delivery_id,
            "run_ids": list(registered.run_ids),
            "trigger_source": trigger,
        }
        abandoned = connection.execute(_query("end_abandoned_deliveries"), parameters).fetchall()
        connection.execute(_query("end_abandoned_runs"), {"delivery_ids": [row[0] for row in abandoned]})
        connection.execute(_query("start_delivery"), parameters)
        connection.execute(_query("start_runs"), parameters)


def record_fetched(connection: Connection, registered: RegisteredDelivery, spooled: Sequence[SpooledFile]) -> None:
    """Keep the SHA-256 and the size of what was read."""
    with connection.transaction():
        for run_id, file in zip(registered.run_ids, spooled, strict=True):
            connection.execute(
                _query("record_fetched"),
                {"run_id": run_id, "sha256": file.sha256, "size_bytes": file.source.size_bytes},
            )


def end(
    connection: Connection,
    registered: RegisteredDelivery,
    state: DeliveryState,
    status: RunStatus,
    error: BillfoldError | None = None,
) -> None:
    """The attempt ended without publishing: `state` for the delivery, `status` for its runs, the error if it failed."""
    facts = {
        "error_code": error.error_code if error else None,
        "error_message": str(error) if error else None,
        "delivery_id": registered.delivery_id,
        "run_ids": list(registered.run_ids),
    }
    with connection.transaction():
        connection.execute(_query("end_delivery"), {**facts, "state": state})
        connection.execute(_query("end_runs"), {**facts, "status": status})
        connection.execute(_query("end_delivery_files"), {**facts, "outcome": status})


def record_failed_source(
    connection: Connection,
    client: Client,
    *,
    bucket: str,
    key: str,
    etag: str,
    error: BillfoldError,
    trigger: TriggerSource,
) -> UUID | None:
    """Leave a failed run for a source that is no delivery; None where that version is in already."""
    row = connection.execute(
        _query("record_failed_source"),
        {
            "client_id": client.client_id,
            "source_bucket": bucket,
            "source_s3_key": key,
            "source_etag": etag,
            "trigger_source": trigger,
            "error_code": error.error_code,
            "error_message": str(error),
        },
    ).fetchone()
    return row[0] if row else None


def adopt(
    connection: Connection, registered: RegisteredDelivery, current: CurrentStatement
) -> dict[tuple[str, str], int]:
    """The delivery holds the current one's files: it becomes the current delivery, and nothing else changes.

    Returns the rows that each of its file versions (key, ETag) holds.
    """
    parameters = {
        "delivery_id": registered.delivery_id,
        "current_delivery_id": current.delivery_id,
        "statement_id": current.statement_id,
    }
    with connection.transaction():
        if registered.delivery_id != current.delivery_id:
            for name in ("adopt_files", "adopt_delivery", "adopt_statement"):
                connection.execute(_query(name), parameters)
        rows = connection.execute(_query("count_file_rows"), parameters).fetchall()
    return {(key, etag): row_count for key, etag, row_count in rows}


def list_residuals(connection: Connection, statement: CurrentStatement) -> dict[UUID, Decimal]:
    """The Adjustment charges that the statement holds for its Savings Plans, by their row_hash."""
    rows = connection.execute(
        _query("list_residuals"),
        {"statement_id": statement.statement_id, "billing_period": statement.billing_period.starts_on},
    ).fetchall()
    return dict(rows)


@contextmanager
def _lock_timeout(connection: Connection, seconds: int, message: str) -> Iterator[None]:
    """Wait for locks no longer than this; then it is a conflict, to be tried again."""
    # 0 would mean to wait for ever.
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{max(seconds * 1000, 1)}ms"])
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise RunConflictError(message, advice="try again when it has finished") from error
    connection.execute("SELECT set_config('lock_timeout', '0', false)")


def _current_statement(connection: Connection, row: TupleRow) -> CurrentStatement:
    (statement_id, publication_id, delivery_id, period, basis, mapping_version, hash_version, rows, charges) = row[:9]
    billed, gross, net, delivered_at, currency = row[9:]
    files = connection.execute(_query("list_delivery_files"), {"delivery_id": delivery_id}).fetchall()
    return CurrentStatement(
        statement_id=statement_id,
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
        file_versions=frozenset((key, etag) for key, etag in files),
    )


def _statement_key(client: Client, delivery: Delivery, period: BillingPeriod | None) -> dict[str, str | date | None]:
    return {
        "client_id": client.client_id,
        "bucket": delivery.bucket,
        "export_path": delivery.export_path,
        "billing_period": period.starts_on if period else None,
    }


def _digest(delivery: Delivery) -> str:
    manifest = (delivery.manifest.key, delivery.manifest.etag) if delivery.manifest else ()
    parts = (
        _period_text(delivery),
        delivery.delivered_at.isoformat(),
        *manifest,
        *(part for file in delivery.files for part in (file.key, file.etag)),
    )
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


def _period_text(delivery: Delivery) -> str:
    return str(delivery.period) if delivery.period else ""


def _money(amounts: dict[str, str] | None) -> dict[str, Decimal]:
    return {currency: Decimal(amount) for currency, amount in (amounts or {}).items()}


def _one(connection: Connection, name: str, parameters: dict[str, Any]) -> TupleRow:
    row = connection.execute(_query(name), parameters).fetchone()
    assert row is not None, f"{name} returns a row"
    return row


def _query(name: str) -> bytes:
    return read_queries("billfold.store", "control")[name].encode()
