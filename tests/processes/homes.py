"""Homes of embedded servers as other processes use them: users that come, are killed, and what they leave behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from billfold.store import keeper

# Uses the server until its input ends. A line is written when the server takes connections.
_USER = """
import sys
from pathlib import Path
from billfold.store.embedded import start_embedded
print(start_embedded(Path(sys.argv[1]), postgres_version=16), flush=True)
sys.stdin.read()
"""
UNSHARE = ("unshare", "--pid", "--ipc", "--mount-proc", "--fork", "--kill-child")


def may_unshare() -> bool:
    """Whether this machine lets tests make a PID namespace."""
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def start_user(home: Path, *, within: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A process, first of a group of its own, that starts or joins the server of the home."""
    return subprocess.Popen(
        [*within, sys.executable, "-c", _USER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until_up(user: subprocess.Popen[str]) -> str:
    """The connection string that the user got."""
    assert user.stdout is not None
    conninfo = user.stdout.readline().strip()
    assert conninfo, user.communicate()[1]
    return conninfo


@contextmanager
def use(home: Path, *, within: Sequence[str] = ()) -> Iterator[str]:
    """Another process uses the server meanwhile; gives the owner's connection string."""
    user = start_user(home, within=within)
    try:
        yield wait_until_up(user)
    finally:
        user.communicate(timeout=60)


def kill(user: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    """End the user and its whole process group by a signal."""
    with suppress(ProcessLookupError):
        os.killpg(user.pid, number)
    user.communicate(timeout=60)


def processes_of(home: Path) -> list[psutil.Process]:
    """The keeper, the server with all of its processes, and the users of the home."""
    found = []
    path = re.escape(str(home))
    named = re.compile(rf'(^|\0){path}(\0|$)|{path}/|"{path}"')
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            is_named = named.search("\0".join(process.cmdline()))
            if process.pid != os.getpid() and (is_named or Path(process.cwd()).is_relative_to(home)):
                found.append(process)
    return found


def lose_power(home: Path) -> None:
    """End everything of the home at once."""
    while running := processes_of(home):
        for process in running:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(running, timeout=1)


def seconds_until_gone(home: Path, *, at_most: float) -> float:
    """How long server and keeper go on, up to a limit. The lock that is waited for ends with the last of them."""
    started = time.monotonic()
    for name in (keeper.KEEPER_LOCK, keeper.SERVER_LOCK):
        while time.monotonic() - started < at_most:
            try:
                os.close(keeper.lock(home / name, wait=False))
                break
            except BlockingIOError:
                time.sleep(0.01)
    return time.monotonic() - started


def postmaster(home: Path) -> psutil.Process:
    """The server's first process."""
    return psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().split()[0]))


def count_starts(home: Path) -> int:
    """How often a server of this home has started, by its log."""
    return (home / "postgres" / "log").read_text().count("starting PostgreSQL")
