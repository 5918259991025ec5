"""The home token: it opens the server of this machine to the user who owns the home, and to nobody else.

It is in `<home>/serve.token`, mode 0600, where scripts and Prometheus read it. Remove the file to revoke it at once.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from billfold.app.tokens import Tokens
from billfold.errors import ConfigurationError
from billfold.log import Event

FILE_NAME = "serve.token"

# A token and a line end; a longer file is not ours.
_MAX_BYTES = 100
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# The errors of file systems without hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

log = structlog.get_logger(__name__)


class _UnusableError(Exception):
    """The file does not hold a token that only this user knows; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeToken:
    """The token of a home; each request that sends one reads the file again."""

    path: Path

    def read(self) -> str | None:
        """The valid token; None if the file is gone, or if others can read it."""
        try:
            return _read(self.path)
        except (OSError, _UnusableError):
            return None

    def opens(self, secret: str) -> bool:
        """Whether this is the valid token, compared in constant time."""
        known = self.read()
        return known is not None and hmac.compare_digest(known.encode(), secret.encode())


def ensure(home: Path) -> HomeToken:
    """The home token; a new one if the home has none.

    If several servers start at once, one creates it and the others read it. A file that others can read, or that holds
    no complete token, is replaced. Raises ConfigurationError if another user owns the file, if it is not a plain file,
    or if the home cannot be written.
    """
    path = home / FILE_NAME
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _ensure(path)
    except OSError as error:
        raise ConfigurationError(
            f"cannot create or read {path} ({error.strerror or error})",
            advice="the user who runs the server must own BILLFOLD_HOME; remove the file if another user owns it",
        ) from error
    return HomeToken(path=path)


def _ensure(path: Path) -> None:
    try:
        _read(path)
    except FileNotFoundError:
        with _written(path.parent) as written:
            _put(written, path)
        # Another server may have been first, and its file must be valid too.
        _read_or_refuse(path)
        log.info(Event.SERVE_TOKEN_MADE, path=str(path))
    except _UnusableError as error:
        _refuse_foreign(path)
        with _written(path.parent) as written:
            written.replace(path)
        log.warning(Event.SERVE_TOKEN_REPLACED, path=str(path), reason=str(error))


def _read_or_refuse(path: Path) -> None:
    try:
        _read(path)
    except _UnusableError as error:
        raise ConfigurationError(f"{path} {error}", advice="remove it: the next start creates a new one") from error


def _read(path: Path) -> str:
    """The token in the file; this never follows a link and never waits for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _UnusableError("is not a plain file")
        if status.st_uid != os.geteuid():
            raise _UnusableError(f"belongs to user {status.st_uid}")
        if status.st_mode & _OTHERS:
            raise _UnusableError(f"can be read by others (mode {stat.S_IMODE(status.st_mode):04o})")
        text = os.read(descriptor, _MAX_BYTES)
    finally:
        os.close(descriptor)
    secret = text.decode("ascii", errors="replace").removesuffix("\n")
    if not Tokens.is_secret(secret):
        raise _UnusableError("does not hold a complete token")
    return secret


def _refuse_foreign(path: Path) -> None:
    """Raise ConfigurationError for a file that this user did not create: it is not ours to replace."""
    status = path.lstat()
    if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
        _read_or_refuse(path)


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[Path]:
    """A new token in a temporary file in the same folder, synced to disk; removed afterwards unless it was moved."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{FILE_NAME}-")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{Tokens.new_secret()}\n")
            file.flush()
            os.fsync(descriptor)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _put(written: Path, path: Path) -> None:
    """Give the file its name, unless another server was first."""
    try:
        path.hardlink_to(written)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not path.exists():
            written.replace(path)
