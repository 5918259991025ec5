"""Start a program and wait for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# An install on a slow connection takes minutes; nothing here takes longer.
LIMIT_SECONDS = 1_200


class ReleaseError(Exception):
    """This version cannot be released; the text says why."""


def run(
    command: Sequence[str | Path], *, directory: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The output of a program that must succeed. A failure raises ReleaseError with all that the program wrote."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(
            words,
            cwd=directory,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_SECONDS,
        )
    except subprocess.CalledProcessError as failure:
        raise ReleaseError(
            f"{' '.join(words)}\nended with status {failure.returncode}:\n{failure.stdout}{failure.stderr}"
        ) from failure
    except subprocess.TimeoutExpired as expiry:
        raise ReleaseError(f"{' '.join(words)}\ndid not end within {LIMIT_SECONDS} seconds") from expiry


def installing_environment(**changes: str) -> dict[str, str]:
    """The environment for pip and uv: the user's own, which may name a mirror, without what would add packages."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    return {**kept, **changes}


def running_environment(home: Path, programs: Path) -> dict[str, str]:
    """An environment as a new user has it: no settings, an empty home, the installed programs first."""
    kept = {name: value for name, value in os.environ.items() if name in ("LANG", "LC_ALL", "TMPDIR", "TZ")}
    return {
        **kept,
        "HOME": str(home),
        # As it is by default. Root's would be outside of the home.
        "BILLFOLD_HOME": str(home / ".billfold"),
        "PATH": os.pathsep.join([str(programs), os.defpath]),
    }
