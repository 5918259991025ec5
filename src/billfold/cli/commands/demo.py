"""`billfold demo`: Billfold without an AWS account."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from billfold.cli.application import app, start
from billfold.cli.commands.ingest import SHOWN_BY_INGEST
from billfold.cli.exits import end_with
from billfold.cli.output import tables
from billfold.cli.output.checks_table import show_warned
from billfold.cli.output.costs_table import show_costs
from billfold.cli.output.screen import Screen

_DEFAULT_LINE_ITEMS = 50_000
_MAX_LINE_ITEMS = 10_000_000


@app.command(epilog="A second run ingests nothing new and says so. Needs the extra: pip install 'billfold[demo]'")
def demo(
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Whether to keep serving afterwards.")] = True,
    line_items: Annotated[
        int, typer.Option("--line-items", min=1, max=_MAX_LINE_ITEMS, help="Line items of each generated bill.")
    ] = _DEFAULT_LINE_ITEMS,
) -> int:
    """Try Billfold without an AWS account: generated bills, a local AWS and the embedded PostgreSQL.

    Writes deliveries of two clients into their buckets, assumes each client's role, ingests, and shows the costs.
    """
    settings = start(SHOWN_BY_INGEST).settings
    from billfold.demo import open_demo

    screen = Screen()
    with open_demo(settings, line_items=line_items, on_step=lambda step: screen.print(f"• {step}")) as shown:
        tables.show_outcomes(screen, shown.outcomes)
        show_warned(screen, shown.billfold, shown.outcomes)
        show_costs(screen, shown.billfold.costs())
        read = sum(outcome.rows_read for outcome in shown.outcomes)
        added = sum(outcome.rows_added for outcome in shown.outcomes)
        screen.print(f"\n{read:,} rows read, {added:,} added in {shown.ingest_seconds:.1f} s.")
        if not added:
            screen.print("Nothing new was ingested: every file is the one that was published before.")
        # Started by make, the command is in no folder of PATH: it is shown as it was called.
        command = sys.argv[0] if Path(sys.argv[0]).name == "billfold" else "billfold"
        home = shown.billfold.settings.home
        screen.print(f"Try it yourself: BILLFOLD_HOME={home} {command} costs --by account,month")
        if serve and sys.stdin.isatty():
            screen.input("The local AWS and PostgreSQL stay up until you press Enter. ")
    return end_with(outcome.exit_error for outcome in shown.outcomes)
