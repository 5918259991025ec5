"""Tables as CSV with exact amounts, sent while they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fastapi import Response
from fastapi.responses import StreamingResponse

from billfold.spreadsheet import Cell, write_header, write_row


def send_csv(name: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Response:
    """The table as a file of this name; no text in it can run as a formula in a spreadsheet."""
    return StreamingResponse(
        _write(header, rows),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


def _write(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    yield write_header(header)
    yield from map(write_row, rows)
