"""Requested deliveries: each waits as a job of the queue, and shows there that it was requested."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from billfold.model import DeliveryState, RunStatus, TriggerSource
from billfold.sql import read_queries
from billfold.store.database import Connection
from billfold.store.deliveries.records import StoredDelivery
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import NewJob


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedDelivery:
    """What a request returns: a delivery without its costs. `asked_at` is None if it is not waiting."""

    delivery_id: UUID
    client_id: str
    export_name: str
    billing_period: str | None
    state: str
    asked_at: datetime | None


def request(connection: Connection, stored: StoredDelivery, work: str, requested_by: TriggerSource) -> None:
    """Let a worker take the delivery as soon as it can; `work` is what no other worker may do meanwhile.

    A failed delivery, or a held one that was released, is pending again, with its runs. Another one that waits at the
    same key is superseded.
    """
    parameters = {
        "client_id": stored.client_id,
        "bucket": stored.bucket,
        "key": stored.key,
        "period": stored.named_period.starts_on if stored.named_period else None,
        "delivery_id": stored.delivery_id,
    }
    with connection.transaction():
        for (replaced,) in connection.execute(_query("list_replaced"), parameters).fetchall():
            supersede(connection, replaced)
        _reopen(connection, stored.delivery_id)
        jobs.add(
            connection,
            NewJob(
                client_id=stored.client_id,
                bucket=stored.bucket,
                key=stored.key,
                work=work,
                trigger=requested_by,
                period=stored.named_period,
                delivery_id=stored.delivery_id,
            ),
        )


def retry(connection: Connection, job_id: int, *, client_id: str | None = None) -> bool:
    """Let a job be due at once, as `jobs.retry` does; a delivery that it was requested for is pending again."""
    with connection.transaction():
        if not jobs.retry(connection, job_id, client_id=client_id):
            return False
        if delivery_id := _find_requested(connection, job_id):
            _reopen(connection, delivery_id)
    return True


def cancel(connection: Connection, job_id: int, *, client_id: str | None = None) -> bool:
    """Take a job out of the queue, as `jobs.cancel` does; a delivery that waited by it has failed."""
    with connection.transaction():
        delivery_id = _find_requested(connection, job_id)
        if not jobs.cancel(connection, job_id, client_id=client_id):
            return False
        if delivery_id:
            fail(connection, delivery_id, error_code=jobs.INTERRUPTED, message="its job was canceled")
    return True


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


def supersede(connection: Connection, delivery_id: UUID) -> None:
    """End a request whose delivery is still pending because another one is at its key: it is superseded."""
    reason = "was replaced at its key before it was read"
    _end(connection, delivery_id, DeliveryState.SUPERSEDED, RunStatus.SKIPPED, reason=reason)


def fail(connection: Connection, delivery_id: UUID, *, error_code: str, message: str) -> None:
    """End a request that is dead: a delivery that is still pending, because it could not even start, has failed."""
    _end(connection, delivery_id, DeliveryState.FAILED, RunStatus.FAILED, error_code=error_code, error_message=message)


def _find_requested(connection: Connection, job_id: int) -> UUID | None:
    row = connection.execute(_query("find_requested"), {"job_id": job_id}).fetchone()
    return row[0] if row else None


def _reopen(connection: Connection, delivery_id: UUID) -> None:
    for name in ("request_delivery", "request_runs", "request_files"):
        connection.execute(_query(name), {"delivery_id": delivery_id})


def _end(
    connection: Connection,
    delivery_id: UUID,
    state: DeliveryState,
    status: RunStatus,
    *,
    reason: str | None = None,
    error_code: str | None = None,
    error_message: str | None = None,
) -> None:
    parameters = {
        "delivery_id": delivery_id,
        "state": state,
        "status": status,
        "reason": reason,
        "error_code": error_code,
        "error_message": error_message,
    }
    with connection.transaction():
        row = connection.execute(_query("is_pending"), parameters).fetchone()
        if row is not None and row[0]:
            for name in ("end_delivery", "end_runs", "end_files"):
                connection.execute(_query(name), parameters)


def _query(name: str) -> bytes:
    return read_queries("billfold.store.jobs", "requests")[name].encode()
