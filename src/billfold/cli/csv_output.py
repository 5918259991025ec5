"""CSV on standard output: for spreadsheets and scripts, exact and without anything beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from billfold.cli.screen import write_document
from billfold.errors import UsageError


def write_csv(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A header and rows, comma-separated, each line ended by a line feed."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    careful = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (headers, *rows):
        # Python before 3.13 leaves a lone carriage return unquoted, which no reader could tell from a line's end.
        writer = careful if any("\r" in value for value in row) else plain
        writer.writerow(row)
    write_document(text.getvalue())


def refuse_both(as_json: bool, as_csv: bool) -> None:
    """Raise UsageError where both are asked for: standard output holds one document."""
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other", advice="choose one of them")
