"""Databases of former versions, to be migrated by a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from psycopg.conninfo import make_conninfo

from billfold.store.database import Database, connect
from billfold.store.migrate import list_migrations
from tests.connections import forget


@contextmanager
def old_database(server: Database, number: int) -> Iterator[Database]:
    """An empty database of this migration and those before it, on the server of another database."""
    name = f"old_{uuid4().hex}"
    conninfo = make_conninfo(server.conninfo, dbname=name)
    with connect(make_conninfo(server.conninfo, dbname="postgres")) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        with connect(conninfo) as old:
            old.execute(
                "CREATE TABLE billfold_migrations (number integer PRIMARY KEY, name text NOT NULL,"
                " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            for migration in list_migrations()[:number]:
                old.execute(migration.script.encode())
                old.execute(
                    "INSERT INTO billfold_migrations (number, name, sha256) VALUES (%s, %s, %s)",
                    [migration.number, migration.name, migration.sha256],
                )
        yield Database(conninfo=conninfo, reader_conninfo=None, is_embedded=False)
        forget(conninfo)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
