"""The files of a delivery that share their columns, and the queries that read their rows as text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from billfold.model import ExportFormat, UnpackedFile
from billfold.transform.columns import ACCOUNT_ID_COLUMNS, SourceColumn, needed_columns
from billfold.transform.session import quote

# DuckDB's types of whole numbers, including decimals without a scale.
_WHOLE_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DECIMAL\(\d+,0\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One unpacked file of the delivery, with its number (from 0)."""

    file_number: int
    unpacked: UnpackedFile

    @property
    def key(self) -> str:
        return self.unpacked.source.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The files of a delivery that have the same columns in the same order, and the table that holds their rows.

    `types` are DuckDB's types of the columns in the file: VARCHAR for CSV, and the declared type of a decimal with more
    digits than DuckDB supports.
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


def without_empty_columns(session: duckdb.DuckDBPyConnection, shape: Shape) -> Shape:
    """The shape without the columns that are empty in all rows: they mean the same as missing ones.

    A wide export fills few of its columns, and each one makes the next queries longer to plan and to run.
    """
    if not shape.columns:
        return shape
    counts = ", ".join(f"count({column.sql_name})" for column in shape.columns)
    [found] = session.execute(f"SELECT {counts} FROM {shape.table}").fetchall()
    kept = [position for position, count in enumerate(found) if count]
    return replace(
        shape,
        columns=tuple(shape.columns[position] for position in kept),
        types=tuple(shape.types[position] for position in kept),
    )


def select_rows(shape: Shape) -> str:
    """The query that reads all files of a shape as text, with the number of the file each row comes from."""
    return " UNION ALL ".join(select_file_rows(shape, file) for file in shape.files)


def select_file_rows(shape: Shape, file: SourceFile) -> str:
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
        f"nullif({as_text(shape, column, type_name)}, '') AS {column.sql_name}"
        for column, type_name in zip(shape.columns, shape.types, strict=True)
    )
    return f"SELECT {texts}, {number} FROM {scan_parquet(shape, file)}"


def scan_parquet(shape: Shape, file: SourceFile) -> str:
    """The scan of a Parquet file under the shape's names."""
    aliases = ", ".join(column.sql_name for column in shape.columns)
    return f"{parquet_source(file.unpacked.path)} AS source ({aliases})"


def parquet_source(path: Path) -> str:
    """The scan of a Parquet file: without columns from its path, and with texts that lack their annotation."""
    return f"read_parquet({quote(str(path))}, hive_partitioning = false, binary_as_string = true)"


def as_text(shape: Shape, column: SourceColumn, type_name: str) -> str:
    """A Parquet value as the CSV of the same export spells it: ISO times, maps as JSON.

    Account ids that are whole numbers get their leading zeros back. Tools write NaN for a missing double; in a needed
    column it stays and is refused.
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
