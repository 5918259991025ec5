"""What a month's first load gains when its indexes are built last: `python -m tests.benchmarks.index_last --help`.

The same bill is loaded twice in each run, into a database made for it: into partitions that have their indexes, and
into ones that get them afterwards. Once as the whole cold ingest, once as a bare COPY of the raw rows and charges that
it landed: the COPY shows what the indexes cost, the ingest what of that is felt. Not a part of `make bench`: it decided
how a first load is done.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from billfold.period import BillingPeriod
from billfold.store.deliveries.partitions import partitions
from billfold.store.embedded import start_embedded
from billfold.transform.sample_bill import CUR2_COLUMNS, write_sample_bill
from tests.benchmarks.measurement import measure_ingest
from tests.benchmarks.workbench import fresh_database, parse_options, sample_bill, work_folder

COPY_BLOCK_BYTES = 1 << 20
# Room to sort in while indexes are built, twice the server's default and more.
BUILD_MEMORY = "256MB"
LOADED = ("raw", "fact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Seconds of a load, and of building the indexes after it where they were built last."""

    load_seconds: float
    build_seconds: float = 0

    @property
    def seconds(self) -> float:
        return self.load_seconds + self.build_seconds


def main() -> None:
    """Measure, print and leave nothing behind."""
    options = parse_options(__doc__ or "")
    bill = sample_bill(options.rows)
    with work_folder() as folder:
        conninfo = start_embedded(folder / "home", postgres_version=options.postgres)
        print(f"{options.rows:,} line items of {len(CUR2_COLUMNS)} columns, PostgreSQL {options.postgres}", flush=True)
        write_sample_bill(bill, folder / "bill")
        # Not counted: it also lets the server make the log files that every later run uses again.
        with fresh_database(conninfo, "prebuilt") as fresh:
            measure_ingest(fresh, str(folder / "bill"))
            _export_rows(fresh, bill.period, folder)
        pairs_by_name: dict[str, list[tuple[Load, Load]]] = {"cold ingest": [], "bare COPY": []}
        for number in range(options.runs):
            for name, pairs in pairs_by_name.items():
                taken: dict[bool, Load] = {}
                # The second one finds a busier or a warmer machine: they take turns.
                for indexes_last in (False, True) if number % 2 == 0 else (True, False):
                    load = _ingest if name == "cold ingest" else _copy
                    taken[indexes_last] = load(conninfo, bill.period, folder, indexes_last=indexes_last)
                pairs.append((taken[False], taken[True]))
                print(_describe(name, pairs[-1:]), flush=True)
        print(f"\nmedian of {options.runs}:")
        for name, pairs in pairs_by_name.items():
            print(_describe(name, pairs))


def _describe(name: str, pairs: list[tuple[Load, Load]]) -> str:
    first = statistics.median(pair[0].seconds for pair in pairs)
    last = statistics.median(pair[1].seconds for pair in pairs)
    build = statistics.median(pair[1].build_seconds for pair in pairs)
    gain = statistics.median(1 - pair[1].seconds / pair[0].seconds for pair in pairs)
    return f"{name}: indexes first {first:.1f} s, last {last:.1f} s (building {build:.1f} s), gained {gain:.0%}"


def _ingest(conninfo: str, period: BillingPeriod, folder: Path, *, indexes_last: bool) -> Load:
    with _month(conninfo, period, indexes_last=indexes_last) as (fresh, definitions):
        seconds = measure_ingest(fresh, str(folder / "bill")).seconds
        return Load(load_seconds=seconds, build_seconds=_build(fresh, definitions))


def _copy(conninfo: str, period: BillingPeriod, folder: Path, *, indexes_last: bool) -> Load:
    with _month(conninfo, period, indexes_last=indexes_last) as (fresh, definitions):
        with psycopg.connect(fresh) as connection:
            started = time.monotonic()
            for name in LOADED:
                query = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier(partitions(period)[name]))
                with connection.cursor().copy(query) as rows, (folder / name).open("rb") as file:
                    while block := file.read(COPY_BLOCK_BYTES):
                        rows.write(block)
            connection.commit()
            seconds = time.monotonic() - started
        return Load(load_seconds=seconds, build_seconds=_build(fresh, definitions))


@contextmanager
def _month(conninfo: str, period: BillingPeriod, *, indexes_last: bool) -> Iterator[tuple[str, list[str]]]:
    """A database with the month's partitions; where their indexes come last, it has none: their definitions."""
    with fresh_database(conninfo, "month") as fresh:
        with psycopg.connect(fresh) as connection:
            connection.execute("SELECT billfold_create_partitions(%s)", [period.starts_on])
            definitions = _drop_indexes(connection, period) if indexes_last else []
        yield fresh, definitions


def _drop_indexes(connection: psycopg.Connection, period: BillingPeriod) -> list[str]:
    """Drop the indexes of the partitions that are loaded, with those of their parents, and return what makes them."""
    tables = [partitions(period)[name] for name in LOADED]
    definitions = connection.execute(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = ANY(%s::regclass[])", [tables]
    ).fetchall()
    # The root goes first and takes its parts with it.
    found = connection.execute(
        "SELECT DISTINCT coalesce(pg_partition_root(indexrelid), indexrelid)::regclass::text FROM pg_index"
        " WHERE indrelid = ANY(%s::regclass[])",
        [tables],
    ).fetchall()
    for (name,) in found:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    assert definitions
    return [definition for (definition,) in definitions]


def _build(conninfo: str, definitions: list[str]) -> float:
    """Build the indexes in one transaction; returns the seconds."""
    started = time.monotonic()
    with psycopg.connect(conninfo) as connection:
        connection.execute(sql.SQL("SET LOCAL maintenance_work_mem = {}").format(BUILD_MEMORY))
        for definition in definitions:
            connection.execute(definition.encode())
    return time.monotonic() - started


def _export_rows(conninfo: str, period: BillingPeriod, folder: Path) -> None:
    """The landed raw rows and charges as COPY reads them, each in a file named as in LOADED."""
    for name in LOADED:
        query = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(partitions(period)[name]))
        with (
            psycopg.connect(conninfo) as connection,
            connection.cursor().copy(query) as rows,
            (folder / name).open("wb") as file,
        ):
            for block in rows:
                file.write(block)


if __name__ == "__main__":
    main()
