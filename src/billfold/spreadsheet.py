"""CSV that people open in a spreadsheet: exact amounts, and texts that a spreadsheet does not run as formulas.

To read data back exactly, use `billfold export`, which does not change texts.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

# A text, which is made neutral, or a figure, which stays a number even if it is negative.
Cell = str | Decimal

MARK = "'"
# OWASP ("CSV Injection") names = + - @ and the tab and line ends before which a spreadsheet begins to read; U+2212 is
# the minus sign that some of them take for a hyphen (I).
_FORMULA_SIGNS = "=+-@\N{MINUS SIGN}"
_STARTS_CELL = "\t\r\n"


def write_header(names: Sequence[str]) -> str:
    """The header's line: names come from Billfold or begin with one of its words (`tag:`), and do not change."""
    return _line(names)


def write_row(cells: Sequence[Cell]) -> str:
    """A row's line: texts made neutral, figures in plain notation."""
    return _line([f"{cell:f}" if isinstance(cell, Decimal) else neutral(cell) for cell in cells])


def neutral(text: str) -> str:
    """The text, with an apostrophe before what a spreadsheet would run; `original` removes it."""
    return MARK + text if _runs(text) else text


def original(text: str) -> str:
    """The text that `neutral` changed to this; any other text unchanged."""
    return text[1:] if text.startswith(MARK) and _runs(text[1:]) else text


def _runs(text: str) -> bool:
    """Whether the text begins like a formula, after blanks, quotes and invisible characters.

    Full-width and small forms of the signs count too: a spreadsheet may read them as the plain ones.
    """
    for character in text:
        if character in _STARTS_CELL:
            return True
        is_skipped = character in "'\"" or character.isspace() or unicodedata.category(character) in ("Cc", "Cf")
        if not is_skipped:
            return unicodedata.normalize("NFKC", character)[0] in _FORMULA_SIGNS
    return False


def _line(values: Sequence[str]) -> str:
    text = io.StringIO()
    # Python before 3.13 leaves a lone carriage return unquoted, which readers take for the end of a line.
    plain = csv.writer(text, lineterminator="\n")
    careful = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    (careful if any("\r" in value for value in values) else plain).writerow(values)
    return text.getvalue()
