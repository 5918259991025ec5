"""Migrations: plain SQL files, forward only, each recorded in the transaction that applies it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import psycopg
from psycopg.rows import TupleRow

from billfold.errors import SchemaVersionError
from billfold.sql import read_queries
from billfold.store.database import Database, connect

_LOCK = 0x62696C6C666F6C64  # "billfold": one migration at a time in a database

# Former wordings of migrations, by SHA-256: each made the same schema as the present one, if it could be applied. 0004
# granted the reader all tables of the schema, which fails beside a table of another role.
_FORMER_WORDINGS: Mapping[int, frozenset[str]] = {
    4: frozenset({"0aaedf7c745a297f5c97fcdfd77acb21ae534b2dc9075745585d3786750d7595"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file of `store/migrations`: `0001_control.sql` is number 1, named control."""

    number: int
    name: str
    script: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.script.encode()).hexdigest()

    def is_worded(self, sha256: str) -> bool:
        """Whether this is the hash of the migration, or of an equivalent former wording."""
        return sha256 == self.sha256 or sha256 in _FORMER_WORDINGS.get(self.number, ())


def list_migrations() -> tuple[Migration, ...]:
    """All migrations of this version of Billfold, in order, without gaps."""
    files = sorted(
        (file for file in (resources.files("billfold.store") / "migrations").iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    migrations = tuple(
        Migration(
            number=int(file.name[:4]), name=file.name[5:].removesuffix(".sql"), script=file.read_text(encoding="utf-8")
        )
        for file in files
    )
    assert [migration.number for migration in migrations] == list(range(1, len(migrations) + 1))
    return migrations


def prepare(database: Database) -> None:
    """Make the schema ready for use: an embedded database is migrated, any other one is only verified.

    Raises SchemaVersionError if `billfold migrate` has to be run first.
    """
    if database.is_embedded:
        migrate_database(database)
    else:
        with connect(database.conninfo) as connection:
            check_schema(connection)


def migrate_database(database: Database) -> tuple[Migration, ...]:
    """Apply what is missing, let the embedded server's reader connect, and return what was applied."""
    with connect(database.conninfo) as connection:
        applied = migrate(connection)
        if database.is_embedded:
            connection.execute(read_queries("billfold.store", "reader")["let_reader_connect"].encode())
        return applied


def migrate(connection: psycopg.Connection[TupleRow]) -> tuple[Migration, ...]:
    """Apply what is missing and return it; nothing if the schema is current.

    Raises SchemaVersionError if an applied migration was edited or the database is newer than this Billfold.
    """
    connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS billfold_migrations (number integer PRIMARY KEY, name text NOT NULL,"
            " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        missing = _find_missing(connection)
        for migration in missing:
            with connection.transaction():
                connection.execute(migration.script.encode())
                connection.execute(
                    "INSERT INTO billfold_migrations (number, name, sha256) VALUES (%s, %s, %s)",
                    [migration.number, migration.name, migration.sha256],
                )
        return tuple(missing)
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def check_schema(connection: psycopg.Connection[TupleRow]) -> None:
    """Raise SchemaVersionError unless every migration is applied."""
    known = connection.execute("SELECT to_regclass('billfold_migrations') IS NOT NULL").fetchone()
    missing: Sequence[Migration] = _find_missing(connection) if known and known[0] else list_migrations()
    if missing:
        raise SchemaVersionError(
            f"the database lacks migration {missing[0].number} ({missing[0].name})", advice="run: billfold migrate"
        )


def _find_missing(connection: psycopg.Connection[TupleRow]) -> list[Migration]:
    applied: dict[int, str] = dict(connection.execute("SELECT number, sha256 FROM billfold_migrations").fetchall())
    known = list_migrations()
    for migration in known:
        if migration.number in applied and not migration.is_worded(applied[migration.number]):
            raise SchemaVersionError(
                f"migration {migration.number} ({migration.name}) was applied in another wording",
                advice="use the version of Billfold that made this database, or a newer one",
            )
    if newer := set(applied) - {migration.number for migration in known}:
        raise SchemaVersionError(
            f"the database has migration {max(newer)}, which this version of Billfold does not know",
            advice="upgrade Billfold",
        )
    return [migration for migration in known if migration.number not in applied]
