"""Spans of time, sizes and sentences as pages show them."""

from __future__ import annotations

import pytest

from billfold.web.pages.rendering import duration, size, words

DASH = "\N{EN DASH}"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, DASH),
        (0, "0 ms"),
        (0.34, "340 ms"),
        (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3599.9, "1 h"),
        (18_600, "5 h 10 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
        (86_400_000, "1,000 d"),
    ],
)
def test_spans_are_in_their_two_largest_units(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(None, DASH), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_500_000, "1.4 MiB"), (3 * 2**40, "3.0 TiB")],
)
def test_sizes_are_in_the_unit_that_fits(size_bytes: int | None, shown: str) -> None:
    assert size(size_bytes) == shown


def test_commands_in_sentences_are_code_and_nothing_else_is_markup() -> None:
    assert words("run `billfold release` <b>now</b>") == "run <code>billfold release</code> &lt;b&gt;now&lt;/b&gt;"
    assert words("`<i>` and a lone `") == "<code>&lt;i&gt;</code> and a lone `"
