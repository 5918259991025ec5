"""Which clients' folders are due to be listed, by the database's clock, and the lock for listing one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from billfold.sql import read_queries
from billfold.store.database import Connection


def list_due(connection: Connection) -> list[str]:
    """The enabled clients of the registry whose interval has passed, the longest overdue first."""
    return [client_id for (client_id,) in connection.execute(_query("list_due"))]


def is_due(connection: Connection, client_id: str) -> bool:
    """Whether the client's interval has passed; true if its folder was never listed."""
    row = connection.execute(_query("is_due"), {"client_id": client_id}).fetchone()
    return row is None or bool(row[0])


def try_lock_client(connection: Connection, client_id: str) -> bool:
    """Lock the client's folder for this connection, as long as it lives; False if another one lists it."""
    return bool(_value(connection, "try_lock_client", {"client_id": client_id}))


def read_clock(connection: Connection) -> datetime:
    """The present moment, by the database's clock."""
    moment = _value(connection, "read_clock", {})
    assert isinstance(moment, datetime)
    return moment


def mark_backfilled(connection: Connection, client_id: str, began_at: datetime) -> None:
    """Record that the client's folder was listed to the end, by a listing that began at this moment."""
    connection.execute(_query("mark_backfilled"), {"client_id": client_id, "began_at": began_at})


def _value(connection: Connection, name: str, parameters: dict[str, Any]) -> Any:
    row = connection.execute(_query(name), parameters).fetchone()
    assert row is not None, f"{name} returns a row"
    return row[0]


def _query(name: str) -> bytes:
    return read_queries("billfold.store.reports", "freshness")[name].encode()
