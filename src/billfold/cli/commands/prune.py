"""`billfold prune`: history that is no longer needed."""

from __future__ import annotations

from typing import Annotated

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output import delivery_reports
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import dump

_MAX_KEEP_DAYS = 36_500


@app.command(epilog="Examples: `billfold prune --dry-run --keep-days 400` · `billfold prune --json`")
def prune(
    keep_days: Annotated[
        int | None,
        typer.Option(
            "--keep-days",
            min=1,
            max=_MAX_KEEP_DAYS,
            help="Keep what was withdrawn this many days; BILLFOLD_KEEP_HISTORY_DAYS by default.",
        ),
    ] = None,
    client: Annotated[str | None, typer.Option("--client", metavar="ID", help="Only this client's statements.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted, and delete nothing.")] = False,
    as_json: Json = False,
) -> int:
    """Delete line items and charges that were withdrawn long ago.

    The current bills are never touched, and history is deleted only when you run this command. Afterwards
    charges_as_of and rollbacks no longer reach moments before the last deleted withdrawal; `costs --as-of` and
    `changes` still do. Later restatements reuse the space after a vacuum.
    """
    pruning = start().prune(keep_days=keep_days, client=client, dry_run=dry_run)
    if as_json:
        write_document(dump(delivery_reports.pruning_document(pruning)))
    else:
        delivery_reports.show_pruning(Screen(), pruning)
    return ExitCode.SUCCESS
