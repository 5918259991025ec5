"""Ids as people read and type them: prefixes of at least 8 characters, as long as it takes to mean one thing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from uuid import UUID

from billfold.errors import UsageError

MIN_CHARACTERS = 8
# An error names this many of the ids that a prefix may mean.
_MAX_NAMED = 5
_DIGITS = 32


def shorten(ids: Iterable[str]) -> dict[str, str]:
    """Each id with its shortest prefix that none of the others begins with."""
    known = sorted({*ids})
    shared = [_count_shared(*pair) for pair in pairwise(known)]
    lengths = [max(before, after) + 1 for before, after in zip([0, *shared], [*shared, 0], strict=True)]
    return {each: each[: max(MIN_CHARACTERS, length)] for each, length in zip(known, lengths, strict=False)}


def _count_shared(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def read_range(text: str, *, what: str) -> tuple[UUID, UUID]:
    """The first and the last UUID that begin as the text does: twice the same one where it is whole.

    Hyphens may be left out. Raises UsageError for what no UUID begins with, and for fewer than 8 characters.
    """
    spelled = text.strip().lower()
    try:
        whole = UUID(spelled)
    except ValueError:
        pass
    else:
        return whole, whole
    digits = spelled.replace("-", "")
    is_hexadecimal = digits.isascii() and digits.isalnum() and all(digit in "0123456789abcdef" for digit in digits)
    if not is_hexadecimal or len(digits) > _DIGITS:
        raise UsageError(f"{text[:80]!r} is not the id of a {what}, nor the beginning of one")
    first, last = UUID(digits.ljust(_DIGITS, "0")), UUID(digits.ljust(_DIGITS, "f"))
    if "-" in spelled and not str(first).startswith(spelled):
        raise UsageError(f"{text[:80]!r} is not the id of a {what}, nor the beginning of one")
    if len(digits) < MIN_CHARACTERS:
        raise UsageError(
            f"{text[:80]!r} is too short for the id of a {what}: give at least {MIN_CHARACTERS} characters"
        )
    return first, last


def refuse_ambiguous(text: str, candidates: Sequence[str], *, what: str) -> UsageError:
    """What to say where an id's beginning fits several."""
    more = f" and {len(candidates) - _MAX_NAMED:,} more" if len(candidates) > _MAX_NAMED else ""
    return UsageError(
        f"{text!r} is the beginning of {len(candidates):,} {what} ids: {', '.join(candidates[:_MAX_NAMED])}{more}",
        advice="give more characters of it",
    )
