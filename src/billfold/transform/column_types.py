"""The types of a delivery's columns: as Parquet declares them, or inferred from the first values of a CSV."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import duckdb

from billfold.transform.shape import Shape

# Enough to find the types of a bill's columns, and few enough to cost nothing compared with loading it.
SAMPLE_ROWS = 50_000
_EMPTY = "empty"
# By the bits of `kind_of`; several bits mean text.
_KINDS = {None: _EMPTY, 1: "number", 2: "time", 4: "map"}


def describe_types(session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape]) -> dict[str, str]:
    """Every header of the files with its type: for Parquet DuckDB's name in lower case, such as `decimal(18,9)`.

    A CSV's column is a `number`, a `time` or a `map` if all values of the sample are, else `text`, or `empty` without
    values. If files differ, the types are joined: `double | varchar`.
    """
    found: defaultdict[str, set[str]] = defaultdict(set)
    for shape in shapes:
        for column, name in zip(shape.columns, _types(session, shape), strict=True):
            found[column.header].add(name)
    # A file without values does not contradict another one that has some.
    return {header: " | ".join(sorted(names - {_EMPTY})) or _EMPTY for header, names in found.items()}


def _types(session: duckdb.DuckDBPyConnection, shape: Shape) -> Iterator[str]:
    if shape.kind == "parquet":
        return (name.lower() for name in shape.types)
    if not shape.columns:
        return iter(())
    names = ", ".join(column.sql_name for column in shape.columns)
    # One row for each value: a rule for each column would take longer to plan than the values take to judge.
    judged = dict(
        session.execute(
            f"SELECT name, bit_or(kind_of(value)) FROM (UNPIVOT (SELECT {names} FROM {shape.table}"
            f" WHERE rowid < {SAMPLE_ROWS}) ON COLUMNS(*) INTO NAME name VALUE value) GROUP BY name"
        ).fetchall()
    )
    return (_KINDS.get(judged.get(column.sql_name), "text") for column in shape.columns)
