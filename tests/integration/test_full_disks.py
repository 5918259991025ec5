"""A spool that fills at any stage: one line that names the folder, exit 6, nothing left, and the others come in."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from billfold.config import Settings
from billfold.errors import SourceLimitError, SpoolFullError
from billfold.transform.session import open_session, quote
from billfold.workspace import work_folder
from tests.landing import Landing
from tests.line_items import as_csv, described, write_bill, write_delivery

# A sort that has to spill: 60 MB of text.
SORT = (
    "CREATE TEMP TABLE sorted AS SELECT md5(range::VARCHAR) || repeat('x', 200) AS text FROM range(300000) ORDER BY 1"
)
# What the disk of each stage has room for, in bytes; a file of 2 MB becomes 10 MB of text and tables of 15 MB.
STAGES = {"fetch": 1 << 20, "unpack": 6 << 20, "tables": 16 << 20}


def copy_to_full_disk(settings: Settings) -> None:
    """DuckDB writes to a file of its work folder whose device takes nothing."""
    with (
        work_folder(settings, "delivery") as folder,
        open_session(folder, memory_limit_mb=256, threads=2) as session,
    ):
        (folder / "rows.csv").symlink_to("/dev/full")
        session.execute(f"COPY (SELECT range::VARCHAR FROM range(100000)) TO {quote(str(folder / 'rows.csv'))}")


def run(settings: Settings, *statements: str, memory_limit_mb: int) -> None:
    with (
        work_folder(settings, "delivery") as folder,
        open_session(folder, memory_limit_mb=memory_limit_mb, threads=2) as session,
    ):
        for statement in statements:
            session.execute(statement).fetchall()


def spool_of(settings: Settings) -> list[str]:
    return [path.name for path in settings.spool.glob("*")] if settings.spool.is_dir() else []


def test_a_disk_that_is_full_when_duckdb_writes_is_spool_full(settings: Settings) -> None:
    with pytest.raises(SpoolFullError, match="no room for the tables that are being worked on in") as refusal:
        copy_to_full_disk(settings)

    assert str(settings.spool) in str(refusal.value)
    assert spool_of(settings) == []


def test_a_spill_that_finds_no_room_is_spool_full(settings: Settings) -> None:
    # What DuckDB sets by itself to what is free on the disk.
    limit = "SET max_temp_directory_size = '1MB'"

    with pytest.raises(SpoolFullError, match="set BILLFOLD_SPOOL to a folder on a larger disk"):
        run(settings, limit, SORT, memory_limit_mb=64)

    assert spool_of(settings) == []


def test_a_bill_for_which_the_memory_is_too_small_is_told_from_a_full_disk(settings: Settings) -> None:
    with pytest.raises(SourceLimitError, match="needs more memory than BILLFOLD_MEMORY_LIMIT_MB allows"):
        run(settings, "SELECT list(md5(range::VARCHAR)) FROM range(1000000)", memory_limit_mb=8)

    assert spool_of(settings) == []


def test_a_disk_without_room_for_a_folder_is_spool_full(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_options: object) -> str:
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr("billfold.workspace.tempfile.mkdtemp", full)

    with pytest.raises(SpoolFullError, match="no room for a folder to work in"), work_folder(settings, "delivery"):
        pass


def write_large_and_small(root: Path) -> None:
    """An export that needs more than a small disk has, and one that does not."""
    random = Random(7)
    items = described(*(f"0.{number}" for number in range(1, 25_001)))
    large = [{**item, "line_item_resource_id": f"i-{random.getrandbits(400):x}"} for item in items]
    write_delivery(root, gzip.compress(as_csv(large), 1), export_path="exports/large")
    write_bill(root, described("1.25"), export_path="exports/small")


def ingest_on_small_disk(landing: Landing, folder: Path, size_bytes: int) -> subprocess.CompletedProcess[str]:
    """An ingest whose spool is on a disk of this size; where none can be mounted, no file may be larger instead."""
    folder.mkdir()
    command = [sys.executable, "-m", "billfold", "ingest", str(landing.root), "--json"]
    environment = {
        **os.environ,
        "DATABASE_URL": landing.database.conninfo,
        "BILLFOLD_SPOOL": str(folder / "spool"),
        "BILLFOLD_MIN_FREE_BYTES": "0",
        "INGEST_RETRY_MAX_ATTEMPTS": "1",
        "BILLFOLD_THREADS": "2",
    }
    mount = f'mount -t tmpfs -o size={size_bytes} tmpfs "$0" && "$@"; code=$?; ls "$0/spool"; exit $code'
    inside = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
    if (
        shutil.which("unshare")
        and subprocess.run([*inside, "mount", "-t", "tmpfs", "tmpfs", folder], check=False).returncode == 0
    ):
        command = [*inside, "sh", "-c", mount, str(folder), *command]
    else:
        limit = min(size_bytes, STAGES["unpack"]) // 1024
        command = ["bash", "-c", f'ulimit -f {limit}; "$@"; code=$?; ls "$0/spool"; exit $code', str(folder), *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_spool_fails_its_delivery_and_the_next_one_comes_in(
    shared_landing: Landing, tmp_path: Path, stage: str
) -> None:
    landing = shared_landing
    if not landing.root.joinpath("exports").is_dir():
        write_large_and_small(landing.root)

    ended = ingest_on_small_disk(landing, tmp_path / "disk", STAGES[stage])

    # After the document comes what is left in the spool: nothing.
    document, _, left = ended.stdout.rpartition("}\n")
    outcomes = {each["export"]: each for each in json.loads(document + "}")["deliveries"]}
    error = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert left == ""
    assert ended.returncode == 6
    assert (outcomes["large"]["state"], outcomes["small"]["state"]) == ("failed", "published")
    assert outcomes["large"]["error"]["code"] == "spool_full"
    assert len(error) == 1
    assert str(tmp_path / "disk" / "spool") in error[0]
    assert "Traceback" not in ended.stderr
    assert landing.query("SELECT DISTINCT error_code FROM billing_ingestion_runs WHERE status = 'failed'") == [
        ("spool_full",)
    ]
