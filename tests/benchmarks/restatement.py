"""What restating a month costs beside its first load: a part of `make bench`, or run `tests.benchmarks.restatement`.

One export delivers the same month again and again at the same keys, as AWS does in overwrite mode, into a local
stand-in for S3. Each delivery is ingested by a process of its own, and its ratio is to the cold load of the same run on
the same server. Autovacuum would work at moments of its own choice: it is off, and what it does in the hours between
two deliveries (VACUUM and ANALYZE) is done between the measurements. After the last run the final month shows what
rewriting every row costs on disk, and what brings it back.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from boto3.s3.transfer import TransferConfig

from billfold.aws import LocalAws
from billfold.bills.prune import prune
from billfold.settings import load_settings
from billfold.store.database import Database
from billfold.store.embedded import start_embedded
from billfold.transform.sample_bill import CUR2_COLUMNS, write_sample_bill
from tests.benchmarks.measurement import Measurement, measure_ingest
from tests.benchmarks.table_sizes import TABLES, TableSizes, print_sizes, read_sizes
from tests.benchmarks.workbench import MEBIBYTE, fresh_database, parse_options, sample_bill, work_folder

BUCKET = "restated-bills"
SOURCE_PREFIX = "exports/"
PART_BYTES = 8 * MEBIBYTE
COLD = "cold load"
UNCHANGED = "unchanged ETag"
FINAL = "month-end, every row"
STAGES = ("fetch", "parse", "identify", "compare", "land", "map", "charge", "reconcile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One delivery of a run: which bill stands in the bucket, what the ingest must do, and what it may cost.

    `expected` judges the measurement by the number of line items. `is_multipart` uploads the same bytes in parts,
    which gives them another ETag. Aims are a share of the cold load or seconds.
    """

    name: str
    bill: str
    expected: Callable[[Measurement, int], bool]
    is_multipart: bool = False
    aim_ratio: float | None = None
    aim_seconds: float | None = None

    @property
    def aim(self) -> str:
        if self.aim_ratio is not None:
            return f"{self.aim_ratio:.2f} of cold or less"
        return "" if self.aim_seconds is None else f"under {self.aim_seconds:.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run takes place: the stand-in and its bucket, the folders of the bills, the database, the line items."""

    aws: LocalAws
    bucket: str
    bills: Mapping[str, Path]
    conninfo: str
    row_count: int

    @property
    def source(self) -> str:
        return f"s3://{self.bucket}/{SOURCE_PREFIX}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the steps of one run gave, by their names; `command_seconds` is the whole command with nothing to do."""

    measured: dict[str, Measurement]
    stage_seconds: dict[str, dict[str, float]]
    sizes: dict[str, TableSizes]
    command_seconds: float | None


def _is_untouched(measured: Measurement, status: str, rows: int) -> bool:
    counts = (measured.rows_added, measured.rows_removed, measured.rows_unchanged)
    return counts == (0, 0, rows) and set(measured.statuses) == {status}


STEPS = (
    Step(name=COLD, bill="first", expected=lambda measured, rows: measured.rows_added == rows),
    # Skipped runs are those that nothing was downloaded for.
    Step(
        name=UNCHANGED,
        bill="first",
        expected=lambda measured, rows: _is_untouched(measured, "skipped", rows),
        aim_seconds=1,
    ),
    Step(
        name="same bytes, new ETag",
        bill="first",
        expected=lambda measured, rows: _is_untouched(measured, "success", rows),
        is_multipart=True,
        aim_ratio=1 / 4,
    ),
    Step(
        name="same rows, new file",
        bill="shuffled",
        expected=lambda measured, rows: _is_untouched(measured, "success", rows),
        aim_ratio=1 / 4,
    ),
    Step(
        name="2 % changed",
        bill="changed",
        expected=lambda measured, rows: measured.rows_added == measured.rows_removed and _is_part(measured, rows),
        aim_ratio=1 / 3,
    ),
    Step(
        name=FINAL,
        bill="final",
        expected=lambda measured, rows: measured.rows_added == measured.rows_removed == rows,
        aim_ratio=5 / 2,
    ),
)
# The month is restated once more, whole, into the room that the vacuum found.
AGAIN = Step(
    name="month-end, every row again",
    bill="corrected",
    expected=lambda measured, rows: measured.rows_added == measured.rows_removed == rows,
)


def _is_part(measured: Measurement, rows: int) -> bool:
    return rows * 0.01 < measured.rows_added < rows * 0.03


def main() -> None:
    """Measure, print and leave nothing behind."""
    options = parse_options(__doc__ or "")
    steps = STEPS[:1] if options.only_cold else STEPS
    with work_folder() as folder:
        conninfo = start_embedded(folder / "home", postgres_version=options.postgres)
        with psycopg.connect(conninfo, autocommit=True) as server:
            server.execute("ALTER SYSTEM SET autovacuum = off")
            server.execute("SELECT pg_reload_conf()")
        print(
            f"\n{options.rows:,} line items of {len(CUR2_COLUMNS)} columns, PostgreSQL {options.postgres}", flush=True
        )
        wanted = {step.bill for step in steps} | ({AGAIN.bill} if not options.only_cold else set())
        bills = _write_bills(folder / "bills", options.rows, wanted)
        runs: list[Run] = []
        for number in range(1, options.runs + 1):
            with LocalAws() as aws, fresh_database(conninfo, "restated") as fresh:
                place = Place(aws=aws, bucket=BUCKET, bills=bills, conninfo=fresh, row_count=options.rows)
                aws.create_bucket(BUCKET)
                print(f"run {number}:", flush=True)
                runs.append(_run(place, steps))
                if number == options.runs:
                    _print_ratios(steps, runs)
                    _print_stage_seconds(runs[-1])
                    if not options.only_cold:
                        _measure_room(place, runs[-1].sizes)


def _write_bills(folder: Path, rows: int, wanted: set[str]) -> dict[str, Path]:
    """Each delivery in a folder of its own: they all stand at the same keys. In the last two the month is final."""
    first = sample_bill(rows)
    bills = {
        "first": first,
        "shuffled": replace(first, revision=1),
        "changed": replace(first, revision=2, changed_percent=2),
        "final": replace(first, revision=3, changed_percent=2, invoice_id="2026060301"),
        "corrected": replace(first, revision=4, changed_percent=2, invoice_id="2026060302"),
    }
    for name in sorted(wanted):
        write_sample_bill(bills[name], folder / name)
    return {name: folder / name for name in wanted}


def _run(place: Place, steps: tuple[Step, ...]) -> Run:
    """Every step on one database, in their order."""
    measured, stage_seconds, sizes, command_seconds = {}, {}, {}, None
    for step in steps:
        measured[step.name] = _measure(place, step)
        sizes[step.name] = read_sizes(place.conninfo)
        if step.name == UNCHANGED:
            command_seconds = _time_command(place)
        elif seconds := _read_stage_seconds(place.conninfo):
            stage_seconds[step.name] = seconds
    return Run(measured=measured, stage_seconds=stage_seconds, sizes=sizes, command_seconds=command_seconds)


def _measure(place: Place, step: Step) -> Measurement:
    _deliver(place, step)
    _vacuum(place.conninfo)
    print(f"  {step.name}: ", end="", flush=True)
    measured = measure_ingest(place.conninfo, place.source, place.aws.environment())
    print(f"{measured.seconds:.1f} s", flush=True)
    assert step.expected(measured, place.row_count), (step.name, measured)
    return measured


def _deliver(place: Place, step: Step) -> None:
    """Write the bill over what stands in the bucket, the data before the manifest."""
    root = place.bills[step.bill]
    if not step.is_multipart:
        place.aws.upload_folder(place.bucket, root)
        return
    in_parts = TransferConfig(multipart_threshold=1, multipart_chunksize=PART_BYTES)
    for path in root.rglob("*.csv.gz"):
        key = path.relative_to(root).as_posix()
        place.aws.client("s3").upload_file(str(path), place.bucket, key, Config=in_parts)


def _vacuum(conninfo: str, tables: Iterable[str] = (), *, is_full: bool = False) -> float:
    """Vacuum these tables or else all, and leave the server nothing to write later; the seconds of the vacuum alone."""
    options = "FULL, ANALYZE" if is_full else "ANALYZE"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        started = time.monotonic()
        connection.execute(f"VACUUM ({options}) {', '.join(tables)}")
        seconds = time.monotonic() - started
        connection.execute("CHECKPOINT")
    return seconds


def _time_command(place: Place) -> float:
    """Seconds of the whole command, with the start of Python, where every file of the delivery is in already."""
    command = [sys.executable, "-m", "billfold", "ingest", place.source, "--json"]
    environment = {**os.environ, **place.aws.environment(), "DATABASE_URL": place.conninfo}
    started = time.monotonic()
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, env=environment)
    seconds = time.monotonic() - started
    [delivery] = json.loads(finished.stdout)["deliveries"]
    assert {run["status"] for run in delivery["runs"]} == {"skipped"}, delivery
    return seconds


def _read_stage_seconds(conninfo: str) -> dict[str, float]:
    """Seconds by stage of the delivery that came last; none where it was not published anew."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("SELECT timings FROM billing_deliveries ORDER BY created_at DESC LIMIT 1").fetchone()
    assert row is not None
    stage_seconds: dict[str, float] = row[0]
    return stage_seconds


def _print_ratios(steps: tuple[Step, ...], runs: list[Run]) -> None:
    print(f"\n{'medians':<28}{'seconds':>9}{'to cold':>9}{'peak MiB':>10}{'added':>11}{'removed':>11}  aim")
    for step in steps:
        measured = [run.measured[step.name] for run in runs]
        ratio = statistics.median(run.measured[step.name].seconds / run.measured[COLD].seconds for run in runs)
        print(
            f"{step.name:<28}{statistics.median(one.seconds for one in measured):>9.2f}{ratio:>9.2f}"
            f"{max(one.peak_bytes for one in measured) / MEBIBYTE:>10,.0f}"
            f"{measured[-1].rows_added:>11,}{measured[-1].rows_removed:>11,}  {step.aim}".rstrip()
        )
        commands = [run.command_seconds for run in runs if run.command_seconds is not None]
        if step.name == UNCHANGED:
            print(f"{'  the whole command':<28}{statistics.median(commands):>9.2f}", flush=True)


def _print_stage_seconds(run: Run) -> None:
    """Where the last run's deliveries spent their time; map goes on beside land, the commit is in no stage."""
    known = {stage for seconds in run.stage_seconds.values() for stage in seconds}
    stages = [*(stage for stage in STAGES if stage in known), *sorted(known - set(STAGES))]
    print(f"\n{'seconds by stage, last run':<28}" + "".join(f"{stage:>10}" for stage in [*stages, "whole"]))
    for name, seconds in run.stage_seconds.items():
        figures = [*(seconds.get(stage, 0) for stage in stages), run.measured[name].seconds]
        print(f"{name:<28}" + "".join(f"{figure:>10.2f}" for figure in figures), flush=True)


def _measure_room(place: Place, sizes: dict[str, TableSizes]) -> None:
    """What the final month left on disk, on the database where it was just written, and what gives it back."""
    seconds: dict[str, float] = {}

    def note(name: str, spent: float) -> None:
        seconds[name] = spent
        sizes[name] = read_sizes(place.conninfo)

    tables = TABLES.values()
    note("VACUUM", _vacuum(place.conninfo, tables))
    note(AGAIN.name, _measure(place, AGAIN).seconds)
    note("VACUUM once more", _vacuum(place.conninfo, tables))
    note("prune of all history", _prune(place.conninfo))
    note("VACUUM after the prune", _vacuum(place.conninfo, tables))
    note("VACUUM FULL (locks all)", _vacuum(place.conninfo, tables, is_full=True))
    print()
    print_sizes(sizes)
    print()
    for name, spent in seconds.items():
        print(f"{name:<28}{spent:>9.2f} s", flush=True)


def _prune(conninfo: str) -> float:
    """Forget all that is withdrawn; returns the seconds."""
    database = Database(conninfo=conninfo, reader_conninfo=None, is_embedded=False)
    started = time.monotonic()
    prune(settings=load_settings(), database=database, keep_days=0)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
