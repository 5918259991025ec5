"""What CI tries with few rounds, `make soak` tries with all of them."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.at_length import VARIABLE, rounds
from tests.soak import __main__ as soak


@pytest.mark.parametrize(("value", "number"), [("1", 40), ("0", 10), ("", 10)])
def test_a_soak_tries_every_round(monkeypatch: pytest.MonkeyPatch, value: str, number: int) -> None:
    monkeypatch.setenv(VARIABLE, value)

    assert rounds(10, in_soak=40) == number


@pytest.mark.parametrize(("code", "is_whole"), [(0, True), (1, False)])
def test_a_soak_runs_the_marked_tests_with_all_rounds_and_fails_with_them(
    monkeypatch: pytest.MonkeyPatch, code: int, is_whole: bool
) -> None:
    calls = []

    def run(command: list[str], *, check: bool, env: dict[str, str]) -> subprocess.CompletedProcess[Any]:
        calls.append((command[1:], env[VARIABLE]))
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", run)

    assert soak._run_tests_at_length() is is_whole
    assert calls == [(["-m", "pytest", "-q", "-m", "at_length", "-p", "no:cacheprovider"], "1")]
