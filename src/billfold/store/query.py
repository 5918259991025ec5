"""The operator's own query: one prepared statement, as a role that may only read, within limits of time and rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.rows import TupleRow
from psycopg.types.string import TextLoader

from billfold.documents import JsonText
from billfold.errors import ConfigurationError, QueryError
from billfold.sql import read_queries
from billfold.store.database import Database, connect

# Types that Python would round, refuse or write differently stay as PostgreSQL writes them.
_TEXT_TYPES = (
    "bytea cidr date daterange datemultirange inet int4multirange int4range int8multirange int8range interval numeric"
    " nummultirange numrange time timetz tsmultirange tsrange tstzmultirange tstzrange uuid"
).split()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """A running query: its columns' names, made distinct, and its rows, to be taken once.

    Values are None, bool, int, float, str, JsonText or lists of these; numerics and instants (ISO 8601) are text.
    A query without rows has no names of columns either.
    """

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def run_query(database: Database, query: str, *, timeout_seconds: int, max_rows: int) -> Iterator[QueryResult]:
    """Run one SQL statement as the reader, in a read-only transaction; rows arrive as they are taken.

    Raises ConfigurationError if no reader is configured or it may do more than read, and QueryError for a query that
    PostgreSQL refuses, that takes too long or that returns more than `max_rows` rows.
    """
    if database.reader_conninfo is None:
        raise ConfigurationError(
            "BILLFOLD_READER_DATABASE_URL is not set: a query runs as a role that may only read",
            advice="let billfold_reader log in (ALTER ROLE billfold_reader LOGIN PASSWORD '…') and set its address",
        )
    limits = {"statement_timeout": f"{timeout_seconds}s", "IntervalStyle": "iso_8601"}
    with connect(database.reader_conninfo, **limits) as connection:
        _refuse_more_than_reading(connection)
        allowed_seconds = _read_timeout_seconds(connection)
        _keep_text(connection)
        connection.read_only = True
        with (
            _translate_refusal(query, allowed_seconds),
            connection.transaction(),
            connection.cursor() as cursor,
            # The extended protocol takes a single statement, and its rows come one by one: memory stays small.
            closing(_stream(cursor, query)) as rows,
        ):
            first = next(rows, None)
            columns = _make_distinct([column.name for column in cursor.description or ()])
            yield QueryResult(columns=columns, rows=_limit(first, rows, max_rows))


def _stream(cursor: psycopg.Cursor[TupleRow], query: str) -> Generator[TupleRow, None, None]:
    yield from cursor.stream(query.encode())


def _refuse_more_than_reading(connection: psycopg.Connection[TupleRow]) -> None:
    excess = connection.execute(read_queries("billfold.store", "reader")["list_excess_rights"].encode()).fetchall()
    if excess:
        raise ConfigurationError(
            f"the role {connection.info.user} may do more than read: {', '.join(right for (right,) in excess)}",
            advice="set BILLFOLD_READER_DATABASE_URL to a role with SELECT alone, such as billfold_reader",
        )


def _read_timeout_seconds(connection: psycopg.Connection[TupleRow]) -> float:
    """How long a statement may take: the administrator's limit may be shorter than ours."""
    row = connection.execute("SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'").fetchone()
    assert row is not None
    return float(row[0]) / 1000


def _keep_text(connection: psycopg.Connection[TupleRow]) -> None:
    for name in _TEXT_TYPES:
        connection.adapters.register_loader(name, TextLoader)
    for name in ("timestamp", "timestamptz"):
        connection.adapters.register_loader(name, _InstantLoader)
    for name in ("json", "jsonb"):
        connection.adapters.register_loader(name, _JsonLoader)


class _InstantLoader(Loader):
    """`2026-05-01 00:00:00+00` as `2026-05-01T00:00:00+00:00`; infinity and dates before Christ as they are."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)

    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        if not text[0].isdigit() or text.endswith("BC"):
            return text
        return text.replace(" ", "T", 1) + (":00" if text[-3] in "+-" else "")


class _JsonLoader(Loader):
    def load(self, data: Buffer) -> JsonText:
        return JsonText(bytes(data).decode())


def _make_distinct(names: Sequence[str]) -> tuple[str, ...]:
    """`count, count` as `count, count_2`: an object has each of its names once."""
    distinct: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in distinct or (number > 1 and candidate in names):
            number += 1
            candidate = f"{name}_{number}"
        distinct.append(candidate)
    return tuple(distinct)


def _limit(first: TupleRow | None, rows: Iterator[TupleRow], max_rows: int) -> Iterator[TupleRow]:
    row, row_count = first, 0
    while row is not None:
        row_count += 1
        if row_count > max_rows:
            raise QueryError(
                f"the query returns more than {max_rows} rows", advice="add LIMIT, or raise BILLFOLD_SQL_MAX_ROWS"
            )
        yield row
        row = next(rows, None)


@contextmanager
def _translate_refusal(query: str, timeout_seconds: float) -> Iterator[None]:
    """Raise PostgreSQL's errors about the query as QueryError, unless the connection itself was lost."""
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        if "user request" in str(error):
            raise
        raise QueryError(
            f"the query took longer than {timeout_seconds:g} s",
            advice="raise BILLFOLD_SQL_TIMEOUT_SECONDS, or statement_timeout if PostgreSQL sets a shorter one",
        ) from error
    except psycopg.Error as error:
        if _is_not_about_the_query(error):
            raise
        if error.sqlstate is None:
            raise QueryError("the statement returns no rows to show", advice="`billfold sql` only reads") from error
        raise QueryError(f"{error.diag.message_primary}{_place(error, query)}", advice=_advice(error)) from error


def _is_not_about_the_query(error: psycopg.Error) -> bool:
    """Whether the connection is lost, or the server itself is in trouble: its disk, its connections."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "531", "533", "58"))


def _place(error: psycopg.Error, query: str) -> str:
    if not error.diag.statement_position:
        return ""
    before = query[: int(error.diag.statement_position) - 1]
    return f" (line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))})"


def _advice(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.InsufficientPrivilege | psycopg.errors.ReadOnlySqlTransaction):
        return "`billfold sql` only reads"
    if "multiple commands" in str(error):
        return "run one statement at a time"
    return " ".join((error.diag.message_hint or "").split())
