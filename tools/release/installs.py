"""Install a package as a user does, with pip and with uv, and run the demo with it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.release.archives import hash_of
from tools.release.process import ReleaseError, installing_environment, run, running_environment

# Public names may load late, so each is asked for.
IMPORT = (
    "import billfold; [getattr(billfold, name) for name in getattr(billfold, '__all__', ())]; print(billfold.__file__)"
)
# Each of the demo's four bills. Enough for every kind of row that the demo generates.
LINE_ITEMS = 1_000
BILLS = 4
# Pinned so that a release of today's commit can be repeated.
TWINE = "twine==7.0.0"


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Programs that a release needs and Billfold does not."""

    uv: Path
    twine: Path


@dataclass(frozen=True, kw_only=True)
class Pins:
    """Files that fix the version of each library, or None: then pip and uv take the newest that fit."""

    libraries: Path | None
    building: Path


@dataclass(frozen=True, kw_only=True)
class Installed:
    """An environment that holds Billfold: its Python and the folder of its commands."""

    python: Path
    programs: Path


def get_tools(folder: Path) -> Tools:
    """The environment's uv, and twine in an environment of its own."""
    python = _make_environment(folder)
    run(
        [python, "-m", "pip", "install", "--quiet", TWINE],
        directory=folder,
        environment=installing_environment(),
    )
    return Tools(uv=Path(sys.executable).with_name("uv"), twine=folder / "bin/twine")


def install_with_pip(archive: Path, folder: Path, pins: Pins, tools: Tools) -> Installed:
    """`pip install`: every library pinned and its hash checked, and none that requirements-demo.txt lacks."""
    python = _make_environment(folder)
    wanted = folder / "billfold.txt"
    wanted.write_text(f"{_with_demo(archive)} --hash=sha256:{hash_of(archive)}\n", encoding="utf-8")
    building = folder / "building.txt"
    building.write_text(without_hashes(pins.building.read_text(encoding="utf-8")), encoding="utf-8")
    what: list[str | Path] = [_with_demo(archive)]
    if pins.libraries:
        what = ["--require-hashes", "--only-binary", ":all:", "--requirement", pins.libraries, "--requirement", wanted]
    run(
        [python, "-m", "pip", "install", "--quiet", *what],
        directory=folder,
        # For what builds an sdist. Old versions of pip read the first variable, new ones the second.
        environment=installing_environment(PIP_CONSTRAINT=str(building), PIP_BUILD_CONSTRAINT=str(building)),
    )
    run([python, "-m", "pip", "check"], directory=folder)
    return Installed(python=python, programs=folder / "bin")


def install_with_uv(archive: Path, folder: Path, pins: Pins, tools: Tools) -> Installed:
    """`uv tool install`: every library pinned. uv takes no hashes from constraints: pip checks them."""
    folder.mkdir()
    environment = installing_environment(
        UV_TOOL_DIR=str(folder / "tools"), UV_TOOL_BIN_DIR=str(folder / "bin"), UV_PYTHON_DOWNLOADS="never"
    )
    what: list[str | Path] = ["--build-constraints", pins.building, _with_demo(archive)]
    if pins.libraries:
        what = ["--constraints", pins.libraries, *what]
    run(
        [tools.uv, "tool", "install", "--quiet", "--python", sys.executable, *what],
        directory=folder,
        environment=environment,
    )
    python = folder / "tools/billfold/bin/python"
    run([tools.uv, "pip", "check", "--python", python], directory=folder, environment=environment)
    return Installed(python=python, programs=folder / "bin")


INSTALLERS: dict[str, Callable[[Path, Path, Pins, Tools], Installed]] = {
    "pip": install_with_pip,
    "uv": install_with_uv,
}


def try_out(installed: Installed, folder: Path, version: str) -> None:
    """Run the installed commands in an empty folder with an empty home, as somebody without the repository does."""
    home, directory = folder / "home", folder / "empty"
    home.mkdir(parents=True)
    directory.mkdir()
    environment = running_environment(home, installed.programs)

    def output_of(*command: str | Path) -> str:
        return run(command, directory=directory, environment=environment).stdout

    place = output_of(installed.python, "-c", IMPORT).strip()
    if not Path(place).is_relative_to(installed.python.parents[1]):
        raise ReleaseError(f"the installed Python imports billfold from {place}")
    if (said := output_of("billfold", "--version").strip()) != f"billfold {version}":
        raise ReleaseError(f"billfold --version prints {said!r}")
    shown = output_of("billfold", "demo", "--no-serve", "--line-items", str(LINE_ITEMS))
    rows = f"{LINE_ITEMS * BILLS:,}"
    if f"{rows} rows read, {rows} added" not in shown or shown.count("published") != BILLS:
        raise ReleaseError(f"the demo does not publish {BILLS} bills with {rows} rows:\n{shown}")
    if left := [*directory.iterdir(), *(path for path in home.iterdir() if path.name != ".billfold")]:
        raise ReleaseError(f"the demo writes outside of BILLFOLD_HOME: {', '.join(map(str, left))}")


def without_hashes(requirements: str) -> str:
    """The pins of a file of requirements alone. With hashes it could not constrain what pip builds with."""
    return "".join(f"{pin}\n" for pin in re.findall(r"^\S+==[^\\\n]*[^\\\s]", requirements, re.MULTILINE))


def _make_environment(folder: Path) -> Path:
    run([sys.executable, "-m", "venv", folder], directory=folder.parent)
    return folder / "bin/python"


def _with_demo(archive: Path) -> str:
    return f"billfold[demo] @ {archive.as_uri()}"
