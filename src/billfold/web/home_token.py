"""The home's token: what opens the server of this machine to the user who owns the home, and to nobody else.

It lies in `<home>/serve.token`, mode 0600. Scripts and Prometheus read it there; a removed or rotated one ends at once.
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

from billfold.clients import tokens
from billfold.errors import ConfigurationError
from billfold.log import Event

FILE_NAME = "serve.token"

# A token and its line's end; more than that was not written by us.
_MOST_BYTES = 100
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# File systems that know no hard links say so in one of these ways.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

log = structlog.get_logger(__name__)


class _UnusableError(Exception):
    """What lies there is no token that only this user knows; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeToken:
    """The token of a home, read again for each request that sends one."""

    path: Path

    def read(self) -> str | None:
        """The token that is in force; None where the file is gone, or is not this user's alone."""
        try:
            return _read(self.path)
        except (OSError, _UnusableError):
            return None

    def opens(self, secret: str) -> bool:
        """Whether this is the token in force, found out in the same time whatever was sent."""
        known = self.read()
        return known is not None and hmac.compare_digest(known.encode(), secret.encode())


def ensure(home: Path) -> HomeToken:
    """The home's token, made where there is none.

    Of several servers that start at once, one makes it and the others read it. A file that others could read, or that
    holds no whole token, is replaced. Raises ConfigurationError for one that another user owns, for what is no plain
    file, and for a home that cannot be written.
    """
    path = home / FILE_NAME
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _ensure(path)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be made or read ({error.strerror or error})",
            advice="let the user who runs the server own BILLFOLD_HOME, or remove what lies there",
        ) from error
    return HomeToken(path=path)


def _ensure(path: Path) -> None:
    try:
        _read(path)
    except FileNotFoundError:
        with _written(path.parent) as written:
            _put(written, path)
        # Another server may have been first, and what it wrote must be right as well.
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
        raise ConfigurationError(f"{path} {error}", advice="remove it: the next start makes another one") from error


def _read(path: Path) -> str:
    """The token in the file; a link is never followed, and a pipe never waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _UnusableError("is no plain file")
        if status.st_uid != os.geteuid():
            raise _UnusableError(f"belongs to user {status.st_uid}")
        if status.st_mode & _OTHERS:
            raise _UnusableError(f"could be read by others (mode {stat.S_IMODE(status.st_mode):04o})")
        text = os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)
    secret = text.decode("ascii", errors="replace").removesuffix("\n")
    if not tokens.is_secret(secret):
        raise _UnusableError("holds no whole token")
    return secret


def _refuse_foreign(path: Path) -> None:
    """Raise ConfigurationError for what this user did not put there: it is not ours to replace."""
    status = path.lstat()
    if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
        _read_or_refuse(path)


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[Path]:
    """A new token in a file of its own beside its place, on the disk; gone afterwards unless it was moved."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{FILE_NAME}-")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{tokens.new_secret()}\n")
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
