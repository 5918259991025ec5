"""A file that gets its name only once it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from billfold.errors import UsageError


@contextmanager
def write_whole(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file beside `path` that replaces it at the end; on any failure it is removed and `path` does not change.

    Raises UsageError if the file cannot be written, or exists and `overwrite` is not set.
    """
    target = path.resolve()
    part = target.with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        _check_target(target, overwrite=overwrite)
        with part.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _check_target(target, overwrite=overwrite)
        part.replace(target)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _check_target(target: Path, *, overwrite: bool) -> None:
    if target.exists() and not target.is_file():
        raise UsageError(f"{target} is not a file", advice="use - for standard output")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} already exists", advice="--force replaces it")
