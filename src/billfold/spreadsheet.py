"""CSV that people open in a spreadsheet: exact amounts, and texts that no spreadsheet runs as a formula.

What Billfold or anybody else reads back exactly is `billfold export`, which changes no text.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

# A text, which is made neutral, or a figure, which stays a number whatever its sign is.
Cell = str | Decimal

MARK = "'"
# OWASP ("CSV Injection") names = + - @ and the tab and line ends before which a spreadsheet begins to read; U+2212 is
# the minus sign that some of them take for a hyphen (I).
_FORMULA_SIGNS = "=+-@\N{MINUS SIGN}"
_STARTS_CELL = "\t\r\n"


def write_header(names: Sequence[str]) -> str:
    """The header's line: names are ours, or begin with a word of ours (`tag:`), and stay as they are."""
    return _line(names)


def write_row(cells: Sequence[Cell]) -> str:
    """A row's line: texts made neutral, figures in plain notation."""
    return _line([f"{cell:f}" if isinstance(cell, Decimal) else neutral(cell) for cell in cells])


def neutral(text: str) -> str:
    """The text, with an apostrophe before what a spreadsheet would run; `original` takes it away."""
    return MARK + text if _runs(text) else text


def original(text: str) -> str:
    """The text that `neutral` made this of; any other text as it is."""
    return text[1:] if text.startswith(MARK) and _runs(text[1:]) else text


def _runs(text: str) -> bool:
    """Whether the text begins like a formula, after blanks, quotes and characters that nobody sees.

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
    # Python before 3.13 leaves a lone carriage return unquoted, which no reader could tell from a line's end.
    plain = csv.writer(text, lineterminator="\n")
    careful = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    (careful if any("\r" in value for value in values) else plain).writerow(values)
    return text.getvalue()
