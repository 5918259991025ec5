"""Slow modules are at the beginning of each process's part, and every test is in one part."""

from __future__ import annotations

from tests.order import SLOWEST, deal


def test_slow_modules_come_first_in_each_part_and_stay_whole() -> None:
    quick = [f"tests/unit/test_{letter}.py::test_{number}" for letter in "ab" for number in range(3)]
    slow = [f"{start}.py::test_{number}" for start in SLOWEST[:2] for number in range(2)]

    parts = deal([*quick, *slow], 2)

    assert [[(quick + slow)[place] for place in part] for part in parts] == [
        [*slow[:2], *quick[:3]],
        [*slow[2:], *quick[3:]],
    ]
