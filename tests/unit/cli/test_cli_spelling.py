"""How the command line spells money, values and hostile text."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from billfold.cli.output.grid import show_money
from billfold.cli.output.screen import printable
from billfold.documents import dump_row, failure_document, format_money
from billfold.store.query import JsonText


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("149.51933333039999880", "149.5193333303999988"),
        ("1E+3", "1000"),
        ("1E-10", "0.0000000001"),
        ("0E-18", "0"),
        ("-0.00", "0"),
        ("-3.10", "-3.1"),
        ("200", "200"),
    ],
)
def test_money_is_exact_and_plain(amount: str, text: str) -> None:
    assert format_money(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("amount", "text"), [("1234567.895", "1,234,567.90"), ("-0.001", "0.00"), ("1E+30", "1" + ",000" * 10 + ".00")]
)
def test_money_for_the_eye_is_rounded_to_the_cent(amount: str, text: str) -> None:
    assert show_money(Decimal(amount)) == text


def test_a_row_of_a_query_is_an_object_that_loses_no_digit() -> None:
    row = ("0.10000000000000000001", 2**62, None, JsonText('{"a": 1.10}'), ["1.5", None], float("nan"), True, 'a "b"\n')

    text = dump_row(list("abcdefgh"), row)

    assert '"d": {"a": 1.10}' in text
    assert json.loads(text) == {
        "a": "0.10000000000000000001",
        "b": 2**62,
        "c": None,
        "d": {"a": 1.1},
        "e": ["1.5", None],
        "f": "nan",
        "g": True,
        "h": 'a "b"\n',
    }


def test_a_failed_command_still_has_its_list() -> None:
    assert failure_document("runs", "usage", "no") == {"runs": [], "error": {"code": "usage", "message": "no"}}


def test_data_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\rc\x9bd") == "a\\x1b[2Jb\\x0dc\\x9bd"
