"""The commands: what each takes, what it calls, and how its outcome is shown."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from billfold import __version__, reports
from billfold.cli.application import app, open_store, start
from billfold.cli.exits import EXIT_CODES_HELP, ExitCode, exit_code
from billfold.cli.options import Json, Limit, OneClient, OneExport, OnePeriod, parse_month, read_query
from billfold.cli.output import tables
from billfold.cli.output.checks_table import show_warned
from billfold.cli.output.costs_table import show_costs
from billfold.cli.output.screen import Screen, discard_output, fetch_bar, show_error, write_document
from billfold.clients import registry as clients
from billfold.documents import dump, dump_row, ingest_document, report_document
from billfold.log import Event
from billfold.model import DeliveryState, LeftOutFile, RunStatus, TriggerSource
from billfold.period import BillingPeriod
from billfold.selection import Filter
from billfold.store.database import Database, open_database
from billfold.store.migrate import migrate_database
from billfold.store.query import QueryResult, run_query

# On a terminal `ingest` tells these events itself, as a table and as lines.
_TOLD_BY_INGEST = (
    Event.DELIVERY_FINISHED,
    Event.DELIVERY_FAILED,
    Event.DELIVERY_INTERRUPTED,
    Event.SOURCE_REFUSED,
    Event.FINDING,
    Event.CHECK_WARNED,
    Event.FILES_LEFT_OUT,
)
# A JSON result up to this size waits for its end in memory, a larger one on disk.
_SPOOL_BYTES = 16 * 2**20
_DEMO_LINE_ITEMS = 50_000


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold ingest s3://acme-billing/exports/` (every current statement below the prefix)\n\n"
        "- `billfold ingest exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json`"
        " (a key of AWS_BILLING_BUCKET)\n\n"
        "- `billfold ingest ./downloaded-bucket --json`\n\n"
        "- `billfold ingest ./may.csv --month 2026-05`\n\n"
        f"{EXIT_CODES_HELP} What failed or was interrupted published nothing; the rest stays published."
    )
)
def ingest(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="`s3://bucket/key`, a key of the configured bucket, a prefix, a manifest, or a local file or folder.",
        ),
    ],
    client: Annotated[
        str | None,
        typer.Option("--client", metavar="ID", help="In the name of this client; BILLFOLD_CLIENT by default."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Publish what is older than the published delivery, or already in.")
    ] = False,
    month: Annotated[
        BillingPeriod | None,
        typer.Option(
            "--month",
            parser=parse_month,
            metavar="YYYY-MM",
            help="The billing period of one file that names none, in a column or its key.",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Bring billing deliveries from S3 or from disk into PostgreSQL.

    Each delivery is fetched, compared with what its statement holds, reconciled to the last decimal, and published in
    one transaction: a reader sees the old bill or the new one. Ingesting it again changes nothing. A local folder
    is a copy of a bucket or of one export, or a part of a folder above it that was ingested before. Files of a folder
    that are not bills are left out and named.
    """
    settings = start(_TOLD_BY_INGEST)
    database = open_store(settings)
    in_name_of = clients.resolve_client(database, settings, client)
    # DuckDB, Arrow and boto3 take a second to load: only this command needs them.
    from billfold.bills.ingest import ingest as ingest_source

    left_out: list[LeftOutFile] = []
    with fetch_bar() as bar:
        outcomes = ingest_source(
            source,
            client=in_name_of,
            settings=settings,
            database=database,
            trigger=TriggerSource.CLI,
            force=force,
            progress=bar,
            on_left_out=left_out.extend,
            month=month,
        )
    # Scripts rely on the document: what is in no delivery stands on standard error.
    tables.show_left_out(Screen(stderr=as_json), left_out)
    if as_json:
        write_document(dump(ingest_document(outcomes)))
    else:
        tables.show_outcomes(Screen(), outcomes)
        show_warned(Screen(), database, outcomes)
    failures = [outcome.exit_error for outcome in outcomes if outcome.exit_error]
    for failure in failures:
        show_error(str(failure))
    return exit_code(failures)


@app.command(epilog="Examples: `billfold runs --status failed` · `billfold runs --client acme --period 2026-05 --json`")
def runs(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    status: Annotated[RunStatus | None, typer.Option("--status", help="Only runs of this status.")] = None,
    limit: Limit = reports.DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """List the runs: each is the ingestion of one version of one data file.

    A failed run says why: its error code here, its whole message with `--json`.
    """
    wanted = Filter(client=client, export=export, period=period, state=status, limit=limit)
    return _report("runs", reports.list_runs, tables.show_runs, wanted, as_json)


@app.command(
    epilog="Examples: `billfold deliveries --state failed` · `billfold deliveries --export acme-cur2 --period 2026-05`"
)
def deliveries(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    state: Annotated[DeliveryState | None, typer.Option("--state", help="Only deliveries in this state.")] = None,
    limit: Limit = reports.DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """List the deliveries: each is one refresh of a statement, with the rows and the money that it brought.

    AWS restates a month many times; the starred delivery of each counted statement is the current one. The last
    column holds the error code of a failed one, and why another one is not current.
    """
    wanted = Filter(client=client, export=export, period=period, state=state, limit=limit)
    database = open_store(start())
    rows = reports.list_deliveries(database, wanted)
    if as_json:
        write_document(dump(report_document("deliveries", rows)))
    else:
        short = reports.shorten_delivery_ids(database, (row.delivery_id for row in rows))
        tables.show_deliveries(Screen(), rows, short=short)
    return ExitCode.SUCCESS


@app.command(epilog="Examples: `billfold statements --client acme` · `billfold statements --period 2026-05 --json`")
def statements(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    limit: Limit = reports.DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """List the statements: what each export says about each month, as it stands now.

    Counted statements make up the costs. The last column shows what a statement has in common with others of its month:
    parts of one bill are all counted, of duplicates only one is.
    """
    wanted = Filter(client=client, export=export, period=period, limit=limit)
    return _report("statements", reports.list_statements, tables.show_statements, wanted, as_json)


@app.command(
    epilog=(
        "Examples:\n\n"
        '- `billfold sql "SELECT status, count(*) FROM billing_ingestion_runs GROUP BY status"`\n\n'
        '- `billfold sql --json \'SELECT "ServiceName", sum("BilledCost") FROM focus_cost_and_usage GROUP BY 1\'`\n\n'
        "- `billfold sql - < report.sql`\n\n"
        "Limits: BILLFOLD_SQL_TIMEOUT_SECONDS, BILLFOLD_SQL_MAX_ROWS. Another database than the embedded one needs"
        " BILLFOLD_READER_DATABASE_URL."
    )
)
def sql(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="One SQL statement, or `-` to read it from standard input.")
    ],
    as_json: Json = False,
) -> int:
    """Ask PostgreSQL: one statement that reads.

    The query runs as the role billfold_reader, which may read the tables of all clients and write nothing, in a
    read-only transaction. It works while an ingest runs. With `--json` exact numbers and instants are text, and no
    rows are printed unless the query succeeds to its last one.
    """
    text = read_query(query)
    settings = start()
    database = open_store(settings)
    with run_query(
        database, text, timeout_seconds=settings.sql_timeout_seconds, max_rows=settings.sql_max_rows
    ) as result:
        if as_json:
            _write_rows(result)
        else:
            screen = Screen()
            row_count = tables.show_query(screen, result)
            if screen.is_terminal:
                screen.print(f"{row_count:,} {'row' if row_count == 1 else 'rows'}", style="dim")
    return ExitCode.SUCCESS


@app.command(epilog="The embedded database is migrated at every start; run this for the database of DATABASE_URL.")
def migrate() -> int:
    """Bring the database's schema up to this version of Billfold.

    Makes the embedded database where there is none yet. Says what was applied; what is applied already stays as it is.
    """
    applied = migrate_database(open_database(start()))
    screen = Screen()
    for migration in applied:
        screen.print(f"applied {migration.number:04} {migration.name}")
    if not applied:
        screen.print("nothing to apply: the schema is current")
    return ExitCode.SUCCESS


@app.command(epilog="A second run ingests nothing new and says so. Needs the extra: pip install 'billfold[demo]'")
def demo(
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Whether to keep serving afterwards.")] = True,
    line_items: Annotated[
        int, typer.Option("--line-items", min=1, max=10_000_000, help="How many line items each generated bill has.")
    ] = _DEMO_LINE_ITEMS,
) -> int:
    """Try Billfold without an AWS account: generated bills, a local AWS, the embedded PostgreSQL.

    Writes the deliveries of two clients into their buckets, assumes each client's role, ingests, and shows what they
    spent.
    """
    from billfold.demo import open_demo

    settings = start(shown_elsewhere=_TOLD_BY_INGEST)
    screen = Screen()
    with open_demo(settings, line_items=line_items, tell=lambda step: screen.print(f"• {step}")) as demo:
        tables.show_outcomes(screen, demo.outcomes)
        show_warned(screen, demo.database, demo.outcomes)
        show_costs(screen, reports.sum_costs(demo.database))
        read = sum(outcome.rows_read for outcome in demo.outcomes)
        added = sum(outcome.rows_added for outcome in demo.outcomes)
        screen.print(f"\n{read:,} rows read, {added:,} added in {demo.ingest_seconds:.1f} s.")
        if not added:
            screen.print("Nothing new was ingested: every file is the one that was published before.")
        # Started by make, the command is in no folder of PATH: it is shown as it was called.
        command = sys.argv[0] if Path(sys.argv[0]).name == "billfold" else "billfold"
        screen.print(f"Ask it yourself: BILLFOLD_HOME={demo.settings.home} {command} costs --by account,month")
        if serve and sys.stdin.isatty():
            screen.input("The local AWS and PostgreSQL stay up until you press Enter. ")
    return exit_code([outcome.exit_error for outcome in demo.outcomes if outcome.exit_error])


@app.command()
def version() -> int:
    """Print the version."""
    Screen().print(f"billfold {__version__}")
    return ExitCode.SUCCESS


def _report(
    name: str,
    list_rows: Callable[[Database, Filter], Sequence[Any]],
    show: Callable[[Screen, Sequence[Any]], None],
    wanted: Filter,
    as_json: bool,
) -> int:
    rows = list_rows(open_store(start()), wanted)
    if as_json:
        write_document(dump(report_document(name, rows)))
    else:
        show(Screen(), rows)
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
