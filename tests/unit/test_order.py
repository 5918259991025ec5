"""Slow modules are at the beginning of each process's part, and every test is in one part."""

from __future__ import annotations

from tests.order import SHARING, SLOWEST, deal


def test_slow_modules_come_first_in_each_part_and_stay_whole() -> None:
    quick = [f"tests/unit/test_{letter}.py::test_{number}" for letter in "ab" for number in range(3)]
    slow = [f"{start}.py::test_{number}" for start in SLOWEST[:2] for number in range(2)]

    parts = deal([*quick, *slow], 2)

    assert [[(quick + slow)[place] for place in part] for part in parts] == [
        [*slow[:2], *quick[:3]],
        [*slow[2:], *quick[3:]],
    ]


def test_modules_of_folders_that_share_a_browser_stay_together() -> None:
    shared = [f"{folder}test_it.py::test_{number}" for folder in SHARING[0] for number in range(2)]
    others = [f"tests/unit/test_{letter}.py::test_it" for letter in "abcd"]

    parts = deal([*shared[:2], *others, *shared[2:]], 2)

    assert parts == [[0, 1, 6, 7], [2, 3, 4, 5]]
