"""The keeper of a home: a small process that runs its embedded PostgreSQL and stops it after the last user.

`embedded.py` starts this file as a program of its own, with the standard library alone: it must start in milliseconds.
The server is its child and inherits the locked descriptor of `server.lock`, as does each of the server's processes. So
that lock ends exactly with the last of them, and every namespace of this machine sees it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import locale
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

USERS_LOCK = "users.lock"
SERVER_LOCK = "server.lock"
KEEPER_LOCK = "keeper.lock"
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"

# The first line of postgresql.conf, so that the operator's own lines win.
_INCLUDE = "include 'billfold.conf'  # Billfold's settings. Lines below this one win."
# PostgreSQL writes its log of changes in files of this size.
FULL_BYTES = 16 * 2**20
_DISK_ERRORS = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS))
_LOG_PREFIX = re.compile(r"^[\d-]+ [\d:.]+ \w+ \[\d+\] ")
# Earlier versions wrote their settings at the end of postgresql.conf, below this line.
_OLD_MARK = b"# Billfold: bulk loads want room between checkpoints."
_SETTINGS = """# Written by Billfold at each start. Put your own settings into postgresql.conf.
# Bulk loads need room between checkpoints.
shared_buffers = 256MB
max_wal_size = 4GB
"""
_FIXED_SETTINGS = (
    "listen_addresses=",
    f"port={PORT}",
    "unix_socket_permissions=0700",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
    "restart_after_crash=on",
)
_INITDB_OPTIONS = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions", "--no-clean")
# A fast shutdown writes a checkpoint. On a slow disk the next start's recovery does that work instead.
_STOP_STEPS = ((signal.SIGINT, 2.5), (signal.SIGQUIT, 6.0), (signal.SIGKILL, 60.0))


class Plan(NamedTuple):
    """What a keeper is asked to do, as JSON on its command line.

    `runner` is the user and group that PostgreSQL runs as, None for this process's own. `adopted_pid` is that of a
    server which runs already, and which lost its keeper; then there is no `server_lock` to pass on.
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


class _StartError(Exception):
    """The server cannot run; its text is what PostgreSQL wrote."""


def main(plan: Plan) -> None:
    """Run or adopt the server, report once on the pipe, and return when the server has ended."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # Not ignored but caught: what is ignored stays so in the programs started from here.
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
    except (_StartError, OSError, subprocess.SubprocessError) as error:
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
                raise _StartError("the keeper of its last server does not end") from None
            time.sleep(0.01)


def lock(path: Path, *, shared: bool = False, wait: bool = True) -> int:
    """The descriptor that holds the lock until it is closed; without `wait` BlockingIOError where another holds it."""
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
    """The process id and the state of the server, as it wrote them; None where the file is missing or torn."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip()
    except (OSError, ValueError, IndexError):
        return None


def _watch(wait: Any, happened: threading.Event, changed: threading.Event) -> None:
    """Wait for a lock in a thread of its own: a lock that is waited for needs no polling."""

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
        _make_cluster(plan, data)
    _check_settings(plan, data)
    # The lock proves that no server runs. What an earlier one left, or a copy brought along, would stop this start.
    for name in ("postmaster.pid", SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (data / name).unlink(missing_ok=True)
    if no_users.is_set():
        raise _StartError("nobody waits for it")
    folder = str(data).replace('"', '""')
    settings = [f'unix_socket_directories="{folder}"', *_FIXED_SETTINGS]
    # As all that root opens here: what the server's user may have linked elsewhere is not followed.
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
            **_as_runner(plan),
        )
    finally:
        os.close(log)


def is_whole(data: Path) -> bool:
    """Whether initdb got to its end here: it makes the database `postgres`, number 5, and ends with a clean shutdown.

    A folder in which anything was ever stored is whole, however its server ended. Raises _StartError for one that holds
    data, but not all that a server needs.
    """
    databases = [each for each in data.glob("base/*") if each.name.isdigit()]
    # PostgreSQL numbers what others than initdb make from 16384 on.
    holds_data = any(
        int(file.name) >= 16384 for each in databases for file in (each, *each.iterdir()) if file.name.isdigit()
    )
    control, version = _read(data / "global/pg_control"), _read(data / "PG_VERSION")
    lacks = "global/pg_control" if len(control) < 20 else "PG_VERSION" if not version.strip() else None
    if lacks and holds_data:
        raise _StartError(f"it is damaged: {lacks} is missing or empty; restore a backup")
    # The state is the fifth word of 32 bits; 1 is a clean shutdown.
    was_shut_down = int.from_bytes(control[16:20], sys.byteorder) == 1
    is_complete = any(int(each.name) >= 5 and (each / "PG_VERSION").exists() for each in databases)
    return not lacks and is_complete and (was_shut_down or holds_data or (data / "backup_label").exists())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _make_cluster(plan: Plan, data: Path) -> None:
    """Make the cluster beside its place; only when it is whole and on disk it gets its name."""
    new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=plan.home))
    try:
        _give(plan, new)
        made = subprocess.run(
            [f"{plan.programs}/initdb", "--pgdata", str(new), *_INITDB_OPTIONS, *_locale()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[plan.server_lock] if plan.server_lock is not None else [],
            **_as_runner(plan),
        )
        if made.returncode:
            text = made.stdout.decode(errors="replace")
            if shutil.disk_usage(plan.home).free < FULL_BYTES:
                # What fails then need not say so.
                text += f"\n{os.strerror(errno.ENOSPC)}"
            raise _StartError(_worst_line(text))
        _check_settings(plan, new)
        if data.exists() and any(data.iterdir()):
            # A start of an older Billfold was killed here. There is no database in it; it is kept all the same.
            data.rename(data.with_name(f"postgres.unfinished-{time.time_ns()}"))
        new.rename(data)
        _sync(data.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _locale() -> list[str]:
    """Sorted by code point everywhere: the order of an index then survives a move to another machine."""
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return ["--locale=C"]
    return ["--locale=C", "--lc-ctype=C.UTF-8"]


def _check_settings(plan: Plan, data: Path) -> None:
    own, main, access = data / "billfold.conf", data / "postgresql.conf", data / "pg_hba.conf"
    if not own.exists() or own.read_bytes() != _SETTINGS.encode():
        _replace(plan, own, _SETTINGS.encode())
    lines = main.read_bytes().splitlines() if main.exists() else []
    if not any(line.startswith(_INCLUDE.split("  #")[0].encode()) for line in lines):
        if _OLD_MARK not in lines:
            # initdb writes these among its own settings, where they would win.
            lines = [b"#" + line if line.startswith((b"shared_buffers", b"max_wal_size")) else line for line in lines]
        _replace(plan, main, b"\n".join([_INCLUDE.encode(), *lines, b""]))
    if not access.exists() or not access.stat().st_size:
        _replace(plan, access, b"local all all trust\nlocal replication all trust\n")


def _replace(plan: Plan, path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with new.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _give(plan, new)
    new.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _give(plan: Plan, path: Path) -> None:
    if plan.runner:
        os.chown(path, *plan.runner, follow_symlinks=False)


def _note_identity(plan: Plan) -> None:
    assert plan.server_lock is not None
    os.ftruncate(plan.server_lock, 0)
    os.pwrite(plan.server_lock, plan.identity.encode(), 0)


def _as_runner(plan: Plan) -> dict[str, Any]:
    if not plan.runner:
        return {}
    return {"user": plan.runner[0], "group": plan.runner[1], "extra_groups": []}


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
    """Wait for a process that is nobody's child here."""
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
    """A postmaster that was killed leaves processes which may run on for long, and no other server may start before."""
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
            return _worst_line(log.read(100_000).decode(errors="replace"))
    except OSError as error:
        return str(error)


def _worst_line(text: str) -> str:
    """The line that says most, without time and process."""
    lines = [_LOG_PREFIX.sub("", line).strip() for line in text.splitlines() if line.strip()]
    for mark in (*_DISK_ERRORS, "PANIC:", "FATAL:", "ERROR:", "error:", "could not"):
        for line in lines:
            if mark in line:
                return " ".join(line.split())
    return lines[-1] if lines else "it says no reason"


def _report(plan: Plan, failure: str | None) -> None:
    try:
        os.write(plan.report, json.dumps(failure).encode())
        os.close(plan.report)
    except OSError:
        # Nobody waits for it any more.
        pass


if __name__ == "__main__":
    # Nobody's child: a user that lives long need not wait for its end.
    if os.fork() == 0:
        try:
            main(Plan.read(sys.argv[1]))
        finally:
            # Threads may still wait for a lock.
            os._exit(0)
