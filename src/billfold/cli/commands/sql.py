"""`billfold sql`: one query of the operator's own."""

from __future__ import annotations

import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Annotated

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, read_query
from billfold.cli.output import tables
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import discard_output
from billfold.documents import dump_row

if TYPE_CHECKING:
    from billfold.store.query import QueryResult

# A JSON result up to this size waits for its end in memory, a larger one on disk.
_SPOOL_BYTES = 16 * 2**20


@app.command(
    epilog=(
        "Examples:\n\n"
        '- `billfold sql "SELECT status, count(*) FROM billing_ingestion_runs GROUP BY status"`\n\n'
        '- `billfold sql --json \'SELECT "ServiceName", sum("BilledCost") FROM focus_cost_and_usage GROUP BY 1\'`\n\n'
        "- `billfold sql - < report.sql`\n\n"
        "Limits: BILLFOLD_SQL_TIMEOUT_SECONDS, BILLFOLD_SQL_MAX_ROWS. The database of DATABASE_URL needs"
        " BILLFOLD_READER_DATABASE_URL."
    )
)
def sql(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="One SQL statement, or `-` to read it from standard input.")
    ],
    as_json: Json = False,
) -> int:
    """Query PostgreSQL with one statement that only reads.

    The query runs in a read-only transaction as the role billfold_reader, which can read the tables of all clients and
    write nothing. It works during an ingest. With `--json` exact numbers and instants are text, and rows are printed
    only if the query succeeds to its last one.
    """
    text = read_query(query)
    with start().sql(text) as result:
        if as_json:
            _write_rows(result)
        else:
            screen = Screen()
            row_count = tables.show_query(screen, result)
            if screen.is_terminal:
                screen.print(f"{row_count:,} {'row' if row_count == 1 else 'rows'}", style="dim")
    return ExitCode.SUCCESS


def _write_rows(result: QueryResult) -> None:
    """A list of objects, held back until the last row is there: what failed half-way must not look like a result."""
    with tempfile.SpooledTemporaryFile(
        _SPOOL_BYTES, mode="w+", encoding="utf-8", errors="backslashreplace"
    ) as document:
        separator = "["
        for row in result.rows:
            document.write(f"{separator}\n{dump_row(result.columns, row)}")
            separator = ","
        document.write("[]\n" if separator == "[" else "\n]\n")
        document.seek(0)
        try:
            shutil.copyfileobj(document, sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            discard_output()
