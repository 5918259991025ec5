"""Every way to fail comes with what to do about it."""

from __future__ import annotations

import pytest

from billfold.errors import BillfoldError
from billfold.web.pages.advice import ADVICE, advise, is_retryable, list_errors

KINDS = list_errors()


def test_every_code_that_a_run_can_hold_has_advice_and_no_other() -> None:
    assert set(ADVICE) == {kind.error_code for kind in KINDS} | {"interrupted"}


@pytest.mark.parametrize("kind", KINDS)
def test_advice_is_sentences_that_say_what_can_succeed_later(kind: type[BillfoldError]) -> None:
    text = advise(kind.error_code)

    assert text.endswith(".")
    assert text[0].isupper()
    assert is_retryable(kind.error_code) is kind.retryable


def test_a_code_of_another_version_and_none_at_all_are_no_riddle() -> None:
    assert advise("from_the_future").startswith("Read the message.")
    assert advise(None) == ""
    assert not is_retryable(None)
    assert is_retryable("interrupted")
