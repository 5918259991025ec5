"""Build the wheel and the sdist, and check what is in them."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tools.release.process import ReleaseError, installing_environment, run
from tools.release.versions import commit_time, list_tracked, read_version

PACKAGE = "src/billfold"
# What the sdist holds beside the package. Hatchling adds the last one.
BESIDE = {"LICENSE", "README.md", "pyproject.toml", ".gitignore"}


def build(root: Path, folder: Path) -> tuple[Path, Path]:
    """Make the sdist from the working tree and the wheel from the sdist. Returns wheel and sdist.

    Hatchling and what it needs come from this environment, so their versions are those of requirements.txt.
    """
    environment = installing_environment(SOURCE_DATE_EPOCH=commit_time(root))
    hatchling = [sys.executable, "-m", "hatchling", "build", "--directory"]
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    run([*hatchling, folder, "--target", "sdist"], directory=root, environment=environment)
    sdist = _only(folder, "*.tar.gz")
    run([*pip_wheel, "--wheel-dir", folder, sdist], directory=folder, environment=environment)
    return _only(folder, "*.whl"), sdist


def check(root: Path, wheel: Path, sdist: Path) -> None:
    """Compare both packages with the working tree, file by file, and their metadata with pyproject.toml."""
    with zipfile.ZipFile(wheel) as opened:
        in_wheel = {name: opened.read(name) for name in opened.namelist()}
    with tarfile.open(sdist) as opened_sdist:
        in_sdist = {
            str(PurePosixPath(*PurePosixPath(member.name).parts[1:])): _read(opened_sdist, member)
            for member in opened_sdist.getmembers()
            if member.isfile()
        }
    version = read_version(root)
    information = f"billfold-{version}.dist-info"
    sources = list_tracked(root, PACKAGE)
    packaged = {name.removeprefix("src/"): name for name in sources}
    unpacked = {name: name for name in sources | BESIDE}
    faults = [
        *_compare_files(root, "the wheel", packaged, in_wheel, information),
        *_compare_files(root, "the sdist", unpacked, in_sdist, "PKG-INFO"),
        *_compare_metadata(root, "the wheel", in_wheel[f"{information}/METADATA"]),
        *_compare_metadata(root, "the sdist", in_sdist["PKG-INFO"]),
    ]
    if in_wheel.get(f"{information}/licenses/LICENSE") != (root / "LICENSE").read_bytes():
        faults.append("the wheel does not hold the license as the repository has it")
    if faults:
        raise ReleaseError("\n".join(faults))


def hash_of(archive: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def _compare_files(
    root: Path, where: str, sources: dict[str, str], held: dict[str, bytes], generated: str
) -> list[str]:
    """What is missing, differs or does not belong. `sources` has the repository's file for each path in the package."""
    missing = sources.keys() - held.keys()
    differing = {path for path in sources.keys() & held.keys() if held[path] != (root / sources[path]).read_bytes()}
    strange = {path for path in held.keys() - sources.keys() if PurePosixPath(path).parts[0] != generated}
    return [
        *(f"{where} lacks {path}" for path in sorted(missing)),
        *(f"{where} holds {path} with other content" for path in sorted(differing)),
        *(f"{where} holds {path}, which does not belong there" for path in sorted(strange)),
    ]


def _compare_metadata(root: Path, where: str, content: bytes) -> list[str]:
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = Metadata.from_email(content, validate=True)
    unconditional = {str(needed) for needed in metadata.requires_dist or [] if needed.marker is None}
    pairs = [
        ("name", metadata.name, project["name"]),
        ("version", str(metadata.version), read_version(root)),
        ("summary", metadata.summary, project["description"]),
        ("description", metadata.description, (root / "README.md").read_text(encoding="utf-8")),
        ("description's type", metadata.description_content_type, "text/markdown"),
        ("license", metadata.license_expression, project["license"]),
        ("license files", metadata.license_files, project["license-files"]),
        ("version of Python", metadata.requires_python, SpecifierSet(project["requires-python"])),
        ("dependencies", unconditional, {str(Requirement(needed)) for needed in project["dependencies"]}),
        ("extras", set(metadata.provides_extra or []), set(project["optional-dependencies"])),
    ]
    return [
        f"the {what} in {where}'s metadata is {found!r:.200}, not {expected!r:.200}"
        for what, found, expected in pairs
        if found != expected
    ]


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise ReleaseError(f"the build made {len(found)} files {pattern}")
    return found[0]


def _read(opened: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    extracted = opened.extractfile(member)
    return extracted.read() if extracted else b""
