"""The order of tests in several processes of pytest-xdist: each begins with slow ones and ends with quick ones.

With `--dist worksteal` each process first gets an equal part of the list, in its order, and later takes tests over from
the ends of other parts. So slow modules are dealt out to the beginnings of the parts, and whatever is left at the end
is short. A module's tests stay together: they share what it has landed; so do those of some folders.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain

import pytest

# The modules, or folders of modules, whose tests take longest, the slowest first; all others follow as they come.
SLOWEST = (
    "tests/e2e/pages/",
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
    ("tests/e2e/pages/", "tests/integration/web/"),
    ("tests/integration/reports/",),
)


def deal(names: Sequence[str], parts: int) -> list[list[int]]:
    """The places of tests, given by their names in order, in `parts` parts of about equal length."""
    modules: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        modules.setdefault(_place_of(name), []).append(place)
    dealt: list[list[int]] = [[] for _ in range(parts)]
    for places in sorted(modules.values(), key=lambda places: _rank(names[places[0]])):
        min(dealt, key=len).extend(places)
    return dealt


def _place_of(name: str) -> str:
    """What stays together with the test: folders, or only its module."""
    return next((folders[0] for folders in SHARING if name.startswith(folders)), name.partition("::")[0])


def _rank(name: str) -> int:
    return next((rank for rank, start in enumerate(SLOWEST) if name.startswith(start)), len(SLOWEST))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In a process of pytest-xdist, the same order as in all others; by itself a process keeps the order of files."""
    parts = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if parts > 1:
        items[:] = [items[place] for place in chain(*deal([item.nodeid for item in items], parts))]
