"""`billfold checks`: the data quality of the bills."""

from __future__ import annotations

from typing import Annotated

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, OneClient, OneExport, OnePeriod, OneStatement
from billfold.cli.output.checks_table import show_checks
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import dump, report_document
from billfold.model import CheckState


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold checks --state warned` (what to look at in the current bills)\n\n"
        "- `billfold checks --statement 3 --all --json` (of all its publications)\n\n"
        "- `billfold checks --refresh` (after a change of tags or mapping, or where checks failed)\n\n"
        "What each check looks for: docs/checks.md"
    )
)
def checks(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    statement: OneStatement = None,
    state: Annotated[CheckState | None, typer.Option("--state", help="Only checks in this state.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="The checks of all publications, not only of the current bills.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="First repeat the checks of the chosen statements' current bills.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show the data-quality checks of the current bills.

    Checks warn; they never block. They run after every publication. Amounts are exact, by currency: billed cost, or
    what the detail says.
    """
    report = start().checks(
        client=client, export=export, month=period, statement=statement, state=state, every=every, refresh=refresh
    )
    if as_json:
        write_document(dump({**report_document("checks", report.rows), "unchecked_statements": list(report.unchecked)}))
    else:
        show_checks(Screen(), report)
    return ExitCode.SUCCESS
