"""The proof of a Parquet file: pyarrow reads it as well, and must find every row and value that DuckDB loads.

The rows of both readers are hashed by the same SQL and the hashes are added up, so that their order does not matter.
Values are compared as the text that is loaded, which differs in every bit of a number. Maps, lists and structures are
compared as DuckDB decodes them, by one more scan of these columns: their text costs more than all the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from billfold.errors import MalformedFileError
from billfold.transform.columns import SourceColumn
from billfold.transform.parquet_batches import ParquetRows, damaged, is_text, open_rows, read_batches

_ADVICE = "its money is uncertain, so the file is refused: wait for the next delivery or ask AWS for it again"
_STREAM = "second_reader"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetColumn:
    """A column of a file: DuckDB's name of its type, and the SQL that makes its value the loaded text."""

    column: SourceColumn
    type_name: str
    text: str

    @property
    def sql_name(self) -> str:
        return self.column.sql_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetProof:
    """What pyarrow reads in one file: its rows and, for the columns that both readers can compare, sums of hashes.

    `path` is the file as delivered. `loaded` columns are compared with the table, `nested` ones with another scan.
    """

    path: Path
    key: str
    loaded: tuple[ParquetColumn, ...]
    nested: tuple[ParquetColumn, ...]
    limit_bytes: int | None
    found: tuple[int, ...] = field(default=())

    @property
    def row_count(self) -> int:
        return self.found[0]


def read_with_pyarrow(
    session: duckdb.DuckDBPyConnection,
    path: Path,
    columns: Sequence[ParquetColumn],
    *,
    key: str,
    limit_bytes: int | None,
) -> ParquetProof:
    """Read the whole file once, in bounded memory, without writing anything.

    Raises MalformedFileError for what pyarrow cannot read, SourceLimitError if its text exceeds `limit_bytes`.
    """
    with open_rows(session, path, key=key, limit_bytes=limit_bytes) as rows:
        kinds = [column.type for column in rows.schema]
        if len(kinds) != len(columns):
            raise _disagreement(key, "column counts", f"{len(kinds)} columns", f"{len(columns)}")
        typed = list(zip(columns, kinds, strict=True))
        proof = ParquetProof(
            path=path,
            key=key,
            loaded=tuple(filter(None, (_as_loaded(column, kind) for column, kind in typed))),
            nested=tuple(column for column, kind in typed if _is_nested_alike(kind)),
            limit_bytes=limit_bytes,
        )
        found = _ask_pyarrow(session, proof, rows, [_row_hash(_texts(proof)), _row_hash(_names(proof.nested))])
    return replace(proof, found=found)


def require_agreement(session: duckdb.DuckDBPyConnection, proof: ParquetProof, *, loaded: str, scan: str) -> None:
    """Refuse the file unless DuckDB read the same rows; `loaded` and `scan` are its rows as FROM clauses.

    Raises MalformedFileError with the column in which the readers differ.
    """
    texts, nested = _names(proof.loaded), [_entries(column) for column in proof.nested]
    row_count, *loaded_hash = _ask(session, loaded, [_row_hash(texts)])
    if row_count != proof.row_count:
        raise _disagreement(proof.key, "row counts", f"{proof.row_count} rows", f"{row_count}")
    nested_hash = _ask(session, scan, [_row_hash(nested)])[1:] if nested else proof.found[2:]
    if (*loaded_hash, *nested_hash) == proof.found[1:]:
        return
    # Only a refused file pays for this: it is read once more to name the column.
    with open_rows(session, proof.path, key=proof.key, limit_bytes=proof.limit_bytes) as rows:
        values = _texts(proof) + _names(proof.nested)
        by_pyarrow = _ask_pyarrow(session, proof, rows, [_row_hash([value]) for value in values])
    by_duckdb = _ask(session, loaded, [_row_hash([value]) for value in texts])[1:]
    by_duckdb += _ask(session, scan, [_row_hash([value]) for value in nested])[1:]
    columns = proof.loaded + proof.nested
    differing = (
        each.column.header
        for each, ours, theirs in zip(columns, by_pyarrow[1:], by_duckdb, strict=True)
        if ours != theirs
    )
    raise MalformedFileError(
        "values disagree: pyarrow and DuckDB read different ones",
        file=proof.key,
        column=next(differing, None),
        advice=_ADVICE,
    )


def _disagreement(key: str, what: str, by_pyarrow: str, by_duckdb: str) -> MalformedFileError:
    return MalformedFileError(
        f"{what} disagree: pyarrow read {by_pyarrow}, DuckDB {by_duckdb}", file=key, advice=_ADVICE
    )


def _names(columns: Sequence[ParquetColumn]) -> list[str]:
    return [column.sql_name for column in columns]


def _texts(proof: ParquetProof) -> list[str]:
    return [f"nullif({column.text}, '')" for column in proof.loaded]


def _entries(column: ParquetColumn) -> str:
    return f"map_entries({column.sql_name})" if column.type_name.startswith("MAP") else column.sql_name


def _row_hash(values: Sequence[str]) -> str:
    # The hashes have 64 bits and the sum has 128: it cannot overflow.
    return f"sum(hash({', '.join(['1', *values])})::HUGEINT)"


def _ask(session: duckdb.DuckDBPyConnection, source: str, sums: Sequence[str]) -> tuple[int, ...]:
    """The number of rows and these sums, 0 without rows."""
    zeros = ", ".join(f"coalesce({each}, 0)" for each in sums)
    return tuple(session.execute(f"SELECT count(*), {zeros or 0} FROM {source}").fetchall()[0])


def _ask_pyarrow(
    session: duckdb.DuckDBPyConnection, proof: ParquetProof, rows: ParquetRows, sums: Sequence[str]
) -> tuple[int, ...]:
    columns = {column.column.position: column for column in proof.loaded + proof.nested}
    # DuckDB's error for a failed stream has lost the class of the cause.
    errors: list[BaseException] = []

    def chosen() -> Iterator[pa.RecordBatch]:
        try:
            for batch in read_batches(rows):
                yield _choose(batch.columns, columns)
        except (ValueError, pa.ArrowException) as error:
            errors.append(damaged(proof.key, "the rows cannot be read", error))
            raise
        except BaseException as error:
            errors.append(error)
            raise

    schema = _choose([pa.nulls(0, each.type) for each in rows.schema], columns).schema
    session.register(_STREAM, pa.RecordBatchReader.from_batches(schema, chosen()))
    try:
        casts = ", ".join(f"{each.sql_name}::{each.type_name} AS {each.sql_name}" for each in proof.loaded)
        return _ask(session, f"(SELECT *{f' REPLACE ({casts})' if casts else ''} FROM {_STREAM})", sums)
    except duckdb.OutOfMemoryException:
        raise
    except (duckdb.Error, RuntimeError) as error:
        if errors:
            raise errors[0] from None
        raise damaged(proof.key, "the rows cannot be read", error) from error
    finally:
        session.unregister(_STREAM)


def _choose(columns: Sequence[pa.Array], chosen: Mapping[int, ParquetColumn]) -> pa.RecordBatch:
    """The columns that are compared, under their names in SQL."""
    return pa.RecordBatch.from_arrays(
        [_comparable(columns[position]) for position in chosen],
        names=[column.sql_name for column in chosen.values()],
    )


def _comparable(values: pa.Array) -> pa.Array:
    """The same values in a type that DuckDB reads from pyarrow as it reads it from the file."""
    kind = values.type
    if pa.types.is_dictionary(kind) and pa.types.is_binary(kind.value_type):
        # Tools leave out the annotation that says text.
        return pa.DictionaryArray.from_arrays(values.indices, values.dictionary.cast(pa.string()))
    if pa.types.is_binary(kind) or pa.types.is_decimal256(kind):
        return values.cast(pa.string())
    if pa.types.is_map(kind):
        # DuckDB reads a list of entries many times faster than a map.
        entries = pa.StructArray.from_arrays([values.keys, values.items], names=["key", "value"])
        return pa.Array.from_buffers(
            pa.list_(entries.type),
            len(values),
            values.buffers()[:2],
            null_count=values.null_count,
            offset=values.offset,
            children=[entries],
        )
    return values


def _as_loaded(column: ParquetColumn, kind: pa.DataType) -> ParquetColumn | None:
    """The column with the type to which its values of `kind` are cast; None if the readers' values are not alike.

    These are times of day, intervals, UUIDs and binary values, which billing exports never have.
    """
    if _is_text(kind):
        return replace(column, type_name="VARCHAR") if column.type_name in ("VARCHAR", "JSON") else None
    if pa.types.is_decimal256(kind):
        return replace(column, type_name="VARCHAR")
    return column if _is_number(kind) or pa.types.is_timestamp(kind) or pa.types.is_date32(kind) else None


def _is_nested_alike(kind: pa.DataType) -> bool:
    if pa.types.is_map(kind):
        children = [kind.key_type, kind.item_type]
    elif pa.types.is_list(kind):
        children = [kind.value_type]
    elif pa.types.is_struct(kind):
        children = [child.type for child in kind]
    else:
        return False
    return all(_is_text(child) or _is_number(child) for child in children)


def _is_text(kind: pa.DataType) -> bool:
    return is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_decimal128(kind) or kind in (pa.float32(), pa.float64(), pa.bool_())
    )
