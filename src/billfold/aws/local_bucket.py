"""A local folder that is treated as a bucket: its paths are the keys, a hash of the content is the ETag."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import structlog

from billfold.aws.bucket import LOCAL_SCHEME, address
from billfold.aws.file_times import modified_at
from billfold.aws.spool import CHUNK_BYTES, OnBytes, spool
from billfold.errors import AccessDeniedError, SourceError, SourceLimitError, SourceNotFoundError, TornDeliveryError
from billfold.log import Event
from billfold.model import SourceObject, SpooledFile
from billfold.settings import Settings

_log = structlog.get_logger(__name__)


class LocalBucket:
    """One folder. Nothing outside it is ever read, even through links or `..`; hidden names are left out."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self._root = Path(os.path.realpath(root))
        self._settings = settings

    @property
    def name(self) -> str:
        return f"{LOCAL_SCHEME}{self._root}"

    @property
    def root(self) -> Path:
        """The folder's real path."""
        return self._root

    @property
    def settings(self) -> Settings:
        return self._settings

    def list_objects(self, prefix: str) -> Iterator[SourceObject]:
        folder, _, _ = prefix.rpartition("/")
        with self._translated(prefix):
            if not self._path(folder).is_dir():
                return
            for path in self._files(self._path(folder)):
                if (key := path.relative_to(self._root).as_posix()).startswith(prefix):
                    yield from self._current(key)

    def list_folder(self, folder: str) -> Iterator[SourceObject]:
        with self._translated(folder):
            place = self._path(folder)
            names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
        for name in names:
            path = place / name
            if not name.startswith(".") and not path.is_dir() and self._is_readable(path):
                yield from self._current(f"{folder}{name}")

    def find(self, folder: str, patterns: Sequence[str]) -> list[str]:
        """The keys of files below a folder whose paths match one of the patterns."""
        with self._translated(folder):
            place = self._path(folder)
            found = {path for pattern in patterns for path in place.glob(pattern) if self._is_readable(path)}
        return sorted(path.relative_to(self._root).as_posix() for path in found)

    def holds(self, key: str) -> bool:
        """Whether there is a file at the key; raises AccessDeniedError for a key that leads outside."""
        with self._translated(key):
            try:
                return self._path(key).is_file()
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                return False

    def head(self, key: str) -> SourceObject:
        with self._translated(key):
            path = self._path(key)
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise SourceNotFoundError(f"{address(self.name, key)} is not a file")
            return SourceObject(
                bucket=self.name,
                key=key,
                etag=_content_hash(path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)),
                size_bytes=status.st_size,
                modified_at=modified_at(status),
            )

    def read_small(self, source: SourceObject, limit_bytes: int) -> bytes:
        if source.size_bytes > limit_bytes:
            raise SourceLimitError(
                f"{address(self.name, source.key)} has {source.size_bytes} bytes, more than {limit_bytes}"
            )
        return b"".join(self._chunks(source))

    def read_part(self, source: SourceObject, part: str) -> bytes:
        first, _, last = part.removeprefix("bytes=").partition("-")
        begin = int(first) if first else max(source.size_bytes - int(last), 0)
        end = int(last) + 1 if first and last else source.size_bytes
        with self._translated(source.key), self._path(source.key).open("rb") as file:
            file.seek(begin)
            return file.read(end - begin)

    def download(self, source: SourceObject, path: Path, on_bytes: OnBytes) -> SpooledFile:
        return spool(self._chunks(source), source, path, self._settings, on_bytes)

    def _current(self, key: str) -> Iterator[SourceObject]:
        try:
            yield self.head(key)
        except SourceNotFoundError:
            # A copy into the folder writes under a temporary name, which soon disappears.
            _log.debug(Event.FILE_VANISHED, key=key)

    def _chunks(self, source: SourceObject) -> Iterator[bytes]:
        """The content in chunks; raises TornDeliveryError at its end unless it was the requested version."""
        digest = hashlib.sha256()
        remaining = source.size_bytes
        with self._translated(source.key), self._path(source.key).open("rb") as file:
            # One byte too many shows that a file grows, without reading it for ever.
            while chunk := file.read(min(CHUNK_BYTES, remaining + 1)):
                remaining -= len(chunk)
                if remaining < 0:
                    break
                digest.update(chunk)
                yield chunk
        if remaining != 0 or digest.hexdigest() != source.etag:
            raise TornDeliveryError(f"{address(self.name, source.key)} changed while it was being read")

    def _files(self, folder: Path) -> Iterator[Path]:
        """The regular files below a folder, in the order of their keys."""
        found: list[Path] = []
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".") and not self._is_link(parent, name)]
            for name in names:
                path = Path(parent, name)
                if not name.startswith(".") and self._is_readable(path):
                    found.append(path)
        return iter(sorted(found, key=lambda path: path.relative_to(self._root).as_posix()))

    def _is_link(self, parent: str, name: str) -> bool:
        path = Path(parent, name)
        if path.is_symlink():
            _log.warning(Event.FOLDER_LEFT_OUT, path=str(path), reason="it is a symbolic link")
            return True
        return False

    def _is_readable(self, path: Path) -> bool:
        """Whether this is a regular file inside the root whose name is valid text."""
        inside = Path(os.path.realpath(path)).is_relative_to(self._root)
        text = not any("\ud800" <= letter <= "\udfff" for letter in path.name)
        if not (inside and text):
            _log.warning(
                Event.FILE_LEFT_OUT,
                path=ascii(str(path)),
                reason="it leads outside the folder, or its name is not valid text",
            )
        return inside and text and path.is_file()

    def _path(self, key: str) -> Path:
        path = self._root / key
        if ".." in key.split("/") or not Path(os.path.realpath(path)).is_relative_to(self._root):
            raise AccessDeniedError(f"{address(self.name, key)} leads outside the folder {self._root}")
        return path

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        place = address(self.name, key)
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise SourceNotFoundError(f"{place} does not exist") from error
        except PermissionError as error:
            raise AccessDeniedError(f"{place} cannot be read by this user", advice="check its permissions") from error
        except (OSError, ValueError) as error:
            raise SourceError(f"{place} cannot be read: {error}") from error


# An ETag needs a hash, and a listing, the resolution and the fetch after it need the same files' ETags. A copy may give
# new content the old file's size and time, but only the system sets the time of the inode's change.
@lru_cache(maxsize=65_536)
def _content_hash(path: Path, version: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _raise(error: OSError) -> None:
    raise error
