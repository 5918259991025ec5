"""Runs outside any attempt on a delivery: files told to have come, sources that are no delivery, known months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from billfold.errors import BillfoldError
from billfold.model import Client, Delivery, TriggerSource
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPeriod:
    """The billing period of one version of a file, as its content told it."""

    key: str
    etag: str
    billing_period: BillingPeriod


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRun:
    """A run of a data file that was told to have come, and that no delivery has."""

    ingestion_run_id: UUID
    key: str


def mark_pending(
    connection: Connection,
    client: Client,
    *,
    bucket: str,
    key: str,
    etag: str,
    size_bytes: int | None,
    trigger: TriggerSource,
) -> bool:
    """Leave a pending run for a version of a data file that is told to have come; False where it is known already.

    The manifest decides what becomes of it. Nothing that is known of a version changes.
    """
    parameters = {
        "client_id": client.client_id,
        "source_bucket": bucket,
        "source_s3_key": key,
        "source_etag": etag,
        "trigger_source": trigger,
        "size_bytes": size_bytes,
    }
    return connection.execute(_query("mark_pending"), parameters).rowcount == 1


def list_waiting(connection: Connection, client: Client, delivery: Delivery) -> list[WaitingRun]:
    """The pending runs below the delivery's export that no delivery has and that came before it."""
    parameters = {
        "client_id": client.client_id,
        "bucket": delivery.bucket,
        "folder": f"{delivery.export_path}/",
        "delivered_at": delivery.delivered_at,
    }
    rows = connection.execute(_query("list_waiting"), parameters).fetchall()
    return [WaitingRun(ingestion_run_id=run_id, key=key) for run_id, key in rows]


def skip_waiting(connection: Connection, run_ids: Sequence[UUID]) -> None:
    """These runs wait no more; a manifest that names their versions later takes them up all the same."""
    connection.execute(_query("skip_waiting"), {"run_ids": list(run_ids)})


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


def find_periods(connection: Connection, client: Client, bucket: str, keys: Sequence[str]) -> list[KnownPeriod]:
    """The billing periods that versions of these files were found to be of, the latest delivered last."""
    rows = connection.execute(
        _query("find_periods"), {"client_id": client.client_id, "bucket": bucket, "keys": list(keys)}
    ).fetchall()
    return [KnownPeriod(key=key, etag=etag, billing_period=BillingPeriod(period)) for key, etag, period in rows]


def _query(name: str) -> bytes:
    return read_queries("billfold.store.deliveries", "runs")[name].encode()
