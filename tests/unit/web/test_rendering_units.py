"""Spans of time, sizes and sentences as pages show them."""

from __future__ import annotations

from decimal import Decimal

import pytest
import structlog

from billfold.web.pages.formats import duration, money, size, words
from billfold.web.pages.rendering import _environment

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


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("1e26", "100,000,000,000,000,000,000,000,000.00"),
        ("99999999999999999999999999.995", "100,000,000,000,000,000,000,000,000.00"),
        (
            "-12345678901234567890123456789012345678.9",
            "\N{MINUS SIGN}12,345,678,901,234,567,890,123,456,789,012,345,678.90",
        ),
        ("9" * 1000, ",".join(["9", *["999"] * 333]) + ".00"),
        ("1e-40", "0.00"),
    ],
)
def test_an_amount_of_any_size_is_rounded_to_the_cent(amount: str, shown: str) -> None:
    assert f">{shown}</span>" in money(amount)


@pytest.mark.parametrize("name", ["money", "signed_money", "percent", "quantity"])
@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")])
def test_a_figure_that_cannot_be_shown_is_a_dash_and_an_event(name: str, value: Decimal) -> None:
    """The rest of the page is shown."""
    words = "{{ value | percent(one) }}" if name == "percent" else f"{{{{ value | {name} }}}}"
    with structlog.testing.capture_logs() as events:
        shown = _environment().from_string(f"before {words} after").render(value=value, one=Decimal(1))

    if name in ("money", "signed_money"):
        assert shown == f'before <span class="none">{DASH}</span> after'
        assert [(event["event"], event["figure"]) for event in events] == [("figure_failed", name)]
    assert shown.startswith("before ")
    assert shown.endswith(" after")
