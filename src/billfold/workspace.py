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

from billfold.config import Settings
from billfold.errors import ConfigurationError

_PURPOSES = ("delivery", "verify", "remap")

log = structlog.get_logger(__name__)


@contextmanager
def work_folder(settings: Settings, purpose: str) -> Iterator[Path]:
    """A folder of this work's own in the spool, gone afterwards whatever happens.

    What a killed process left there is removed first: the lock on its folder died with it. Raises ConfigurationError
    for a spool that this user may not write.
    """
    assert purpose in _PURPOSES
    try:
        folder, own = _make(settings.spool, purpose)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise ConfigurationError(
            f"BILLFOLD_SPOOL {settings.spool} cannot be written ({error.strerror})",
            advice="set a folder that this user may write",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(own)


def _make(spool_folder: Path, purpose: str) -> tuple[Path, int]:
    """The folder, and the descriptor that holds its lock."""
    spool_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Between its making and its locking a folder looks like a dead one: one process at a time.
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
                        log.info("spool_cleared", folder=folder.name)
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
    """Whether the lock was taken; where a file system has none, no folder is ever taken for a dead one's."""
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        return False
    return True
