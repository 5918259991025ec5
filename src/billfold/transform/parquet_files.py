"""Parquet files: their schema, decimals that are too wide for DuckDB, and what a second reader finds in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import duckdb
import pyarrow as pa
import pyarrow.parquet as parquet

from billfold.model import UnpackedFile
from billfold.transform.parquet_batches import check_footer, damaged, open_rows, read_batches
from billfold.transform.parquet_proof import ParquetColumn, ParquetProof, read_with_pyarrow
from billfold.transform.shape import Shape, SourceFile, as_text, parquet_source


def spell_wide_decimals(
    session: duckdb.DuckDBPyConnection, file: SourceFile, max_unpacked_bytes: int | None
) -> tuple[SourceFile, dict[int, str]]:
    """The file with decimals of more than 38 digits as text, and their types by position.

    DuckDB would read them as doubles, rounded.
    """
    original = file.unpacked.path
    check_footer(original, key=file.key, limit_bytes=max_unpacked_bytes)
    try:
        schema = parquet.read_schema(original)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(file.key, "the Parquet footer cannot be read", error) from error
    wide = {
        n: f"DECIMAL({field.type.precision},{field.type.scale})"
        for n, field in enumerate(schema)
        if pa.types.is_decimal256(field.type)
    }
    if not wide:
        return file, {}
    for n in wide:
        schema = schema.set(n, pa.field(schema.field(n).name, pa.string()))
    path = original.with_suffix(".spelled")
    try:
        with (
            open_rows(session, original, key=file.key, limit_bytes=max_unpacked_bytes) as rows,
            parquet.ParquetWriter(path, schema) as spelled,
        ):
            for batch in read_batches(rows):
                spelled.write_batch(batch.cast(schema))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(file.key, "the rows cannot be read", error) from error
    return replace(file, unpacked=replace(file.unpacked, path=path)), wide


def read_parquet_schema(session: duckdb.DuckDBPyConnection, file: SourceFile) -> tuple[list[str], list[str]]:
    try:
        headers = list(parquet.read_schema(file.unpacked.path).names)
        described = session.execute(f"DESCRIBE SELECT * FROM {parquet_source(file.unpacked.path)}").fetchall()
    except (OSError, ValueError, pa.ArrowException, duckdb.Error) as error:
        raise damaged(file.key, "the Parquet footer cannot be read", error) from error
    return headers, [row[1] for row in described]


def read_all_with_pyarrow(
    session: duckdb.DuckDBPyConnection, shape: Shape, files: Sequence[UnpackedFile], max_unpacked_bytes: int | None
) -> list[tuple[SourceFile, ParquetProof]]:
    """What the second reader finds in each file as delivered."""
    columns = [
        ParquetColumn(column=column, type_name=type_name, text=as_text(shape, column, type_name))
        for column, type_name in zip(shape.columns, shape.types, strict=True)
    ]
    return [
        (
            file,
            read_with_pyarrow(
                session, files[file.file_number].path, columns, key=file.key, limit_bytes=max_unpacked_bytes
            ),
        )
        for file in shape.files
    ]
