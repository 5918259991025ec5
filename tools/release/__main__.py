"""Build a release, check it, install it and run it: `make release`, or `make release ARGS=--final` for the real one."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.release import archives, installs, versions
from tools.release.process import ReleaseError, run

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run every step, and put the packages into dist/ when all have passed. The first step that fails ends it."""
    options = argparse.ArgumentParser(prog="make release", description=__doc__)
    options.add_argument("--final", action="store_true", help="fail if the tree is not clean, tagged and dated")
    options.add_argument(
        "--newest", action="store_true", help="install the newest libraries, not those of requirements"
    )
    given = options.parse_args()
    # The embedded server's socket lies in here, and its path must be short. Another user may run that server.
    folder = Path(tempfile.mkdtemp(prefix="bf-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        _release(folder, final=given.final, newest=given.newest)
    except ReleaseError as error:
        sys.exit(f"\nmake release: {error}")
    finally:
        shutil.rmtree(folder)


def _release(folder: Path, *, final: bool, newest: bool) -> None:
    started = time.monotonic()
    version = versions.read_version(ROOT)
    with _step("compare the versions that the repository names"):
        if disagreements := versions.find_disagreements(ROOT):
            raise ReleaseError("\n".join(disagreements))
    reasons = versions.reasons_for_rehearsal(ROOT)
    if final and reasons:
        raise ReleaseError("\n".join(reasons))
    with _step("build sdist and wheel"):
        (folder / "built").mkdir()
        wheel, sdist = archives.build(ROOT, folder / "built")
    with _step("compare their files and metadata with the repository"):
        archives.check(ROOT, wheel, sdist)
    with _step("install the tools"):
        tools = installs.get_tools(folder / "tools")
    with _step("render the README"):
        run([tools.twine, "check", "--strict", wheel, sdist], directory=folder)
    pins = installs.Pins(
        libraries=None if newest else ROOT / "requirements-demo.txt", building=ROOT / "requirements-build.txt"
    )
    for kind, archive in (("wheel", wheel), ("sdist", sdist)):
        for name, install in installs.INSTALLERS.items():
            with _step(f"install the {kind} with {name}"):
                installed = install(archive, folder / f"{kind}-{name}", pins, tools)
            with _step("run the demo with it"):
                installs.try_out(installed, folder / f"{kind}-{name}-run", version)
    _keep(wheel, sdist)
    print(f"billfold {version} is in dist/, {time.monotonic() - started:.0f} s")
    for reason in reasons:
        print(f"Rehearsal only, do not publish it: {reason}")


def _keep(*built: Path) -> None:
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    for archive in built:
        shutil.copyfile(archive, dist / archive.name)
        print(f"{archives.hash_of(archive)}  {archive.name}")


@contextmanager
def _step(title: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"{title} … ", end="", flush=True)
    yield
    print(f"{time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
