"""`billfold release`: a held delivery may come in."""

from __future__ import annotations

from billfold.cli.application import app, start
from billfold.cli.exits import end_with
from billfold.cli.options import DeliveryId, Json
from billfold.cli.output.screen import Screen, fetch_bar
from billfold.cli.output.streams import write_document
from billfold.cli.output.tables import show_outcomes
from billfold.documents import dump, ingest_document
from billfold.log import Event

_SHOWN = (
    Event.DELIVERY_FINISHED,
    Event.DELIVERY_FAILED,
    Event.SOURCE_REFUSED,
    Event.FINDING,
    Event.FILES_LEFT_OUT,
    Event.DELIVERY_RELEASED,
)


@app.command(
    epilog=(
        "Example: `billfold release 0b0e7f0e-6a2f-4a55-9a3e-4d0a5f3f9a51`\n\n"
        "`billfold deliveries --state held` lists the deliveries that wait."
    )
)
def release(delivery: DeliveryId, as_json: Json = False) -> int:
    """Ingest a held delivery although it leaves little of the current bill.

    A delivery is held if it would leave less than BILLFOLD_HOLD_BELOW_PERCENT of its statement's rows or cost: an
    emptied bucket, a truncated export or a wrong prefix looks like this. It must still be the newest delivery at its
    key; if another one has replaced it there, nothing is released.
    """
    billfold = start(_SHOWN)
    with fetch_bar() as bar:
        outcomes = billfold.release(delivery, progress=bar)
    if as_json:
        write_document(dump(ingest_document(outcomes)))
    else:
        show_outcomes(Screen(), outcomes)
    return end_with(outcome.exit_error for outcome in outcomes)
