"""Identify: row_hash and occurrence of every line item, so that nothing is doubled and nothing lost.

The hash is the MD5 (128 bits, as UUID) of the canonical line item: for each column that is not empty, in the order of
the canonical names, the name and the value, both length-prefixed in bytes. Maps are spelled by sorted key; where values
have types, an unquoted one has an equals sign in front. The columns of `columns.UNSTABLE_COLUMNS` are left out.
`tests/unit/transform/slow_identity.py` does the same in plain Python.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from billfold.transform.columns import MAP_COLUMNS, TYPED_MAP_COLUMNS, UNSTABLE_COLUMNS, SourceColumn
from billfold.transform.session import create_macros, quote
from billfold.transform.shape import Shape

# Stored with the statement: a change of the encoding needs a new version and new hashes of the landed rows.
HASH_VERSION = 1


def identify(session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape]) -> None:
    """Fill `row_identity`: shape, row (the rowid in the shape's table), file_number, row_hash, occurrence.

    Occurrences count identical line items of the delivery: 1 for nearly all, so only the repeated ones are numbered.
    """
    session.execute(
        "CREATE TABLE row_identity"
        " (shape SMALLINT, row BIGINT, file_number SMALLINT, row_hash UUID, occurrence INTEGER)"
    )
    for shape in shapes:
        session.execute(_insert_hashes(session, shape))
    [(repeated,)] = session.execute(
        "CREATE TEMP TABLE repeated_row AS"
        " SELECT shape, row, row_number() OVER (PARTITION BY row_hash ORDER BY file_number, shape, row) AS occurrence"
        " FROM row_identity WHERE row_hash IN (SELECT row_hash FROM row_identity GROUP BY row_hash HAVING count(*) > 1)"
    ).fetchall()
    if repeated:
        session.execute(
            "UPDATE row_identity SET occurrence = repeated_row.occurrence FROM repeated_row"
            " WHERE repeated_row.shape = row_identity.shape AND repeated_row.row = row_identity.row"
            " AND repeated_row.occurrence > 1"
        )
    session.execute("DROP TABLE repeated_row")


def _insert_hashes(session: duckdb.DuckDBPyConnection, shape: Shape) -> str:
    parts: list[str] = ["''"]  # A delivery without files has no columns.
    joins: list[str] = []
    for column in sorted(shape.columns, key=lambda column: column.canonical):
        if column.canonical in UNSTABLE_COLUMNS:
            continue
        if column.canonical in MAP_COLUMNS:
            spelling = _spell_maps(session, shape, column)
            joins.append(f"LEFT JOIN {spelling} ON {spelling}.value = source.{column.sql_name}")
            parts.append(f"{spelling}.spelling")
        else:
            parts.append(_spell(column))
    return (
        f"INSERT INTO row_identity SELECT {shape.number}, source.rowid, source.file_number,"
        f" md5(concat({', '.join(parts)}))::UUID, 1 FROM {shape.table} AS source {' '.join(joins)}"
    )


def _spell(column: SourceColumn) -> str:
    """A column's part of the canonical spelling, as several arguments of one concat, which leaves NULLs out.

    Spelled by operators, each column would be copied three times on its way into the hash.
    """
    value = f"source.{column.sql_name}"
    is_there = f"CASE WHEN {value} IS NOT NULL THEN"
    return f"{is_there} {_prefix(column.canonical)} END, strlen({value}), {is_there} ':' END, {value}"


def _spell_maps(session: duckdb.DuckDBPyConnection, shape: Shape, column: SourceColumn) -> str:
    """A table of this column's distinct texts and their canonical spelling: there are far fewer maps than rows.

    A text that is not a JSON object is spelled as it is, under the plain name; an object under the name with braces.
    """
    table = f"spelling_{shape.number}_{column.position}"
    is_typed = column.canonical in TYPED_MAP_COLUMNS
    if is_typed:
        create_macros(session, "typed_maps")
    spelled = f"{'canonical_typed_map' if is_typed else 'canonical_map'}(value)"
    session.execute(
        f"CREATE TEMP TABLE {table} AS SELECT value, CASE"
        f" WHEN {spelled} IS NOT NULL"
        f" THEN {_prefix(column.canonical + '{}')} || prefixed({spelled})"
        f" WHEN replace(value, ' ', '') <> '{{}}' THEN {_prefix(column.canonical)} || prefixed(value) END AS spelling"
        f" FROM (SELECT DISTINCT {column.sql_name} AS value FROM {shape.table} WHERE {column.sql_name} IS NOT NULL)"
    )
    return table


def _prefix(name: str) -> str:
    return quote(f"{len(name.encode())}:{name}")
