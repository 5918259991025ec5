"""ADBC's driver for PostgreSQL: one connection of the bulk loader, in a transaction.

The driver's DB-API module does the same, but imports Arrow's data sets and compute functions, which nothing here uses
and which take longer to load than the rest of an ingest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import adbc_driver_postgresql
import pyarrow as pa
from adbc_driver_manager import (
    INGEST_OPTION_MODE,
    INGEST_OPTION_MODE_APPEND,
    INGEST_OPTION_TARGET_TABLE,
    AdbcConnection,
    AdbcDatabase,
    AdbcStatement,
    StatementOptions,
)
from adbc_driver_manager._lib import _blocking_call
from adbc_driver_manager._reader import AdbcRecordBatchReader

from billfold import interruption

# One object of the driver serves all connections of the process: it reads the names of all types and the columns of all
# tables when it is made, which takes longer than everything else that a connection costs. Only PostgreSQL's own types
# are used here, and every database has those. It has one connection string at a time.
_opening = threading.Lock()
_shared: AdbcDatabase | None = None


def forget_types() -> None:
    """Let the next connection read the types again."""
    global _shared
    with _opening:
        _shared = None


class DriverConnection:
    """One connection of the driver; errors leave it as the driver's."""

    def __init__(self, conninfo: str) -> None:
        global _shared
        with _opening:
            if _shared is None:
                _shared = adbc_driver_postgresql.connect(conninfo)
            else:
                _shared.set_options(uri=conninfo)
            self._connection = AdbcConnection(_shared)
        try:
            self._connection.set_autocommit(False)
        except BaseException:
            self._connection.close()
            raise

    def execute(self, sql: str, parameters: Sequence[Any]) -> None:
        """Run one statement with bound parameters ($1, $2, …)."""
        with self._open(sql, parameters) as statement:
            # Asked for rows, the driver would have PostgreSQL parse it twice.
            _call(statement, statement.execute_update)

    def query(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows of a query that returns few of them."""
        with self._open(sql, parameters) as statement:
            # For many rows the driver's COPY is faster, for few it only is another statement.
            statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            with _open_stream(statement) as rows:
                table = _call(statement, rows.read_all)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    @contextmanager
    def stream(self, sql: str, parameters: Sequence[Any]) -> Iterator[pa.RecordBatchReader]:
        """The rows of a query as an Arrow stream."""
        with self._open(sql, parameters) as statement, _open_stream(statement) as rows:
            # Arrow's own reader: DuckDB would look for it in vain inside the driver's.
            yield rows._reader

    def load(self, table: str, rows: pa.RecordBatchReader, *, temporary: bool) -> None:
        """COPY a stream into an existing table."""
        with closing(AdbcStatement(self._connection)) as statement:
            statement.set_options(
                **{
                    INGEST_OPTION_TARGET_TABLE: table,
                    INGEST_OPTION_MODE: INGEST_OPTION_MODE_APPEND,
                    StatementOptions.INGEST_TEMPORARY.value: str(temporary).lower(),
                }
            )
            statement.bind_stream(rows)
            _call(statement, statement.execute_update)

    def commit(self) -> None:
        self._connection.commit()

    def rollback(self) -> None:
        self._connection.rollback()

    def close(self) -> None:
        """Close the connection, which rolls back what is not committed."""
        self._connection.close()

    @contextmanager
    def _open(self, sql: str, parameters: Sequence[Any]) -> Iterator[AdbcStatement]:
        with closing(AdbcStatement(self._connection)) as statement:
            statement.set_sql_query(sql)
            if parameters:
                names = [str(place) for place in range(len(parameters))]
                statement.bind(pa.record_batch([[value] for value in parameters], names=names))
            yield statement


def _open_stream(statement: AdbcStatement) -> closing[AdbcRecordBatchReader]:
    handle, _row_count = _call(statement, statement.execute_query)
    # It reports an error of PostgreSQL with its code, where Arrow's own reader has only words.
    return closing(AdbcRecordBatchReader._import_from_c(handle.address))


def _call(statement: AdbcStatement, function: Callable[[], Any]) -> Any:
    """Call what may take long; Ctrl-C in a program that uses Billfold cancels it.

    While the command line watches for signals it ends the session itself: the driver's own handler would hide the
    signal.
    """
    if interruption.is_watched():
        return function()
    return _blocking_call(function, (), {}, statement.cancel)
