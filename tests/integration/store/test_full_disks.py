"""A spool that fills at any stage: one line that names the folder, exit 6, nothing left, and the others come in."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from billfold.errors import SourceLimitError, SpoolFullError
from billfold.settings import Settings
from billfold.transform.session import open_session, quote
from billfold.work_folder import work_folder
from tests.bills.landing import Landing
from tests.soak.full_disks import ingest_on_small_disk, write_large_and_small

# A sort that has to spill: 60 MB of text.
SORT = (
    "CREATE TEMP TABLE sorted AS SELECT md5(range::VARCHAR) || repeat('x', 200) AS text FROM range(300000) ORDER BY 1"
)
# What the disk of each stage has room for, in bytes; a file of 2 MB becomes 10 MB of text and tables of 15 MB.
STAGES = {"unpack": 6 << 20, "tables": 16 << 20}


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

    monkeypatch.setattr("billfold.work_folder.tempfile.mkdtemp", full)

    with pytest.raises(SpoolFullError, match="no room for a folder to work in"), work_folder(settings, "delivery"):
        pass


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_spool_fails_its_delivery_and_the_next_one_comes_in(
    shared_landing: Landing, tmp_path: Path, stage: str
) -> None:
    landing = shared_landing
    if not landing.root.joinpath("exports").is_dir():
        write_large_and_small(landing.root, Random(7))
    environment = {"DATABASE_URL": landing.database.conninfo, "BILLFOLD_HOME": str(tmp_path / "home")}

    ended = ingest_on_small_disk(landing.root, tmp_path / "disk", STAGES[stage], environment)

    assert (ended.code, ended.left, ended.has_traceback) == (6, "", False)
    assert (ended.outcomes["large"]["state"], ended.outcomes["small"]["state"]) == ("failed", "published")
    assert ended.outcomes["large"]["error"]["code"] == "spool_full"
    assert len(ended.errors) == 1
    assert str(tmp_path / "disk" / "spool") in ended.errors[0]
    failed = "SELECT DISTINCT error_code FROM billing_ingestion_runs WHERE status = 'failed'"
    assert landing.query(failed) == [("spool_full",)]
