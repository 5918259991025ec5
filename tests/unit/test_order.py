"""Slow modules come first, and what shares something is given to one process as a whole."""

from __future__ import annotations

from tests.order import SHARING, SLOWEST, place_of, put_in_order


def test_slow_modules_come_first_and_stay_whole() -> None:
    quick = [f"tests/unit/test_{letter}.py::test_{number}" for letter in "ab" for number in range(3)]
    slow = [f"{start}.py::test_{number}" for start in SLOWEST[2:4] for number in range(2)]
    names = [*quick[:1], *slow[2:], *quick[1:], *slow[:2]]

    assert [names[place] for place in put_in_order(names)] == [*slow, *quick]


def test_modules_of_folders_that_share_a_browser_stay_together() -> None:
    shared = [f"{folder}test_it.py::test_{number}" for folder in SHARING[0] for number in range(2)]
    others = [f"tests/unit/test_{letter}.py::test_it" for letter in "abcd"]

    order = put_in_order([*others[:2], *shared[:2], *others[2:], *shared[2:]])

    assert order == [2, 3, 6, 7, 0, 1, 4, 5]
    assert len({place_of(name) for name in shared}) == 1
    assert [place_of(name) for name in others] == [name.partition("::")[0] for name in others]
