"""Connections to PostgreSQL: where it is, the drivers' errors as Billfold's, and a reader without rights to write."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import adbc_driver_manager
import psycopg
import pyarrow as pa
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from billfold import interruption
from billfold.errors import BillfoldError, ConfigurationError, RunConflictError
from billfold.settings import Settings
from billfold.store.bulk_driver import DriverConnection, forget_types
from billfold.store.driver_errors import is_from_postgres, translate
from billfold.store.embedded import revive, start_embedded
from billfold.store.session import tune_query

Connection = psycopg.Connection[TupleRow]

READER_ROLE = "billfold_reader"
_APPLICATION = "billfold"
CONNECT_TIMEOUT_SECONDS = 10

# A role may always end its own sessions; the name protects those of other programs.
_END_SESSIONS = """
    SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = ANY(%s) AND pid <> pg_backend_pid() AND starts_with(application_name, 'billfold')"""
_LIST_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)"
_ENDING_SECONDS = 0.8
_LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Where the tables are: connection strings of the writer and of the reader (None if none is configured)."""

    conninfo: str
    reader_conninfo: str | None
    is_embedded: bool

    def named(self, name: str) -> Self:
        """The same database, where `pg_stat_activity` shows this name of the writer's sessions."""
        return replace(self, conninfo=make_conninfo(self.conninfo, application_name=f"{_APPLICATION} {name}"))


def open_database(settings: Settings) -> Database:
    """The configured database, or the embedded one, started.

    Raises ConfigurationError for an invalid connection string and StoreUnavailableError if nothing answers.
    """
    if settings.database_url is None:
        conninfo = start_embedded(settings.home, postgres_version=settings.postgres_version)
        return Database(conninfo=conninfo, reader_conninfo=make_conninfo(conninfo, user=READER_ROLE), is_embedded=True)
    return Database(
        conninfo=_checked(settings.database_url, "DATABASE_URL"),
        reader_conninfo=(
            _checked(settings.reader_database_url, "BILLFOLD_READER_DATABASE_URL")
            if settings.reader_database_url
            else None
        ),
        is_embedded=False,
    )


@contextmanager
def connect(conninfo: str, **options: str) -> Iterator[psycopg.Connection[TupleRow]]:
    """A psycopg connection in autocommit mode; driver errors leave it as StoreError or RunConflictError.

    Options are settings of the session, such as `work_mem`.
    """
    interruption.check()
    with translate_errors():
        try:
            connection = psycopg.connect(_tuned(conninfo), autocommit=True)
        except psycopg.OperationalError:
            if not revive(conninfo):
                raise
            connection = psycopg.connect(_tuned(conninfo), autocommit=True)
    try:
        with (
            interruption.session(end_sessions, (conninfo, connection.info.backend_pid)),
            translate_errors(),
        ):
            connection.execute(tune_query(options).encode())
            yield connection
    finally:
        connection.close()


@contextmanager
def connect_at_last(conninfo: str) -> Iterator[Connection]:
    """A connection for writing after an interruption, which does not end this one; it waits for nothing.

    Errors leave it as those of `connect` do.
    """
    limits = {"lock_timeout": "500ms", "statement_timeout": "1s"}
    with translate_errors(), psycopg.connect(_tuned(conninfo), autocommit=True) as connection:
        connection.execute(tune_query(limits).encode())
        yield connection


@contextmanager
def lock_timeout(connection: Connection, seconds: int, message: str) -> Iterator[None]:
    """Wait for locks no longer than this; then raise RunConflictError."""
    # 0 would mean to wait forever.
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{max(seconds * 1000, 1)}ms"])
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise RunConflictError(message, advice="try again when it has finished") from error
    connection.execute("SELECT set_config('lock_timeout', '0', false)")


class BulkConnection:
    """The bulk loader's connection: Arrow streams in and out, and the SQL of the same transaction.

    Nothing is committed before `commit`; a transaction that ends without it is rolled back.
    """

    def __init__(self, connection: DriverConnection, conninfo: str) -> None:
        self._connection = connection
        self._conninfo = conninfo
        self._backend_pid = 0

    @classmethod
    def tuned(cls, connection: DriverConnection, conninfo: str) -> Self:
        """A new connection of the driver, its session set up."""
        bulk = cls(connection, conninfo)
        [settings] = bulk.query(tune_query({}))
        if isinstance(settings[0], bytes):
            raise _UnknownTypesError
        [(bulk._backend_pid,)] = bulk.query("SELECT pg_backend_pid()")
        # Otherwise a rollback would undo it.
        bulk.commit()
        return bulk

    def stoppable(self) -> AbstractContextManager[None]:
        """Within the block an interruption of the command ends the session."""
        return interruption.session(end_sessions, (self._conninfo, self._backend_pid))

    def execute(self, sql: str, *parameters: Any) -> None:
        """Run one statement with bound parameters ($1, $2, …)."""
        with translate_errors():
            self._connection.execute(sql, parameters)

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a query that returns few of them."""
        with translate_errors():
            return self._connection.query(sql, parameters)

    @contextmanager
    def stream(self, sql: str, *parameters: Any) -> Iterator[pa.RecordBatchReader]:
        """The rows of a query as an Arrow stream, in bounded memory."""
        with translate_errors(), self._connection.stream(sql, parameters) as rows:
            try:
                yield rows
            except Exception as error:
                if isinstance(error, BillfoldError) or not is_from_postgres(error):
                    raise
                raise translate(error) from error

    def load(self, table: str, rows: pa.RecordBatchReader, *, temporary: bool = False) -> None:
        """COPY a stream into an existing table; columns are found by name, types must be the table's."""
        with translate_errors():
            self._connection.load(table, rows, temporary=temporary)

    @contextmanager
    def beside(self) -> Iterator[BulkConnection]:
        """Another connection, with a transaction of its own."""
        with connect_bulk(self._conninfo) as another:
            yield another

    def commit(self) -> None:
        interruption.check()
        with translate_errors():
            self._connection.commit()

    def rollback(self) -> None:
        with translate_errors():
            self._connection.rollback()


@contextmanager
def connect_bulk(conninfo: str) -> Iterator[BulkConnection]:
    """The bulk connection; an open transaction is rolled back at the end."""
    try:
        connection, bulk = _open_bulk(conninfo)
    except _UnknownTypesError:
        forget_types()
        given = conninfo_to_dict(conninfo).get("options") or _read_pgoptions()
        connection, bulk = _open_bulk(conninfo, options=f"{given} -c quote_all_identifiers=off".strip())
    try:
        with bulk.stoppable():
            yield bulk
    finally:
        connection.close()


def _read_pgoptions() -> str:
    """What libpq sends if a connection string has no options."""
    defaults = psycopg.pq.Conninfo.get_defaults()
    return next((each.val.decode() for each in defaults if each.keyword == b"options" and each.val), "")


def _open_bulk(conninfo: str, **startup: str) -> tuple[DriverConnection, BulkConnection]:
    with translate_errors():
        connection = DriverConnection(make_conninfo(_tuned(conninfo), **startup))
    try:
        return connection, BulkConnection.tuned(connection, conninfo)
    except BaseException:
        connection.close()
        raise


class _UnknownTypesError(Exception):
    """The driver reads the names of types when it first connects, and finds none if quote_all_identifiers is on then.

    Only the startup packet can change that. It is not sent otherwise, because poolers refuse unknown settings.
    """


def end_sessions(sessions: Sequence[tuple[str, int]]) -> None:
    """End these own sessions (connection string, process id), and wait a moment for their end.

    Once a session has ended, it is certain whether its last statement was committed.
    """
    for conninfo in dict.fromkeys(conninfo for conninfo, _ in sessions):
        pids = [pid for each, pid in sessions if each == conninfo]
        with psycopg.connect(_tuned(conninfo), autocommit=True) as connection:
            ended = connection.execute(_END_SESSIONS, [pids]).fetchall()
            until = time.monotonic() + _ENDING_SECONDS
            while ended and time.monotonic() < until:
                time.sleep(_LOOK_SECONDS)
                ended = connection.execute(_LIST_SESSIONS, [pids]).fetchall()


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise driver errors as Billfold's: retryable if the same can succeed later."""
    try:
        yield
    except (psycopg.Error, adbc_driver_manager.Error) as error:
        raise translate(error) from error


def _checked(url: str, name: str) -> str:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # libpq quotes a part of the string, which may be the password.
        raise ConfigurationError(
            f"{name} is not a connection string", advice="expected postgresql://user@host:5432/database"
        ) from None
    return url


def _tuned(conninfo: str) -> str:
    """The connection's own timeouts and name; the settings of the session follow once it is open."""
    name = str(conninfo_to_dict(conninfo).get("application_name") or "")
    return make_conninfo(
        conninfo,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=3,
        tcp_user_timeout=60_000,
        application_name=name if name.startswith(f"{_APPLICATION} ") else _APPLICATION,
    )
