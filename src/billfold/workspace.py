"""Folders in the spool: locked while their process lives, cleared by the next one if it dies."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from billfold.config import Settings

_PURPOSES = ("delivery", "verify", "remap")

log = structlog.get_logger(__name__)


@contextmanager
def work_folder(settings: Settings, purpose: str) -> Iterator[Path]:
    """A folder of this work's own in the spool, gone afterwards whatever happens.

    What a killed process left there is removed first: the lock on its folder died with it.
    """
    assert purpose in _PURPOSES
    settings.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Between its making and its locking a folder looks like a dead one: one process at a time.
    with _opened(settings.spool) as spool:
        _lock(spool, fcntl.LOCK_EX)
        _clear(settings.spool)
        folder = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=settings.spool))
        own = os.open(folder, os.O_RDONLY)
        _lock(own, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(own)


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
