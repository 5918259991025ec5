"""Tables as CSV: exact amounts, one line for each row, sent as they are written."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from fastapi import Response
from fastapi.responses import StreamingResponse


def send_csv(name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Response:
    """The table as a file of this name."""
    return StreamingResponse(
        _write(header, rows),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


def _write(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _line(header)
    for row in rows:
        yield _line(row)


def _line(values: Sequence[str]) -> str:
    text = io.StringIO()
    # Python before 3.13 leaves a lone carriage return unquoted, which no reader could tell from a line's end.
    plain = csv.writer(text, lineterminator="\n")
    careful = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    (careful if any("\r" in value for value in values) else plain).writerow(values)
    return text.getvalue()
