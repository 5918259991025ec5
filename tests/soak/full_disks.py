"""Ingests whose spool is on a disk of a random, small size: nothing is lost, and nothing stays behind."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.bills.line_items import as_csv, described, write_bill, write_delivery

# Where no disk can be mounted, no file may be larger than this: less than the text of the large export.
MAX_FILE_BYTES = 6 << 20
ITEM_COUNT = 25_000
_MAX_DISK_BYTES = 40 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an ingest ended: its exit code, each export's outcome, its lines of error, and what is left in the spool."""

    code: int
    outcomes: Mapping[str, Any]
    errors: tuple[str, ...]
    left: str
    has_traceback: bool


def trial(seed: int, folder: Path) -> list[str]:
    """One ingest on a small disk and one on a large one; one line for each broken promise."""
    random = Random(seed)
    write_large_and_small(folder / "bucket", random)
    size_bytes = random.randrange(1 << 20, _MAX_DISK_BYTES)
    environment = {"BILLFOLD_HOME": str(folder / "home")}
    small = ingest_on_small_disk(folder / "bucket", folder / "disk", size_bytes, environment)
    large = _run(_command(folder / "bucket"), {**environment, "BILLFOLD_SPOOL": str(folder / "spool")})
    of_small = [f"a disk of {size_bytes} bytes: {each}" for each in _list_faults(small, folder / "disk")]
    states = {name: each["state"] for name, each in large.outcomes.items()}
    if (large.code, states) != (0, {"large": "published", "small": "published"}):
        of_small.append(f"a large disk afterwards: exit {large.code}, {states}")
    return [f"seed {seed}: {each}" for each in of_small]


def write_large_and_small(root: Path, random: Random) -> None:
    """An export of 2 MB, which becomes 10 MB of text and more in tables, and one that any disk has room for."""
    items = described(*(f"0.{number}" for number in range(1, ITEM_COUNT + 1)))
    large = [{**item, "line_item_resource_id": f"i-{random.getrandbits(400):x}"} for item in items]
    write_delivery(root, gzip.compress(as_csv(large), 1), export_path="exports/large")
    write_bill(root, described("1.25"), export_path="exports/small")


def ingest_on_small_disk(root: Path, disk: Path, size_bytes: int, environment: Mapping[str, str]) -> Ended:
    """An ingest whose spool is on a disk of this size; where none can be mounted, no file may be larger instead."""
    disk.mkdir()
    mount = f'mount -t tmpfs -o size={size_bytes} tmpfs "$0" && "$@"; code=$?; ls "$0/spool"; exit $code'
    inside = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
    probe = [*inside, "mount", "-t", "tmpfs", "tmpfs", str(disk)]
    if shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        command = [*inside, "sh", "-c", mount, str(disk), *_command(root)]
    else:
        limit = f'ulimit -f {min(size_bytes, MAX_FILE_BYTES) // 1024}; "$@"; code=$?; ls "$0/spool"; exit $code'
        command = ["bash", "-c", limit, str(disk), *_command(root)]
    return _run(command, {**environment, "BILLFOLD_SPOOL": str(disk / "spool")})


def _command(root: Path) -> list[str]:
    return [sys.executable, "-m", "billfold", "ingest", str(root), "--json"]


def _run(command: list[str], environment: Mapping[str, str]) -> Ended:
    own = {"BILLFOLD_MIN_FREE_BYTES": "0", "INGEST_RETRY_MAX_ATTEMPTS": "1", "BILLFOLD_THREADS": "2"}
    ended = subprocess.run(
        command, env={**os.environ, **own, **environment}, capture_output=True, text=True, check=False
    )
    # After the document comes what is left in the spool.
    document, _, left = ended.stdout.rpartition("}\n")
    found = json.loads(f"{document}}}")["deliveries"] if document else []
    return Ended(
        code=ended.returncode,
        outcomes={each["export"]: each for each in found},
        errors=tuple(line for line in ended.stderr.splitlines() if line.startswith("error: ")),
        left=left,
        has_traceback="Traceback" in ended.stderr,
    )


def _list_faults(ended: Ended, disk: Path) -> Iterator[str]:
    if ended.has_traceback or ended.left:
        yield f"a traceback, or {ended.left!r} left in the spool"
    if ended.outcomes.get("small", {}).get("state") != "published":
        yield f"its neighbour is not published, exit {ended.code}, {ended.errors}"
    large = ended.outcomes.get("large", {})
    if (ended.code, large.get("state")) == (0, "published"):
        return
    if (ended.code, large.get("error", {}).get("code")) != (6, "spool_full"):
        yield f"exit {ended.code}, {large.get('error')}"
    if len(ended.errors) != 1 or str(disk / "spool") not in ended.errors[0]:
        yield f"not one line that names the folder: {ended.errors}"
