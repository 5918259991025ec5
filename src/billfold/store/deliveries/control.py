"""Control rows outside the publishing transaction: what is being ingested, by whom, and how it ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from psycopg.rows import TupleRow

from billfold.errors import BillfoldError, RunConflictError, UsageError
from billfold.model import Client, Delivery, DeliveryState, RunStatus, SpooledFile, TriggerSource
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import Connection, lock_timeout
from billfold.store.deliveries.hold import Compared, end_holds_beside
from billfold.store.deliveries.statements import CurrentStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredDelivery:
    """A delivery's row and the runs of its files, in the files' order, with what was decided about it before."""

    delivery_id: UUID
    run_ids: tuple[UUID, ...]
    state: DeliveryState
    is_released: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """A delivery as its row tells it; `key` is its manifest's, or its only file's.

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
    """How the latest attempt on a statement stands."""

    delivery_id: UUID
    state: DeliveryState
    error_code: str | None


def ensure_client(connection: Connection, client: Client) -> None:
    """Keep the client's row as it is configured; the registry keeps its own.

    Raises UsageError for a client that is not of the registry and has the id or the folder of one that is.
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
    """Raise what `ensure_client` raises, and keep nothing."""
    with connection.transaction(force_rollback=True):
        ensure_client(connection, client)


def claim(connection: Connection, client: Client, delivery: Delivery, *, wait_seconds: int) -> None:
    """Hold the statement: one worker at a time, until this connection ends.

    Raises RunConflictError when another worker holds it longer than `wait_seconds`.
    """
    # What month a standalone file is of only its content tells: its key is the whole name of its statement.
    period = str(delivery.period) if delivery.manifest and delivery.period else ""
    _claim(connection, (client.client_id, delivery.bucket, delivery.export_path, period), wait_seconds)


def claim_stored(connection: Connection, stored: StoredDelivery, *, wait_seconds: int) -> None:
    """Hold the statement of a delivery that is known already, as `claim` does."""
    period = str(stored.billing_period) if stored.has_manifest and stored.billing_period else ""
    _claim(connection, (stored.client_id, stored.bucket, stored.export_path, period), wait_seconds)


def _claim(connection: Connection, names: tuple[str, ...], wait_seconds: int) -> None:
    with lock_timeout(connection, wait_seconds, f"another worker holds {' '.join(names[2:]).strip()}"):
        connection.execute(_query("lock_statement"), {"statement": " ".join(names)})


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
    """The registered delivery with what is decided about it now."""
    state, is_released, reason = _one(connection, "read_decision", {"delivery_id": registered.delivery_id})
    return replace(registered, state=DeliveryState(state), is_released=is_released, reason=reason)


def find_delivery(connection: Connection, delivery_id: UUID) -> StoredDelivery:
    """The delivery of this id; raises UsageError where there is none."""
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


def find_registered(connection: Connection, client: Client, delivery: Delivery) -> UUID | None:
    """The id of the row that this delivery has; None where it was never seen before."""
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


def release(connection: Connection, delivery_id: UUID) -> bool:
    """Let a held delivery through at its next attempt; False for one that is not held."""
    return connection.execute(_query("release_delivery"), {"delivery_id": delivery_id}).rowcount == 1


def take_release_back(connection: Connection, delivery_id: UUID) -> None:
    """The delivery is not let through any more."""
    connection.execute(_query("take_release_back"), {"delivery_id": delivery_id})


def end_abandoned(connection: Connection, delivery_id: UUID) -> None:
    """What a dead worker left running of this delivery's statement, which is claimed, has failed."""
    with connection.transaction():
        abandoned = connection.execute(_query("end_abandoned_deliveries"), {"delivery_id": delivery_id}).fetchall()
        if abandoned:
            connection.execute(_query("end_abandoned_runs"), {"delivery_ids": [row[0] for row in abandoned]})


def start(connection: Connection, registered: RegisteredDelivery, trigger: TriggerSource) -> None:
    """A new attempt begins: delivery and runs are running."""
    with connection.transaction():
        parameters = {
            "delivery_id": registered.delivery_id,
            "run_ids": list(registered.run_ids),
            "trigger_source": trigger,
        }
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


def set_aside(connection: Connection, registered: RegisteredDelivery, period: BillingPeriod, reason: str) -> None:
    """The delivery was read to learn its month only, and nobody asked for that one: it waits as if never tried."""
    facts = {
        "delivery_id": registered.delivery_id,
        "run_ids": list(registered.run_ids),
        "billing_period": period.starts_on,
        "reason": reason,
    }
    with connection.transaction():
        for name in ("set_delivery_aside", "set_runs_aside", "set_files_aside"):
            connection.execute(_query(name), facts)


def end(
    connection: Connection,
    registered: RegisteredDelivery,
    state: DeliveryState,
    status: RunStatus,
    error: BillfoldError | None = None,
    reason: str | None = None,
) -> None:
    """The attempt ended without publishing: `state` for the delivery, `status` for its runs, the error if it failed.

    `reason` says why a delivery is superseded or held. A superseded one is let through no more.
    """
    facts = {
        "error_code": error.error_code if error else None,
        "error_message": str(error) if error else None,
        "reason": reason,
        "delivery_id": registered.delivery_id,
        "run_ids": list(registered.run_ids),
    }
    with connection.transaction():
        connection.execute(_query("end_delivery"), {**facts, "state": state})
        if error:
            connection.execute(_query("keep_last_error"), facts)
        connection.execute(_query("end_runs"), {**facts, "status": status})
        connection.execute(_query("end_delivery_files"), {**facts, "outcome": status})


def interrupt(connection: Connection, client: Client, delivery: Delivery, error: BillfoldError) -> DeliveryState | None:
    """A signal ended the attempt, and its sessions are gone: the delivery is pending and its runs have failed.

    What is decided already stays as it is, and so does what another worker runs. Returns the delivery's state, None
    where it was not registered.
    """
    delivery_id = find_registered(connection, client, delivery)
    if delivery_id is None:
        return None
    try:
        claim(connection, client, delivery, wait_seconds=0)
        states = ["pending", "running"]
    except RunConflictError:
        # What runs now is the other worker's.
        states = ["pending"]
        connection.execute("SELECT set_config('lock_timeout', '500ms', false)")
    facts = {
        "delivery_id": delivery_id,
        "states": states,
        "error_code": error.error_code,
        "error_message": str(error),
    }
    with connection.transaction():
        if connection.execute(_query("interrupt_delivery"), facts).rowcount:
            connection.execute(_query("interrupt_runs"), facts)
            connection.execute(_query("interrupt_files"), facts)
    [state] = _one(connection, "read_decision", facts)[:1]
    return DeliveryState(state)


def find_latest_attempt(
    connection: Connection, client: Client, *, bucket: str, export_path: str, period: BillingPeriod | None
) -> Attempt | None:
    """The delivery of this statement that was started last, of any period where None is given; None where none was."""
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


def adopt(
    connection: Connection,
    registered: RegisteredDelivery,
    current: CurrentStatement,
    compared: Compared | None = None,
) -> dict[tuple[str, str], int]:
    """The delivery holds what the current one does: it becomes the current delivery, and no bill changes.

    What was held before it is overtaken. Its files are known by key and ETag, or by their bytes, or their rows were
    `compared`. Returns the rows that each of its file versions (key, ETag) holds.
    """
    parameters = {
        "delivery_id": registered.delivery_id,
        "current_delivery_id": current.delivery_id,
        "statement_id": current.statement_id,
        "publication_id": current.publication_id,
        "columns": json.dumps(dict(compared.columns)) if compared else None,
        "findings": json.dumps(compared.findings if compared else []),
        "timings": json.dumps(
            {stage: round(seconds, 3) for stage, seconds in compared.timings.items()} if compared else {}
        ),
    }
    with connection.transaction():
        # Deliveries are written before files and runs, as everywhere: nobody waits for another in a circle.
        end_holds_beside(connection, statement_id=current.statement_id, delivery_id=registered.delivery_id)
        if registered.delivery_id != current.delivery_id:
            connection.execute(_query("adopt_delivery"), parameters)
            if compared is None:
                connection.execute(_query("adopt_files"), parameters)
            else:
                for file_number, rows_read in enumerate(compared.rows_read):
                    counts = {"file_number": file_number, "rows_read": rows_read}
                    connection.execute(_query("adopt_compared_file"), {**parameters, **counts})
            connection.execute(_query("adopt_runs"), parameters)
            if connection.execute(_query("adopt_statement"), parameters).rowcount == 0:
                raise RunConflictError("the statement was published by another worker meanwhile", advice="try again")
        rows = connection.execute(_query("count_file_rows"), parameters).fetchall()
    return {(key, etag): row_count for key, etag, row_count in rows}


def _digest(delivery: Delivery) -> str:
    """What makes two sightings one delivery: its execution, where AWS names it, else its manifest and time."""
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
    return read_queries("billfold.store", "control")[name].encode()
