"""The cluster of an embedded PostgreSQL: its folder made by initdb, its settings, and what it says when it fails.

With the standard library alone, as `keeper.py`, which runs as a program of its own and uses this file.
"""

from __future__ import annotations

import errno
import locale
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# The user and group that PostgreSQL runs as, None for this process's own.
Runner = tuple[int, int] | None

# PostgreSQL writes its log of changes in files of this size.
FULL_BYTES = 16 * 2**20
_DISK_ERRORS = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS))
_LOG_PREFIX = re.compile(r"^[\d-]+ [\d:.]+ \w+ \[\d+\] ")
# The first line of postgresql.conf, so that the operator's own lines win.
_INCLUDE = "include 'billfold.conf'  # Billfold's settings. Lines below this one win."
# Earlier versions wrote their settings at the end of postgresql.conf, below this line.
_OLD_MARK = b"# Billfold: bulk loads want room between checkpoints."
_SETTINGS = """# Written by Billfold at each start. Put your own settings into postgresql.conf.
# Bulk loads need room between checkpoints.
shared_buffers = 256MB
max_wal_size = 4GB
"""
_INITDB_OPTIONS = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions", "--no-clean")


class ClusterError(Exception):
    """The cluster cannot be used; its text is what PostgreSQL wrote."""


def is_whole(data: Path) -> bool:
    """Whether initdb got to its end here: it makes the database `postgres`, number 5, and ends with a clean shutdown.

    A folder in which anything was ever stored is whole, however its server ended. Raises ClusterError for one that
    holds data, but not all that a server needs.
    """
    databases = [each for each in data.glob("base/*") if each.name.isdigit()]
    # PostgreSQL numbers everything that initdb does not make from 16384 on.
    holds_data = any(
        int(file.name) >= 16384 for each in databases for file in (each, *each.iterdir()) if file.name.isdigit()
    )
    control, version = _read(data / "global/pg_control"), _read(data / "PG_VERSION")
    lacks = "global/pg_control" if len(control) < 20 else "PG_VERSION" if not version.strip() else None
    if lacks and holds_data:
        raise ClusterError(f"it is damaged: {lacks} is missing or empty; restore a backup")
    # The state is the fifth word of 32 bits; 1 is a clean shutdown.
    was_shut_down = int.from_bytes(control[16:20], sys.byteorder) == 1
    is_complete = any(int(each.name) >= 5 and (each / "PG_VERSION").exists() for each in databases)
    return not lacks and is_complete and (was_shut_down or holds_data or (data / "backup_label").exists())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def make_cluster(data: Path, programs: str, runner: Runner, server_lock: int) -> None:
    """Make the cluster beside its place; it gets its name once it is complete and on disk."""
    new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=data.parent))
    try:
        give(new, runner)
        made = subprocess.run(
            [f"{programs}/initdb", "--pgdata", str(new), *_INITDB_OPTIONS, *_locale()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[server_lock],
            **as_runner(runner),
        )
        if made.returncode:
            text = made.stdout.decode(errors="replace")
            if shutil.disk_usage(data.parent).free < FULL_BYTES:
                # The failing program need not say so.
                text += f"\n{os.strerror(errno.ENOSPC)}"
            raise ClusterError(worst_line(text))
        check_settings(new, runner)
        if data.exists() and any(data.iterdir()):
            # A start of an older Billfold was killed here. There is no database in it, but it is kept.
            data.rename(data.with_name(f"postgres.unfinished-{time.time_ns()}"))
        new.rename(data)
        _sync(data.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _locale() -> list[str]:
    """Sort by code point everywhere, so that the order of an index survives a move to another machine."""
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return ["--locale=C"]
    return ["--locale=C", "--lc-ctype=C.UTF-8"]


def check_settings(data: Path, runner: Runner) -> None:
    """Write Billfold's settings beside the operator's own, which win."""
    own, main, access = data / "billfold.conf", data / "postgresql.conf", data / "pg_hba.conf"
    if not own.exists() or own.read_bytes() != _SETTINGS.encode():
        _replace(runner, own, _SETTINGS.encode())
    lines = main.read_bytes().splitlines() if main.exists() else []
    if not any(line.startswith(_INCLUDE.split("  #")[0].encode()) for line in lines):
        if _OLD_MARK not in lines:
            # initdb writes these among its own settings, where they would win.
            lines = [b"#" + line if line.startswith((b"shared_buffers", b"max_wal_size")) else line for line in lines]
        _replace(runner, main, b"\n".join([_INCLUDE.encode(), *lines, b""]))
    if not access.exists() or not access.stat().st_size:
        _replace(runner, access, b"local all all trust\nlocal replication all trust\n")


def _replace(runner: Runner, path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with new.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    give(new, runner)
    new.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def give(path: Path, runner: Runner) -> None:
    """Make the path the runner's."""
    if runner:
        os.chown(path, *runner, follow_symlinks=False)


def as_runner(runner: Runner) -> dict[str, Any]:
    """The arguments by which `subprocess` starts a program as the runner."""
    return {"user": runner[0], "group": runner[1], "extra_groups": []} if runner else {}


def worst_line(text: str) -> str:
    """The most informative line, without time and process."""
    lines = [_LOG_PREFIX.sub("", line).strip() for line in text.splitlines() if line.strip()]
    for mark in (*_DISK_ERRORS, "PANIC:", "FATAL:", "ERROR:", "error:", "could not"):
        for line in lines:
            if mark in line:
                return " ".join(line.split())
    return lines[-1] if lines else "no reason given"
