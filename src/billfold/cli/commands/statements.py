"""The commands that change what a statement's landed rows say: by which mapping, and whether it counts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from billfold.cli.application import app, open_store, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json, OneClient, OneExport, OnePeriod, OneStatement
from billfold.cli.output.screen import Screen, write_document
from billfold.documents import dump, format_money
from billfold.log import Event
from billfold.model import Relation

TOLD_BY_STATEMENT_COMMANDS = (Event.STATEMENT_REMAPPED, Event.STATEMENT_SWITCHED, Event.STATEMENTS_PAIRED)

StatementId = Annotated[
    int, typer.Argument(metavar="STATEMENT", help="A statement's id, as `billfold statements` shows it.")
]

OtherStatementId = Annotated[int, typer.Argument(metavar="OTHER", help="The other statement's id.")]

_MEANINGS = {
    Relation.PARTS: "parts of one bill, both make up the costs",
    Relation.DUPLICATES: "the same bill, one of them makes up the costs",
    Relation.OVERLAP: "they overlap, one of them makes up the costs",
    None: "they hold no account in common, both make up the costs",
}

statement_app = typer.Typer(
    rich_markup_mode="markdown", context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True
)
app.add_typer(statement_app, name="statement", help="Choose which statement makes up the costs.")


@app.command(
    epilog=(
        "Examples: `billfold remap` (after an upgrade) · `billfold remap --statement 3 --force` ·"
        " `billfold remap --client acme --period 2026-05 --json`\n\n"
        "`billfold publications` lists each remap; `billfold changes` shows what it moved."
    )
)
def remap(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    statement: OneStatement = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also remap statements whose charges today's mapping made.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Make the charges anew of the landed line items, by this version's mapping, without asking AWS.

    One statement after the other, the oldest month first, each in one transaction: a reader sees the old charges or
    the new ones. Statements whose charges this version made already are left as they are.
    """
    from billfold.bills.remap import Remapping, RemapState
    from billfold.bills.remap import remap as remap_statements

    screen = Screen()

    def show(remapping: Remapping) -> None:
        if not as_json:
            name = f"{remapping.client_id} {remapping.export_name} {remapping.billing_period}"
            before = remapping.mapping_version_before
            versions = "no charges"
            if before is not None:
                known = remapping.state is RemapState.CURRENT
                versions = f"mapping version {before}" + ("" if known else f" -> {remapping.mapping_version}")
            screen.print(f"{name}: {remapping.state}, {versions}, {remapping.charges:,} charges")
            for finding in remapping.findings:
                screen.print(f"  {finding}", style="yellow")

    settings = start(TOLD_BY_STATEMENT_COMMANDS)
    remapped = remap_statements(
        settings=settings,
        database=open_store(settings),
        client=client,
        export=export,
        period=period,
        statement_id=statement,
        force=force,
        on_remapped=show,
    )
    if as_json:
        write_document(dump({"statements": [_remapping(each) for each in remapped]}))
    elif not remapped:
        screen.print("no statement matches")
    return ExitCode.SUCCESS


@statement_app.command(epilog="Example: `billfold statement count 4`")
def count(statement: StatementId, as_json: Json = False) -> int:
    """Have a statement make up the costs, in place of those that hold the same bill.

    Where two exports hold the same bill (legacy beside CUR 2.0 beside FOCUS), the one published first counts and the
    others are kept beside it. One transaction switches: a reader never sees both, and never none.
    """
    return _switch(statement, counted=True, as_json=as_json)


@statement_app.command(epilog="Example: `billfold statement uncount 4`")
def uncount(statement: StatementId, as_json: Json = False) -> int:
    """Have a statement not make up the costs: its rows and charges stay, views and reports leave them out."""
    return _switch(statement, counted=False, as_json=as_json)


@statement_app.command(epilog="Example: `billfold statement parts 4 7`")
def parts(one: StatementId, other: OtherStatementId, as_json: Json = False) -> int:
    """Have two statements be parts of one bill, whatever they hold: both make up the costs.

    It holds for later deliveries too, until `statement duplicates` or `statement compare` of the two. One transaction.
    """
    return _decide(one, other, Relation.PARTS, as_json=as_json)


@statement_app.command(epilog="Example: `billfold statement duplicates 4 7`")
def duplicates(one: StatementId, other: OtherStatementId, as_json: Json = False) -> int:
    """Have two statements be the same bill, whatever they hold: the one published first makes up the costs.

    It holds for later deliveries too, until `statement parts` or `statement compare` of the two. `statement count` has
    the other one make up the costs. One transaction.
    """
    return _decide(one, other, Relation.DUPLICATES, as_json=as_json)


@statement_app.command(epilog="Example: `billfold statement compare 4 7`")
def compare(one: StatementId, other: OtherStatementId, as_json: Json = False) -> int:
    """Compare two statements now, and let what they hold decide again, in place of what you decided about them."""
    return _decide(one, other, None, as_json=as_json)


def _decide(one: int, other: int, choice: Relation | None, *, as_json: bool) -> int:
    from billfold.bills.counting import decide

    settings = start(TOLD_BY_STATEMENT_COMMANDS)
    decision = decide(one, other, choice=choice, settings=settings, database=open_store(settings))
    if as_json:
        document = {
            "statement_ids": decision.statement_ids,
            "choice": decision.choice,
            "relation": decision.relation,
            "counted": decision.counted,
            "uncounted": decision.uncounted,
            "findings": list(decision.findings),
        }
        write_document(dump(document))
        return ExitCode.SUCCESS
    screen = Screen()
    screen.print(f"statements {one} and {other}: {_MEANINGS[decision.choice or decision.relation]}")
    for statement_id in decision.counted:
        screen.print(f"statement {statement_id} is counted now")
    for statement_id in decision.uncounted:
        screen.print(f"statement {statement_id} is not counted any more")
    for finding in decision.findings:
        screen.print(finding, style="yellow")
    return ExitCode.SUCCESS


def _switch(statement_id: int, *, counted: bool, as_json: bool) -> int:
    from billfold.bills.counting import switch

    settings = start(TOLD_BY_STATEMENT_COMMANDS)
    switched = switch(statement_id, counted=counted, settings=settings, database=open_store(settings))
    if as_json:
        document = {
            "statement_id": switched.statement_id,
            "client": switched.client_id,
            "export": switched.export_name,
            "billing_period": switched.billing_period,
            "counted": switched.counted,
            "has_changed": switched.has_changed,
            "uncounted": switched.uncounted,
            "also_counted": switched.also_counted,
            "overlapping": switched.overlapping,
        }
        write_document(dump(document))
        return ExitCode.SUCCESS
    screen = Screen()
    name = f"statement {statement_id} ({switched.client_id} {switched.export_name} {switched.billing_period})"
    if not switched.has_changed:
        screen.print(f"{name} {'is counted' if counted else 'is not counted'} already")
    else:
        screen.print(f"{name} {'is counted now' if counted else 'is not counted any more'}")
    for other in switched.uncounted:
        screen.print(f"statement {other} holds the same bill and is not counted any more")
    for other in switched.also_counted:
        screen.print(f"statement {other} is another part of its bill and is counted now")
    if not counted and switched.overlapping:
        others = ", ".join(map(str, switched.overlapping))
        screen.print(f"none of its bill is counted now: `billfold statement count` takes {others}", style="yellow")
    return ExitCode.SUCCESS


def _remapping(remapping: Any) -> dict[str, Any]:
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
