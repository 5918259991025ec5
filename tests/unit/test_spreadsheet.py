"""CSV for spreadsheets: which texts are made neutral, and what stays as it is."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billfold.spreadsheet import neutral, original, write_header, write_row

FORMULAS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "-5",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\tplain",
    "  =1+1",
    "\N{NO-BREAK SPACE}@x",
    "\N{ZERO WIDTH SPACE}=1",
    "\ufeff=1",
    "\x00=1",
    '"=1+1"',
    "'=1+1",
    "\N{FULLWIDTH EQUALS SIGN}1+1",
    "\N{FULLWIDTH PLUS SIGN}1",
    "\N{FULLWIDTH HYPHEN-MINUS}1",
    "\N{FULLWIDTH COMMERCIAL AT}SUM(1)",
    "\N{SMALL EQUALS SIGN}1",
    "\N{MINUS SIGN}1",
    "=",
]
PLAIN = [
    "",
    " ",
    "acme",
    "a=b",
    "a-b",
    "1-2",
    "'quoted'",
    '"quoted"',
    "team:web",
    "123456789012",
    "x\n=1",
    "(none)",
    "é=1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert neutral(text) == f"'{text}"
    assert original(neutral(text)) == text


@pytest.mark.parametrize("text", PLAIN)
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert neutral(text) == text == original(text)


@given(st.text(alphabet=st.sampled_from("='+-@ \t\n\"aé\uff1d\u200b")) | st.text())
def test_what_was_made_neutral_can_be_read_back(text: str) -> None:
    assert original(neutral(text)) == text


def test_figures_stay_numbers_and_headers_stay_names() -> None:
    row = write_row(["-5", Decimal("-5"), Decimal("1E+2"), Decimal("-0.0001"), "2026-05-01", ""])

    assert next(csv.reader([row])) == ["'-5", "-5", "100", "-0.0001", "2026-05-01", ""]
    assert write_header(["tag:=x", "cost"]) == "tag:=x,cost\n"


def test_a_lone_carriage_return_is_quoted() -> None:
    assert next(csv.reader(io.StringIO(write_row(["a\rb", "c"]), newline=""))) == ["a\rb", "c"]
