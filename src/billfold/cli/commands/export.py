"""The command that writes charges to a file for other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from billfold import reports
from billfold.cli.application import app, open_store, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, OneClient, OneStatement, parse_month
from billfold.cli.output.grid import show_amounts
from billfold.cli.output.screen import Screen, printable, write_document
from billfold.documents import dump, format_money
from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.selection import FileFormat, parse_texts

_STANDARD_OUTPUT = "-"


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold export --month 2026-05 --output may.parquet`\n\n"
        "- `billfold export --month 2026-01 --until 2026-05 --client acme --output acme.csv --force`\n\n"
        "- `billfold export --statement 7 --output - | gzip > statement-7.csv.gz`"
    )
)
def export(
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write; `-`: standard output."),
    ],
    month: Annotated[
        BillingPeriod | None,
        typer.Option(
            "--month", parser=parse_month, metavar="YYYY-MM", help="The billing period, or the first of them."
        ),
    ] = None,
    until: Annotated[
        BillingPeriod | None,
        typer.Option(
            "--until", parser=parse_month, metavar="YYYY-MM", help="The last billing period. Default: --month."
        ),
    ] = None,
    client: OneClient = None,
    statement: OneStatement = None,
    file_format: Annotated[
        FileFormat | None,
        typer.Option(
            "--format", metavar="NAME", help="Default: what the file's name ends with; CSV on standard output."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    as_json: Json = False,
) -> int:
    """Write the charges of some months as a file of FOCUS 1.2 columns: CSV or Parquet, exact to the last decimal.

    It holds the charges of the counted statements, of one moment, with AWS's and Billfold's own columns (`x_…`) last.
    The file appears under its name when it is whole.
    Unlike the CSV of `billfold costs` and of the dashboard it changes no text: a spreadsheet runs what looks like a
    formula (`=`, `+`, `-`, `@`). Billfold itself can ingest the export of one month.
    """
    if month is None and statement is None:
        raise UsageError("which month?", advice="use --month YYYY-MM, or --statement ID")
    if until and month is None:
        raise UsageError("--until needs --month, the first of the months")
    parse_texts("--client", [client or ""])
    chosen = file_format or _guess_format(output)
    to_screen = output == _STANDARD_OUTPUT
    if to_screen and as_json:
        raise UsageError("--output - and --json exclude each other: standard output holds one document")
    if to_screen and chosen is FileFormat.PARQUET and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal", advice="use --output FILE, or send it to a file or a pipe")
    report = reports.export_charges(
        open_store(start()),
        sys.stdout.buffer if to_screen else Path(output),
        file_format=chosen,
        first=month,
        last=until or month,
        client=client,
        statement=statement,
        overwrite=force,
    )
    if as_json:
        document = {
            "output": output,
            "format": chosen,
            "months": report.months,
            "statements": report.statement_ids,
            "charges": report.charge_count,
            "billed_cost": {currency: format_money(amount) for currency, amount in report.billed_cost.items()},
        }
        write_document(dump(document))
    elif not to_screen:
        noun = "charge" if report.charge_count == 1 else "charges"
        money = show_amounts(report.billed_cost)
        months = ", ".join(report.months)
        Screen().print(printable(f"{output}: {report.charge_count:,} {noun} of {months}, billed {money}"))
    return ExitCode.SUCCESS


def _guess_format(output: str) -> FileFormat:
    if output == _STANDARD_OUTPUT:
        return FileFormat.CSV
    ending = Path(output).suffix.lower().removeprefix(".")
    if ending not in list(FileFormat):
        raise UsageError(f"{output!r} ends with neither .csv nor .parquet", advice="choose one with --format")
    return FileFormat(ending)
