"""Landed rows as source rows: the shapes that `parse` makes of files, made of raw rows' JSON.

Identity, mapping and ledger work on them unchanged, so that charges can be rebuilt, and proved, without the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, product

import duckdb
import pyarrow as pa

from billfold.errors import MalformedFileError
from billfold.model import ExportFormat
from billfold.transform.columns import SourceColumn, describe_columns
from billfold.transform.identify import identify
from billfold.transform.session import quote
from billfold.transform.shape import Shape

# The name of these rows in errors: they are in no file.
LANDED_ROWS = "raw_aws_billing_rows"
# Two headers with one meaning are rare, and several such pairs in one bill are unknown: this many readings are tried.
_MAX_READINGS = 64

_HEADERS = "json_keys(row_data::JSON)"
# The same rule as `columns.detect_format`; every landed row has the needed columns of its format.
_FORMAT = """CASE
    WHEN len(list_filter(headers, lambda header: regexp_matches(header,
        '^(identity|bill|lineItem|product|pricing|reservation|savingsPlan)/'))) >= 2 THEN 'legacy-cur'
    WHEN len(list_filter(headers, lambda header: regexp_matches(header, '^(line_item_|bill_)'))) >= 2 THEN 'cur-2.0'
    WHEN list_has_any(headers, ['BilledCost', 'ChargeCategory', 'ChargePeriodStart']) THEN 'focus' END"""


def load_landed(session: duckdb.DuckDBPyConnection, rows: pa.RecordBatchReader) -> tuple[Shape, ...]:
    """Load landed rows (row_hash uuid, occurrence int4, row_data JSON text) under the headers in their JSON.

    The tables carry `landed_hash` and `landed_occurrence` beside the columns; a column that is empty in all rows is
    missing, which means the same. One statement can hold rows of legacy CUR and of CUR 2.0, because a row that both
    spell alike stays as it was first landed: each format is its own shape, and one mapping reads both. FOCUS
    shares no needed column with them, so no row survives a change to or from it: such a mixture raises
    MalformedFileError, and rows without the needed columns raise MissingColumnError.
    """
    [shapes] = load_families(session, rows, of_many=False)
    return shapes


def load_families(
    session: duckdb.DuckDBPyConnection, rows: pa.RecordBatchReader, *, of_many: bool
) -> tuple[tuple[Shape, ...], ...]:
    """Load rows of any format as `load_landed` does; returns the shapes of each family (CUR or FOCUS) with one mapping.

    There is at least one family, and the most frequent format is in the first. `of_many`: the rows come from several
    bills, whose headers may differ; one bill has one family. Pairs of row_hash and occurrence are unique.
    """
    session.register("landed_stream", rows)
    session.execute(
        "CREATE TABLE landed_row AS SELECT row_hash::UUID AS row_hash, occurrence::INTEGER AS occurrence, row_data"
        " FROM landed_stream"
    )
    session.unregister("landed_stream")
    session.execute(
        f"CREATE TABLE landed_headers AS SELECT headers, row_count, {_FORMAT} AS format FROM ("
        f" SELECT {_HEADERS} AS headers, count(*) AS row_count FROM landed_row GROUP BY 1)"
    )
    found = session.execute(
        "SELECT format FROM landed_headers GROUP BY format ORDER BY sum(row_count) DESC, format"
    ).fetchall()
    formats = [ExportFormat(name) for (name,) in found if name]
    if not of_many and ExportFormat.FOCUS in formats and len(formats) > 1:
        raise MalformedFileError(f"rows of {formats[1]} are mixed with rows of {formats[0]}", file=LANDED_ROWS)
    families: dict[bool, list[Shape]] = {}
    number = 0
    for export_format in (formats or [ExportFormat.CUR2]) if found else ():
        # A row without any known column gets the format of the others.
        of_format = f"coalesce({_FORMAT}, {quote(formats[0] if formats else ExportFormat.CUR2)})"
        where = f" WHERE {of_format} = {quote(export_format)}" if len(found) > 1 else ""
        shapes = list(_load_format(session, export_format, where, first_number=number))
        families.setdefault(export_format is ExportFormat.FOCUS, []).extend(shapes)
        number += len(shapes)
    if not number:
        families[False] = [_create_shape(session, 0, ExportFormat.CUR2, (), "")]
    session.execute("DROP TABLE landed_headers")
    session.execute("DROP TABLE landed_row")
    return tuple(tuple(family) for family in families.values())


def identify_as_landed(session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape]) -> None:
    """Fill `row_identity` with the rows' pairs (row_hash, occurrence) in PostgreSQL."""
    session.execute(
        "CREATE OR REPLACE TABLE row_identity AS"
        " SELECT shape::SMALLINT AS shape, row, 0::SMALLINT AS file_number, landed_hash AS row_hash,"
        f" landed_occurrence AS occurrence FROM ({_select_landed(shapes)})"
    )


def identify_once(session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape]) -> None:
    """Fill `row_identity` with one row of each landed hash: rows of one hash give the same charges."""
    session.execute(
        "CREATE OR REPLACE TABLE row_identity AS"
        " SELECT min(shape)::SMALLINT AS shape, arg_min(row, shape) AS row, 0::SMALLINT AS file_number,"
        f" landed_hash AS row_hash, 1::INTEGER AS occurrence FROM ({_select_landed(shapes)}) GROUP BY landed_hash"
    )


def find_misidentified(
    session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape]
) -> tuple[str, int, str, str, str] | None:
    """The first landed row whose own content has another identity: its pair, the column, expected and found value.

    Identity is computed again; identical rows may change places, so only pairs are compared. None if all agree.
    """
    if changed := find_changed(session, shapes):
        return changed
    misnumbered = session.execute(
        f"SELECT landed_hash::VARCHAR, landed_occurrence, (SELECT count(*) FROM row_identity"
        f" WHERE row_identity.row_hash = landed_hash) FROM ({_select_landed(shapes)}) AS landed WHERE NOT EXISTS"
        " (SELECT 1 FROM row_identity WHERE row_identity.row_hash = landed_hash"
        " AND row_identity.occurrence = landed_occurrence) ORDER BY 1, 2 LIMIT 1"
    ).fetchone()
    if misnumbered:
        return misnumbered[0], misnumbered[1], "occurrence", f"1 to {misnumbered[2]}", str(misnumbered[1])
    return None


def find_changed(session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape]) -> tuple[str, int, str, str, str] | None:
    """As `find_misidentified`, but only by hash: the occurrences of old versions of rows mean nothing."""
    session.execute("DROP TABLE IF EXISTS row_identity")
    identify(session, shapes)
    changed = session.execute(
        f"SELECT landed_hash::VARCHAR, landed_occurrence, row_hash::VARCHAR FROM ({_select_landed(shapes)})"
        " JOIN row_identity USING (shape, row) WHERE row_hash <> landed_hash ORDER BY 1, 2 LIMIT 1"
    ).fetchone()
    return (changed[0], changed[1], "row_hash", changed[2], changed[0]) if changed else None


def _select_landed(shapes: Sequence[Shape]) -> str:
    return " UNION ALL ".join(
        f"SELECT {shape.number} AS shape, rowid AS row, landed_hash, landed_occurrence FROM {shape.table}"
        for shape in shapes
    )


def _load_format(
    session: duckdb.DuckDBPyConnection, export_format: ExportFormat, where: str, *, first_number: int
) -> Iterator[Shape]:
    """The shapes of one format: one, unless two of its headers have one meaning.

    The file's first one of such headers has the plain canonical name, but a landed row does not show which one that
    was: the reading that gives the row's hash is used. If no reading does, the row is read like any other.
    """
    readings = _list_readings(_list_headers(session, where), export_format)
    number = first_number
    for columns in readings if len(readings) > 1 else ():
        shape = _create_shape(session, number, export_format, columns, where)
        identify(session, (shape,))
        session.execute(
            f"DELETE FROM {shape.table} AS read USING row_identity"
            " WHERE row_identity.row = read.rowid AND row_identity.row_hash <> read.landed_hash"
        )
        session.execute("DROP TABLE row_identity")
        session.execute(
            f"DELETE FROM landed_row AS landed USING {shape.table} AS read"
            " WHERE read.landed_hash = landed.row_hash AND read.landed_occurrence = landed.occurrence"
        )
        if _count(session, shape.table):
            yield shape
            number += 1
        else:
            session.execute(f"DROP TABLE {shape.table}")
    if len(readings) == 1 or _count(session, f"(SELECT {_HEADERS} AS headers FROM landed_row){where}"):
        yield _create_shape(session, number, export_format, readings[0], where)


def _list_headers(session: duckdb.DuckDBPyConnection, where: str) -> list[str]:
    rows = session.execute(
        f"SELECT DISTINCT unnest(headers) AS header FROM landed_headers{where} ORDER BY header"
    ).fetchall()
    return [header for (header,) in rows]


def _list_readings(headers: Sequence[str], export_format: ExportFormat) -> list[tuple[SourceColumn, ...]]:
    """The possible columns of these headers: one reading, unless some share a canonical name."""
    columns = describe_columns(headers, export_format, file=LANDED_ROWS)
    twins: dict[str, list[str]] = {}
    for column in columns:
        plain = column.canonical.removesuffix(f"#{column.header}")
        if plain != column.canonical:
            first = next(other.header for other in columns if other.canonical == plain)
            twins.setdefault(plain, [first]).append(column.header)
    choices = [[(name, header) for header in (*group, None)] for name, group in twins.items()]
    return [
        tuple(_read_as(column, dict(reading), twins) for column in columns)
        for reading in islice(product(*choices), _MAX_READINGS)
    ]


def _read_as(column: SourceColumn, first_headers: dict[str, str | None], twins: dict[str, list[str]]) -> SourceColumn:
    plain = next((name for name, group in twins.items() if column.header in group), None)
    if plain is None:
        return column
    is_first = first_headers[plain] == column.header
    return SourceColumn(
        position=column.position,
        header=column.header,
        canonical=plain if is_first else f"{plain}#{column.header}",
        tag_key=column.tag_key,
        cost_category=column.cost_category,
    )


def _create_shape(
    session: duckdb.DuckDBPyConnection,
    number: int,
    export_format: ExportFormat,
    columns: tuple[SourceColumn, ...],
    where: str,
) -> Shape:
    shape = Shape(
        number=number,
        export_format=export_format,
        kind="csv",
        columns=columns,
        types=("VARCHAR",) * len(columns),
        files=(),
    )
    pointers = ", ".join(quote(_pointer(column.header)) for column in columns)
    values = "".join(f"texts[{place}] AS {column.sql_name}, " for place, column in enumerate(columns, start=1))
    texts = f"json_extract_string(row_data, [{pointers}])" if columns else "NULL"
    # There is nearly always one format: then the headers of each row need not be read again.
    rows = f"(SELECT *, {_HEADERS} AS headers FROM landed_row){where}" if where else "landed_row"
    session.execute(
        f"CREATE TABLE {shape.table} AS SELECT {values}0::SMALLINT AS file_number, row_hash AS landed_hash,"
        f" occurrence AS landed_occurrence FROM (SELECT {texts} AS texts, row_hash, occurrence FROM {rows})"
    )
    return shape


def _pointer(header: str) -> str:
    """The JSON pointer (RFC 6901) of a header: a path would read dots and quotes in it."""
    return "/" + header.replace("~", "~0").replace("/", "~1")


def _count(session: duckdb.DuckDBPyConnection, rows: str) -> int:
    return int(session.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0])
