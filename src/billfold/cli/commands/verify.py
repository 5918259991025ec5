"""`billfold verify`: a proof of what is published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from billfold.cli.application import app, start
from billfold.cli.exits import end_with
from billfold.cli.options import Json, OneClient, OneExport, OnePeriod
from billfold.cli.output.screen import Screen, printable
from billfold.cli.output.streams import write_document
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
        " differs. A proof that cannot be made (its files are gone) is skipped and says why."
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
        bool, typer.Option("--source/--no-source", help="Whether to fetch and compare the source files too.")
    ] = True,
    as_json: Json = False,
) -> int:
    """Prove from the ground up that what is published is true, and show the first row that differs.

    It reads every raw row, charge, withdrawn row and daily cost of each statement in one consistent view, makes the
    charges again, and compares everything with the source files that can still be read. It changes nothing, and can run
    while deliveries come in.
    """
    screen = Screen()
    verdicts = start().verify(
        client=client,
        export=export,
        month=period,
        statement=statement,
        source=source,
        on_verdict=(lambda _verdict: None) if as_json else (lambda verdict: _show(screen, verdict)),
    )
    if as_json:
        write_document(dump(verify_document(verdicts)))
    elif not verdicts:
        screen.print("no statements", style="dim")
    return end_with(verdict.exit_error for verdict in verdicts)


def verify_document(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Each statement with its proofs, under the name that scripts know."""
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
    """One line for the statement and one for each of its proofs."""
    state = "true" if verdict.is_true else "differs"
    name = f"statement {verdict.statement_id}: {verdict.client_id} {verdict.export_name} {verdict.billing_period}"
    screen.print(Text.assemble((printable(name), "bold"), " ", (state, _STYLES[state])), soft_wrap=True)
    for proof in verdict.proofs:
        line = Text.assemble("  ", (f"{proof.state:8}", _STYLES[proof.state]), f"{proof.name:18}")
        screen.print(line.append(printable(proof.detail)), soft_wrap=True)
