"""`billfold backfill`: everything that is missing."""

from __future__ import annotations

from billfold.cli.application import app, start
from billfold.cli.commands.ingest import SHOWN_BY_INGEST
from billfold.cli.exits import end_with
from billfold.cli.options import ActAs, Json, Since
from billfold.cli.output import delivery_reports
from billfold.cli.output.screen import Screen, fetch_bar
from billfold.cli.output.streams import write_document
from billfold.cli.output.tables import show_left_out
from billfold.documents import dump
from billfold.log import Event

_SHOWN = tuple(event for event in SHOWN_BY_INGEST if event not in (Event.DELIVERY_INTERRUPTED, Event.CHECK_WARNED))


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold backfill` (everything below AWS_BILLING_PREFIX in AWS_BILLING_BUCKET)\n\n"
        "- `billfold backfill --since 2026-01 --json`\n\n"
        "Exit codes are those of `billfold ingest`."
    )
)
def backfill(client: ActAs = None, since: Since = None, as_json: Json = False) -> int:
    """Ingest every statement in the client's folder that is not current, the oldest month first.

    It looks at what the bucket holds now, so it also ingests deliveries whose events were lost. Run it again after an
    interruption: it skips what is already in. Rolled back deliveries stay rolled back, and held ones wait for
    `billfold release`. A new file without a manifest is read to learn its month, and left pending where that is before
    `--since`.
    """
    billfold = start((*_SHOWN, Event.BACKFILL_STARTED, Event.BACKFILL_FINISHED))
    screen = Screen(stderr=True)
    with fetch_bar() as bar:
        report = billfold.backfill(
            client=client,
            since=since,
            progress=bar,
            on_delivery=lambda number, total, delivery: screen.print(
                f"[{number}/{total}] {delivery.export_name} {delivery.period or ''}".rstrip(), style="dim"
            ),
        )
    show_left_out(Screen(stderr=as_json), report.left_out)
    if as_json:
        write_document(dump(delivery_reports.backfill_document(report)))
    else:
        delivery_reports.show_backfill(Screen(), report)
    return end_with(outcome.exit_error for outcome in report.outcomes)
