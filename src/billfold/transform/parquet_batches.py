"""Parquet read by pyarrow, within limits on its footer, its values and the size of its text.

A few hundred kilobytes of Parquet can hold millions of rows, and a footer can announce more than fits into memory. A
file beyond a limit is refused before DuckDB opens it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from billfold import interruption
from billfold.errors import MalformedFileError, SourceLimitError
from billfold.transform.csv_files import first_line

DAMAGED_ADVICE = "the file is truncated or damaged: wait for the next delivery or ask AWS for it again"
MAX_FOOTER_BYTES = 32 * 2**20
MAX_COLUMNS = 10_000
# As in a CSV, whose lines DuckDB reads up to this length.
MAX_VALUE_BYTES = 2_000_000
_MAX_SCHEMA_DEPTH = 32
# The footer's length and the magic are at the end of the file.
_ENDING_BYTES = 8
_MAX_BATCH_ROWS = 65_536
_BATCH_BYTES = 64 * 2**20
_NESTED_BATCH_ROWS = 4_096
_DELTA_BATCH_ROWS = 128
# The bytes of a number, or of a reference into a dictionary, in a batch.
_CELL_BYTES = 8
_TIME_TEXT_BYTES = 24
_OPTIONS = {
    # Each reader writes values of extension types in its own way.
    "arrow_extensions_enabled": False,
    "coerce_int96_timestamp_unit": "us",
    "page_checksum_verification": True,
    "schema_depth_limit": _MAX_SCHEMA_DEPTH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetRows:
    """An open file whose rows can be read repeatedly, in batches of bounded memory."""

    source: parquet.ParquetFile
    key: str
    limit_bytes: int | None
    batch_rows: int

    @property
    def schema(self) -> pa.Schema:
        return self.source.schema_arrow


def check_footer(path: Path, *, key: str, limit_bytes: int | None) -> parquet.FileMetaData:
    """The footer, verified before any of its numbers is used.

    Raises MalformedFileError if it is damaged or exceeds its limits, SourceLimitError if the announced rows cannot fit
    into `limit_bytes` of text.
    """
    with path.open("rb") as stream:
        stream.seek(-_ENDING_BYTES, 2)
        footer_bytes = int.from_bytes(stream.read(_ENDING_BYTES)[:4], "little")
    if footer_bytes > MAX_FOOTER_BYTES:
        raise MalformedFileError(
            f"the Parquet footer has {footer_bytes} bytes, more than {MAX_FOOTER_BYTES}",
            file=key,
            advice=DAMAGED_ADVICE,
        )
    try:
        with parquet.ParquetFile(path, **_OPTIONS) as source:
            metadata = source.metadata
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(key, "the Parquet footer cannot be read", error) from error
    if metadata.num_columns > MAX_COLUMNS:
        raise MalformedFileError(
            f"has {metadata.num_columns} columns, more than {MAX_COLUMNS}",
            file=key,
            advice="expected the columns of a billing export: choose fewer columns or tags in it",
        )
    if limit_bytes is not None and metadata.num_rows * metadata.num_columns > limit_bytes:
        raise _too_large(key, limit_bytes)
    return metadata


@contextmanager
def open_rows(
    session: duckdb.DuckDBPyConnection, path: Path, *, key: str, limit_bytes: int | None
) -> Iterator[ParquetRows]:
    """The rows of a file, with texts as dictionaries if the file has them: they take as little memory as in the file.

    Raises what `check_footer` raises.
    """
    metadata = check_footer(path, key=key, limit_bytes=limit_bytes)
    row_bytes, delta_columns = _describe_chunks(session, path, metadata.num_columns)
    columns = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    # pyarrow reads neither parts of maps nor delta encodings as dictionaries.
    parts = {column.path for column in columns if column.path != column.name}
    texts = [
        column.path
        for number, column in enumerate(columns)
        if column.physical_type == "BYTE_ARRAY" and column.path not in parts and number not in delta_columns
    ]
    batch_rows = _BATCH_BYTES // max(row_bytes, metadata.num_columns * _CELL_BYTES, 1)
    if parts:
        batch_rows = min(batch_rows, _NESTED_BATCH_ROWS)
    if delta_columns:
        # A value that is stored as a difference can repeat a long one in a few bits.
        batch_rows = min(batch_rows, _DELTA_BATCH_ROWS)
    batch_rows = min(batch_rows, _MAX_BATCH_ROWS)
    try:
        source = parquet.ParquetFile(path, read_dictionary=texts, pre_buffer=False, buffer_size=2**16, **_OPTIONS)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise damaged(key, "the Parquet footer cannot be read", error) from error
    with source:
        yield ParquetRows(source=source, key=key, limit_bytes=limit_bytes, batch_rows=max(batch_rows, 1))


def read_batches(rows: ParquetRows) -> Iterator[pa.RecordBatch]:
    """All rows; their text is counted on the way.

    A row's text is about what a CSV would hold: the bytes of texts, 24 for a time, 8 for a number, and a separator for
    each column. Raises SourceLimitError beyond the limit, MalformedFileError if rows cannot be decoded.
    """
    text_bytes = 0
    try:
        for batch in rows.source.iter_batches(rows.batch_rows):
            interruption.check()
            batch_bytes = sum(_text_bytes(column, rows.key) for column in batch.columns)
            if batch_bytes > batch.num_rows * MAX_VALUE_BYTES:
                raise _too_long(rows.key, "a row")
            text_bytes += batch_bytes + batch.num_rows * batch.num_columns
            if rows.limit_bytes is not None and text_bytes > rows.limit_bytes:
                raise _too_large(rows.key, rows.limit_bytes)
            yield batch
    except (OSError, ValueError, IndexError, pa.ArrowException) as error:
        raise damaged(rows.key, "the rows cannot be read", error) from error


def damaged(key: str, problem: str, error: BaseException) -> MalformedFileError:
    """The error for a file that pyarrow or DuckDB cannot read, with the first line of the reader's message."""
    return MalformedFileError(f"{problem} ({first_line(error)})", file=key, advice=DAMAGED_ADVICE)


def _describe_chunks(session: duckdb.DuckDBPyConnection, path: Path, column_count: int) -> tuple[int, frozenset[int]]:
    """The bytes of a row in the largest row group, and the numbers of the texts that are stored as differences.

    DuckDB answers this: pyarrow ends the process when it describes the chunks of a damaged footer. A file that DuckDB
    cannot describe may still be good, and is then read in small steps.
    """
    is_delta = "type = 'BYTE_ARRAY' AND contains(encodings::VARCHAR, 'DELTA_')"
    try:
        row_bytes, delta_columns = session.execute(
            "SELECT coalesce(max(row_bytes), 0)::BIGINT, coalesce(list(DISTINCT number) FILTER (is_delta), []) FROM"
            f" (SELECT column_id AS number, {is_delta} AS is_delta,"
            " sum(greatest(total_uncompressed_size, 0)) OVER (PARTITION BY row_group_id)"
            " / greatest(row_group_num_rows, 1) AS row_bytes FROM parquet_metadata($1))",
            [str(path)],
        ).fetchall()[0]
    except duckdb.Error:
        return 0, frozenset(range(column_count))
    return row_bytes, frozenset(delta_columns)


def _text_bytes(values: pa.Array, key: str) -> int:
    """The bytes of these values as text; a dictionary's are looked up, never expanded."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        lengths = _lengths(values.dictionary, key)
        return _sum(pc.take(lengths, values.indices))
    if pa.types.is_struct(kind):
        return sum(_text_bytes(child, key) for child in values.flatten())
    if pa.types.is_map(kind):
        start, end = values.offsets[0].as_py(), values.offsets[-1].as_py()
        return sum(_text_bytes(child.slice(start, end - start), key) for child in (values.keys, values.items))
    if pa.types.is_nested(kind):
        return _text_bytes(values.flatten(), key)
    if is_text(kind):
        return _sum(_lengths(values, key))
    width = _TIME_TEXT_BYTES if pa.types.is_temporal(kind) else _CELL_BYTES
    return int(len(values) - values.null_count) * width


def _sum(lengths: pa.Array) -> int:
    total: int = pc.sum(lengths).as_py() or 0
    return total


def _lengths(texts: pa.Array, key: str) -> pa.Array:
    lengths = pc.binary_length(texts)
    if (pc.max(lengths).as_py() or 0) > MAX_VALUE_BYTES:
        raise _too_long(key, "a value")
    return lengths


def is_text(kind: pa.DataType) -> bool:
    """Whether these are texts, with or without their annotation."""
    return kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


def _too_long(key: str, what: str) -> MalformedFileError:
    return MalformedFileError(f"{what} is longer than {MAX_VALUE_BYTES} bytes", file=key, advice=DAMAGED_ADVICE)


def _too_large(key: str, limit_bytes: int | None) -> SourceLimitError:
    return SourceLimitError(
        f"{key}, unpacked, is larger than {limit_bytes} bytes",
        advice="raise BILLFOLD_MAX_UNPACKED_BYTES if the size is right",
    )
