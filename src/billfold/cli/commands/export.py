"""`billfold export`: charges as a file for other tools."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, OneClient, OneStatement, read_month
from billfold.cli.output.grid import show_amounts
from billfold.cli.output.screen import Screen, printable
from billfold.cli.output.streams import write_document
from billfold.documents import dump, format_money
from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.selection import FileFormat, check_texts

if TYPE_CHECKING:
    from billfold.reports.export import ExportReport

_STANDARD_OUTPUT = "-"
_Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="The file to write; `-`: standard output.")
]
_Month = Annotated[
    BillingPeriod | None,
    typer.Option("--month", parser=read_month, metavar="YYYY-MM", help="The billing period, or the first of several."),
]
_Until = Annotated[
    BillingPeriod | None,
    typer.Option("--until", parser=read_month, metavar="YYYY-MM", help="The last billing period. Default: --month."),
]
_Format = Annotated[
    FileFormat | None,
    typer.Option("--format", metavar="NAME", help="Default: the ending of the file's name; CSV on standard output."),
]


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold export --month 2026-05 --output may.parquet`\n\n"
        "- `billfold export --month 2026-01 --until 2026-05 --client acme --output acme.csv --force`\n\n"
        "- `billfold export --statement 7 --output - | gzip > statement-7.csv.gz`"
    )
)
def export(
    output: _Output,
    month: _Month = None,
    until: _Until = None,
    client: OneClient = None,
    statement: OneStatement = None,
    file_format: _Format = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: Json = False,
) -> int:
    """Write the charges of some months to a CSV or Parquet file in FOCUS 1.2 columns.

    It has the charges of the counted statements at one moment, to the last decimal, with AWS's and Billfold's own
    columns (`x_…`) last. The file appears under its name when it is complete. Unlike the CSV of `billfold costs` and of
    the dashboard it changes no text: a spreadsheet runs what looks like a formula (`=`, `+`, `-`, `@`). Billfold itself
    can ingest the export of one month.
    """
    check_texts("--client", [client or ""])
    to_screen = output == _STANDARD_OUTPUT
    if to_screen and as_json:
        raise UsageError("--output - and --json exclude each other: standard output holds one document")
    if to_screen and file_format is FileFormat.PARQUET and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal", advice="use --output FILE, or send it to a file or a pipe")
    report = start().export(
        sys.stdout.buffer if to_screen else output,
        month=month,
        until=until,
        client=client,
        statement=statement,
        file_format=file_format,
        overwrite=force,
    )
    if as_json or not to_screen:
        _show(report, output, as_json=as_json)
    return ExitCode.SUCCESS


def _show(report: ExportReport, output: str, *, as_json: bool) -> None:
    if as_json:
        document = {
            "output": output,
            "format": report.file_format,
            "months": report.months,
            "statements": report.statement_ids,
            "charges": report.charge_count,
            "billed_cost": {currency: format_money(amount) for currency, amount in report.billed_cost.items()},
        }
        write_document(dump(document))
        return
    noun = "charge" if report.charge_count == 1 else "charges"
    money = show_amounts(report.billed_cost)
    months = ", ".join(report.months)
    Screen().print(printable(f"{output}: {report.charge_count:,} {noun} of {months}, billed {money}"))
