"""`billfold validate`: the charges against the rules of FOCUS."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from billfold.cli.application import app, start
from billfold.cli.exits import end_with
from billfold.cli.options import Json, OneClient, OneExport, OnePeriod, OneStatement
from billfold.cli.output.columns import name_column, number_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_amounts
from billfold.cli.output.screen import Screen, print_line, printable
from billfold.cli.output.streams import write_document
from billfold.documents import dump, format_money

if TYPE_CHECKING:
    from billfold.reports.conformance import ConformanceReport, JudgedStatement
    from billfold.store.reports.conformance import BrokenRule

_STYLES = {"must": "bold red", "should": "yellow"}


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold validate` (every statement)\n\n"
        "- `billfold validate --client acme --period 2026-05`\n\n"
        "- `billfold validate --statement 3 --json`\n\n"
        "Exit codes: 0 no must-rule is broken; 2 no such statement; 5 PostgreSQL; 7 a must-rule is broken."
        " Rules that the specification only recommends are shown and do not change the exit code."
    )
)
def validate(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    statement: OneStatement = None,
    as_json: Json = False,
) -> int:
    """Check the charges against the rules of FOCUS 1.2.

    It shows which rules are broken, by how many charges, and their cost. Every charge of each statement is read once,
    in one consistent view. Each broken rule comes with the sentence of the specification and one charge that breaks it.
    The rules are in a table of the package: `billfold/focus_rules.csv`.
    """
    report = start().validate(client=client, export=export, month=period, statement=statement)
    if as_json:
        write_document(dump(conformance_document(report)))
    else:
        _show_conformance(Screen(), report)
    return end_with(report.list_failures())


def conformance_document(report: ConformanceReport) -> dict[str, Any]:
    """Each statement with the rules that it breaks, and what is wrong with the view's columns."""
    return {
        "statements": [
            {
                "statement_id": judged.statement_id,
                "client": judged.client_id,
                "export": judged.export_name,
                "billing_period": judged.billing_period,
                "counted": judged.counted,
                "is_conformant": judged.is_conformant,
                "charge_count": judged.judgement.charge_count,
                "failing_count": judged.judgement.failing_count,
                "failing_cost": _format(judged.judgement.failing_cost),
                "broken_rules": [_describe(broken) for broken in judged.judgement.broken],
            }
            for judged in report.statements
        ],
        "view": {
            "is_conformant": not (report.broken_columns or report.foreign_columns),
            "broken_rules": [_describe(broken) for broken in report.broken_columns],
            "foreign_columns": list(report.foreign_columns),
        },
    }


def _describe(broken: BrokenRule) -> dict[str, Any]:
    rule = broken.rule
    return {
        "rule": rule.rule,
        "column": rule.column,
        "kind": rule.kind,
        "severity": rule.severity,
        "row_count": broken.row_count,
        "cost": _format(broken.cost),
        "example": dict(broken.example),
        "sentence": rule.sentence,
    }


def _format(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {currency: format_money(amount) for currency, amount in sorted(amounts.items())}


def _show_conformance(screen: Screen, report: ConformanceReport) -> None:
    for broken in report.broken_columns:
        print_line(screen, f"focus_cost_and_usage: {broken.rule.rule}: {broken.rule.sentence}", style="bold red")
    for name in report.foreign_columns:
        line = f"focus_cost_and_usage: {name} is not a column of FOCUS and does not begin with x_"
        print_line(screen, line, style="bold red")
    if not report.statements:
        screen.print("no statements", style="dim")
    for judged in report.statements:
        show_judged(screen, judged)


def show_judged(screen: Console, judged: JudgedStatement) -> None:
    """A heading for the statement and, where rules are broken, a table of them with their sentences below."""
    judgement = judged.judgement
    name = f"statement {judged.statement_id}: {judged.client_id} {judged.export_name} {judged.billing_period}"
    state, style = ("conformant", "green") if judged.is_conformant else ("breaks FOCUS 1.2", "bold red")
    uncounted = "" if judged.counted else ", not counted"
    charges = f" ({judgement.charge_count:,} charges{uncounted})"
    screen.print(Text.assemble((printable(name), "bold"), " ", (state, style), charges), soft_wrap=True)
    if not judgement.broken:
        return
    table = make_table(name_column("Rule"), name_column("Severity"), number_column("Rows"), number_column("Billed"))
    for broken in judgement.broken:
        add_row(table, broken.rule.rule, broken.rule.severity, broken.row_count, show_amounts(broken.cost))
    print_table(screen, table)
    for broken in judgement.broken:
        print_line(screen, f"{broken.rule.rule}: {broken.rule.sentence}", style=_STYLES[broken.rule.severity])
        shown = (f"{column} {'null' if value is None else value}" for column, value in broken.example.items())
        print_line(screen, f"  for example {', '.join(shown)}", style="dim")
