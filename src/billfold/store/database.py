"""Connections to PostgreSQL: where it is, the drivers' errors in our words, and a reader without rights to write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import adbc_driver_manager
import adbc_driver_manager.dbapi
import adbc_driver_postgresql.dbapi
import psycopg
import pyarrow as pa
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from billfold import interruption
from billfold.config import Settings
from billfold.errors import ConfigurationError, RunConflictError, StoreError, StoreUnavailableError
from billfold.store.embedded import start_embedded

Connection = psycopg.Connection[TupleRow]

READER_ROLE = "billfold_reader"
CONNECT_TIMEOUT_SECONDS = 10

# As the same role, another session may always be ended. By its name no session of another program is.
_END_SESSIONS = """
    SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = ANY(%s) AND pid <> pg_backend_pid() AND application_name = 'billfold'"""
_LIST_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)"
_ENDING_SECONDS = 0.8
_LOOK_SECONDS = 0.01

# libpq reports a refused connection in words alone.
_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "is not permitted to log in")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Where the tables are: connection strings of the writer and of the reader (None where none is configured)."""

    conninfo: str
    reader_conninfo: str | None
    is_embedded: bool


def open_database(settings: Settings) -> Database:
    """The configured database, or the embedded one, started.

    Raises ConfigurationError for a connection string that is none and StoreUnavailableError when nothing answers.
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
    """A psycopg connection in autocommit mode; driver errors leave it as StoreError or StoreUnavailableError."""
    interruption.check()
    with translate_errors():
        connection = psycopg.connect(_tuned(conninfo, options), autocommit=True)
    try:
        with (
            interruption.session(end_sessions, (conninfo, connection.info.backend_pid)),
            translate_errors(),
        ):
            yield connection
    finally:
        connection.close()


@contextmanager
def connect_at_last(conninfo: str) -> Iterator[Connection]:
    """A connection for what is written down after an interruption, which does not end this one; it waits for nothing.

    Errors leave it as those of `connect` do.
    """
    limits = {"lock_timeout": "500ms", "statement_timeout": "1s"}
    with translate_errors(), psycopg.connect(_tuned(conninfo, limits), autocommit=True) as connection:
        yield connection


@contextmanager
def lock_timeout(connection: Connection, seconds: int, message: str) -> Iterator[None]:
    """Wait for locks no longer than this; then it is a conflict, to be tried again."""
    # 0 would mean to wait for ever.
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{max(seconds * 1000, 1)}ms"])
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise RunConflictError(message, advice="try again when it has finished") from error
    connection.execute("SELECT set_config('lock_timeout', '0', false)")


class BulkConnection:
    """The bulk loader's connection: Arrow streams in and out, and the SQL of the same transaction.

    Nothing is committed before `commit`; whatever ends without it is rolled back.
    """

    def __init__(self, connection: Any, conninfo: str) -> None:
        self._connection = connection
        self._conninfo = conninfo

    def execute(self, sql: str, *parameters: Any) -> None:
        """Run one statement with bound parameters ($1, $2, …)."""
        with translate_errors(), self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a query that returns few of them."""
        with translate_errors(), self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return [tuple(row) for row in cursor.fetchall()]

    @contextmanager
    def stream(self, sql: str, *parameters: Any) -> Iterator[pa.RecordBatchReader]:
        """The rows of a query as an Arrow stream, in bounded memory."""
        with translate_errors(), self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            yield cursor.fetch_record_batch()

    def load(self, table: str, rows: pa.RecordBatchReader, *, temporary: bool = False) -> None:
        """COPY a stream into an existing table; columns are found by name, types must be the table's."""
        with translate_errors(), self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, rows, mode="append", temporary=temporary)

    @contextmanager
    def beside(self) -> Iterator[BulkConnection]:
        """Another connection, with a transaction of its own.

        It costs a tenth of the first one, for which the driver reads the columns of all tables.
        """
        with translate_errors():
            connection = self._connection.adbc_clone()
        try:
            with _bulk_session(connection, self._conninfo) as another:
                yield another
        finally:
            connection.close()

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
    with translate_errors():
        connection = adbc_driver_postgresql.dbapi.connect(_tuned(conninfo, {}))
    try:
        with _bulk_session(connection, conninfo) as bulk:
            yield bulk
    finally:
        connection.close()


@contextmanager
def _bulk_session(connection: Any, conninfo: str) -> Iterator[BulkConnection]:
    bulk = BulkConnection(connection, conninfo)
    [(backend_pid,)] = bulk.query("SELECT pg_backend_pid()")
    # The transaction that the caller asked for begins after this question.
    bulk.rollback()
    with interruption.session(end_sessions, (conninfo, backend_pid)):
        yield bulk


def end_sessions(sessions: Sequence[tuple[str, int]]) -> None:
    """End these sessions of our own (connection string, process id), and wait for their end a moment.

    A statement that is just being committed is committed, or not at all: when the session has ended, it is known.
    """
    for conninfo in dict.fromkeys(conninfo for conninfo, _ in sessions):
        pids = [pid for each, pid in sessions if each == conninfo]
        with psycopg.connect(_tuned(conninfo, {}), autocommit=True) as connection:
            ended = connection.execute(_END_SESSIONS, [pids]).fetchall()
            until = time.monotonic() + _ENDING_SECONDS
            while ended and time.monotonic() < until:
                time.sleep(_LOOK_SECONDS)
                ended = connection.execute(_LIST_SESSIONS, [pids]).fetchall()


def _call(function: Callable[..., Any], arguments: Any, named: Any, cancel: Any) -> Any:
    """The driver handles SIGINT itself while it works, so that nobody else hears of it: not where signals are watched.

    It is the one place where the driver can be kept from that; a test with real signals looks at it.
    """
    if interruption.is_watched():
        return function(*arguments, **named)
    return _driver_call(function, arguments, named, cancel)


_driver_call: Callable[..., Any] = adbc_driver_manager.dbapi._blocking_call  # type: ignore[attr-defined]
adbc_driver_manager.dbapi._blocking_call = _call  # type: ignore[attr-defined, assignment]


@contextmanager
def translate_errors() -> Iterator[None]:
    """Driver errors in our words: lost connections and deadlocks are retryable, everything else is not."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise _lost(error) from error
    except psycopg.Error as error:
        raise StoreError(f"PostgreSQL refuses: {_first_line(error)}") from error
    except adbc_driver_manager.OperationalError as error:
        raise _lost(error) from error
    except adbc_driver_manager.Error as error:
        # The driver reports a connection that the server closed as an I/O or internal error.
        if "connection" in str(error).lower() or "server closed" in str(error).lower():
            raise _lost(error) from error
        raise StoreError(f"PostgreSQL refuses: {_first_line(error)}") from error


def _lost(error: BaseException) -> StoreError | RunConflictError:
    """A server that is gone may come back; one that knows neither us nor the database will not."""
    if "deadlock detected" in str(error):
        return RunConflictError(
            "another worker waited for what this one holds, and this one for it", advice="try again"
        )
    if any(phrase in str(error) for phrase in _REFUSALS):
        return StoreError(f"PostgreSQL refuses us: {_first_line(error)}", advice="check DATABASE_URL")
    return StoreUnavailableError(
        f"PostgreSQL does not answer: {_first_line(error)}", advice="check DATABASE_URL and that the server is up"
    )


def _checked(url: str, name: str) -> str:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # What libpq complains of is a part of the string, and that part may be the password.
        raise ConfigurationError(
            f"{name} is no connection string", advice="expected postgresql://user@host:5432/database"
        ) from None
    return url


def _tuned(conninfo: str, options: dict[str, str]) -> str:
    """Sessions that end with their client: a killed worker's locks go within a second.

    A machine that is gone says nothing: either side asks the other after half a minute, and gives up within a minute.
    """
    wanted = {
        "client_connection_check_interval": "1000",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "TimeZone": "UTC",
        **options,
    }
    given = conninfo_to_dict(conninfo).get("options") or ""
    switches = " ".join(f"-c {name}={value}" for name, value in wanted.items())
    return make_conninfo(
        conninfo,
        options=f"{given} {switches}".strip(),
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=3,
        tcp_user_timeout=60_000,
        application_name="billfold",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
