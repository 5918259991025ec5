"""The mapping's own tables, from the CSV files beside it: services, what usage changes about them, regions, units."""

from __future__ import annotations

from importlib import resources

import duckdb

from billfold.sql import read_script


def create_lookups(session: duckdb.DuckDBPyConnection) -> None:
    """Create the tables `service_lookup`, `service_rule`, `region_lookup` and `unit_lookup` in the session.

    They hold the files of the folder `lookups`, as described in `sql/lookups.sql`. A file that lacks a column, or whose
    rows do not fit its header, is a mistake in this package, and DuckDB's error names it.
    """
    with resources.as_file(resources.files("billfold.transform") / "lookups") as folder:
        session.execute("SET VARIABLE lookup_folder = $folder", {"folder": str(folder)})
        session.execute(read_script("billfold.transform", "lookups"))
