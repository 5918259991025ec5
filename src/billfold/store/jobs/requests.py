"""Requested deliveries: their rows are the queue of the server's worker and survive every restart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from billfold.model import DeliveryState, RunStatus, TriggerSource
from billfold.sql import read_queries
from billfold.store.database import Connection
from billfold.store.deliveries import records
from billfold.store.deliveries.records import StoredDelivery


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedDelivery:
    """What a request returns: a delivery without its costs. `asked_at` is None if it is not waiting."""

    delivery_id: UUID
    client_id: str
    export_name: str
    billing_period: str | None
    state: str
    asked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenDelivery:
    """A delivery that a worker has taken, for the `taken_count`th time since the request of `asked_at`."""

    delivery: StoredDelivery
    asked_at: datetime
    requested_by: TriggerSource
    taken_count: int


def request(connection: Connection, delivery_id: UUID, requested_by: TriggerSource) -> None:
    """Let a worker take the delivery as soon as it can.

    A failed delivery, or a held one that was released, is pending again, with its runs.
    """
    parameters = {"delivery_id": delivery_id, "requested_by": requested_by}
    with connection.transaction():
        for name in ("request", "request_delivery", "request_runs", "request_files"):
            connection.execute(_query(name), parameters)


def show(connection: Connection, delivery_id: UUID) -> RequestedDelivery:
    """The delivery's present state."""
    with connection.cursor(row_factory=class_row(RequestedDelivery)) as cursor:
        row = cursor.execute(_query("show"), {"delivery_id": delivery_id}).fetchone()
    assert row is not None
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What matters to another attempt: a newer delivery that is current, and how the last attempt failed."""

    newer_delivery_id: UUID | None
    error_code: str | None


def read_prospect(connection: Connection, delivery_id: UUID) -> Prospect:
    """The prospect of a delivery that exists."""
    with connection.cursor(row_factory=class_row(Prospect)) as cursor:
        row = cursor.execute(_query("read_prospect"), {"delivery_id": delivery_id}).fetchone()
    assert row is not None
    return row


def take(connection: Connection) -> TakenDelivery | None:
    """Take the next delivery that is due; no other worker takes it until `let_go` or the end of this connection."""
    row = connection.execute(_query("lock_due")).fetchone()
    if row is None:
        return None
    delivery_id: UUID = row[0]
    taken = connection.execute(_query("take"), {"delivery_id": delivery_id}).fetchone()
    if taken is None:
        let_go(connection, delivery_id)
        return None
    asked_at, requested_by, taken_count = taken
    return TakenDelivery(
        delivery=records.find_delivery(connection, delivery_id),
        asked_at=asked_at,
        requested_by=TriggerSource(requested_by),
        taken_count=taken_count,
    )


def let_go(connection: Connection, delivery_id: UUID) -> None:
    """Let other workers take the delivery again."""
    connection.execute(_query("unlock"), {"delivery_id": delivery_id})


def postpone(connection: Connection, taken: TakenDelivery, seconds: int) -> None:
    """Try the delivery again after this time, or at once if it was requested again meanwhile."""
    parameters = {"delivery_id": taken.delivery.delivery_id, "asked_at": taken.asked_at, "seconds": seconds}
    connection.execute(_query("postpone"), parameters)


def finish(connection: Connection, taken: TakenDelivery, reason: str) -> None:
    """End the request. A delivery that is still pending, because another one came in, is superseded."""
    _end(connection, taken, DeliveryState.SUPERSEDED, RunStatus.SKIPPED, reason=reason)


def give_up(connection: Connection, taken: TakenDelivery, *, error_code: str, message: str) -> None:
    """Give up the request. A delivery that is still pending, because it could not even start, has failed."""
    _end(connection, taken, DeliveryState.FAILED, RunStatus.FAILED, error_code=error_code, error_message=message)


def _end(
    connection: Connection,
    taken: TakenDelivery,
    state: DeliveryState,
    status: RunStatus,
    *,
    reason: str | None = None,
    error_code: str | None = None,
    error_message: str | None = None,
) -> None:
    parameters = {
        "delivery_id": taken.delivery.delivery_id,
        "asked_at": taken.asked_at,
        "state": state,
        "status": status,
        "reason": reason,
        "error_code": error_code,
        "error_message": error_message,
    }
    with connection.transaction():
        row = connection.execute(_query("end"), parameters).fetchone()
        if row is not None and row[0] == DeliveryState.PENDING:
            for name in ("end_delivery", "end_runs", "end_files"):
                connection.execute(_query(name), parameters)


def _query(name: str) -> bytes:
    return read_queries("billfold.store.jobs", "requests")[name].encode()
