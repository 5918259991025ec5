"""Parse: the files of one delivery into DuckDB tables, every column as text, a bad row refusing its file.

Files with the same columns share one table (a *shape*) named `source_rows_<n>`: columns `c0`, `c1`, … by position,
because headers may differ only in case, and `file_number`, the file's place in the delivery.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import duckdb
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from billfold import interruption
from billfold.errors import InputError, InvalidValueError, MalformedFileError
from billfold.model import ExportFormat, UnpackedFile
from billfold.transform.columns import ACCOUNT_ID_COLUMNS, SourceColumn, describe_columns, detect_format, needed_columns
from billfold.transform.parquet_batches import check_footer, damaged, first_line, open_rows, read_batches
from billfold.transform.parquet_proof import ParquetColumn, ParquetProof, check_agreement, read_with_pyarrow
from billfold.transform.session import quote

MAX_HEADER_BYTES = 1 << 20
# AWS's widest exports have some 300 columns beside those of tags and cost categories, of which it allows 1,000. Memory
# grows with the columns: DuckDB holds 2,048 rows of all of them for each processor.
MAX_COLUMNS = 5_000
# DuckDB refuses lines longer than 2 MB; a block must hold the longest.
_BLOCK_BYTES = 8 << 20
_REFUSED_ADVICE = (
    "its money cannot be known, so the file is refused: wait for the next delivery or ask AWS for it again"
)
# DuckDB's types of whole numbers, decimals without a scale among them.
_WHOLE_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DECIMAL\(\d+,0\)")
_CSV_ERROR = re.compile("CSV Error|CSV Parser")
_ERROR_LINE = re.compile(r"CSV Error on Line: (\d+)")
_ERROR_COLUMNS = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")
_ERROR_FILE = re.compile(r"file = (.+)")
# No field of a line that DuckDB accepts is longer; Python's own limit of 128 KiB is for all of its csv readers.
_MAX_LINE_CHARACTERS = 4 << 20
csv.field_size_limit(_MAX_LINE_CHARACTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One unpacked file of the delivery with its number in it (from 0)."""

    file_number: int
    unpacked: UnpackedFile

    @property
    def key(self) -> str:
        return self.unpacked.source.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The files of a delivery that have the same columns in the same order, and the table that holds their rows.

    `types` are DuckDB's types of the columns in the file: VARCHAR throughout for CSV, the declared type of a decimal
    with more digits than DuckDB's.
    """

    number: int
    export_format: ExportFormat
    kind: str
    columns: tuple[SourceColumn, ...]
    types: tuple[str, ...]
    files: tuple[SourceFile, ...]

    @property
    def table(self) -> str:
        return f"source_rows_{self.number}"

    def find(self, canonical: str) -> SourceColumn | None:
        """The column with this canonical name, if the files have it."""
        return next((column for column in self.columns if column.canonical == canonical), None)


_EMPTY_SHAPE = Shape(number=0, export_format=ExportFormat.CUR2, kind="csv", columns=(), types=(), files=())


def parse(
    session: duckdb.DuckDBPyConnection, files: Sequence[UnpackedFile], *, max_unpacked_bytes: int | None = None
) -> tuple[Shape, ...]:
    """Load all files; one shape per distinct set of columns. Nothing is left out and nothing is padded.

    Raises UnknownFormatError, MissingColumnError and MalformedFileError with file and physical line (the header is 1),
    and SourceLimitError for a Parquet file whose text is beyond `max_unpacked_bytes`.
    """
    limit = max_unpacked_bytes
    shapes = _group(
        [_read_shape(session, SourceFile(file_number=n, unpacked=file), limit) for n, file in enumerate(files)]
    )
    if not shapes:
        # A delivery without files is an empty bill: no columns, no rows.
        session.execute("CREATE TABLE source_rows_0 (file_number SMALLINT)")
        return (_EMPTY_SHAPE,)
    # The second reader uses one processor only, and DuckDB not all of both: they work side by side.
    with ThreadPoolExecutor(max_workers=1) as beside:
        for shape in shapes:
            counts = beside.submit(_count_all, shape)
            proofs = _read_with_pyarrow(session, shape, files, limit)
            session.execute(f"CREATE TABLE {shape.table} AS SELECT * FROM ({_select(shape)}) WHERE false")
            try:
                session.execute(f"INSERT INTO {shape.table} {_select(shape)}")
            except duckdb.Error as error:
                if (refusal := _explain(error, shape)) is None:
                    raise
                raise refusal from error
            _check_lines(session, shape, counts.result())
            for file, proof in proofs:
                rows = f"{shape.table} WHERE file_number = {file.file_number}"
                check_agreement(session, proof, loaded=rows, scan=_scan_parquet(shape, file))
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
            f" FROM ({_select_file(shape, file)})) WHERE {bad} ORDER BY number LIMIT 1"
        ).fetchone()
        if found is None:
            continue
        number, value = found
        if shape.kind == "parquet":
            message = f"row {number}: {message}"
        raise error_type(
            message,
            file=file.key,
            line=_physical_line(file.unpacked.path, number) if shape.kind == "csv" else None,
            column=column.header,
            value="" if value is None else str(value),
            advice=advice,
        )


def _read_shape(session: duckdb.DuckDBPyConnection, file: SourceFile, max_unpacked_bytes: int | None) -> Shape:
    if file.unpacked.kind == "parquet":
        file, spelled = _spell_wide_decimals(session, file, max_unpacked_bytes)
        headers, types = _read_parquet_schema(session, file)
        types = [spelled.get(position, name) for position, name in enumerate(types)]
    else:
        _refuse_nul(file)
        headers = _read_csv_header(file)
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


def _refuse_nul(file: SourceFile) -> None:
    """PostgreSQL cannot hold the character NUL, and AWS never writes it."""
    line_ends = 0
    with file.unpacked.path.open("rb") as stream:
        while chunk := stream.read(_BLOCK_BYTES):
            if (at := chunk.find(b"\0")) >= 0:
                raise MalformedFileError(
                    "holds the character NUL",
                    file=file.key,
                    line=1 + line_ends + chunk.count(b"\n", 0, at),
                    advice=_REFUSED_ADVICE,
                )
            line_ends += chunk.count(b"\n")


def _read_csv_header(file: SourceFile) -> list[str]:
    with file.unpacked.path.open("rb") as stream:
        head = stream.read(MAX_HEADER_BYTES)
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The limit may cut a character in two; anything else is no UTF-8.
        if error.start < len(head) - 4:
            line = head[: error.start].count(b"\n") + 1
            raise MalformedFileError(
                "is not UTF-8 text",
                file=file.key,
                line=line,
                advice="AWS writes UTF-8: deliver the file again, unchanged",
            ) from error
        text = head[: error.start].decode("utf-8-sig")
    try:
        # Only CR and LF end a line: a tag's key may hold any other character that Python takes for the end of one.
        lines = io.StringIO(text, newline="")
        header = next(csv.reader(lines, strict=True), [])
    except csv.Error as error:
        if len(head) == MAX_HEADER_BYTES:
            raise _long_header(file) from error
        raise MalformedFileError(f"the header cannot be read ({error})", file=file.key, line=1) from error
    if len(head) == MAX_HEADER_BYTES and not text[: lines.tell()].endswith(("\r", "\n")):
        raise _long_header(file)
    if len(header) < 2:
        raise MalformedFileError(
            f"the header has {len(header)} column{'s' if len(header) != 1 else ''}, no comma-separated billing export",
            file=file.key,
            line=1,
            advice="expected the CSV or Parquet that AWS delivers",
        )
    return header


def _long_header(file: SourceFile) -> MalformedFileError:
    return MalformedFileError(
        f"the header does not end within {MAX_HEADER_BYTES} bytes",
        file=file.key,
        line=1,
        advice="the file is damaged, or is not a billing export: ask AWS for it again",
    )


def _refuse_many_columns(headers: Sequence[str], file: SourceFile) -> None:
    if len(headers) > MAX_COLUMNS:
        raise MalformedFileError(
            f"has {len(headers)} columns (at most {MAX_COLUMNS})",
            file=file.key,
            line=1 if file.unpacked.kind == "csv" else None,
            advice="choose fewer columns or cost allocation tags for the export",
        )


def _spell_wide_decimals(
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


def _read_parquet_schema(session: duckdb.DuckDBPyConnection, file: SourceFile) -> tuple[list[str], list[str]]:
    try:
        headers = list(parquet.read_schema(file.unpacked.path).names)
        described = session.execute(f"DESCRIBE SELECT * FROM {_parquet_source(file.unpacked.path)}").fetchall()
    except (OSError, ValueError, pa.ArrowException, duckdb.Error) as error:
        raise damaged(file.key, "the Parquet footer cannot be read", error) from error
    return headers, [row[1] for row in described]


def _parquet_source(path: Path) -> str:
    """The scan of a Parquet file: no columns from its path, and texts without their annotation are texts."""
    return f"read_parquet({quote(str(path))}, hive_partitioning = false, binary_as_string = true)"


def _select(shape: Shape) -> str:
    """The query that reads all files of a shape as text, with the number of the file each row comes from."""
    return " UNION ALL ".join(_select_file(shape, file) for file in shape.files)


def _select_file(shape: Shape, file: SourceFile) -> str:
    path = quote(str(file.unpacked.path))
    number = f"{file.file_number}::SMALLINT AS file_number"
    if shape.kind == "csv":
        names = ", ".join(f"'{column.sql_name}': 'VARCHAR'" for column in shape.columns)
        # FOCUS exports write the word NULL for no value.
        nulls = "['', 'NULL']" if shape.export_format is ExportFormat.FOCUS else "['']"
        return (
            f"SELECT *, {number} FROM read_csv({path}, auto_detect = false, header = false, skip = 1, delim = ',',"
            f" quote = '\"', escape = '\"', nullstr = {nulls}, columns = {{{names}}})"
        )
    texts = ", ".join(
        f"nullif({_as_text(shape, column, type_name)}, '') AS {column.sql_name}"
        for column, type_name in zip(shape.columns, shape.types, strict=True)
    )
    return f"SELECT {texts}, {number} FROM {_scan_parquet(shape, file)}"


def _scan_parquet(shape: Shape, file: SourceFile) -> str:
    """The scan of a Parquet file under the shape's names."""
    aliases = ", ".join(column.sql_name for column in shape.columns)
    return f"{_parquet_source(file.unpacked.path)} AS source ({aliases})"


def _as_text(shape: Shape, column: SourceColumn, type_name: str) -> str:
    """A Parquet value as the CSV of the same export spells it: ISO times, maps as JSON.

    Account ids that are whole numbers get the leading zeros that numbers cannot have. NaN is how tools write that a
    double is missing; in a needed column it stays, to be refused.
    """
    name = column.sql_name
    if column.canonical in ACCOUNT_ID_COLUMNS and _WHOLE_NUMBER.fullmatch(type_name):
        return f"padded_account_id({name}::VARCHAR)"
    if type_name in ("FLOAT", "DOUBLE") and column.canonical not in needed_columns(shape.export_format):
        return f"CASE WHEN NOT isnan({name}) THEN {name}::VARCHAR END"
    if type_name in ("TIMESTAMP_NS", "TIMESTAMPTZ_NS"):
        return f"nano_instant_text({name}::TIMESTAMP_NS)"
    if type_name.startswith("TIMESTAMP"):
        return f"instant_text({name}::TIMESTAMP)"
    if type_name == "MAP(VARCHAR, DOUBLE)":
        return f"to_json({name}::MAP(VARCHAR, VARCHAR))::VARCHAR"
    if type_name.startswith(("MAP", "STRUCT")) or type_name.endswith("]"):
        return f"to_json({name})::VARCHAR"
    return f"{name}::VARCHAR"


def _read_with_pyarrow(
    session: duckdb.DuckDBPyConnection, shape: Shape, files: Sequence[UnpackedFile], max_unpacked_bytes: int | None
) -> list[tuple[SourceFile, ParquetProof]]:
    """What the second reader finds in each Parquet file, as delivered; before DuckDB writes any of its rows."""
    if shape.kind != "parquet":
        return []
    columns = [
        ParquetColumn(column=column, type_name=type_name, text=_as_text(shape, column, type_name))
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


def _count_all(shape: Shape) -> dict[int, int]:
    """How many rows the second reader finds in each CSV file; it splits every file as well."""
    if shape.kind != "csv":
        return {}
    return {file.file_number: _count_rows(file, len(shape.columns)) for file in shape.files}


def _check_lines(session: duckdb.DuckDBPyConnection, shape: Shape, counts: Mapping[int, int]) -> None:
    """Both readers must have found the same number of rows in each file."""
    loaded = dict(session.execute(f"SELECT file_number, count(*) FROM {shape.table} GROUP BY file_number").fetchall())
    for file in shape.files:
        found = counts.get(file.file_number, loaded.get(file.file_number, 0))
        if found != loaded.get(file.file_number, 0):
            raise MalformedFileError(
                f"one reader finds {found} rows in it, another {loaded.get(file.file_number, 0)}",
                file=file.key,
                advice=_REFUSED_ADVICE,
            )


def _count_rows(file: SourceFile, column_count: int) -> int:
    """The rows of a file, its header not counted, none with cells beyond the header's.

    DuckDB drops such cells at a line's end silently when they are empty; a cell inserted before them has shifted the
    money then.
    """
    row_count = 0
    surplus: list[tuple[int, int]] = []

    def keep(row: arrow_csv.InvalidRow) -> str:
        surplus.append((row.number, row.actual_columns))
        return "error"

    try:
        with arrow_csv.open_csv(
            file.unpacked.path,
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=_BLOCK_BYTES, column_names=[f"c{n}" for n in range(column_count)]
            ),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep),
            # Splitting the lines is all that is wanted: one column must be read, none is looked at.
            convert_options=arrow_csv.ConvertOptions(
                include_columns=["c0"], column_types={"c0": pa.binary()}, check_utf8=False
            ),
        ) as batches:
            for batch in batches:
                interruption.check()
                row_count += batch.num_rows
    except pa.ArrowInvalid as error:
        if not surplus:
            is_long = "straddling object" in str(error)
            reason = "a line is longer than 8 MB" if is_long else f"cannot be read ({first_line(error)})"
            raise MalformedFileError(reason, file=file.key, advice=_REFUSED_ADVICE) from error
        number, found = surplus[0]
        raise MalformedFileError(
            f"the header has {column_count} columns, this row has {found}",
            file=file.key,
            line=_physical_line(file.unpacked.path, number - 1),
            advice=_REFUSED_ADVICE,
        ) from error
    return row_count - 1


def _physical_line(path: Path, row_number: int, *, count_blank: bool = False) -> int:
    """The line on which the given row (from 1, the header not counted) starts; rows may hold line breaks.

    It ends at a line or field that is too long to be read, which is where a refused file is wrong.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.reader(_short_lines(stream))
        starts_at = 1
        try:
            for row in reader:
                if row or count_blank:
                    if row_number == 0:
                        break
                    row_number -= 1
                starts_at = reader.line_num + 1
        except csv.Error:
            # A field beyond the limit, as after a quote that never ends.
            return starts_at
        return starts_at


def _short_lines(stream: TextIO) -> Iterator[str]:
    """The lines of a text up to the first one that is too long, so that memory stays bounded."""
    while line := stream.readline(_MAX_LINE_CHARACTERS):
        if len(line) == _MAX_LINE_CHARACTERS:
            return
        yield line


def _explain(error: duckdb.Error, shape: Shape) -> MalformedFileError | None:
    """What is wrong with the file; None where the memory or the disk does not suffice."""
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return None
    if isinstance(error, duckdb.IOException) and not _CSV_ERROR.search(text) and shape.kind == "csv":
        return None
    path = _ERROR_FILE.search(text)
    file = next((file for file in shape.files if path and str(file.unpacked.path) == path[1].strip()), shape.files[0])
    line = _ERROR_LINE.search(text)
    counts = _ERROR_COLUMNS.search(text)
    if counts:
        reason = f"the header has {counts[1]} columns, this row has {counts[2]}"
    elif "not utf-8" in text.lower():
        reason = "is not UTF-8 text"
    elif "unterminated quote" in text:
        reason = "a quoted value does not end where it should"
    elif "line size" in text.lower():
        reason = "the line is longer than 2 MB"
    elif "Parallel CSV Reader" in text:
        # What it says of a line that is longer than several of its buffers.
        reason = "a line is longer than 2 MB"
    elif "invalid state" in text:
        reason = "its line ends are of different kinds, or a value is not quoted as CSV wants it"
    else:
        reason = f"cannot be read ({first_line(error)})"
    return MalformedFileError(
        reason,
        file=file.key,
        # DuckDB counts rows, the header and blank lines included; a row may hold line breaks.
        line=_physical_line(file.unpacked.path, int(line[1]) - 1, count_blank=True) if line else None,
        advice=_REFUSED_ADVICE,
    )
