"""How long the machine runs: a little in the test suite, longer where a plugin of pytest says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """This number of examples, each with a limited number of steps; the same seed makes the same examples.

    `met` counts what the machine came to: how deliveries ended, what was rolled back and where it crashed.
    """

    examples: int
    steps: int
    seed: int
    postgres: int = 16
    met: Counter[str] = field(default_factory=Counter, repr=False)

    def pytest_configure(self, config: pytest.Config) -> None:
        """As a plugin of pytest a plan takes the place of the suite's."""
        config.stash[_KEY] = self

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what was met."""
        terminalreporter.write_line("met: " + ", ".join(f"{what} {count}" for what, count in self.met.most_common()))


# Beside the one bill that goes through everything.
SUITE = Plan(examples=2, steps=5, seed=5)

_KEY = pytest.StashKey[Plan]()


def plan_of(config: pytest.Config) -> Plan:
    """The plan of this session."""
    return config.stash.get(_KEY, SUITE)
