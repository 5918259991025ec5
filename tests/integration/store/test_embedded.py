"""The embedded PostgreSQL: it opens after every kill, ends with its last user, and never touches another's data."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from billfold.errors import BillfoldError, ConfigurationError, StoreError, StoreFullError, StoreUnavailableError
from billfold.store import cluster, embedded, keeper
from billfold.store.database import connect, connect_bulk
from billfold.store.embedded import start_embedded, stop_embedded
from billfold.store.home import claim_home, explain, runner_of, wheel_programs
from tests.at_length import rounds
from tests.folders import short_folder
from tests.processes.homes import (
    UNSHARE,
    count_starts,
    kill,
    lose_power,
    may_unshare,
    postmaster,
    processes_of,
    seconds_until_gone,
    start_user,
    use,
    wait_until_up,
)
from tests.soak import starts

pytestmark = pytest.mark.slow

_MOST_SECONDS = 3.0


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with short_folder() as folder:
        try:
            yield folder
        finally:
            lose_power(folder)


@pytest.fixture(scope="module")
def base(root: Path) -> Path:
    """A stopped home with one row in it; never changed."""
    home = root / "base"
    with use(home) as conninfo, psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    assert seconds_until_gone(home, at_most=_MOST_SECONDS) < _MOST_SECONDS
    return home


@pytest.fixture
def home(base: Path) -> Iterator[Path]:
    """A copy of that home."""
    home = base.with_name(f"h{time.time_ns()}")
    subprocess.run(["cp", "-a", base, home], check=True)
    yield home
    stop_embedded(home)
    lose_power(home)
    shutil.rmtree(home)


@pytest.fixture
def new_home(root: Path) -> Iterator[Path]:
    """A home that does not exist yet."""
    home = root / f"n{time.time_ns()}"
    yield home
    stop_embedded(home)
    lose_power(home)
    shutil.rmtree(home, ignore_errors=True)


def start(home: Path) -> str:
    return start_embedded(home, postgres_version=16)


def numbers(conninfo: str) -> list[int]:
    with connect(conninfo) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM kept ORDER BY number")]


def shown(conninfo: str, setting: str) -> str:
    with connect(conninfo) as connection:
        row = connection.execute("SELECT current_setting(%s)", [setting]).fetchone()
    assert row is not None
    return str(row[0])


def test_the_server_ends_with_its_last_user_however_that_ends(home: Path) -> None:
    first, second = start_user(home), start_user(home)
    wait_until_up(first)
    wait_until_up(second)
    kill(first, signal.SIGKILL)
    assert postmaster(home).is_running()

    kill(second, signal.SIGHUP)

    assert seconds_until_gone(home, at_most=10) < _MOST_SECONDS
    assert not processes_of(home)


def test_a_stopped_user_keeps_its_server(home: Path) -> None:
    with use(home) as conninfo:
        other = start_user(home)
        wait_until_up(other)
        os.killpg(other.pid, signal.SIGSTOP)
    assert numbers(conninfo) == [1]

    kill(other)

    assert seconds_until_gone(home, at_most=10) < _MOST_SECONDS


def test_a_program_that_a_user_leaves_behind_does_not_keep_the_server(home: Path) -> None:
    script = (
        "import subprocess, sys; from pathlib import Path; from billfold.store.embedded import start_embedded\n"
        "start_embedded(Path(sys.argv[1]), postgres_version=16)\n"
        "print(subprocess.Popen(['sleep', '60'], close_fds=False, stdout=subprocess.DEVNULL).pid)"
    )
    left = int(subprocess.run([sys.executable, "-c", script, home], stdout=subprocess.PIPE, check=True).stdout)
    try:
        assert seconds_until_gone(home, at_most=10) < _MOST_SECONDS
    finally:
        os.kill(left, signal.SIGKILL)


def test_a_first_start_that_was_killed_is_begun_again(new_home: Path) -> None:
    for seen in ("users.lock", "postgres.new-*/base/1/PG_VERSION"):
        user = start_user(new_home)
        while not list(new_home.glob(seen)) and not (new_home / "postgres").exists():
            time.sleep(0.002)
        lose_power(new_home)
        kill(user)

    conninfo = start(new_home)

    assert shown(conninfo, "shared_buffers") == "256MB"
    assert not list(new_home.glob("postgres.*"))


@pytest.mark.parametrize("missing", ["global/pg_control", "PG_VERSION", "base/5", "a clean shutdown", "nothing"])
def test_a_cluster_is_whole_when_initdb_got_to_its_end(tmp_path: Path, missing: str) -> None:
    control = b"\0" * 16 + (6 if missing == "a clean shutdown" else 1).to_bytes(4, sys.byteorder) + b"\0" * 100
    for name in ("base/1/PG_VERSION", "base/5/PG_VERSION", "base/5/1259", "PG_VERSION", "global/pg_control"):
        if not name.startswith(missing):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(control if name.endswith("control") else b"16\n")

    assert cluster.is_whole(tmp_path) == (missing == "nothing")


@pytest.mark.parametrize("missing", ["global/pg_control", "PG_VERSION"])
def test_a_damaged_home_that_holds_data_is_refused_and_left_as_it_is(home: Path, missing: str) -> None:
    (home / "postgres" / missing).unlink()

    with pytest.raises(StoreError, match=f"it is damaged: {missing} is missing or empty; restore a backup") as caught:
        start(home)

    assert not caught.value.retryable
    assert not list(home.glob("postgres.*"))
    assert (home / "postgres/base/5").exists()


@pytest.mark.parametrize("lines", [0, 1, 8, None])
def test_a_stale_or_torn_process_file_is_discarded(home: Path, lines: int | None) -> None:
    data = home / "postgres"
    if lines is None:
        (data / "postmaster.pid").write_bytes(b"\0" * 90)
    else:
        # The process exists, and is no server of this folder.
        file = [str(os.getpid()), str(data), "1796080000", "5432", str(data), "", "  8826964     65536", "ready   "]
        (data / "postmaster.pid").write_text("".join(f"{line}\n" for line in file[:lines]))
    (data / ".s.PGSQL.5432.lock").write_text(f"{os.getpid()}\n")

    assert numbers(start(home)) == [1]


def test_a_copy_made_while_the_server_runs_is_a_home_of_its_own(home: Path, new_home: Path) -> None:
    with use(home) as conninfo:
        subprocess.run(["cp", "-a", home, new_home], check=True)

        with connect(start(new_home)) as connection:
            connection.execute("INSERT INTO kept VALUES (2)")

        assert numbers(start(new_home)) == [1, 2]
        assert numbers(conninfo) == [1]
        assert postmaster(home).pid != postmaster(new_home).pid


def test_a_server_of_another_namespace_is_never_joined_nor_doubled(home: Path) -> None:
    with use(home) as conninfo:
        owner = (home / keeper.SERVER_LOCK).read_text()
        (home / keeper.SERVER_LOCK).write_text("0d0f6ba4-7b2f-4c0e-9d1c-0000000000 pid:[1]")

        with pytest.raises(ConfigurationError, match="is in use by another container, PID namespace or machine"):
            start(home)

        (home / keeper.SERVER_LOCK).write_text(owner)
        assert numbers(conninfo) == [1]
    assert count_starts(home) == 2


if may_unshare():

    def test_two_containers_on_one_home_run_one_server(home: Path) -> None:
        first = start_user(home, within=UNSHARE)
        wait_until_up(first)

        second = start_user(home, within=UNSHARE)
        _, complaint = second.communicate(timeout=60)

        assert "is in use by another container, PID namespace or machine" in complaint
        assert count_starts(home) == 2
        kill(first)
        assert seconds_until_gone(home, at_most=10) < _MOST_SECONDS
        assert numbers(start(home)) == [1]


def test_a_server_that_lost_its_keeper_gets_another(home: Path) -> None:
    with use(home):
        server = postmaster(home)
        [lost] = [each for each in processes_of(home) if keeper.__file__ in each.cmdline()]
        lost.kill()
        lost.wait(timeout=10)

        assert numbers(start(home)) == [1]

        assert postmaster(home).pid == server.pid
    stop_embedded(home)
    assert seconds_until_gone(home, at_most=10) < _MOST_SECONDS
    assert not processes_of(home)


def test_a_server_that_was_ended_is_started_again_by_the_next_connection(home: Path) -> None:
    conninfo = start(home)
    server = postmaster(home)
    server.send_signal(signal.SIGINT)
    server.wait(timeout=30)

    assert numbers(make_conninfo(conninfo, application_name="any")) == [1]


def test_a_server_that_was_asked_to_stop_does_not_wait_for_sessions_while_a_user_needs_it(home: Path) -> None:
    conninfo = start(home)
    server = postmaster(home)
    with psycopg.connect(conninfo):
        server.send_signal(signal.SIGTERM)
        while keeper.read_postmaster(home / "postgres") == (server.pid, "ready"):
            time.sleep(0.01)

        assert numbers(conninfo) == [1]


def test_a_dead_server_is_started_again_for_every_thread_that_misses_it(home: Path) -> None:
    conninfo = start(home)
    before = count_starts(home)
    server = postmaster(home)
    server.kill()
    server.wait(timeout=30)

    with ThreadPoolExecutor(max_workers=8) as threads:
        assert list(threads.map(numbers, [conninfo] * 8)) == [[1]] * 8

    assert count_starts(home) == before + 1


def test_commands_that_begin_at_once_start_one_server(new_home: Path) -> None:
    users = [start_user(new_home) for _ in range(3)]

    assert len({wait_until_up(user) for user in users}) == 1

    for user in users:
        user.communicate(timeout=60)
    assert count_starts(new_home) == 1


def test_an_odd_path_works_with_every_driver(base: Path) -> None:
    home = base.with_name("=x%20 a 'b\" \\ ü")
    subprocess.run(["cp", "-a", base, home], check=True)

    conninfo = start(home)

    assert numbers(conninfo) == [1]
    with connect_bulk(conninfo) as bulk:
        assert bulk.query("SELECT number FROM kept") == [(1,)]
    assert subprocess.run([wheel_programs(16) / "pg_isready", "-d", conninfo], capture_output=True).returncode == 0
    stop_embedded(home)


def test_a_folder_that_holds_other_things_keeps_its_mode_its_owner_and_what_an_older_version_left(
    new_home: Path,
) -> None:
    (new_home / ".config").mkdir(parents=True)
    new_home.chmod(0o755)
    owner = new_home.stat().st_uid
    # A start that was killed.
    data = new_home / "postgres"
    (data / "base/1").mkdir(mode=0o700, parents=True)
    (data / "PG_VERSION").write_text("16\n")
    (data / ".handle_pids.json").write_text("[123, 4")

    for _ in range(2):
        assert shown(start(new_home), "max_wal_size") == "4GB"
        stop_embedded(new_home)

    assert (new_home.stat().st_mode & 0o777, new_home.stat().st_uid) == (0o755, owner)
    assert data.stat().st_mode & 0o777 == 0o700
    [aside] = new_home.glob("postgres.unfinished-*")
    assert (aside / ".handle_pids.json").read_text() == "[123, 4"


@pytest.mark.parametrize("name", ["a,b", "a\nb", "a\x1bb", "a\udcffb"])
def test_a_path_that_no_client_could_connect_to_is_refused_before_anything_is_made(root: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="holds a comma, a control character or bytes that are not UTF-8"):
        start(root / name)

    assert not (root / name).exists()


def test_settings_are_checked_at_each_start_and_the_operators_own_win(home: Path) -> None:
    main = home / "postgres/postgresql.conf"
    (home / "postgres/billfold.conf").write_text("")
    lines = main.read_text().splitlines(keepends=True)
    main.write_text("".join(line for line in lines if "billfold.conf" not in line) + "work_mem = 9MB\n")
    conninfo = start(home)
    assert [shown(conninfo, name) for name in ("shared_buffers", "work_mem", "TimeZone")] == ["256MB", "9MB", "UTC"]
    stop_embedded(home)
    with main.open("a") as file:
        file.write("shared_buffers = 64MB\nlisten_addresses = '*'\ntimezone = 'Asia/Kolkata'\n")

    conninfo = start(home)

    assert shown(conninfo, "shared_buffers") == "64MB"
    assert shown(conninfo, "listen_addresses") == ""
    assert main.read_text().count("include 'billfold.conf'") == 1


def test_a_home_of_an_earlier_version_keeps_the_settings_at_its_end(home: Path) -> None:
    main = home / "postgres/postgresql.conf"
    (home / "postgres/billfold.conf").unlink()
    old = "\n# Billfold: bulk loads want room between checkpoints.\nshared_buffers = 200MB\nmax_wal_size = 4GB\n"
    lines = main.read_text().splitlines(keepends=True)
    main.write_text("".join(line for line in lines if "billfold.conf" not in line) + old)

    assert shown(start(home), "shared_buffers") == "200MB"


def test_a_server_without_our_lock_is_neither_joined_nor_stopped(home: Path) -> None:
    data = home / "postgres"
    runner = runner_of(home)
    identity = {"user": runner[0], "group": runner[1], "extra_groups": []} if runner else {}
    program = str(wheel_programs(16) / "postgres")
    with (data / "log").open("ab") as log:
        older = subprocess.Popen(
            [program, "-D", data, "-h", "", "-k", data], stdout=log, stderr=log, cwd="/", **identity
        )
    while keeper.read_postmaster(data) != (older.pid, "ready"):
        time.sleep(0.01)
    try:
        with pytest.raises(StoreUnavailableError, match=rf"an older Billfold runs .* \(process {older.pid}\)"):
            start(home)

        with psycopg.connect(host=str(data), user="postgres", dbname="postgres") as connection:
            assert connection.execute("SELECT number FROM kept").fetchall() == [(1,)]
    finally:
        older.send_signal(signal.SIGINT)
        older.wait(timeout=30)
    assert numbers(start(home)) == [1]


def test_nothing_is_written_outside_of_the_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    tmp_path.chmod(0o777)

    with use(home) as conninfo:
        assert numbers(conninfo) == [1]

    assert not list(tmp_path.iterdir())


def test_a_wait_that_takes_too_long_ends_with_a_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MAX_WAIT_SECONDS", 0.2)
    held = keeper.lock(home / keeper.USERS_LOCK)

    with pytest.raises(StoreUnavailableError, match="still stops after"):
        start(home)

    os.close(held)
    assert numbers(start(home)) == [1]


if os.geteuid() == 0:

    def test_a_home_inside_of_a_home_is_reached(new_home: Path) -> None:
        new_home.mkdir(mode=0o700)

        claim_home(new_home)

        assert shown(start(new_home / "demo"), "port") == "5432"
        stop_embedded(new_home / "demo")

    def test_a_copy_that_root_made_without_its_owners_opens(home: Path, new_home: Path) -> None:
        subprocess.run(["cp", "-r", home, new_home], check=True)

        assert numbers(start(new_home)) == [1]

        assert runner_of(new_home) == runner_of(home)

    def test_a_home_below_a_folder_closed_to_the_user_of_postgresql_is_refused_and_stays_closed(root: Path) -> None:
        closed = root / "closed"
        closed.mkdir(mode=0o700)

        with pytest.raises(ConfigurationError, match=f"{closed} is closed to it"):
            start(closed / "home")

        assert closed.stat().st_mode & 0o777 == 0o700

    def test_programs_below_a_closed_folder_are_copied_into_the_home(
        home: Path, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = wheel_programs(16).parent.parent
        closed = root / "environment"
        closed.mkdir(mode=0o700)
        for name in (package.name, f"{package.name}.libs"):
            subprocess.run(["cp", "-r", package.with_name(name), closed], check=True)
        monkeypatch.setattr("billfold.store.home.wheel_programs", lambda _: closed / package.name / "pginstall/bin")

        assert numbers(start(home)) == [1]

        assert closed.stat().st_mode & 0o777 == 0o700
        assert len(list((home / "programs").iterdir())) == 1


@pytest.mark.parametrize(
    ("failure", "kind", "says"),
    [
        ("FATAL: could not write: No space left on device", StoreFullError, "the disk at .* is full"),
        (OSError(28, "No space left on device"), StoreFullError, "the disk at .* is full"),
        (OSError(30, "Read-only file system"), ConfigurationError, "cannot be used"),
        (PermissionError(13, "Permission denied"), ConfigurationError, "cannot be used"),
        ("FATAL: bogus data in lock file", StoreUnavailableError, "does not start"),
    ],
)
def test_what_the_disk_refuses_is_one_line_that_names_it(
    tmp_path: Path, failure: OSError | str, kind: type[BillfoldError], says: str
) -> None:
    error = explain(failure, tmp_path)

    assert type(error) is kind
    assert str(tmp_path) in str(error)
    assert "\n" not in str(error)
    with pytest.raises(kind, match=says):
        raise error


@pytest.mark.at_length
@pytest.mark.parametrize("seed", [3, 4][: rounds(1, in_soak=2)])
def test_a_random_trial_of_starts_breaks_no_promise(root: Path, seed: int) -> None:
    folder = root / f"t{seed}"
    folder.mkdir()

    assert starts.trial(seed, folder) == []
