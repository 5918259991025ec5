"""The failures of queue messages: how many, and whether a worker died while handling one."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from billfold.errors import InterruptionError
from billfold.sql import read_queries
from billfold.store.database import Connection

# The error code of an attempt that ended with its worker.
INTERRUPTED = InterruptionError.error_code


def begin_attempt(connection: Connection, message_id: str, *, client_id: str, worker_id: UUID) -> None:
    """Record that this worker has begun to ingest the message."""
    parameters = {"message_id": message_id, "client_id": client_id, "worker_id": worker_id}
    connection.execute(_query("begin_attempt"), parameters)


def end_attempt(connection: Connection, message_id: str, *, worker_id: UUID) -> None:
    """Record that this worker's attempt has ended, successfully or not."""
    connection.execute(_query("end_attempt"), {"message_id": message_id, "worker_id": worker_id})


def end_attempts(connection: Connection, worker_id: UUID, *, except_ids: Collection[str] = ()) -> None:
    """Record that all attempts of this worker have ended, except those on these messages."""
    connection.execute(_query("end_attempts"), {"worker_id": worker_id, "working_ids": list(except_ids)})


def is_interrupted(connection: Connection, message_id: str, *, worker_id: UUID) -> bool:
    """Whether a worker other than this one began an attempt on the message and did not end it."""
    parameters = {"message_id": message_id, "worker_id": worker_id}
    return connection.execute(_query("find_interrupted"), parameters).fetchone() is not None


def count_failure(connection: Connection, message_id: str, error_code: str, *, client_id: str | None) -> int:
    """Count one more failure and end an interrupted attempt; returns the number of failures, from 1."""
    parameters = {"message_id": message_id, "error_code": error_code, "client_id": client_id}
    row = connection.execute(_query("count_failure"), parameters).fetchone()
    assert row is not None
    return int(row[0])


def list_suspects(connection: Connection, message_ids: Collection[str]) -> set[str]:
    """The messages among these whose worker died during the last attempt."""
    rows = connection.execute(_query("list_suspects"), {"message_ids": list(message_ids)}).fetchall()
    return {row[0] for row in rows}


def forget_failures(connection: Connection, message_id: str) -> None:
    """Delete the failures of a message that is done or dead, and those of messages that the queue has dropped."""
    connection.execute(_query("forget_failures"), {"message_id": message_id})


def _query(name: str) -> bytes:
    return read_queries("billfold.store.jobs", "failures")[name].encode()
