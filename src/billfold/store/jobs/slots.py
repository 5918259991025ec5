"""Slots: how many deliveries of a client, and which statements, are worked on by all workers together.

Each is an advisory lock of a session: it is valid across the whole fleet, needs no other server, and dies with the
connection, so that a killed worker leaves nothing to clean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from billfold.model import Client
from billfold.sql import read_queries
from billfold.store.database import Connection, Database, connect


@contextmanager
def open_slots(database: Database) -> Iterator[Connection]:
    """A connection for slots and turns: all of them are free again when it closes."""
    with connect(database.conninfo) as connection:
        yield connection


def take_slot(connection: Connection, client: Client) -> int | None:
    """Take a free slot of this client and return its number, from 1; None if all are taken. Never waits."""
    parameters = {"client_id": client.client_id, "slot_count": client.max_deliveries}
    row = connection.execute(_query("take_slot"), parameters).fetchone()
    return row[0] if row else None


def take_turn(connection: Connection, client: Client, work: str) -> bool:
    """Take this client's `work`, a statement or a key; False if another worker has it. Never waits."""
    row = connection.execute(_query("take_turn"), {"client_id": client.client_id, "work": work}).fetchone()
    assert row is not None
    return bool(row[0])


def _query(name: str) -> bytes:
    return read_queries("billfold.store.jobs", "slots")[name].encode()
