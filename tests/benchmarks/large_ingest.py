"""A cold ingest of ten times the usual size, for its peak memory: a part of `make bench`.

One gzip file of CUR 2.0 with 131 columns is generated and ingested once into an empty database, by a process of its
own. How large it is says `--large-rows`, whatever `--rows` says; with 0 nothing is measured.
"""

from __future__ import annotations

from billfold.store.embedded import start_embedded
from billfold.transform.sample_bill import CUR2_COLUMNS, write_sample_bill
from tests.benchmarks.measurement import measure_ingest
from tests.benchmarks.workbench import MEBIBYTE, fresh_database, parse_options, sample_bill, work_folder

AIM_BYTES = 1_536 * MEBIBYTE


def main() -> None:
    """Measure, print and leave nothing behind."""
    options = parse_options(__doc__ or "")
    rows = options.large_rows
    if not rows:
        print("\nthe large bill is left out", flush=True)
        return
    with work_folder() as folder:
        conninfo = start_embedded(folder / "home", postgres_version=options.postgres)
        print(f"\n{rows:,} line items of {len(CUR2_COLUMNS)} columns, PostgreSQL {options.postgres}", flush=True)
        write_sample_bill(sample_bill(rows), folder / "bill")
        file = next((folder / "bill").rglob("*.csv.gz"))
        print(f"one gzip file of {file.stat().st_size / MEBIBYTE:.0f} MiB", flush=True)
        with fresh_database(conninfo, "large") as fresh:
            measured = measure_ingest(fresh, str(folder / "bill"))
        assert measured.rows_added == rows, measured
        print(f"large cold ingest:       {measured.seconds:.1f} s")
        print(f"rows per second:         {rows / measured.seconds:,.0f}")
        verdict = "met" if measured.peak_bytes <= AIM_BYTES else "missed"
        print(
            f"peak resident memory:    {measured.peak_bytes / MEBIBYTE:,.0f} MiB"
            f" (aim: {AIM_BYTES / MEBIBYTE:,.0f} MiB or less: {verdict})",
            flush=True,
        )


if __name__ == "__main__":
    main()
