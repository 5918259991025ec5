"""The command that proves what is published, and how its verdicts look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from billfold.cli.application import app, open_store, start
from billfold.cli.exits import exit_code
from billfold.cli.options import Json, OneClient, OneExport, OnePeriod
from billfold.cli.output.screen import Screen, printable, show_error, write_document
from billfold.documents import dump

if TYPE_CHECKING:
    from billfold.verification import Verdict

_STYLES = {"true": "green", "differs": "bold red", "skipped": "yellow"}


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold verify` (every statement, with its source files)\n\n"
        "- `billfold verify --client acme --period 2026-05 --no-source`\n\n"
        "- `billfold verify --statement 3 --json`\n\n"
        "Exit codes: 0 everything is true; 2 no such statement; 5 PostgreSQL; 6 try again later; 7 something"
        " differs. A check that cannot be made (its files are gone) is skipped and says why."
    )
)
def verify(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    statement: Annotated[
        int | None, typer.Option("--statement", metavar="ID", min=1, help="Only this statement.")
    ] = None,
    source: Annotated[
        bool, typer.Option("--source/--no-source", help="Whether the source files are fetched and compared too.")
    ] = True,
    as_json: Json = False,
) -> int:
    """Prove from the ground up that what is published is true, and name the first row that differs.

    Reads every raw row, charge, withdrawn row and daily cost of each statement in one moment's view, makes the charges
    anew, and compares all of it with the source files where they can still be read. Changes nothing, and may run while
    deliveries come in.
    """
    settings = start()
    database = open_store(settings)
    # DuckDB, Arrow and boto3 take a second to load: only commands that need them do.
    from billfold.verification import verify as verify_all

    screen = Screen()
    verdicts = verify_all(
        settings=settings,
        database=database,
        client=client,
        export=export,
        period=period,
        statement_id=statement,
        with_source=source,
        on_verdict=(lambda _verdict: None) if as_json else (lambda verdict: _show(screen, verdict)),
    )
    if as_json:
        write_document(dump(verify_document(verdicts)))
    elif not verdicts:
        screen.print("no statements", style="dim")
    failures = [verdict.exit_error for verdict in verdicts if verdict.exit_error]
    for failure in failures:
        show_error(str(failure))
    return exit_code(failures)


def verify_document(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Each statement with its checks."""
    return {
        "statements": [
            {
                "statement_id": verdict.statement_id,
                "client": verdict.client_id,
                "export": verdict.export_name,
                "billing_period": verdict.billing_period,
                "is_true": verdict.is_true,
                "checks": [
                    {"name": proof.name, "state": proof.state, "detail": proof.detail} for proof in verdict.proofs
                ],
            }
            for verdict in verdicts
        ]
    }


def _show(screen: Screen, verdict: Verdict) -> None:
    """One line for the statement and one for each of its checks."""
    state = "true" if verdict.is_true else "differs"
    name = f"statement {verdict.statement_id}: {verdict.client_id} {verdict.export_name} {verdict.billing_period}"
    screen.print(Text.assemble((printable(name), "bold"), " ", (state, _STYLES[state])), soft_wrap=True)
    for proof in verdict.proofs:
        line = Text.assemble("  ", (f"{proof.state:8}", _STYLES[proof.state]), f"{proof.name:18}")
        screen.print(line.append(printable(proof.detail)), soft_wrap=True)
