"""Compare: the delivery's line items with the statement's current ones, by (row_hash, occurrence)."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How many line items of a delivery are new, removed and unchanged, and how many of each file are new."""

    rows_added: int
    rows_removed: int
    rows_unchanged: int
    rows_read_by_file: dict[int, int]
    rows_added_by_file: dict[int, int]

    @property
    def is_unchanged(self) -> bool:
        """Whether the delivery holds exactly the rows that the statement holds."""
        return self.rows_added == self.rows_removed == 0


def compare(session: duckdb.DuckDBPyConnection, current_rows: pa.RecordBatchReader | None) -> Comparison:
    """Fill `added_row` (the rows of row_identity to land) and `removed_row` (row_hash, occurrence to withdraw).

    `current_rows` are the statement's current pairs (row_hash uuid, occurrence int4); None if it has none.
    """
    if current_rows is None:
        session.execute("CREATE VIEW added_row AS FROM row_identity")
        session.execute("CREATE TABLE removed_row (row_hash UUID, occurrence INTEGER)")
        read = added = _count_by_file(session, "row_identity")
        removed = 0
    else:
        _compare_with(session, current_rows)
        read = _count_by_file(session, "row_identity")
        added = _count_by_file(session, "added_row")
        ((removed,),) = session.execute("SELECT count(*) FROM removed_row").fetchall()
    return Comparison(
        rows_added=sum(added.values()),
        rows_removed=removed,
        rows_unchanged=sum(read.values()) - sum(added.values()),
        rows_read_by_file=read,
        rows_added_by_file=added,
    )


def _compare_with(session: duckdb.DuckDBPyConnection, current_rows: pa.RecordBatchReader) -> None:
    session.register("current_row_stream", current_rows)
    session.execute("CREATE TABLE current_row AS SELECT row_hash::UUID AS row_hash, occurrence FROM current_row_stream")
    session.unregister("current_row_stream")
    session.execute("CREATE TABLE added_row AS FROM row_identity ANTI JOIN current_row USING (row_hash, occurrence)")
    session.execute(
        "CREATE TABLE removed_row AS SELECT row_hash, occurrence FROM current_row"
        " ANTI JOIN row_identity USING (row_hash, occurrence)"
    )


def _count_by_file(session: duckdb.DuckDBPyConnection, table: str) -> dict[int, int]:
    return dict(session.execute(f"SELECT file_number, count(*) FROM {table} GROUP BY file_number").fetchall())
