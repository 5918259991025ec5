"""The keeper of a home: a small process that runs its embedded PostgreSQL and stops it after the last user.

`embedded.py` starts this file as a program of its own, with the standard library and `cluster.py` alone: it must start
in milliseconds.
The server is its child and inherits the locked descriptor of `server.lock`, as does each of the server's processes. So
that lock ends exactly with the last of them, and every namespace of this machine sees it.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

if __name__ != "__main__":
    from billfold.store.cluster import ClusterError, as_runner, check_settings, is_whole, make_cluster, worst_line
else:
    # As a program of its own it can import nothing of the package but the file beside it.
    sys.path.insert(0, str(Path(__file__).parent))
    from cluster import (  # type: ignore[import-not-found, no-redef]
        ClusterError,
        as_runner,
        check_settings,
        is_whole,
        make_cluster,
        worst_line,
    )

    sys.path.pop(0)

USERS_LOCK = "users.lock"
SERVER_LOCK = "server.lock"
KEEPER_LOCK = "keeper.lock"
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"

_FIXED_SETTINGS = (
    "listen_addresses=",
    f"port={PORT}",
    "unix_socket_permissions=0700",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
    "restart_after_crash=on",
)
# A fast shutdown writes a checkpoint. On a slow disk the next start's recovery does that work instead.
_STOP_STEPS = ((signal.SIGINT, 2.5), (signal.SIGQUIT, 6.0), (signal.SIGKILL, 60.0))


class Plan(NamedTuple):
    """A keeper's task, as JSON on its command line.

    `runner` is the user and group that PostgreSQL runs as, None for this process's own. `adopted_pid` is that of a
    running server that lost its keeper; then there is no `server_lock` to pass on.
    """

    home: str
    programs: str
    identity: str
    runner: tuple[int, int] | None
    server_lock: int | None
    report: int
    adopted_pid: int | None

    def write(self) -> str:
        return json.dumps(self._asdict())

    @staticmethod
    def read(text: str) -> Plan:
        return Plan(**json.loads(text))


def main(plan: Plan) -> None:
    """Run or adopt the server, report once on the pipe, and return when the server has ended."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # Caught, not ignored: ignored signals stay ignored in the programs started from here.
        signal.signal(number, lambda *_: None)
    os.umask(0o077)
    os.chdir("/")
    home = Path(plan.home)
    no_users, ended, changed = threading.Event(), threading.Event(), threading.Event()
    try:
        _lock_soon(home / KEEPER_LOCK)
        _watch(lambda: lock(home / USERS_LOCK), no_users, changed)
        log_size = _size(home / "postgres" / "log")
        server = _start(plan, no_users) if plan.adopted_pid is None else None
    except (ClusterError, OSError, subprocess.SubprocessError) as error:
        _report(plan, str(error))
        return
    postmaster = server or plan.adopted_pid
    assert postmaster is not None
    if plan.server_lock is not None:
        # From here on the server holds it.
        os.close(plan.server_lock)
    _watch(lambda: _await_end(home, postmaster, no_users), ended, changed)
    if server is not None:
        _await_ready(home, server, no_users, ended)
    if ended.is_set() and not no_users.is_set():
        _report(plan, _last_words(home / "postgres", log_size))
        return
    _report(plan, None)
    while not (no_users.is_set() or ended.is_set()):
        changed.wait()
    if not ended.is_set():
        _stop(postmaster if isinstance(postmaster, int) else postmaster.pid, ended)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _lock_soon(path: Path) -> int:
    """The lock of a keeper that is just ending; one that was stopped by a signal never does."""
    give_up_at = time.monotonic() + 20
    while True:
        try:
            return lock(path, wait=False)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                raise ClusterError("the keeper of its last server does not end") from None
            time.sleep(0.01)


def lock(path: Path, *, shared: bool = False, wait: bool = True) -> int:
    """The descriptor that holds the lock until it is closed; without `wait` BlockingIOError if another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if os.geteuid() == 0:
            # The home may be another user's, who must be able to lock it too.
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_postmaster(data: Path) -> tuple[int, str] | None:
    """The process id and the state of the server, as it wrote them; None if the file is missing or torn."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip()
    except (OSError, ValueError, IndexError):
        return None


def _watch(wait: Any, happened: threading.Event, changed: threading.Event) -> None:
    """Wait for a lock in a thread of its own, without polling."""

    def run() -> None:
        wait()
        happened.set()
        changed.set()

    threading.Thread(target=run, daemon=True).start()


def _start(plan: Plan, no_users: threading.Event) -> subprocess.Popen[bytes]:
    assert plan.server_lock is not None
    data = Path(plan.home) / "postgres"
    _note_identity(plan)
    for remains in data.parent.glob("postgres.new-*"):
        shutil.rmtree(remains, ignore_errors=True)
    if not is_whole(data):
        make_cluster(data, plan.programs, plan.runner, plan.server_lock)
    check_settings(data, plan.runner)
    # The lock proves that no server runs. Files that an earlier one or a copy left would prevent this start.
    for name in ("postmaster.pid", SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (data / name).unlink(missing_ok=True)
    if no_users.is_set():
        raise ClusterError("nothing waits for it")
    folder = str(data).replace('"', '""')
    settings = [f'unix_socket_directories="{folder}"', *_FIXED_SETTINGS]
    # Root follows no links here: the server's user may have linked the file elsewhere.
    log = os.open(data / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        if plan.runner:
            os.fchown(log, *plan.runner)
        return subprocess.Popen(
            [f"{plan.programs}/postgres", "-D", str(data), *(word for each in settings for word in ("-c", each))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[plan.server_lock],
            **as_runner(plan.runner),
        )
    finally:
        os.close(log)


def _note_identity(plan: Plan) -> None:
    assert plan.server_lock is not None
    os.ftruncate(plan.server_lock, 0)
    os.pwrite(plan.server_lock, plan.identity.encode(), 0)


def _await_ready(
    home: Path, server: subprocess.Popen[bytes], no_users: threading.Event, ended: threading.Event
) -> None:
    # The server announces nothing; it writes into its file when it takes connections.
    while not (no_users.is_set() or ended.is_set()):
        if read_postmaster(home / "postgres") == (server.pid, "ready"):
            return
        time.sleep(0.01)


def _await_end(home: Path, postmaster: subprocess.Popen[bytes] | int, no_users: threading.Event) -> None:
    """Return when the server has ended: after its last user, with every process of it."""
    if isinstance(postmaster, int):
        _await_process(postmaster)
    else:
        postmaster.wait()
    _end_orphans(home / "postgres")
    if no_users.is_set():
        # This process holds the lock of the users: no other can want this one.
        lock(home / SERVER_LOCK)


def _await_process(pid: int) -> None:
    """Wait for a process that this one did not start."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        # Systems without descriptors of processes.
        while _is_alive(pid):
            time.sleep(0.1)
        return
    select.select([descriptor], [], [])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _end_orphans(data: Path) -> None:
    """End the processes that a killed postmaster left: no other server can start while they run."""
    folder = data.stat()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_postgres = (entry / "exe").readlink().name.startswith("postgres")
            if is_postgres and os.path.samestat((entry / "cwd").stat(), folder):
                os.kill(int(entry.name), signal.SIGQUIT)
        except OSError:
            # It has ended, or belongs to another user.
            continue


def _stop(pid: int, ended: threading.Event) -> None:
    for number, seconds in _STOP_STEPS:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        if ended.wait(seconds):
            return


def _last_words(data: Path, log_size: int) -> str:
    """Why the server ended, as it wrote into its log since then."""
    try:
        with (data / "log").open("rb") as log:
            log.seek(log_size)
            return worst_line(log.read(100_000).decode(errors="replace"))
    except OSError as error:
        return str(error)


def _report(plan: Plan, failure: str | None) -> None:
    try:
        os.write(plan.report, json.dumps(failure).encode())
        os.close(plan.report)
    except OSError:
        # Nothing waits for it any more.
        pass


if __name__ == "__main__":
    # In a process without a parent, so that a long-lived user need not wait for its end.
    if os.fork() == 0:
        try:
            main(Plan.read(sys.argv[1]))
        finally:
            # Threads may still wait for a lock.
            os._exit(0)
