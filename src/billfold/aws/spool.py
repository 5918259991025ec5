"""Writes outside content to the local disk: in chunks, within limits, and as a whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from billfold.errors import SourceLimitError, SourceUnavailableError
from billfold.model import SourceObject, SpooledFile
from billfold.settings import Settings
from billfold.work_folder import NO_SPACE, no_space

CHUNK_BYTES = 2**20
# Asking for the free space is a system call; every 64 MiB is often enough for any disk.
_SPACE_CHECK_BYTES = 64 * 2**20
# A client's own limit replaces the setting.
_FILE_LIMIT = "BILLFOLD_MAX_FILE_BYTES, or the client's own `--max-file-bytes`,"

OnBytes = Callable[[int], None]


def spool(
    chunks: Iterable[bytes], source: SourceObject, path: Path, settings: Settings, on_bytes: OnBytes
) -> SpooledFile:
    """Write one object as delivered, hash it on the way, and pass the size of each chunk to `on_bytes`.

    Raises SourceLimitError if it is too large, SpoolFullError if the disk is too full, SourceUnavailableError if it
    ended early.
    """
    check_limits([source], path.parent, settings)
    digest = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in chunks:
            digest.update(chunk)
            yield chunk
            on_bytes(len(chunk))

    written = write_chunks(
        hashed(),
        path,
        key=source.key,
        limit_bytes=settings.max_file_bytes,
        limit_name=_FILE_LIMIT,
        min_free_bytes=settings.min_free_bytes,
    )
    if written != source.size_bytes:
        path.unlink(missing_ok=True)
        raise SourceUnavailableError(f"{source.key} ended after {written} of {source.size_bytes} bytes")
    return SpooledFile(source=source, path=path, sha256=digest.hexdigest())


def write_chunks(
    chunks: Iterable[bytes], path: Path, *, key: str, limit_bytes: int, limit_name: str, min_free_bytes: int
) -> int:
    """Write the chunks to `path` and return their size in bytes; on any failure the file is removed."""
    written = 0
    check_at = _SPACE_CHECK_BYTES
    try:
        with path.open("wb") as file:
            for chunk in chunks:
                written += len(chunk)
                if written > limit_bytes:
                    raise too_large(key, f"is larger than {limit_bytes} bytes", limit_name)
                if written >= check_at:
                    _check_space(key, path.parent, 0, min_free_bytes)
                    check_at = written + _SPACE_CHECK_BYTES
                file.write(chunk)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno in NO_SPACE:
            raise no_space(key, path.parent) from error
        raise
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return written


def check_limits(sources: Iterable[SourceObject], folder: Path, settings: Settings) -> None:
    """Raise SourceLimitError unless each source is within its limit, SpoolFullError unless there is room for all."""
    needed = 0
    for source in sources:
        needed += source.size_bytes
        if source.size_bytes > settings.max_file_bytes:
            raise too_large(
                source.key,
                f"has {source.size_bytes} bytes, more than {settings.max_file_bytes}",
                _FILE_LIMIT,
            )
    _check_space(f"{needed} bytes", folder, needed, settings.min_free_bytes)


def measure_spool(folder: Path) -> tuple[int, int]:
    """The bytes of all files in this machine's spool, and the free bytes of its disk; it creates nothing."""
    used = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                used += (Path(parent) / name).lstat().st_size
            except FileNotFoundError:
                # The delivery that it belongs to has just ended.
                continue
    present = next(each for each in (folder, *folder.parents) if each.is_dir())
    return used, shutil.disk_usage(present).free


def too_large(key: str, problem: str, limit_name: str) -> SourceLimitError:
    """The error for a file that is larger than the named limit."""
    return SourceLimitError(f"{key} {problem}", advice=f"raise {limit_name} if the size is right")


def _check_space(what: str, folder: Path, needed_bytes: int, min_free_bytes: int) -> None:
    if shutil.disk_usage(folder).free < needed_bytes + min_free_bytes:
        raise no_space(what, folder)
