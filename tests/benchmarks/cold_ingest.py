"""Cold ingest against a bare COPY: a part of `make bench`, or `python -m tests.benchmarks.cold_ingest --help`.

One gzip file of CUR 2.0 with 131 columns is ingested into an empty database (raw rows, dimensions, facts, daily
costs, reconciliation, everything committed). The baseline, in the same run on the same server, is a bare COPY of the
very JSON rows that the ingest landed, prebuilt as CSV, into a bare table of one jsonb column. Machines are noisy: the
median of the ratios is the figure to quote.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import psycopg

from billfold.store.embedded import start_embedded
from billfold.transform.sample_bill import CUR2_COLUMNS, write_sample_bill
from tests.benchmarks.measurement import Measurement, measure_ingest
from tests.benchmarks.workbench import MEBIBYTE, fresh_database, parse_options, sample_bill, work_folder

COPY_BLOCK_BYTES = 1 << 20


def main() -> None:
    """Measure, print and leave nothing behind."""
    options = parse_options(__doc__ or "")
    with work_folder() as folder:
        conninfo = start_embedded(folder / "home", postgres_version=options.postgres)
        print(f"{options.rows:,} line items of {len(CUR2_COLUMNS)} columns, PostgreSQL {options.postgres}", flush=True)
        bill = folder / "bill"
        write_sample_bill(sample_bill(options.rows), bill)
        small = folder / "small"
        write_sample_bill(sample_bill(options.rows // 5), small)
        file = next(bill.rglob("*.csv.gz"))
        print(f"one gzip file of {file.stat().st_size / MEBIBYTE:.0f} MiB", flush=True)
        prebuilt = folder / "rows.csv"
        # Not counted: it also lets the server make the log files that every later run uses again.
        _ingest_cold(conninfo, bill, keep=prebuilt)
        small_memory = _ingest_cold(conninfo, small).peak_bytes
        ratios, copies, ingests, memories = [], [], [], []
        for number in range(1, options.runs + 1):
            measured = _ingest_cold(conninfo, bill)
            ingested, memory = measured.seconds, measured.peak_bytes
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


def _ingest_cold(conninfo: str, bill: Path, *, keep: Path | None = None) -> Measurement:
    """One ingest into a database made for it; its raw rows are kept as CSV in `keep`."""
    with fresh_database(conninfo, "cold") as fresh:
        measured = measure_ingest(fresh, str(bill))
        if keep is not None:
            _export_rows(fresh, keep)
    return measured


def _export_rows(conninfo: str, path: Path) -> None:
    query = "COPY (SELECT row_data FROM raw_aws_billing_rows) TO STDOUT (FORMAT csv)"
    with psycopg.connect(conninfo) as connection, connection.cursor().copy(query) as rows, path.open("wb") as file:
        for block in rows:
            file.write(block)


def _copy_bare(conninfo: str, prebuilt: Path) -> float:
    with fresh_database(conninfo, "bare") as fresh, psycopg.connect(fresh) as connection:
        connection.execute("CREATE TABLE bare (row_data jsonb)")
        connection.commit()
        started = time.monotonic()
        query = "COPY bare FROM STDIN (FORMAT csv)"
        with connection.cursor().copy(query) as rows, prebuilt.open("rb") as file:
            while block := file.read(COPY_BLOCK_BYTES):
                rows.write(block)
        connection.commit()
        return time.monotonic() - started


if __name__ == "__main__":
    main()
