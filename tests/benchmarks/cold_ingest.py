"""Cold ingest against a bare COPY: `make bench`, or `python -m tests.benchmarks.cold_ingest --help`.

One gzip file of CUR 2.0 with 131 columns is ingested into an empty database (raw rows, dimensions, facts, daily
costs, reconciliation, everything committed). The baseline, in the same run on the same server, is a bare COPY of the
very JSON rows that the ingest landed, prebuilt as CSV, into a bare table of one jsonb column. Machines are noisy: the
median of the ratios is the figure to quote.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from billfold.config import load_settings
from billfold.ingest import ingest
from billfold.model import DeliveryState
from billfold.period import BillingPeriod, parse_period
from billfold.store.database import Database, connect
from billfold.store.embedded import start_embedded
from billfold.store.migrate import migrate
from billfold.transform.sample_bill import CUR2_COLUMNS, SampleBill, write_sample_bill

COPY_BLOCK_BYTES = 1 << 20
MEBIBYTE = 1 << 20


def main() -> None:
    """Measure, print and leave nothing behind."""
    options = _parse_options()
    if options.ingest_into:
        _ingest_here(options.ingest_into, options.bill)
        return
    with _work_folder() as folder:
        conninfo = start_embedded(folder / "home", postgres_version=options.postgres)
        print(f"{options.rows:,} line items of {len(CUR2_COLUMNS)} columns, PostgreSQL {options.postgres}", flush=True)
        bill = folder / "bill"
        _write_bill(bill, options.rows)
        small = folder / "small"
        _write_bill(small, options.rows // 5)
        file = next(bill.rglob("*.csv.gz"))
        print(f"one gzip file of {file.stat().st_size / MEBIBYTE:.0f} MiB", flush=True)
        prebuilt = folder / "rows.csv"
        # Not counted: it also lets the server make the log files that every later run uses again.
        _ingest_cold(conninfo, bill, keep=prebuilt)
        _, small_memory = _ingest_cold(conninfo, small)
        ratios, copies, ingests, memories = [], [], [], []
        for number in range(1, options.runs + 1):
            ingested, memory = _ingest_cold(conninfo, bill)
            copied = _copy_bare(conninfo, prebuilt)
            ratios.append(ingested / copied)
            copies.append(copied)
            ingests.append(ingested)
            memories.append(memory)
            print(
                f"run {number}: ingest {ingested:.1f} s, bare COPY {copied:.1f} s, ratio {ingested / copied:.2f},"
                f" peak memory {memory / MEBIBYTE:.0f} MiB",
                flush=True,
            )
        print(f"\nprebuilt JSON rows:      {prebuilt.stat().st_size / MEBIBYTE:.0f} MiB")
        print(f"bare COPY into jsonb:    {statistics.median(copies):.1f} s")
        print(f"cold ingest:             {statistics.median(ingests):.1f} s")
        print(f"rows per second:         {options.rows / statistics.median(ingests):,.0f}")
        print(f"peak resident memory:    {max(memories) / MEBIBYTE:.0f} MiB")
        print(f"  with a fifth of it:    {small_memory / MEBIBYTE:.0f} MiB")
        print(f"ratio ingest/bare COPY:  {statistics.median(ratios):.2f} (aim: 1.50 or less)")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000, help="line items (default 500,000)")
    parser.add_argument("--runs", type=int, default=3, help="how often both are measured, in turn (default 3)")
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=16, help="version of the embedded server")
    parser.add_argument("--ingest-into", help=argparse.SUPPRESS)
    parser.add_argument("--bill", help=argparse.SUPPRESS)
    return parser.parse_args()


def _write_bill(root: Path, line_item_count: int) -> None:
    period = parse_period("2026-05")
    assert isinstance(period, BillingPeriod)
    write_sample_bill(SampleBill(payer_account_id="111122223333", period=period, line_item_count=line_item_count), root)


def _ingest_cold(conninfo: str, bill: Path, *, keep: Path | None = None) -> tuple[float, int]:
    """Seconds and peak resident bytes of one process that ingests into a database made for it."""
    with _fresh_database(conninfo, "cold") as fresh:
        command = [sys.executable, "-m", "tests.benchmarks.cold_ingest", "--ingest-into", fresh, "--bill", str(bill)]
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds, peak_bytes = finished.stdout.split()[-2:]
        if keep is not None:
            _export_rows(fresh, keep)
    return float(seconds), int(peak_bytes)


def _ingest_here(conninfo: str, bill: str) -> None:
    settings = load_settings()
    database = Database(conninfo=conninfo, reader_conninfo=None, is_embedded=False)
    started = time.monotonic()
    outcomes = ingest(bill, client=settings.default_client(), settings=settings, database=database)
    seconds = time.monotonic() - started
    assert [outcome.state for outcome in outcomes] == [DeliveryState.PUBLISHED], outcomes
    print(seconds, _peak_resident_bytes())


def _peak_resident_bytes() -> int:
    """The peak of this process alone: after an exec, getrusage still counts the process that it was forked from."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _export_rows(conninfo: str, path: Path) -> None:
    query = "COPY (SELECT row_data FROM raw_aws_billing_rows) TO STDOUT (FORMAT csv)"
    with psycopg.connect(conninfo) as connection, connection.cursor().copy(query) as rows, path.open("wb") as file:
        for block in rows:
            file.write(block)


def _copy_bare(conninfo: str, prebuilt: Path) -> float:
    with _fresh_database(conninfo, "bare") as fresh, psycopg.connect(fresh) as connection:
        connection.execute("CREATE TABLE bare (row_data jsonb)")
        connection.commit()
        started = time.monotonic()
        query = "COPY bare FROM STDIN (FORMAT csv)"
        with connection.cursor().copy(query) as rows, prebuilt.open("rb") as file:
            while block := file.read(COPY_BLOCK_BYTES):
                rows.write(block)
        connection.commit()
        return time.monotonic() - started


@contextmanager
def _fresh_database(conninfo: str, name: str) -> Iterator[str]:
    """A migrated database, dropped afterwards; the server has written everything earlier before it is handed out."""
    fresh = psycopg.conninfo.make_conninfo(conninfo, dbname=name)
    with psycopg.connect(conninfo, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name}")
        server.execute(f"CREATE DATABASE {name}")
        with connect(fresh) as connection:
            migrate(connection)
        server.execute("CHECKPOINT")
        try:
            yield fresh
        finally:
            server.execute(f"DROP DATABASE {name} (FORCE)")


@contextmanager
def _work_folder() -> Iterator[Path]:
    """A short path: the server's socket lies in it. Its spool is its own."""
    folder = Path(tempfile.mkdtemp(prefix="bf-bench-"))
    os.environ["BILLFOLD_HOME"] = str(folder / "home")
    os.environ.pop("BILLFOLD_SPOOL", None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
