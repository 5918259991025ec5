"""`billfold backup` and `billfold restore`: a copy made while others write, and a home that it is brought into."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from billfold.errors import BillfoldError, StoreError, UsageError
from billfold.settings import Settings, load_settings
from billfold.store import backup
from billfold.store.backup import back_up, restore
from billfold.store.embedded import start_embedded, stop_embedded
from tests.bills.line_items import described, write_bill
from tests.folders import short_folder
from tests.processes.homes import lose_power, use
from tests.processes.warm_process import WarmProcess, run_warm

pytestmark = pytest.mark.slow

# Writes one committed row after another until its input ends.
_WRITER = """
import select, sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    connection.execute("CREATE TABLE written (number integer)")
    number = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        number += 1
        connection.execute("INSERT INTO written VALUES (%s)", [number])
        if number == 1:
            print("writing", flush=True)
"""


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder
        lose_power(folder)


def run(home: Path, *words: str) -> dict[str, Any]:
    """The JSON document of a command that succeeds."""
    ended = run_warm(
        [sys.executable, "-m", "billfold", *words, "--json"],
        env={**os.environ, "BILLFOLD_HOME": str(home), "BILLFOLD_MIN_FREE_BYTES": "0"},
        cwd=home.parent,
    )
    assert ended.returncode == 0, ended.stderr
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


@contextmanager
def writing(conninfo: str) -> Iterator[None]:
    writer = WarmProcess(
        [sys.executable, "-c", _WRITER, conninfo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    try:
        yield
        assert writer.poll() is None
    finally:
        writer.communicate(timeout=60)


@pytest.fixture(scope="module")
def made(root: Path) -> Iterator[Mapping[str, Any]]:
    """The document of a backup that was made of a home with one bill while another process wrote into it."""
    home = root / "home"
    write_bill(root / "bucket", described("1.2500000001", "2.50", "-0.75"))
    (root / ".env").write_text("AWS_REGION=eu-central-1\n")
    with use(home) as conninfo:
        run(home, "ingest", "bucket")
        (home / "token").write_text("secret")
        (home / "spool").mkdir(exist_ok=True)
        (home / "spool" / "waiting.json").write_text("{}")
        with writing(conninfo):
            yield run(home, "backup", str(root / "copy"))


def settings_of(home: Path, environment: pytest.MonkeyPatch) -> Settings:
    environment.setenv("BILLFOLD_HOME", str(home))
    return load_settings()


def test_a_backup_made_while_others_write_restores_to_the_cent(made: Mapping[str, Any], root: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in (root / "copy").rglob("*"))
    restored = root / "other"

    run(restored, "restore", str(root / "copy"))

    assert made["backup"]["holds"] == ["postgres", "spool", "home/token", ".env"]
    assert (root / "copy").stat().st_mode & 0o777 == 0o700
    assert (restored / "token").read_text() == "secret"
    assert (restored / "spool" / "waiting.json").exists()
    with use(restored) as conninfo, psycopg.connect(conninfo) as connection:
        assert run(restored, "costs") == run(root / "home", "costs")
        run(restored, "verify")
        # All that was committed up to one moment, without a gap.
        counted = connection.execute("SELECT count(*), max(number), count(DISTINCT number) FROM written").fetchone()
        connection.execute("DROP TABLE written")
    assert counted is not None
    assert counted[0] == counted[1] == counted[2] > 0
    assert sorted((path, path.stat().st_mtime_ns) for path in (root / "copy").rglob("*")) == before
    with use(root / "home") as conninfo, psycopg.connect(conninfo) as connection:
        assert connection.execute("SELECT to_regclass('written')").fetchone() == ("written",)


def test_a_home_that_holds_a_database_or_is_in_use_is_left_as_it_is(
    made: Mapping[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="is in use"):
        restore(settings_of(root / "home", monkeypatch), root / "copy")

    full = root / "full"
    (full / "postgres").mkdir(parents=True)
    (full / "postgres" / "anything").touch()
    with pytest.raises(UsageError, match="holds a database already"):
        restore(settings_of(full, monkeypatch), root / "copy")


@pytest.mark.parametrize(
    ("damage", "kind", "says"),
    [
        ("postgres/PG_VERSION", StoreError, "pg_verifybackup"),
        ("backup.json", UsageError, "is not a backup"),
    ],
)
def test_a_damaged_backup_brings_nothing_in(
    made: Mapping[str, Any],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
    kind: type[BillfoldError],
    says: str,
) -> None:
    damaged = root / f"damaged-{damage.replace('/', '-')}"
    subprocess.run(["cp", "-a", root / "copy", damaged], check=True)
    (damaged / damage).write_text("{}")

    with pytest.raises(kind, match=says):
        restore(settings_of(root / "empty", monkeypatch), damaged)

    assert not (root / "empty" / "postgres").exists()


@pytest.mark.parametrize(
    ("target", "says"),
    [("copy", "is not empty"), ("home/inside", "lies inside BILLFOLD_HOME"), ("bucket", "not empty")],
)
def test_a_backup_never_writes_over_anything(
    made: Mapping[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch, target: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        back_up(settings_of(root / "home", monkeypatch), root / target)


def test_a_home_without_a_database_is_not_backed_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="holds no database"):
        back_up(settings_of(root / "nothing", monkeypatch), root / "never")

    assert not (root / "nothing").exists()


def test_a_restore_that_was_killed_is_run_again(
    made: Mapping[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = root / "again"
    bring = backup._bring

    def die_before_the_database(name: Path, to: Path) -> None:
        if name.name == "postgres":
            # What a kill in the middle of a copy leaves behind.
            (home / ".postgres.new-killed").mkdir()
            raise StoreError("killed")
        bring(name, to)

    monkeypatch.setattr(backup, "_bring", die_before_the_database)
    with pytest.raises(StoreError, match="killed"):
        restore(settings_of(home, monkeypatch), root / "copy")
    monkeypatch.setattr(backup, "_bring", bring)

    restore(settings_of(home, monkeypatch), root / "copy")

    found = {path.name for path in home.iterdir() if path.suffix != ".lock"}
    assert found == {"postgres", "spool", "token"}
    shutil.rmtree(home)


@pytest.mark.parametrize("act", [back_up, restore])
def test_another_database_is_left_to_its_own_programs(act: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://billfold@db.internal/billing")

    with pytest.raises(BillfoldError, match="pg_dump"):
        act(settings_of(root / "nothing", monkeypatch), root / "copy")


def test_a_backup_that_fails_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = root / "broken"
    start_embedded(home, postgres_version=16)
    try:
        monkeypatch.setattr("billfold.store.backup._verify", lambda *_: (_ for _ in ()).throw(StoreError("no")))

        with pytest.raises(StoreError):
            back_up(settings_of(home, monkeypatch), root / "failed")
    finally:
        stop_embedded(home)

    assert not [path for path in root.iterdir() if "failed" in path.name]
