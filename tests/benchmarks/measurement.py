"""One ingest, measured in a process of its own: its seconds, its peak memory and what it did to the statement."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from billfold.bills.ingest import ingest
from billfold.model import DeliveryState
from billfold.settings import load_settings
from billfold.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one call of `ingest` took and did; the start of Python is not in it. `statuses` are its runs'."""

    seconds: float
    peak_bytes: int
    rows_added: int
    rows_removed: int
    rows_unchanged: int
    statuses: tuple[str, ...]


def measure_ingest(conninfo: str, source: str, environment: Mapping[str, str] | None = None) -> Measurement:
    """Ingest the one delivery that `source` means in a new process, with these variables beside its own.

    Raises CalledProcessError unless the delivery ends published.
    """
    command = [sys.executable, "-m", "tests.benchmarks.measurement", conninfo, source]
    finished = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **(environment or {})}
    )
    fields = json.loads(finished.stdout.splitlines()[-1])
    return Measurement(**fields | {"statuses": tuple(fields["statuses"])})


def _ingest_here(conninfo: str, source: str) -> Measurement:
    settings = load_settings()
    database = Database(conninfo=conninfo, reader_conninfo=None, is_embedded=False)
    started = time.monotonic()
    [outcome] = ingest(source, client=settings.default_client(), settings=settings, database=database)
    seconds = time.monotonic() - started
    assert outcome.state is DeliveryState.PUBLISHED, outcome
    return Measurement(
        seconds=seconds,
        peak_bytes=_peak_resident_bytes(),
        rows_added=outcome.rows_added,
        rows_removed=outcome.rows_removed,
        rows_unchanged=outcome.rows_unchanged,
        statuses=tuple(str(run.status) for run in outcome.runs),
    )


def _peak_resident_bytes() -> int:
    """The peak of this process alone: after an exec, getrusage still counts the process that it was forked from."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    # macOS counts bytes where Linux counts kibibytes; Linux has the file above.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    print(json.dumps(asdict(_ingest_here(*sys.argv[1:]))))
