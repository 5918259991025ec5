"""Where tests put their files: in memory where there is room, because each test makes hundreds of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_MEMORY = Path("/dev/shm")
# A whole run leaves about a third of this behind until its end.
_ROOM_BYTES = 6 * 2**30


@cache
def temporary() -> Path:
    """The folder for temporary files, with a short path; TMPDIR has the last word."""
    if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES:
        return _MEMORY
    return Path(tempfile.gettempdir())


def use_memory() -> None:
    """Let this process and those that it starts put their temporary files there."""
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary())


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for a home: a server's socket lies in it, for which the deep folders of pytest are too long."""
    folder = Path(tempfile.mkdtemp(prefix="bf-", dir=temporary()))
    # Run by root, PostgreSQL is another user, who must be able to enter.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
