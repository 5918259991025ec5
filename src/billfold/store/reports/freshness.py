"""Which clients' folders are due to be listed, by the database's clock, and who is listing them now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from billfold.sql import read_queries
from billfold.store.database import Connection


def list_due(connection: Connection) -> list[str]:
    """The enabled clients of the registry whose interval has gone by, the longest overdue first."""
    return [client_id for (client_id,) in connection.execute(_query("list_due"))]


def is_due(connection: Connection, client_id: str) -> bool:
    """Whether the client's interval has gone by; true for one that was never seen."""
    row = connection.execute(_query("is_due"), {"client_id": client_id}).fetchone()
    return row is None or bool(row[0])


def try_lock_client(connection: Connection, client_id: str) -> bool:
    """Whether this connection is the one that lists the client's folder, as long as it is open."""
    return bool(_value(connection, "try_lock_client", {"client_id": client_id}))


def read_clock(connection: Connection) -> datetime:
    """The current time of the database."""
    moment = _value(connection, "read_clock", {})
    assert isinstance(moment, datetime)
    return moment


def mark_backfilled(connection: Connection, client_id: str, began_at: datetime) -> None:
    """Record that a complete listing of the client's folder began then."""
    connection.execute(_query("mark_backfilled"), {"client_id": client_id, "began_at": began_at})


def _value(connection: Connection, name: str, parameters: dict[str, Any]) -> Any:
    row = connection.execute(_query(name), parameters).fetchone()
    assert row is not None, f"{name} returns a row"
    return row[0]


def _query(name: str) -> bytes:
    return read_queries("billfold.store.reports", "freshness")[name].encode()
