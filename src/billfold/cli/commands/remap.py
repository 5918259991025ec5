"""`billfold remap`: charges made again by this version's mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, OneClient, OneExport, OnePeriod, OneStatement
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import dump, format_money
from billfold.log import Event

if TYPE_CHECKING:
    from billfold.bills.remap import Remapping


@app.command(
    epilog=(
        "Examples: `billfold remap` (after an upgrade) · `billfold remap --statement 3 --force` ·"
        " `billfold remap --client acme --period 2026-05 --json`\n\n"
        "`billfold publications` lists each remap; `billfold changes` shows what it changed."
    )
)
def remap(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    statement: OneStatement = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also remap statements whose charges this version's mapping made.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Make the charges again from the landed line items with this version's mapping, without AWS.

    Statements are remapped one by one, the oldest month first, each in one transaction: a reader sees the old charges
    or the new ones. Statements whose charges this version made are left as they are.
    """
    screen = Screen()
    remapped = start((Event.STATEMENT_REMAPPED,)).remap(
        client=client,
        export=export,
        month=period,
        statement=statement,
        force=force,
        on_remapped=(lambda _remapping: None) if as_json else (lambda remapping: _show(screen, remapping)),
    )
    if as_json:
        write_document(dump({"statements": [_document(each) for each in remapped]}))
    elif not remapped:
        screen.print("no statement matches")
    return ExitCode.SUCCESS


def _show(screen: Screen, remapping: Remapping) -> None:
    name = f"{remapping.client_id} {remapping.export_name} {remapping.billing_period}"
    before = remapping.mapping_version_before
    versions = "no charges"
    if before is not None:
        versions = f"mapping version {before}"
        if remapping.state == "remapped":
            versions += f" -> {remapping.mapping_version}"
    screen.print(f"{name}: {remapping.state}, {versions}, {remapping.charges:,} charges")
    for finding in remapping.findings:
        screen.print(f"  {finding}", style="yellow")


def _document(remapping: Remapping) -> dict[str, Any]:
    return {
        "statement_id": remapping.statement_id,
        "client": remapping.client_id,
        "export": remapping.export_name,
        "billing_period": remapping.billing_period,
        "state": remapping.state,
        "mapping_version_before": remapping.mapping_version_before,
        "mapping_version": remapping.mapping_version,
        "charges_before": remapping.charges_before,
        "charges": remapping.charges,
        "billed_cost": {currency: format_money(cost) for currency, cost in remapping.billed_cost.items()},
        "findings": list(remapping.findings),
        "duration_seconds": round(remapping.duration_seconds, 3),
    }
