"""CSV on standard output: for spreadsheets and scripts, with exact amounts and without anything beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from billfold.cli.output.streams import write_document
from billfold.errors import UsageError
from billfold.spreadsheet import Cell, write_header, write_row


def write_csv(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """A header and rows, comma-separated, each line ended by a line feed; texts are neutral for spreadsheets."""
    write_document("".join([write_header(headers), *map(write_row, rows)]))


def refuse_both(as_json: bool, as_csv: bool) -> None:
    """Raise UsageError where both are asked for: standard output holds one document."""
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other", advice="choose one of them")
