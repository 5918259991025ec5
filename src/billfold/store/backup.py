"""Backups of a home with its embedded database: made while the server runs, and restored whole or not at all."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from billfold import __version__
from billfold.errors import ConfigurationError, StoreError, UsageError
from billfold.settings import Settings
from billfold.store import keeper
from billfold.store.embedded import start_embedded
from billfold.store.home import explain, make_home, wheel_programs

MANIFEST_NAME = "backup.json"
_FORMAT = 1
_DATA = "postgres"
_SPOOL = "spool"
_FILES = "home"
_ENV_FILE = ".env"
# A home's own small files, such as a token. Locks belong to the running processes.
_MAX_FILE_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup's manifest; `holds` names what is in its folder."""

    format: int
    billfold_version: str
    postgres_version: int
    finished_at: str
    holds: tuple[str, ...]
    size_bytes: int


def back_up(settings: Settings, target: Path) -> Backup:
    """Copy the embedded database, the spool and the settings into a new folder, while others keep writing.

    The database is that of one moment, near the end of the copy. The folder gets its name once it is complete and
    PostgreSQL has verified its checksums.
    """
    _refuse_database_url(settings)
    home, target = settings.home, target.expanduser().absolute()
    if not (home / _DATA / "PG_VERSION").exists():
        raise UsageError(f"BILLFOLD_HOME {home} holds no database")
    if target.is_relative_to(home):
        raise UsageError(f"{target} lies inside BILLFOLD_HOME {home}", advice="choose a folder outside it")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not empty", advice="choose a new folder")
    conninfo = start_embedded(home, postgres_version=settings.postgres_version)
    with _made_beside(target) as new:
        programs = wheel_programs(settings.postgres_version)
        _run(programs / "pg_basebackup", "--dbname", conninfo, "--pgdata", str(new / _DATA), "--wal-method=stream",
             "--checkpoint=fast", "--no-password")  # fmt: skip
        _verify(new, settings.postgres_version)
        holds = [_DATA, *_copy_rest(settings, new)]
        backup = Backup(
            format=_FORMAT,
            billfold_version=__version__,
            postgres_version=settings.postgres_version,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            holds=tuple(holds),
            size_bytes=sum(file.stat().st_size for file in new.rglob("*") if file.is_file()),
        )
        (new / MANIFEST_NAME).write_text(json.dumps(asdict(backup), indent=2) + "\n", encoding="utf-8")
    return backup


def restore(settings: Settings, source: Path) -> Backup:
    """Restore a backup into BILLFOLD_HOME, which must have no database. The backup itself is only read."""
    _refuse_database_url(settings)
    home, source = settings.home, source.expanduser().absolute()
    backup = _read_manifest(source)
    if backup.postgres_version != settings.postgres_version:
        raise ConfigurationError(
            f"BILLFOLD_POSTGRES_VERSION is {settings.postgres_version}, but {source} was made by"
            f" {backup.postgres_version}",
            advice="set the version it was made by",
        )
    _verify(source, backup.postgres_version)
    make_home(home)
    with _alone(home):
        data = home / _DATA
        if data.exists() and any(data.iterdir()):
            raise UsageError(f"BILLFOLD_HOME {home} holds a database already", advice="restore into another folder")
        _remove_remains(home)
        others = [(name, to) for name, to in _find_others(settings, source) if not _is_same(name, to)]
        for _, to in others:
            if to.exists() and (to.is_file() or any(to.iterdir())):
                raise UsageError(f"{to} exists already", advice="restore into an empty BILLFOLD_HOME")
        # The database is last: until then the restore can be repeated.
        for name, to in [*others, (source / _DATA, data)]:
            _bring(name, to)
    return backup


def _refuse_database_url(settings: Settings) -> None:
    if settings.database_url is not None:
        raise ConfigurationError(
            "this is for the embedded database, and DATABASE_URL names another",
            advice="use pg_dump and pg_restore, see docs/backups.md",
        )


@contextmanager
def _made_beside(target: Path, *, is_file: bool = False) -> Iterator[Path]:
    """A new folder or file, for this user alone, that becomes the target once it is complete and on disk."""
    prefix = f".{target.name}.new-"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_file:
            descriptor, name = tempfile.mkstemp(prefix=prefix, dir=target.parent)
            os.close(descriptor)
        else:
            name = tempfile.mkdtemp(prefix=prefix, dir=target.parent)
        new = Path(name)
        try:
            yield new
            _sync(new)
            new.replace(target)
            _sync_one(target.parent)
        except BaseException:
            new.unlink() if is_file else shutil.rmtree(new, ignore_errors=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"{target} cannot be written ({reason})", advice="make room, or choose another folder"
        ) from error


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep other processes from using the home meanwhile; new ones wait."""
    locks: list[int] = []
    try:
        for name in (keeper.USERS_LOCK, keeper.SERVER_LOCK):
            locks.append(keeper.lock(home / name, wait=False))
        yield
    except BlockingIOError as error:
        raise UsageError(f"BILLFOLD_HOME {home} is in use", advice="restore into another folder") from error
    except OSError as error:
        raise explain(error, home) from error
    finally:
        for lock in locks:
            os.close(lock)


def _copy_rest(settings: Settings, new: Path) -> Iterator[str]:
    """Copy spool, settings and the home's small files; files that others remove meanwhile are left out."""
    if settings.spool.is_dir() and any(settings.spool.iterdir()):
        _copy_folder(settings.spool, new / _SPOOL)
        yield _SPOOL
    for file in sorted(settings.home.iterdir()):
        if file.is_file() and file.suffix != ".lock" and file.stat().st_size <= _MAX_FILE_BYTES:
            (new / _FILES).mkdir(mode=0o700, exist_ok=True)
            _copy_file(file, new / _FILES / file.name)
            yield f"{_FILES}/{file.name}"
    if Path(_ENV_FILE).is_file():
        _copy_file(Path(_ENV_FILE), new / _ENV_FILE)
        yield _ENV_FILE


def _copy_folder(folder: Path, to: Path) -> None:
    to.mkdir(mode=0o700)
    for each in folder.iterdir():
        try:
            if each.is_dir() and not each.is_symlink():
                _copy_folder(each, to / each.name)
            elif each.is_file():
                _copy_file(each, to / each.name)
        except FileNotFoundError:
            # A delivery has ended.
            continue


def _copy_file(file: Path, to: Path) -> None:
    shutil.copyfile(file, to)
    to.chmod(0o600)


def _find_others(settings: Settings, source: Path) -> list[tuple[Path, Path]]:
    """What is restored beside the database, and where to. A spool outside the home may be production's: it is left."""
    found = [(file, settings.home / file.name) for file in sorted((source / _FILES).glob("*"))]
    if (source / _SPOOL).is_dir() and settings.spool.is_relative_to(settings.home):
        found.append((source / _SPOOL, settings.spool))
    return found


def _remove_remains(home: Path) -> None:
    """Remove what a killed restore left unfinished: no other process uses the home now."""
    for remains in home.glob(".*.new-*"):
        shutil.rmtree(remains) if remains.is_dir() else remains.unlink()


def _is_same(name: Path, to: Path) -> bool:
    """Whether a restore that did not finish restored this: then it is complete."""
    if name.is_file():
        return to.is_file() and filecmp.cmp(name, to, shallow=False)
    files = _list_files(name)
    return to.is_dir() and files == _list_files(to) and filecmp.cmpfiles(name, to, files, shallow=False)[0] == files


def _list_files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _bring(name: Path, to: Path) -> None:
    with _made_beside(to, is_file=name.is_file()) as new:
        if name.is_dir():
            shutil.copytree(name, new, dirs_exist_ok=True)
        else:
            _copy_file(name, new)


def _read_manifest(source: Path) -> Backup:
    try:
        fields = json.loads((source / MANIFEST_NAME).read_text(encoding="utf-8"))
        backup = Backup(**{**fields, "holds": tuple(fields["holds"])})
    except OSError as error:
        raise UsageError(f"{source} is not a backup: {MANIFEST_NAME} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{source} is not a backup that this version knows: {MANIFEST_NAME} has other fields"
        ) from error
    if backup.format != _FORMAT or backup.postgres_version not in (16, 18):
        raise UsageError(f"{source} is not a backup that this version knows: format {backup.format}")
    return backup


def _verify(folder: Path, postgres_version: int) -> None:
    """PostgreSQL reads every file and compares it with the checksum that the server gave."""
    _run(wheel_programs(postgres_version) / "pg_verifybackup", "--quiet", "--exit-on-error", str(folder / _DATA))


def _run(program: Path, *arguments: str) -> None:
    ran = subprocess.run(
        [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", cwd="/"
    )
    if ran.returncode:
        lines = [line for line in ran.stderr.splitlines() if line.strip()]
        raise StoreError(
            f"{program.name} fails: {next((line for line in lines if 'error:' in line), ran.stderr[-300:])}"
        )


def _sync(folder: Path) -> None:
    if folder.is_file():
        _sync_one(folder)
    for parent, _, names in os.walk(folder):
        for name in (*names, "."):
            _sync_one(Path(parent, name))


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
