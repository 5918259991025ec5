"""The commands that judge what is published: the rules of FOCUS, and the checks of each delivery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from billfold import reports
from billfold.cli.application import app, open_store, start
from billfold.cli.exits import ExitCode, exit_code
from billfold.cli.options import Json, OneClient, OneExport, OnePeriod, OneStatement
from billfold.cli.output.checks_table import show_checks
from billfold.cli.output.columns import name_column, number_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_amounts
from billfold.cli.output.screen import Screen, printable, show_error, write_document
from billfold.documents import dump, format_money, report_document
from billfold.errors import UsageError
from billfold.model import CheckState
from billfold.quality import make_checks
from billfold.reports import ConformanceReport, JudgedStatement
from billfold.selection import Filter
from billfold.store.database import Database
from billfold.store.reports.conformance import BrokenRule

_STYLES = {"must": "bold red", "should": "yellow"}


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold validate` (every statement)\n\n"
        "- `billfold validate --client acme --period 2026-05`\n\n"
        "- `billfold validate --statement 3 --json`\n\n"
        "Exit codes: 0 no must-rule is broken; 2 no such statement; 5 PostgreSQL; 7 a must-rule is broken."
        " Rules that the specification only recommends are shown and change nothing."
    )
)
def validate(
    client: OneClient = None,
    export: OneExport = None,
    period: OnePeriod = None,
    statement: OneStatement = None,
    as_json: Json = False,
) -> int:
    """Judge the charges by the rules of FOCUS 1.2: which are broken, by how many charges, and what these cost.

    Every charge of each statement is read once, in one moment's view. Each broken rule comes with the sentence of the
    specification and one charge that breaks it. The rules stand in a table of the package: `billfold/focus_rules.csv`.
    """
    database = open_store(start())
    wanted = Filter(client=client, export=export, period=period, statement=statement)
    report = reports.judge_conformance(database, wanted)
    if as_json:
        write_document(dump(conformance_document(report)))
    else:
        _show_conformance(Screen(), report)
    failures = report.list_failures()
    for failure in failures:
        show_error(str(failure))
    return exit_code(failures)


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold checks --state warned` (what the current bills should be looked at for)\n\n"
        "- `billfold checks --statement 3 --all --json` (of every publication that it had)\n\n"
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
        bool, typer.Option("--all", help="The checks of all publications, not only of the bills that stand now.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Make the checks of the chosen statements anew first, as they stand now.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show the data-quality checks, in rows and money: of the bill that each statement shows now.

    They are made after every publication and refuse nothing. Money is exact, by currency: billed cost, or what the
    detail says.
    """
    database = open_store(start())
    wanted = Filter(
        client=client, export=export, period=period, statement=statement, state=state, limit=reports.MAX_LIMIT
    )
    _refuse_unknown(database, wanted)
    if refresh:
        for found in reports.list_statements(database, wanted):
            if statement in (None, found.statement_id):
                make_checks(database, statement_id=found.statement_id)
    report = reports.list_checks(database, wanted, every=every)
    if as_json:
        write_document(dump({**report_document("checks", report.rows), "unchecked_statements": list(report.unchecked)}))
    else:
        show_checks(Screen(), report)
    return ExitCode.SUCCESS


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
                "failing_cost": _spell(judged.judgement.failing_cost),
                "broken_rules": [_broken(broken) for broken in judged.judgement.broken],
            }
            for judged in report.statements
        ],
        "view": {
            "is_conformant": not (report.broken_columns or report.foreign_columns),
            "broken_rules": [_broken(broken) for broken in report.broken_columns],
            "foreign_columns": list(report.foreign_columns),
        },
    }


def _broken(broken: BrokenRule) -> dict[str, Any]:
    rule = broken.rule
    return {
        "rule": rule.rule,
        "column": rule.column,
        "kind": rule.kind,
        "severity": rule.severity,
        "row_count": broken.row_count,
        "cost": _spell(broken.cost),
        "example": dict(broken.example),
        "sentence": rule.sentence,
    }


def _spell(amounts: Any) -> dict[str, str]:
    return {currency: format_money(amount) for currency, amount in sorted(amounts.items())}


def _show_conformance(screen: Screen, report: ConformanceReport) -> None:
    for broken in report.broken_columns:
        _line(screen, f"focus_cost_and_usage: {broken.rule.rule}: {broken.rule.sentence}", style="bold red")
    for name in report.foreign_columns:
        _line(
            screen, f"focus_cost_and_usage: {name} is no column of FOCUS and does not begin with x_", style="bold red"
        )
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
    told = f" ({judgement.charge_count:,} charges{uncounted})"
    screen.print(Text.assemble((printable(name), "bold"), " ", (state, style), told), soft_wrap=True)
    if not judgement.broken:
        return
    table = make_table(name_column("Rule"), name_column("Severity"), number_column("Rows"), number_column("Billed"))
    for broken in judgement.broken:
        add_row(table, broken.rule.rule, broken.rule.severity, broken.row_count, show_amounts(broken.cost))
    print_table(screen, table)
    for broken in judgement.broken:
        _line(screen, f"{broken.rule.rule}: {broken.rule.sentence}", style=_STYLES[broken.rule.severity])
        shown = (f"{column} {'null' if value is None else value}" for column, value in broken.example.items())
        _line(screen, f"  for example {', '.join(shown)}", style="dim")


def _refuse_unknown(database: Database, wanted: Filter) -> None:
    known: Sequence[int] = [row.statement_id for row in reports.list_statements(database, wanted)]
    if wanted.statement is not None and wanted.statement not in known:
        raise UsageError(f"there is no such statement {wanted.statement}", advice="`billfold statements` lists them")


def _line(screen: Console, text: str, *, style: str) -> None:
    screen.print(Text(printable(text), style=style), soft_wrap=True)
