"""What the repository says about its version and its state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tools.release.process import ReleaseError, run

UNRELEASED = "unreleased"


@dataclass(frozen=True, kw_only=True)
class ChangelogEntry:
    """The first heading of the changelog: `## 0.1.0 (unreleased)`, or a date in place of the word."""

    version: str
    note: str


def read_version(root: Path) -> str:
    """The version that the package gives itself."""
    return _find(root / "src/billfold/__init__.py", r'^__version__ = "([^"]+)"$')


def read_changelog(root: Path) -> ChangelogEntry:
    """The version that the changelog describes first."""
    heading = _find(root / "CHANGELOG.md", r"^## (\S+ \(\S+\))$")
    version, note = heading.rstrip(")").split(" (")
    return ChangelogEntry(version=version, note=note)


def find_disagreements(root: Path) -> list[str]:
    """Every file that names another version than the package, in one line each."""
    version = read_version(root)
    named = [
        ("CHANGELOG.md", [read_changelog(root).version]),
        ("Dockerfile", _find_all(root / "Dockerfile", r'image\.version="([^"]+)"')),
        ("deploy/compose.yaml", _find_all(root / "deploy/compose.yaml", r"image: billfold[a-z-]*:(\S+)")),
    ]
    return [
        f"{name} names version {found}, the package {version}"
        for name, versions in named
        for found in sorted(set(versions) - {version})
    ]


def reasons_for_rehearsal(root: Path) -> list[str]:
    """Why what is built from this working tree must not be published, in one line each. Empty for a real release."""
    version = read_version(root)
    tag = f"v{version}"
    reasons = []
    if read_changelog(root).note == UNRELEASED:
        reasons.append(f"CHANGELOG.md calls {version} {UNRELEASED}")
    if changes := _git(root, "status", "--porcelain"):
        reasons.append(f"the working tree is not clean: {len(changes)} changed or new files")
    if tag not in _git(root, "tag", "--points-at", "HEAD"):
        reasons.append(f"the current commit has no tag {tag}")
    return reasons


def list_tracked(root: Path, folder: str) -> set[str]:
    """The files below a folder that Git knows or would take, by their path in the repository."""
    listed = _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "--", folder)
    return {name for name in listed if (root / name).is_file()}


def commit_time(root: Path) -> str:
    """When the current commit was made, in seconds since 1970 as SOURCE_DATE_EPOCH has it."""
    return _git(root, "log", "-1", "--format=%ct")[0]


def _git(root: Path, *arguments: str) -> list[str]:
    return run(["git", *arguments], directory=root).stdout.splitlines()


def _find(path: Path, pattern: str) -> str:
    found = _find_all(path, pattern)
    if not found:
        raise ReleaseError(f"{path.name} names no version")
    return found[0]


def _find_all(path: Path, pattern: str) -> list[str]:
    return re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
