"""`billfold ingest`: bills from S3 or from disk."""

from __future__ import annotations

from typing import Annotated

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import end_with
from billfold.cli.options import ActAs, Json, read_month
from billfold.cli.output import tables
from billfold.cli.output.checks_table import show_warned
from billfold.cli.output.screen import Screen, fetch_bar
from billfold.cli.output.streams import write_document
from billfold.documents import dump, ingest_document
from billfold.log import Event
from billfold.model import LeftOutFile
from billfold.period import BillingPeriod

# On a terminal the command prints these events itself, as a table and as lines.
SHOWN_BY_INGEST = (
    Event.DELIVERY_FINISHED,
    Event.DELIVERY_FAILED,
    Event.DELIVERY_INTERRUPTED,
    Event.SOURCE_REFUSED,
    Event.FINDING,
    Event.CHECK_WARNED,
    Event.FILES_LEFT_OUT,
)
_EPILOG = (
    "Examples:\n\n"
    "- `billfold ingest s3://acme-billing/exports/` (every current statement below the prefix)\n\n"
    "- `billfold ingest exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json`"
    " (a key of AWS_BILLING_BUCKET)\n\n"
    "- `billfold ingest ./downloaded-bucket --json`\n\n"
    "- `billfold ingest ./may.csv --month 2026-05`\n\n"
    "Exit codes: 0 every delivery is published, skipped, superseded or was rolled back earlier; 2 wrong usage or"
    " settings; 3 source; 4 bad input; 5 PostgreSQL; 6 try again later; 7 rows or money do not agree; 8 held until"
    " `billfold release`; 129, 130 and 143 ended by SIGHUP, Ctrl-C and SIGTERM. What failed or was interrupted"
    " published nothing; the rest stays published."
)


@app.command(epilog=_EPILOG)
def ingest(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="`s3://bucket/key`, a key of the configured bucket, a prefix, a manifest, or a local file or folder.",
        ),
    ],
    client: ActAs = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Publish a delivery even if it is older than the current one, or in already."),
    ] = False,
    month: Annotated[
        BillingPeriod | None,
        typer.Option(
            "--month",
            parser=read_month,
            metavar="YYYY-MM",
            help="The billing period of a single file that does not name one, in a column or in its key.",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Ingest billing deliveries from S3 or from disk into PostgreSQL.

    Each delivery is fetched, compared with its statement, reconciled to the last decimal, and published in one
    transaction: a reader sees the old bill or the new one. Ingesting it again changes nothing. A local folder is a copy
    of a bucket or of one export, or a part of a folder that was ingested before. Files in a folder that are not bills
    are left out and listed.
    """
    billfold = start(SHOWN_BY_INGEST)
    left_out: list[LeftOutFile] = []
    with fetch_bar() as bar:
        outcomes = billfold.ingest(
            source, client=client, month=month, force=force, progress=bar, on_left_out=left_out.extend
        )
    # Scripts rely on the document: files that are in no delivery are listed on standard error.
    tables.show_left_out(Screen(stderr=as_json), left_out)
    if as_json:
        write_document(dump(ingest_document(outcomes)))
    else:
        tables.show_outcomes(Screen(), outcomes)
        show_warned(Screen(), billfold, outcomes)
    return end_with(outcome.exit_error for outcome in outcomes)
