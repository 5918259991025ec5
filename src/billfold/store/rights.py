"""PostgreSQL's version, the rights of writer and reader, and the last message about a client's objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from billfold.sql import read_queries
from billfold.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server, and the role that is connected; `version_number` is 160004 for 16.4."""

    version_number: int
    version: str
    role_name: str
    is_superuser: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderRights:
    """The reader's role: whether it may read what it should, and what it should not."""

    role_name: str
    may_read: bool
    sees_external_ids: bool
    sees_messages: bool


def describe_server(connection: Connection) -> Server:
    """The server and the connected role."""
    with connection.cursor(row_factory=class_row(Server)) as cursor:
        server = cursor.execute(_query("describe_server")).fetchone()
    assert server is not None
    return server


def list_missing_rights(connection: Connection) -> list[str]:
    """The first few rights that an ingest needs and the connected role lacks; needs the schema."""
    return [missing for (missing,) in connection.execute(_query("list_missing_rights"))]


def may_create_partitions(connection: Connection) -> bool:
    """Whether the connected role may ingest a new month."""
    return bool(_value(connection, "may_create_partitions", {}))


def describe_reader(connection: Connection) -> ReaderRights:
    """What the connected role may read."""
    with connection.cursor(row_factory=class_row(ReaderRights)) as cursor:
        rights = cursor.execute(_query("describe_reader")).fetchone()
    assert rights is not None
    return rights


def list_excess_rights(connection: Connection) -> list[str]:
    """The first few rights beyond reading that the connected role has."""
    query = read_queries("billfold.store", "reader")["list_excess_rights"]
    return [excess for (excess,) in connection.execute(query.encode())]


def find_last_event(connection: Connection, client_id: str) -> datetime | None:
    """When the last message about one of the client's objects was handled; None if none ever was."""
    moment = _value(connection, "find_last_event", {"client_id": client_id})
    assert moment is None or isinstance(moment, datetime)
    return moment


def _value(connection: Connection, name: str, parameters: dict[str, Any]) -> Any:
    row = connection.execute(_query(name), parameters).fetchone()
    assert row is not None, f"{name} returns a row"
    return row[0]


def _query(name: str) -> bytes:
    return read_queries("billfold.store", "rights")[name].encode()
