"""The charges as FOCUS rows from one snapshot: as CSV, or as Arrow batches for Parquet, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from psycopg.rows import class_row

from billfold.sql import read_queries
from billfold.store.database import Connection, Database, connect_bulk
from billfold.store.reports import reading

# The digits of Parquet's decimal of 16 bytes, the largest that most readers support.
MAX_DECIMAL_DIGITS = 38


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedStatement:
    """A statement of the snapshot; `billed_cost` is exact text by currency, as its publication says."""

    statement_id: int
    billing_period: str
    counted: bool
    charge_count: int
    billed_cost: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    name: str
    type: str
    csv_expression: str
    arrow_expression: str
    measure: str


class ChargesSnapshot:
    """The charges of the counted statements as of one moment, unaffected by later publications."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        with connection.cursor(row_factory=class_row(_Column)) as cursor:
            self._columns = cursor.execute(_query("list_columns")).fetchall()

    def list_statements(
        self, *, client: str | None, statement: int | None, first: date | None, last: date | None
    ) -> list[ExportedStatement]:
        """The statements that these filters let through, counted or not, the oldest month first."""
        parameters = {"client": client, "statement": statement, "first": first, "last": last}
        with self._connection.cursor(row_factory=class_row(ExportedStatement)) as cursor:
            return cursor.execute(_query("list_statements"), parameters).fetchall()

    def copy_csv(self, statement_ids: Sequence[int], target: BinaryIO) -> int:
        """Write a header and the charges of these statements; returns the number of charges."""
        columns = ", ".join(f"{column.csv_expression} AS {_quote(column.name)}" for column in self._columns)
        query = _query("copy_csv").format(columns=columns, statements=_list(statement_ids))
        with self._connection.cursor() as cursor:
            with cursor.copy(query.encode()) as copy:
                for block in copy:
                    target.write(block)
            return cursor.rowcount

    def describe(self, statement_ids: Sequence[int]) -> pa.Schema:
        """The columns' types. Numbers have the scale that the statements' values need, and are text if 38 digits
        are too few."""
        numeric = [column for column in self._columns if column.type == "numeric"]
        query = _query("read_charges").format(
            columns=", ".join(column.measure for column in numeric), statements=_list(statement_ids)
        )
        row = self._connection.execute(query.encode()).fetchone() or ()
        decimals = {column.name: _decimal(*row[2 * place : 2 * place + 2]) for place, column in enumerate(numeric)}
        return pa.schema([(column.name, decimals.get(column.name) or _type(column)) for column in self._columns])

    @contextmanager
    def stream(self, statement_ids: Sequence[int], schema: pa.Schema) -> Iterator[Iterator[pa.RecordBatch]]:
        """The charges of these statements in batches of this schema, in bounded memory."""
        columns = ", ".join(column.arrow_expression for column in self._columns)
        query = _query("read_charges").format(columns=columns, statements=_list(statement_ids))
        [[snapshot]] = self._connection.execute(_query("share_snapshot")).fetchall()
        with connect_bulk(self._database.reader_conninfo or self._database.conninfo) as bulk:
            bulk.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            bulk.execute(_query("use_snapshot").format(snapshot=snapshot))
            bulk.query(_query("prefer_hashing"))
            with bulk.stream(query) as batches:
                yield (_cast(batch, schema) for batch in batches)
            bulk.rollback()


@contextmanager
def open_charges(database: Database) -> Iterator[ChargesSnapshot]:
    """One REPEATABLE READ, READ ONLY transaction, as the reader where one is configured."""
    with reading.read(database) as connection:
        connection.execute(_query("prefer_hashing"))
        yield ChargesSnapshot(database, connection)


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Safe casts: a number that would lose a digit is an error, never another number."""
    return pa.record_batch([pc.cast(batch.column(field.name), field.type) for field in schema], schema=schema)


def _decimal(scale: int | None, largest: str | None) -> pa.DataType:
    whole_digits = len((largest or "0").lstrip("0"))
    fits = (scale or 0) + whole_digits <= MAX_DECIMAL_DIGITS
    return pa.decimal128(MAX_DECIMAL_DIGITS, scale or 0) if fits else pa.string()


def _type(column: _Column) -> pa.DataType:
    types = {"timestamptz": pa.timestamp("us", "UTC"), "int4": pa.int32(), "int8": pa.int64()}
    return types.get(column.type, pa.string())


def _list(statement_ids: Sequence[int]) -> str:
    assert statement_ids
    return ", ".join(str(int(statement_id)) for statement_id in statement_ids)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _query(name: str) -> str:
    return read_queries("billfold.store.reports", "export")[name]
