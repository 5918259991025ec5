"""CSV files: their headers, a second reader's row count, and what is wrong in which line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import duckdb
import pyarrow as pa
import pyarrow.csv as arrow_csv

from billfold import interruption
from billfold.errors import MalformedFileError
from billfold.transform.shape import Shape, SourceFile

MAX_HEADER_BYTES = 1 << 20
# DuckDB refuses lines longer than 2 MB; a block must hold the longest.
_BLOCK_BYTES = 8 << 20
REFUSED_ADVICE = "its money is uncertain, so the file is refused: wait for the next delivery or ask AWS for it again"
_CSV_ERROR = re.compile("CSV Error|CSV Parser")
_ERROR_LINE = re.compile(r"CSV Error on Line: (\d+)")
_ERROR_COLUMNS = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")
_ERROR_FILE = re.compile(r"file = (.+)")
# DuckDB accepts no line with a longer field; Python's own limit of 128 KiB applies to all of its csv readers.
_MAX_LINE_CHARACTERS = 4 << 20
csv.field_size_limit(_MAX_LINE_CHARACTERS)


def refuse_nul(file: SourceFile) -> None:
    """Refuse the character NUL, which PostgreSQL cannot hold and AWS never writes."""
    line_ends = 0
    with file.unpacked.path.open("rb") as stream:
        while chunk := stream.read(_BLOCK_BYTES):
            if (at := chunk.find(b"\0")) >= 0:
                raise MalformedFileError(
                    "holds the character NUL",
                    file=file.key,
                    line=1 + line_ends + chunk.count(b"\n", 0, at),
                    advice=REFUSED_ADVICE,
                )
            line_ends += chunk.count(b"\n")


def read_csv_header(file: SourceFile) -> list[str]:
    with file.unpacked.path.open("rb") as stream:
        head = stream.read(MAX_HEADER_BYTES)
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The limit may cut a character in two; anything else is not UTF-8.
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
        # Only CR and LF end a line: a tag's key may hold other characters that Python treats as line ends.
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
            f"the header has {len(header)} column{'s' if len(header) != 1 else ''}: this is not a CSV billing export",
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


def count_rows(file: SourceFile, column_count: int) -> int:
    """The number of rows, without the header; refuses rows with more cells than the header.

    DuckDB silently drops such cells at a line's end if they are empty, but a cell that was inserted before them has
    shifted the money.
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
            # Only the split into lines is needed: one column must be read, but is not used.
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
            raise MalformedFileError(reason, file=file.key, advice=REFUSED_ADVICE) from error
        number, found = surplus[0]
        raise MalformedFileError(
            f"the header has {column_count} columns, this row has {found}",
            file=file.key,
            line=physical_line(file.unpacked.path, number - 1),
            advice=REFUSED_ADVICE,
        ) from error
    return row_count - 1


def physical_line(path: Path, row_number: int, *, count_blank: bool = False) -> int:
    """The line on which the given row (from 1, the header not counted) starts; rows may hold line breaks.

    It stops at a line or field that is too long to read, because that is what is wrong with the file.
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
            # A field exceeds the limit, as after a quote that never ends.
            return starts_at
        return starts_at


def _short_lines(stream: TextIO) -> Iterator[str]:
    """The lines of a text up to the first one that is too long, so that memory stays bounded."""
    while line := stream.readline(_MAX_LINE_CHARACTERS):
        if len(line) == _MAX_LINE_CHARACTERS:
            return
        yield line


def explain(error: duckdb.Error, shape: Shape) -> MalformedFileError | None:
    """What is wrong with the file; None if memory or disk ran out."""
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
        # DuckDB's error for a line that is longer than several of its buffers.
        reason = "a line is longer than 2 MB"
    elif "invalid state" in text:
        reason = "it mixes kinds of line ends, or a value is not quoted as CSV requires"
    else:
        reason = f"cannot be read ({first_line(error)})"
    return MalformedFileError(
        reason,
        file=file.key,
        # DuckDB counts rows, the header and blank lines included; a row may hold line breaks.
        line=physical_line(file.unpacked.path, int(line[1]) - 1, count_blank=True) if line else None,
        advice=REFUSED_ADVICE,
    )


def first_line(error: BaseException) -> str:
    """The first line of a reader's message."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
