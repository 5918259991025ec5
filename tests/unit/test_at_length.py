"""What CI tries with few rounds, `make soak` tries with all of them."""

from __future__ import annotations

import pytest

from tests.at_length import VARIABLE, rounds


@pytest.mark.parametrize(("value", "number"), [("1", 40), ("0", 10), ("", 10)])
def test_a_soak_tries_every_round(monkeypatch: pytest.MonkeyPatch, value: str, number: int) -> None:
    monkeypatch.setenv(VARIABLE, value)

    assert rounds(10, in_soak=40) == number
