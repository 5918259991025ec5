"""Registration: a client, a delivery and the runs of its files become known, before anything is fetched."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from psycopg.rows import TupleRow

from billfold.errors import UsageError
from billfold.model import Client, Delivery, DeliveryState, TriggerSource
from billfold.sql import read_queries
from billfold.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredDelivery:
    """A delivery's row and the runs of its files, in the files' order, with the decisions about it so far."""

    delivery_id: UUID
    run_ids: tuple[UUID, ...]
    state: DeliveryState
    is_released: bool
    reason: str | None


def ensure_client(connection: Connection, client: Client) -> None:
    """Keep the client's row as it is configured; the registry keeps its own.

    Raises UsageError for an unregistered client with the id or the folder of a registered one.
    """
    if client.is_registered:
        return
    parameters = asdict(client)
    if row := connection.execute(_query("find_registered_client"), parameters).fetchone():
        raise UsageError(
            f"client {row[0]} is registered"
            + (f", and s3://{row[1]}/{row[2]} is its own" if row[0] != client.client_id else ""),
            advice="a folder of a bucket belongs to one client; choose another BILLFOLD_CLIENT or AWS_BILLING_PREFIX",
        )
    connection.execute(_query("ensure_client"), parameters)


def check_client(connection: Connection, client: Client) -> None:
    """Raise what `ensure_client` raises, and write nothing."""
    with connection.transaction(force_rollback=True):
        ensure_client(connection, client)


def register_delivery(
    connection: Connection, client: Client, delivery: Delivery, trigger: TriggerSource
) -> RegisteredDelivery:
    """The delivery's row and one run per file version, pending unless they are known already.

    Raises UsageError if a file version belongs to another client.
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
                "named_period": delivery.period.starts_on if delivery.period and delivery.is_month_named else None,
                "manifest_key": delivery.manifest.key if delivery.manifest else None,
                "manifest_etag": delivery.manifest.etag if delivery.manifest else None,
                "execution_id": delivery.execution_id,
                "content_digest": _digest(delivery),
                "delivered_at": delivery.delivered_at,
                "is_time_assumed": delivery.time_fault is not None,
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
    return RegisteredDelivery(
        delivery_id=delivery_id,
        run_ids=tuple(run_ids),
        state=DeliveryState(row[1]),
        is_released=row[2],
        reason=row[3],
    )


def read_again(connection: Connection, registered: RegisteredDelivery) -> RegisteredDelivery:
    """The registered delivery with the current decisions about it."""
    state, is_released, reason = _one(connection, "read_decision", {"delivery_id": registered.delivery_id})
    return replace(registered, state=DeliveryState(state), is_released=is_released, reason=reason)


def read_state(connection: Connection, delivery_id: UUID) -> DeliveryState:
    """The state of a delivery that is registered."""
    return DeliveryState(_one(connection, "read_decision", {"delivery_id": delivery_id})[0])


def find_registered(connection: Connection, client: Client, delivery: Delivery) -> UUID | None:
    """The id of the row that this delivery has; None if it was never seen."""
    row = connection.execute(
        _query("find_registered"),
        {
            "client_id": client.client_id,
            "bucket": delivery.bucket,
            "export_path": delivery.export_path,
            "content_digest": _digest(delivery),
        },
    ).fetchone()
    return row[0] if row else None


def _digest(delivery: Delivery) -> str:
    """What identifies a delivery: its execution, if AWS names it, else its manifest and time; and its files."""
    if delivery.execution_id:
        refresh: tuple[str, ...] = ("execution", delivery.execution_id)
    elif delivery.manifest:
        refresh = (delivery.manifest.modified_at.isoformat(), delivery.manifest.key, delivery.manifest.etag)
    else:
        refresh = (delivery.files[0].modified_at.isoformat(),)
    parts = (
        str(delivery.period) if delivery.period else "",
        *refresh,
        *(part for file in delivery.files for part in (file.key, file.etag)),
    )
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


def _one(connection: Connection, name: str, parameters: dict[str, Any]) -> TupleRow:
    row = connection.execute(_query(name), parameters).fetchone()
    assert row is not None, f"{name} returns a row"
    return row


def _query(name: str) -> bytes:
    return read_queries("billfold.store.deliveries", "registration")[name].encode()
