"""The commands that bring deliveries in beside `ingest`, take them back, and forget what they withdrew."""

from __future__ import annotations

from typing import Annotated

import typer

from billfold import reports
from billfold.cli.application import app, open_store, start
from billfold.cli.exits import ExitCode, exit_code
from billfold.cli.options import Json, parse_month
from billfold.cli.output import delivery_reports
from billfold.cli.output.screen import Screen, fetch_bar, show_error, write_document
from billfold.cli.output.tables import show_left_out, show_outcomes
from billfold.clients import registry as clients
from billfold.documents import dump, ingest_document
from billfold.log import Event
from billfold.model import DeliveryOutcome
from billfold.period import BillingPeriod

# On a terminal these commands tell their deliveries themselves, as a table and as lines.
TOLD_BY_COMMANDS = (
    Event.DELIVERY_FINISHED,
    Event.DELIVERY_FAILED,
    Event.SOURCE_REFUSED,
    Event.FINDING,
    Event.FILES_LEFT_OUT,
    Event.BACKFILL_STARTED,
    Event.BACKFILL_FINISHED,
    Event.DELIVERY_RELEASED,
    Event.DELIVERY_ROLLED_BACK,
    Event.ROLLBACK_UNDONE,
)

DeliveryId = Annotated[
    str,
    typer.Argument(
        metavar="DELIVERY",
        help="A delivery's id as `billfold deliveries` shows it: whole, or its first characters, 8 or more.",
    ),
]


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold backfill` (everything below AWS_BILLING_PREFIX in AWS_BILLING_BUCKET)\n\n"
        "- `billfold backfill --since 2026-01 --json`\n\n"
        "Exit codes are those of `billfold ingest`."
    )
)
def backfill(
    client: Annotated[
        str | None,
        typer.Option("--client", metavar="ID", help="In the name of this client; BILLFOLD_CLIENT by default."),
    ] = None,
    since: Annotated[
        BillingPeriod | None,
        typer.Option("--since", parser=parse_month, metavar="YYYY-MM", help="From this billing period on."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Ingest every statement of the configured prefix that is not current, the oldest month first.

    It looks at what stands in the bucket now, so it also brings in what events lost. Run it again after an
    interruption: what is in already is skipped. Deliveries that were rolled back stay so, and held ones wait for
    `billfold release`. A file without a manifest that is new is read to learn its month, and left pending where that is
    before `--since`.
    """
    settings = start(TOLD_BY_COMMANDS)
    database = open_store(settings)
    in_name_of = clients.resolve_client(database, settings, client)
    from billfold.bills.backfill import backfill as bring_in_all

    screen = Screen(stderr=True)
    with fetch_bar() as bar:
        report = bring_in_all(
            client=in_name_of,
            settings=settings,
            database=database,
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
    return _end_with(report.outcomes)


@app.command(
    epilog=(
        "Example: `billfold release 0b0e7f0e-6a2f-4a55-9a3e-4d0a5f3f9a51`\n\n"
        "`billfold deliveries --state held` lists what waits."
    )
)
def release(delivery: DeliveryId, as_json: Json = False) -> int:
    """Let a held delivery through: it is ingested although it leaves little of the bill that stands.

    A delivery is held when it would leave less than BILLFOLD_HOLD_BELOW_PERCENT of its statement's rows or cost: an
    emptied bucket, a cut export or a wrong prefix looks like this. It must still be what stands at its key: where a
    newer delivery has taken its place there, nothing is let through.
    """
    settings = start(TOLD_BY_COMMANDS)
    database = open_store(settings)
    delivery_id = reports.find_delivery_id(database, delivery)
    in_name_of = clients.resolve_client_of_delivery(database, settings, delivery_id)
    from billfold.bills.release import release as let_through

    with fetch_bar() as bar:
        outcomes = let_through(delivery_id, client=in_name_of, settings=settings, database=database, progress=bar)
    if as_json:
        write_document(dump(ingest_document(outcomes)))
    else:
        show_outcomes(Screen(), outcomes)
    return _end_with(outcomes)


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold rollback 0b0e7f0e-6a2f-4a55-9a3e-4d0a5f3f9a51`\n\n"
        "- `billfold rollback 0b0e7f0e-6a2f-4a55-9a3e-4d0a5f3f9a51 --undo`"
    )
)
def rollback(
    delivery: DeliveryId,
    undo: Annotated[bool, typer.Option("--undo", help="Take the rollback of this delivery back.")] = False,
    as_json: Json = False,
) -> int:
    """Bring back what stood before a statement's current delivery, exactly, in one transaction.

    Rows and charges of that delivery go to history; those that it had withdrawn return from there. The delivery stays
    rolled back: only `--undo`, `ingest --force` or a newer delivery replaces what stands then. Rolling back a
    statement's first delivery leaves it empty.
    """
    settings = start(TOLD_BY_COMMANDS)
    database = open_store(settings)
    from billfold.bills.rollback import roll_back

    delivery_id = reports.find_delivery_id(database, delivery)
    restoration = roll_back(delivery_id, settings=settings, database=database, undo=undo)
    if as_json:
        write_document(dump(delivery_reports.restoration_document(restoration)))
    else:
        delivery_reports.show_restoration(Screen(), restoration)
    return ExitCode.SUCCESS


@app.command(epilog="Examples: `billfold prune --dry-run --keep-days 400` · `billfold prune --json`")
def prune(
    keep_days: Annotated[
        int | None,
        typer.Option(
            "--keep-days",
            min=1,
            max=36_500,
            help="Keep what was withdrawn so long; BILLFOLD_KEEP_HISTORY_DAYS by default.",
        ),
    ] = None,
    client: Annotated[str | None, typer.Option("--client", metavar="ID", help="Only this client's statements.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")] = False,
    as_json: Json = False,
) -> int:
    """Forget line items and charges that were withdrawn long ago.

    What stands now is never touched, and nothing is forgotten unless this is run. Earlier moments than the last
    forgotten withdrawal can then neither be asked by charges_as_of nor rolled back to; `costs --as-of` and `changes`
    still know them. The space is used again by later restatements after a vacuum.
    """
    settings = start()
    database = open_store(settings)
    from billfold.bills.prune import prune as forget

    pruning = forget(settings=settings, database=database, keep_days=keep_days, client_id=client, dry_run=dry_run)
    if as_json:
        write_document(dump(delivery_reports.pruning_document(pruning)))
    else:
        delivery_reports.show_pruning(Screen(), pruning)
    return ExitCode.SUCCESS


def _end_with(outcomes: tuple[DeliveryOutcome, ...] | list[DeliveryOutcome]) -> int:
    failures = [outcome.exit_error for outcome in outcomes if outcome.exit_error]
    for failure in failures:
        show_error(str(failure))
    return exit_code(failures)
