"""Folders in the spool: locked while their process lives, cleared by the next one if it dies."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from billfold.errors import ConfigurationError, SpoolFullError
from billfold.log import Event
from billfold.settings import Settings

# The disk or the user's quota is full, or a file would be larger than the process may write.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# DuckDB allows its temporary files as much as the disk has free when it starts, and says so when that is used up.
_SPILL_LIMIT = "'max_temp_directory_size'"

_PURPOSES = ("delivery", "verify", "remap")

log = structlog.get_logger(__name__)


@contextmanager
def work_folder(settings: Settings, purpose: str) -> Iterator[Path]:
    """A folder in the spool for one piece of work, removed at the end even after an error.

    Folders that killed processes left are removed first: their locks died with them. Raises ConfigurationError for a
    spool that this user cannot write, and SpoolFullError if the disk is full, even if a library reports that with an
    error of its own during the work.
    """
    assert purpose in _PURPOSES
    try:
        folder, own = _make(settings.spool, purpose)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise no_space("a folder to work in", settings.spool) from error
        raise ConfigurationError(
            f"BILLFOLD_SPOOL {settings.spool} cannot be written ({error.strerror})",
            advice="set a folder that this user may write",
        ) from error
    try:
        yield folder
    except SpoolFullError:
        raise
    except Exception as error:
        if is_of_full_disk(error, folder):
            raise no_space("the tables that are being worked on", settings.spool) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(own)


def no_space(what: str, folder: Path) -> SpoolFullError:
    """The error for a full disk; it is retryable, because other work that ends frees space."""
    return SpoolFullError(
        f"no room for {what} in {folder}", advice="free some space, or set BILLFOLD_SPOOL to a folder on a larger disk"
    )


def is_of_full_disk(error: BaseException | None, folder: Path) -> bool:
    """Whether the error, or its cause, is that the folder's disk is full.

    PostgreSQL reports its own full disk in the same words, but never with the path of this folder.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return True
        text = str(error)
        if _SPILL_LIMIT in text or (str(folder) in text and any(os.strerror(code) in text for code in NO_SPACE)):
            return True
        error = error.__cause__
    return False


def _make(spool_folder: Path, purpose: str) -> tuple[Path, int]:
    """The folder, and the descriptor that keeps its lock."""
    spool_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A folder that is not locked yet looks like a dead process's: one process at a time.
    with _opened(spool_folder) as spool:
        _lock(spool, fcntl.LOCK_EX)
        _clear(spool_folder)
        folder = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=spool_folder))
        own = os.open(folder, os.O_RDONLY)
        _lock(own, fcntl.LOCK_EX)
    return folder, own


def _clear(spool: Path) -> None:
    for purpose in _PURPOSES:
        for folder in spool.glob(f"{purpose}-*"):
            if not folder.is_dir() or folder.is_symlink():
                continue
            try:
                with _opened(folder) as descriptor:
                    if _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                        log.info(Event.SPOOL_CLEARED, folder=folder.name)
                        shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                # Its owner has just finished and removed it.
                continue


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int) -> bool:
    """Whether the lock was taken; on a file system without locks, no folder is taken for a dead process's."""
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        return False
    return True
