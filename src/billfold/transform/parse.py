"""Parse: the files of one delivery into DuckDB tables, every column as text. A bad row refuses its file.

Files with the same columns share one table (a *shape*) named `source_rows_<n>`: columns `c0`, `c1`, … by position,
because headers may differ only in case, and `file_number`, the file's place in the delivery.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import duckdb

from billfold.errors import InputError, InvalidValueError, MalformedFileError
from billfold.model import ExportFormat, UnpackedFile
from billfold.transform.columns import SourceColumn, describe_columns, detect_format
from billfold.transform.csv_files import (
    REFUSED_ADVICE,
    count_rows,
    explain,
    physical_line,
    read_csv_header,
    refuse_nul,
)
from billfold.transform.shape import Shape, SourceFile, scan_parquet, select_file_rows, select_rows

if TYPE_CHECKING:
    # What reads Parquet loads Arrow's compute functions, for which a small CSV file need not wait.
    from billfold.transform.parquet_proof import ParquetProof

# AWS's widest exports have some 300 columns beside those of tags and cost categories, of which it allows 1,000. Memory
# grows with the columns: DuckDB holds 2,048 rows of all of them for each processor.
MAX_COLUMNS = 5_000
_EMPTY_SHAPE = Shape(number=0, export_format=ExportFormat.CUR2, kind="csv", columns=(), types=(), files=())


def parse(
    session: duckdb.DuckDBPyConnection, files: Sequence[UnpackedFile], *, max_unpacked_bytes: int | None = None
) -> tuple[Shape, ...]:
    """Load all files, one shape per distinct set of columns. No row is left out or padded.

    Raises UnknownFormatError, MissingColumnError and MalformedFileError with file and physical line (the header is 1),
    and SourceLimitError for a Parquet file whose text exceeds `max_unpacked_bytes`.
    """
    limit = max_unpacked_bytes
    shapes = _group(
        [_read_shape(session, SourceFile(file_number=n, unpacked=file), limit) for n, file in enumerate(files)]
    )
    if not shapes:
        # A delivery without files is an empty bill: no columns, no rows.
        session.execute("CREATE TABLE source_rows_0 (file_number SMALLINT)")
        return (_EMPTY_SHAPE,)
    # The second reader only uses one processor, and DuckDB not all of both: they run in parallel.
    with ThreadPoolExecutor(max_workers=1) as beside:
        for shape in shapes:
            counts = beside.submit(_count_all, shape)
            proofs = _read_proofs(session, shape, files, limit)
            columns = ", ".join(f"{column.sql_name} VARCHAR" for column in shape.columns)
            session.execute(f"CREATE TABLE {shape.table} ({columns}, file_number SMALLINT)")
            try:
                session.execute(f"INSERT INTO {shape.table} {select_rows(shape)}")
            except duckdb.Error as error:
                if (refusal := explain(error, shape)) is None:
                    raise
                raise refusal from error
            _refuse_other_counts(session, shape, counts.result())
            _require_agreement(session, shape, proofs)
    return shapes


def raise_at_first(
    session: duckdb.DuckDBPyConnection,
    shape: Shape,
    column: SourceColumn,
    bad: str,
    message: str,
    advice: str,
    *,
    error_type: type[InputError] = InvalidValueError,
) -> None:
    """Raise an error for the first row in which the condition `bad` (over `value` and the columns) holds.

    Only a refused file pays for this: the rows are read once more, in their order, to find the line.
    """
    session.execute("SET preserve_insertion_order = true")
    for file in shape.files:
        found = session.execute(
            f"SELECT number, value FROM (SELECT row_number() OVER () AS number, {column.sql_name} AS value, *"
            f" FROM ({select_file_rows(shape, file)})) WHERE {bad} ORDER BY number LIMIT 1"
        ).fetchone()
        if found is None:
            continue
        number, value = found
        if shape.kind == "parquet":
            message = f"row {number}: {message}"
        raise error_type(
            message,
            file=file.key,
            line=physical_line(file.unpacked.path, number) if shape.kind == "csv" else None,
            column=column.header,
            value="" if value is None else str(value),
            advice=advice,
        )


def _read_shape(session: duckdb.DuckDBPyConnection, file: SourceFile, max_unpacked_bytes: int | None) -> Shape:
    if file.unpacked.kind == "parquet":
        from billfold.transform.parquet_files import read_parquet_schema, spell_wide_decimals

        file, spelled = spell_wide_decimals(session, file, max_unpacked_bytes)
        headers, types = read_parquet_schema(session, file)
        types = [spelled.get(position, name) for position, name in enumerate(types)]
    else:
        refuse_nul(file)
        headers = read_csv_header(file)
        types = ["VARCHAR"] * len(headers)
    _refuse_many_columns(headers, file)
    export_format = detect_format(headers, file=file.key)
    return Shape(
        number=file.file_number,
        export_format=export_format,
        kind=file.unpacked.kind,
        columns=describe_columns(headers, export_format, file=file.key),
        types=tuple(types),
        files=(file,),
    )


def _group(shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    groups: dict[object, list[Shape]] = {}
    for shape in shapes:
        groups.setdefault((shape.kind, shape.columns, shape.types), []).append(shape)
    formats = {shape.export_format for shape in shapes}
    if len(formats) > 1:
        other = next(shape for shape in shapes if shape.export_format is not shapes[0].export_format)
        raise MalformedFileError(
            f"is {other.export_format}, but the delivery's first file is {shapes[0].export_format}",
            file=other.files[0].key,
        )
    return tuple(
        Shape(
            number=number,
            export_format=members[0].export_format,
            kind=members[0].kind,
            columns=members[0].columns,
            types=members[0].types,
            files=tuple(member.files[0] for member in members),
        )
        for number, members in enumerate(groups.values())
    )


def _refuse_many_columns(headers: Sequence[str], file: SourceFile) -> None:
    if len(headers) > MAX_COLUMNS:
        raise MalformedFileError(
            f"has {len(headers)} columns (at most {MAX_COLUMNS})",
            file=file.key,
            line=1 if file.unpacked.kind == "csv" else None,
            advice="choose fewer columns or cost allocation tags for the export",
        )


def _count_all(shape: Shape) -> dict[int, int]:
    """The rows that the second reader finds in each CSV file."""
    if shape.kind != "csv":
        return {}
    return {file.file_number: count_rows(file, len(shape.columns)) for file in shape.files}


def _read_proofs(
    session: duckdb.DuckDBPyConnection, shape: Shape, files: Sequence[UnpackedFile], max_unpacked_bytes: int | None
) -> list[tuple[SourceFile, ParquetProof]]:
    """What the second reader finds in each Parquet file as delivered, before DuckDB writes any of its rows."""
    if shape.kind != "parquet":
        return []
    from billfold.transform.parquet_files import read_all_with_pyarrow

    return read_all_with_pyarrow(session, shape, files, max_unpacked_bytes)


def _require_agreement(
    session: duckdb.DuckDBPyConnection, shape: Shape, proofs: Sequence[tuple[SourceFile, ParquetProof]]
) -> None:
    if not proofs:
        return
    from billfold.transform.parquet_proof import require_agreement

    for file, proof in proofs:
        rows = f"{shape.table} WHERE file_number = {file.file_number}"
        require_agreement(session, proof, loaded=rows, scan=scan_parquet(shape, file))


def _refuse_other_counts(session: duckdb.DuckDBPyConnection, shape: Shape, counts: Mapping[int, int]) -> None:
    """Refuse a file in which the two readers find different numbers of rows."""
    loaded = dict(session.execute(f"SELECT file_number, count(*) FROM {shape.table} GROUP BY file_number").fetchall())
    for file in shape.files:
        found = counts.get(file.file_number, loaded.get(file.file_number, 0))
        if found != loaded.get(file.file_number, 0):
            raise MalformedFileError(
                f"row counts disagree: pyarrow read {found} rows, DuckDB {loaded.get(file.file_number, 0)}",
                file=file.key,
                advice=REFUSED_ADVICE,
            )
