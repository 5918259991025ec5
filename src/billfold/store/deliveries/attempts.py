"""Attempts: a delivery starts, and ends without a publication: failed, held, interrupted or unchanged."""

from __future__ import annotations

import json
from collections.abc import Sequence

from billfold.errors import BillfoldError, RunConflictError
from billfold.model import Client, Delivery, DeliveryState, RunStatus, SpooledFile, TriggerSource
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import Connection
from billfold.store.deliveries.claims import claim
from billfold.store.deliveries.hold import Compared, end_holds_beside
from billfold.store.deliveries.registration import RegisteredDelivery, find_registered, read_state
from billfold.store.deliveries.statements import CurrentStatement


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
    """Record the SHA-256 and the size of each fetched file."""
    with connection.transaction():
        for run_id, file in zip(registered.run_ids, spooled, strict=True):
            connection.execute(
                _query("record_fetched"),
                {"run_id": run_id, "sha256": file.sha256, "size_bytes": file.source.size_bytes},
            )


def set_aside(connection: Connection, registered: RegisteredDelivery, period: BillingPeriod, reason: str) -> None:
    """The delivery was read and is of a month that was not requested: it stays pending, as if never tried."""
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
    """End an attempt without a publication: `state` for the delivery, `status` for its runs, the error if it failed.

    `reason` says why a delivery is superseded or held. A superseded one loses its release.
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
    """After a signal, once the attempt's sessions have ended: the delivery is pending and its runs have failed.

    A delivery with a final state, or that another worker is running, stays as it is. Returns the delivery's state, None
    if it was not registered.
    """
    delivery_id = find_registered(connection, client, delivery)
    if delivery_id is None:
        return None
    try:
        claim(connection, client, delivery, wait_seconds=0)
        states = ["pending", "running"]
    except RunConflictError:
        # A running delivery is the other worker's.
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
    return read_state(connection, delivery_id)


def adopt(
    connection: Connection,
    registered: RegisteredDelivery,
    current: CurrentStatement,
    compared: Compared | None = None,
) -> dict[tuple[str, str], int]:
    """Make a delivery current that holds the same rows as the current one; no bill changes.

    Held deliveries before it are superseded. Its files are known by key and ETag, or by their bytes, or their rows were
    `compared`. Returns the number of rows in each of its file versions (key, ETag).
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
        # Deliveries are written before files and runs, as everywhere, so that no two workers wait for each other.
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


def _query(name: str) -> bytes:
    return read_queries("billfold.store.deliveries", "attempts")[name].encode()
