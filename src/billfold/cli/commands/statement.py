"""The commands of `billfold statement`: which statements costs include where several have the same bill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from billfold.cli.application import make_group, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import dump
from billfold.log import Event
from billfold.model import Relation

if TYPE_CHECKING:
    from billfold.app.counting import Counting
    from billfold.bills.counting import Decision, Switch

StatementId = Annotated[int, typer.Argument(metavar="STATEMENT", help="A statement's id from `billfold statements`.")]
OtherStatementId = Annotated[int, typer.Argument(metavar="OTHER", help="The other statement's id.")]

_MEANINGS = {
    Relation.PARTS: "parts of one bill, both are counted",
    Relation.DUPLICATES: "the same bill, one of them is counted",
    Relation.OVERLAP: "they overlap, one of them is counted",
    None: "they have no account in common, both are counted",
}

statement_app = make_group("statement", "Choose which statements costs include.")


@statement_app.command(epilog="Example: `billfold statement count 4`")
def count(statement: StatementId, as_json: Json = False) -> int:
    """Include a statement in costs, in place of others with the same bill.

    Where two exports have the same bill (legacy beside CUR 2.0 beside FOCUS), the one published first is counted and
    the others are kept beside it. One transaction switches: a reader never sees both counted, nor none.
    """
    _show_switch(_counting().count(statement), as_json=as_json)
    return ExitCode.SUCCESS


@statement_app.command(epilog="Example: `billfold statement uncount 4`")
def uncount(statement: StatementId, as_json: Json = False) -> int:
    """Exclude a statement from costs: its rows and charges stay, views and reports leave them out."""
    _show_switch(_counting().uncount(statement), as_json=as_json)
    return ExitCode.SUCCESS


@statement_app.command(epilog="Example: `billfold statement parts 4 7`")
def parts(one: StatementId, other: OtherStatementId, as_json: Json = False) -> int:
    """Treat two statements as parts of one bill, regardless of their content: both are counted.

    This also holds for later deliveries, until `statement duplicates` or `statement compare` of the two. One
    transaction.
    """
    _show_decision(_counting().parts(one, other), as_json=as_json)
    return ExitCode.SUCCESS


@statement_app.command(epilog="Example: `billfold statement duplicates 4 7`")
def duplicates(one: StatementId, other: OtherStatementId, as_json: Json = False) -> int:
    """Treat two statements as the same bill, regardless of their content: the one published first is counted.

    This also holds for later deliveries, until `statement parts` or `statement compare` of the two. `statement count`
    counts the other one instead. One transaction.
    """
    _show_decision(_counting().duplicates(one, other), as_json=as_json)
    return ExitCode.SUCCESS


@statement_app.command(epilog="Example: `billfold statement compare 4 7`")
def compare(one: StatementId, other: OtherStatementId, as_json: Json = False) -> int:
    """Compare two statements now and let their content decide again, in place of your choice."""
    _show_decision(_counting().compare(one, other), as_json=as_json)
    return ExitCode.SUCCESS


def _counting() -> Counting:
    return start((Event.STATEMENT_SWITCHED, Event.STATEMENTS_PAIRED)).counting


def _show_decision(decision: Decision, *, as_json: bool) -> None:
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
        return
    screen = Screen()
    one, other = decision.statement_ids
    screen.print(f"statements {one} and {other}: {_MEANINGS[decision.choice or decision.relation]}")
    for statement_id in decision.counted:
        screen.print(f"statement {statement_id} is now counted")
    for statement_id in decision.uncounted:
        screen.print(f"statement {statement_id} is no longer counted")
    for finding in decision.findings:
        screen.print(finding, style="yellow")


def _show_switch(switched: Switch, *, as_json: bool) -> None:
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
        return
    screen = Screen()
    name = f"statement {switched.statement_id} ({switched.client_id} {switched.export_name} {switched.billing_period})"
    if not switched.has_changed:
        screen.print(f"{name} {'is already counted' if switched.counted else 'is already not counted'}")
    else:
        screen.print(f"{name} {'is now counted' if switched.counted else 'is no longer counted'}")
    for other in switched.uncounted:
        screen.print(f"statement {other} has the same bill and is no longer counted")
    for other in switched.also_counted:
        screen.print(f"statement {other} is another part of its bill and is now counted")
    if not switched.counted and switched.overlapping:
        others = ", ".join(map(str, switched.overlapping))
        line = f"none of its bill is counted now: use `billfold statement count` with {others}"
        screen.print(line, style="yellow")
