"""`billfold rollback`: the bill before a delivery."""

from __future__ import annotations

from typing import Annotated

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import DeliveryId, Json
from billfold.cli.output import delivery_reports
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import dump
from billfold.log import Event

_SHOWN = (Event.FINDING, Event.DELIVERY_ROLLED_BACK, Event.ROLLBACK_UNDONE)


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold rollback 0b0e7f0e-6a2f-4a55-9a3e-4d0a5f3f9a51`\n\n"
        "- `billfold rollback 0b0e7f0e-6a2f-4a55-9a3e-4d0a5f3f9a51 --undo`"
    )
)
def rollback(
    delivery: DeliveryId,
    undo: Annotated[bool, typer.Option("--undo", help="Undo the rollback of this delivery.")] = False,
    as_json: Json = False,
) -> int:
    """Restore the bill from before a statement's current delivery, exactly, in one transaction.

    Rows and charges of the delivery move to history; those that it withdrew return from there. The delivery stays
    rolled back until `--undo`, `ingest --force` or a newer delivery. Rolling back a statement's first delivery leaves
    the statement empty.
    """
    billfold = start(_SHOWN)
    restoration = billfold.undo(delivery) if undo else billfold.rollback(delivery)
    if as_json:
        write_document(dump(delivery_reports.restoration_document(restoration)))
    else:
        delivery_reports.show_restoration(Screen(), restoration)
    return ExitCode.SUCCESS
