"""The order of tests in several processes of pytest-xdist: slow modules come first, and each stays in one process.

Each process takes the next module when it has all but finished its own. So what a module lands it lands once, and
whatever is left at the end is short. Some folders of modules that share bills or a browser stay together too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# The modules, or folders of modules, whose tests take longest, the slowest first; all others follow as they come.
SLOWEST = (
    "tests/integration/web/",
    "tests/e2e/pages/",
    "tests/integration/reports/",
    "tests/integration/jobs/requests/",
    "tests/integration/jobs/",
    "tests/integration/bills/test_restatement_model",
    "tests/integration/cli/test_hostile_settings",
    "tests/integration/bills/test_crashes",
    "tests/integration/bills/test_bad_days",
    "tests/integration/cli/test_interrupts",
    "tests/integration/store/test_embedded",
    "tests/integration/verification/",
    "tests/e2e/",
    "tests/integration/bills/",
    "tests/integration/transform/",
    "tests/integration/doctor/",
    "tests/integration/",
)

# Folders whose modules share a browser, bills or a server: those of a line stay together.
SHARING = (
    ("tests/integration/web/", "tests/e2e/pages/test_changes_page"),
    ("tests/e2e/pages/",),
    ("tests/integration/reports/",),
    ("tests/integration/verification/",),
    ("tests/e2e/test_cli",),
)


class _ModuleScheduling(LoadScopeScheduling):
    """Gives a process whole modules, or whole folders of those that share something."""

    def _split_scope(self, nodeid: str) -> str:
        return place_of(nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """With `--dist loadscope` modules are given out; with any other, pytest-xdist does as it likes."""
    return _ModuleScheduling(config, log) if config.getvalue("dist") == "loadscope" else None


def place_of(name: str) -> str:
    """What stays together with the test: folders, or only its module."""
    return next((folders[0] for folders in SHARING if name.startswith(folders)), name.partition("::")[0])


def put_in_order(names: Sequence[str]) -> list[int]:
    """The places of tests, given by their names in order, in the order in which they are to run."""
    modules: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        modules.setdefault(place_of(name), []).append(place)
    return list(chain.from_iterable(sorted(modules.values(), key=lambda places: _rank(names[places[0]]))))


def _rank(name: str) -> int:
    return next((rank for rank, start in enumerate(SLOWEST) if name.startswith(start)), len(SLOWEST))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In a process of pytest-xdist, the same order as in all others; by itself a process keeps the order of files."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = [items[place] for place in put_in_order([item.nodeid for item in items])]
