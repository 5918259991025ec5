"""Which clients' folders are due to be visited, by the database's clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from billfold.sql import read_queries
from billfold.store.database import Connection


def list_due(connection: Connection, *, default_client: str | None, patience_seconds: int = 0) -> list[str]:
    """The enabled clients whose interval has passed, the longest overdue first: the registry's, and the default one.

    A client whose visit failed for good less than `patience_seconds` ago is left out.
    """
    parameters = {"default_client": default_client, "patience_seconds": patience_seconds}
    return [client_id for (client_id,) in connection.execute(_query("list_due"), parameters)]


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
