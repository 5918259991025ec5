"""Claims: one worker at a time works on a statement, and clears what a dead one left."""

from __future__ import annotations

from uuid import UUID

import psycopg

from billfold.model import Client, Delivery
from billfold.sql import read_queries
from billfold.store.database import Connection, lock_timeout
from billfold.store.deliveries.records import StoredDelivery


def claim(connection: Connection, client: Client, delivery: Delivery, *, wait_seconds: int) -> None:
    """Claim the statement, for one worker at a time, until this connection ends.

    Raises RunConflictError if another worker holds it longer than `wait_seconds`.
    """
    # Only its content says which month a standalone file is of: its key is the whole name of its statement.
    period = str(delivery.period) if delivery.manifest and delivery.period else ""
    _claim(connection, (client.client_id, delivery.bucket, delivery.export_path, period), wait_seconds)


def claim_stored(connection: Connection, stored: StoredDelivery, *, wait_seconds: int) -> None:
    """Claim the statement of a known delivery, as `claim` does."""
    period = str(stored.billing_period) if stored.has_manifest and stored.billing_period else ""
    _claim(connection, (stored.client_id, stored.bucket, stored.export_path, period), wait_seconds)


def _claim(connection: Connection, names: tuple[str, ...], wait_seconds: int) -> None:
    with lock_timeout(connection, wait_seconds, f"another worker holds {' '.join(names[2:]).strip()}"):
        connection.execute(_query("lock_statement"), {"statement": " ".join(names)})


def is_held(connection: Connection) -> bool:
    """Whether the connection that claimed lives, and the claim with it."""
    try:
        connection.execute("SELECT")
    except psycopg.Error:
        return False
    return True


def end_abandoned(connection: Connection, delivery_id: UUID) -> None:
    """Mark as failed what a dead worker left running of this delivery's statement, which is claimed."""
    with connection.transaction():
        abandoned = connection.execute(_query("end_abandoned_deliveries"), {"delivery_id": delivery_id}).fetchall()
        if abandoned:
            connection.execute(_query("end_abandoned_runs"), {"delivery_ids": [row[0] for row in abandoned]})


def _query(name: str) -> bytes:
    return read_queries("billfold.store.deliveries", "claims")[name].encode()
