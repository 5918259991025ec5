"""Deliveries as their rows describe them: by id, with their releases and latest attempts."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from billfold.errors import UsageError
from billfold.model import Client, DeliveryState
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """A delivery as its row describes it; `key` is its manifest's, or its only file's.

    `named_period` is the month that somebody named for files that name none.
    """

    delivery_id: UUID
    client_id: str
    statement_id: int | None
    bucket: str
    export_path: str
    export_name: str
    billing_period: BillingPeriod | None
    named_period: BillingPeriod | None
    state: DeliveryState
    reason: str | None
    is_released: bool
    rolled_back_by: int | None
    has_manifest: bool
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The state of the latest attempt on a statement."""

    delivery_id: UUID
    state: DeliveryState
    error_code: str | None


def find_delivery(connection: Connection, delivery_id: UUID) -> StoredDelivery:
    """The delivery of this id; raises UsageError if there is none."""
    row = connection.execute(_query("find_delivery"), {"delivery_id": delivery_id}).fetchone()
    if row is None:
        raise UsageError(f"there is no delivery {delivery_id}", advice="`billfold deliveries` lists them")
    client_id, statement_id, bucket, export_path, export_name, period, state, reason = row[:8]
    is_released, rolled_back_by, manifest_key, named_period, file_key = row[8:]
    return StoredDelivery(
        delivery_id=delivery_id,
        client_id=client_id,
        statement_id=statement_id,
        bucket=bucket,
        export_path=export_path,
        export_name=export_name,
        billing_period=BillingPeriod(period) if period else None,
        named_period=BillingPeriod(named_period) if named_period else None,
        state=DeliveryState(state),
        reason=reason,
        is_released=is_released,
        rolled_back_by=rolled_back_by,
        has_manifest=manifest_key is not None,
        key=manifest_key or file_key or export_path,
    )


def release(connection: Connection, delivery_id: UUID) -> bool:
    """Let a held delivery through at its next attempt; False for one that is not held."""
    return connection.execute(_query("release_delivery"), {"delivery_id": delivery_id}).rowcount == 1


def take_release_back(connection: Connection, delivery_id: UUID) -> None:
    """Withdraw the release of a delivery."""
    connection.execute(_query("take_release_back"), {"delivery_id": delivery_id})


def find_latest_attempt(
    connection: Connection, client: Client, *, bucket: str, export_path: str, period: BillingPeriod | None
) -> Attempt | None:
    """The delivery of this statement, of any period if None, that was started last; None if none was."""
    parameters = {
        "client_id": client.client_id,
        "bucket": bucket,
        "export_path": export_path,
        "billing_period": period.starts_on if period else None,
    }
    row = connection.execute(_query("find_latest_attempt"), parameters).fetchone()
    if row is None:
        return None
    return Attempt(delivery_id=row[0], state=DeliveryState(row[1]), error_code=row[2])


def _query(name: str) -> bytes:
    return read_queries("billfold.store.deliveries", "records")[name].encode()
