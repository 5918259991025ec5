"""How amounts look: the decimals of their currency, no sign without an amount, and percentages that mean something."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from billfold.cli.output.changes_table import show_difference
from billfold.cli.output.grid import show_money
from billfold.money import NEW, find_percentage, is_tiny, round_amount, show_minor_unit
from billfold.web.pages.formats import money, percent, quantity, signed_money

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
SMALLEST = "0.0000000000000000000000001"
HUGE = "12345678901234567890123456789012345678901234567890.123"


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("1234.5", "USD", "1,234.50"),
        ("1234.5", "", "1,234.50"),
        ("1234.5", "JPY", "1,234"),
        ("1235.5", "KRW", "1,236"),
        ("1.2345", "KWD", "1.234"),
        ("1.23456", "CLF", "1.2346"),
        ("-0.004", "USD", "0.00"),
        (SMALLEST, "USD", "0.00"),
        ("1E+3", "USD", "1,000.00"),
        ("-0.4", "JPY", "0"),
        (HUGE, "USD", "12,345,678,901,234,567,890,123,456,789,012,345,678,901,234,567,890.12"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(amount: str, currency: str, shown: str) -> None:
    assert show_money(Decimal(amount), currency) == shown
    assert re.sub("<[^>]*>", "", money(Decimal(amount), currency)) == f"{shown} {currency}".strip()


def test_the_exact_amount_stays_in_the_title() -> None:
    assert money(Decimal(SMALLEST), "USD").startswith(f'<span class="money" title="{SMALLEST} USD">0.00')
    assert "title" not in money(Decimal("1.50"), "USD")
    assert 'title="0.4 JPY"' in money("0.4", "JPY")


@pytest.mark.parametrize(
    ("amount", "currency"),
    [("0", "USD"), ("0.005", "USD"), ("-0.005", "USD"), (SMALLEST, "USD"), (f"-{SMALLEST}", "USD"), ("0.5", "JPY")],
)
def test_what_is_shown_as_zero_has_neither_sign_nor_colour(amount: str, currency: str) -> None:
    shown = signed_money(Decimal(amount), currency)

    assert "more" not in shown
    assert "less" not in shown
    assert "+" not in shown
    assert MINUS not in shown


def test_a_difference_that_is_seen_has_its_sign_and_colour() -> None:
    assert 'class="money more">+' in signed_money("0.006", "USD")
    assert 'class="money less">' in signed_money("-0.006", "USD")
    assert signed_money(None) == money(None)


@pytest.mark.parametrize(
    ("difference", "currency", "text"),
    [
        ("0.005", "USD", "+<0.01"),
        ("-0.005", "USD", "-<0.01"),
        ("0.5", "JPY", "+<1"),
        ("-0.0002", "KWD", "-<0.001"),
        ("2", "JPY", "+2"),
        ("0", "JPY", "0"),
    ],
)
def test_on_a_terminal_a_tiny_difference_is_never_plus_zero(difference: str, currency: str, text: str) -> None:
    assert show_difference(Decimal(difference), currency) == text


@pytest.mark.parametrize(
    ("change", "base", "currency", "shown"),
    [
        ("5", "10", "USD", "+50.0%"),
        ("-10", "10", "USD", f"{MINUS}100.0%"),
        ("-25", "10", "USD", f"{MINUS}250.0%"),
        ("0", "10", "USD", "0.0%"),
        ("0.001", "10", "USD", "0.0%"),
        ("-0.001", "10", "USD", "0.0%"),
        ("12345", "1", "USD", "+1,234,500.0%"),
        ("10", "0.1", "USD", "+10,000.0%"),
        ("5", "0", "USD", "new"),
        ("-5", "0", "USD", "new"),
        ("5", SMALLEST, "USD", "new"),
        ("5", "0.09", "USD", "new"),
        ("5", "-0.001", "USD", "new"),
        ("0", "0", "USD", DASH),
        ("0.001", "0", "USD", DASH),
        ("-0.09", "0.09", "USD", DASH),
        ("5", "-10", "USD", DASH),
        ("-5", "-10", "USD", DASH),
        ("500", "9", "JPY", "new"),
        ("5", "10", "JPY", "+50.0%"),
        (HUGE, "1", "USD", "+1,234,567,890,123,456,789,012,345,678,901,234,567,890,123,456,789,012.3%"),
    ],
)
def test_a_percentage_needs_a_base_that_is_positive_and_not_tiny(
    change: str, base: str, currency: str, shown: str
) -> None:
    assert percent(Decimal(change), Decimal(base), currency) == shown


def test_nothing_to_compare_with_is_a_dash() -> None:
    assert percent(None, Decimal(5)) == percent(Decimal(5), None) == DASH
    assert find_percentage(Decimal(5), Decimal(0)) == NEW


@pytest.mark.parametrize(
    ("exact", "shown"),
    [
        ("1234.56789", "1234.56789"),
        ("0.123456789012345678901234567", "0.123457"),
        ("5.000", "5"),
        ("1E+3", "1000"),
        ("0", "0"),
        ("-0.0000001", f"{MINUS}&lt;0.000001"),
    ],
)
def test_a_quantity_has_at_most_six_decimals(exact: str, shown: str) -> None:
    assert f">{shown}</span>" in quantity(Decimal(exact))


def test_a_rounded_quantity_keeps_the_exact_one_in_its_title() -> None:
    assert quantity(Decimal(SMALLEST)) == f'<span title="{SMALLEST}">&lt;0.000001</span>'
    assert quantity(Decimal("1.5")) == "<span>1.5</span>"


def test_tiny_goes_by_the_currency() -> None:
    assert [is_tiny(Decimal("0.1"), currency) for currency in ("USD", "JPY", "KWD")] == [False, True, False]
    assert [show_minor_unit(currency) for currency in ("USD", "JPY", "KWD")] == ["0.01", "1", "0.001"]
    assert round_amount(Decimal("-0.001")) == 0
