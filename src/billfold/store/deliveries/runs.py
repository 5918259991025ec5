"""Runs outside any attempt on a delivery: announced files, sources that are no delivery, known months."""

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
    """The billing period of one version of a file, as its content says."""

    key: str
    etag: str
    billing_period: BillingPeriod


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRun:
    """A run of an announced data file that no delivery has."""

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
    """Record a pending run for an announced version of a data file; False if it is known already.

    The manifest decides about it. A known version keeps its state.
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
    """The pending runs below the delivery's export that no delivery has and that arrived before it."""
    parameters = {
        "client_id": client.client_id,
        "bucket": delivery.bucket,
        "folder": f"{delivery.export_path}/",
        "delivered_at": delivery.delivered_at,
    }
    rows = connection.execute(_query("list_waiting"), parameters).fetchall()
    return [WaitingRun(ingestion_run_id=run_id, key=key) for run_id, key in rows]


def skip_waiting(connection: Connection, run_ids: Sequence[UUID]) -> None:
    """Skip these runs; a later manifest that names their versions still takes them up."""
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
    """Record a failed run for a source that is not a delivery; None if that version is ingested already."""
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
