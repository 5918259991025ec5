"""How often a message of the queue has failed: only this decides when it is given up."""

from __future__ import annotations

from billfold.sql import read_queries
from billfold.store.database import Connection


def count_failure(connection: Connection, message_id: str, error_code: str) -> int:
    """One failure more; returns how many there were, from 1."""
    parameters = {"message_id": message_id, "error_code": error_code}
    row = connection.execute(_query("count_failure"), parameters).fetchone()
    assert row is not None
    return int(row[0])


def forget_failures(connection: Connection, message_id: str) -> None:
    """The message is done or dead. Failures of messages that the queue has dropped are forgotten too."""
    connection.execute(_query("forget_failures"), {"message_id": message_id})


def _query(name: str) -> bytes:
    return read_queries("billfold.store", "failures")[name].encode()
