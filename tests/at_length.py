"""Randomised tests and those of many rounds: a few rounds in CI, as many as they once had in `make soak`.

A test with the marker `at_length` takes its number of rounds from `rounds`; `make soak` runs the tests of that marker
with TESTS_AT_LENGTH=1.
"""

from __future__ import annotations

import os

VARIABLE = "TESTS_AT_LENGTH"


def rounds(in_ci: int, *, in_soak: int) -> int:
    """How many examples, kills or events this run tries."""
    return in_soak if os.environ.get(VARIABLE) == "1" else in_ci
