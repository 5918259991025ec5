"""The tree of errors: its drawing is right, and each class says all that the doors need."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

from billfold import errors
from billfold.errors import BillfoldError, ExitCode, advise, is_retryable, list_errors

KINDS = list_errors()


def summary_of(kind: type[BillfoldError]) -> str:
    """What the class's docstring says before its first colon or full stop."""
    return re.split(r"[:.]", " ".join(inspect.cleandoc(kind.__doc__ or "").split()))[0]


def draw(kind: type[BillfoldError], before: str = "", below: str = "") -> Iterator[str]:
    yield f"{before + kind.__name__:<33}{kind.exit_code:>3}{kind.http_status:>6}  {summary_of(kind)}"
    children = kind.__subclasses__()
    for child in children:
        is_last = child is children[-1]
        yield from draw(child, below + ("└── " if is_last else "├── "), below + ("    " if is_last else "│   "))


def test_the_drawing_is_the_tree() -> None:
    drawing = inspect.cleandoc(errors.__doc__ or "").split("\n\n")[1]

    # The drawing writes its words in the middle of a line: their first letter is small.
    assert drawing.lower().splitlines()[1:] == [f"    {line}".lower() for line in draw(BillfoldError)]


def test_every_class_can_be_imported_from_the_face() -> None:
    assert {kind.__name__ for kind in KINDS} <= set(errors.__all__)


def test_no_two_classes_share_a_code() -> None:
    assert len({kind.error_code for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_advice_is_sentences(kind: type[BillfoldError]) -> None:
    text = advise(kind.error_code)

    assert text == kind.general_advice
    assert text.endswith(".")
    assert text[0].isupper() or text[0] == "`"


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_succeed_later_says_so_at_every_door(kind: type[BillfoldError]) -> None:
    assert is_retryable(kind.error_code) is kind.retryable
    assert (kind.exit_code is ExitCode.TRY_AGAIN) is kind.retryable
    assert (kind.http_status == 503) is kind.retryable


def test_a_code_of_another_version_and_none_at_all_are_no_riddle() -> None:
    assert advise("from_the_future").startswith("Read the message.")
    assert advise(None) == ""
    assert not is_retryable(None)
    assert not is_retryable("from_the_future")
