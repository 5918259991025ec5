"""What the tables of the bills take on disk, and how many of their rows are dead."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from tests.benchmarks.workbench import MEBIBYTE

TABLES = {
    "raw rows": "raw_aws_billing_rows",
    "raw history": "raw_aws_billing_rows_history",
    "charges": "billing_usage_fact",
    "charge history": "billing_usage_fact_history",
    "daily costs": "billing_daily_cost",
    "with tags": "billing_daily_tag_cost",
    "restatement": "billing_restatement",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSizes:
    """Bytes by table with their indexes, the indexes' part of all of them, and dead rows."""

    bytes_by_table: dict[str, int]
    index_bytes: int
    dead_rows: int

    @property
    def total_bytes(self) -> int:
        return sum(self.bytes_by_table.values())


def read_sizes(conninfo: str) -> TableSizes:
    """The sizes as they are now."""
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(
            "SELECT parent.name, sum(pg_total_relation_size(part.relid)), sum(pg_indexes_size(part.relid)),"
            " sum(pg_stat_get_dead_tuples(part.relid))"
            " FROM unnest(%s::text[]) AS parent (name), pg_partition_tree(parent.name::regclass) AS part"
            " GROUP BY 1",
            [list(TABLES.values())],
        ).fetchall()
        rows += connection.execute(
            "SELECT name, pg_total_relation_size(name::regclass), pg_indexes_size(name::regclass),"
            " pg_stat_get_dead_tuples(name::regclass) FROM unnest(%s::text[]) AS single (name)",
            [[name for name in TABLES.values() if name not in {row[0] for row in rows}]],
        ).fetchall()
    by_table = {name: int(size) for name, size, _, _ in rows}
    return TableSizes(
        bytes_by_table={label: by_table[table] for label, table in TABLES.items()},
        index_bytes=int(sum(row[2] for row in rows)),
        dead_rows=int(sum(row[3] for row in rows)),
    )


def print_sizes(sizes_by_moment: dict[str, TableSizes]) -> None:
    """One line for each moment, in MiB."""
    width = max(map(len, sizes_by_moment))
    columns = [*TABLES, "all", "indexes", "dead rows"]
    print(f"{'MiB':<{width}}  " + "  ".join(f"{column:>14}" for column in columns))
    for moment, sizes in sizes_by_moment.items():
        amounts = [*sizes.bytes_by_table.values(), sizes.total_bytes, sizes.index_bytes]
        figures = [f"{amount / MEBIBYTE:>14,.0f}" for amount in amounts] + [f"{sizes.dead_rows:>14,}"]
        print(f"{moment:<{width}}  " + "  ".join(figures), flush=True)
