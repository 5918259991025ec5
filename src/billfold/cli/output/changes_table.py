"""Changes for people: the largest ones, then each statement's total, then the past months that changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from billfold.cli.output.columns import group_column, name_column, number_column
from billfold.cli.output.grid import add_row, add_total, make_table, print_table, show_moment, show_money
from billfold.cli.output.screen import printable
from billfold.money import round_amount, show_minor_unit

if TYPE_CHECKING:
    from billfold.reports.changes import ChangeReport, ChangeRow, StatementChange

_CLOSED_STYLE = "bold yellow"


def show_changes(console: Console, report: ChangeReport) -> None:
    """The largest changes, the totals of the statements that moved, and a line for each past month among them.

    Where nothing moved at all, every statement is shown with its total.
    """
    if not report.changes:
        console.print("no publications", style="dim")
        return
    several = len({change.client_id for change in report.changes}) > 1
    names = {change.statement_id: _name(change, with_client=several) for change in report.changes}
    moved = [change for change in report.changes if change.has_moved]
    if report.group_count:
        _show_groups(console, report, names)
        console.print()
    if not moved:
        console.print("nothing changed", style="bold")
    _show_totals(console, report, moved or report.changes, names)
    for change in report.changes:
        if change.closed_month_moved:
            line = f"past month changed: {names[change.statement_id]}: {_spell_move(change)}"
            console.print(Text(printable(line), style=_CLOSED_STYLE), soft_wrap=True)


def show_difference(difference: Decimal, currency: str = "") -> str:
    """A difference with its sign and its currency's decimals; one that rounds to zero still differs from none."""
    if difference and not round_amount(difference, currency):
        return f"{'+' if difference > 0 else '-'}<{show_minor_unit(currency)}"
    return f"{'+' if difference > 0 else ''}{show_money(difference, currency)}"


def _show_groups(console: Console, report: ChangeReport, names: Mapping[int, str]) -> None:
    statement = [number_column("Id"), name_column("Statement", spare=1)] if len(report.changes) > 1 else []
    columns = [group_column(column.capitalize()) for column in report.columns]
    table = make_table(
        *statement,
        *columns,
        name_column("Currency"),
        number_column("Old"),
        number_column("New"),
        number_column("Difference"),
    )
    shown = [(change.statement_id, row) for change in report.changes for row in change.groups]
    for statement_id, row in sorted(shown, key=lambda mover: -abs(mover[1].difference)):
        place = [str(statement_id), names[statement_id]] if statement else []
        add_row(table, *place, *(value or "-" for value in row.group), *_amounts(row))
    print_table(console, table)
    if report.group_count > len(shown):
        left_out = report.group_count - len(shown)
        console.print(f"{left_out:,} smaller changes are left out: raise --limit, or use --json, which has all")


def _show_totals(
    console: Console, report: ChangeReport, changes: Sequence[StatementChange], names: Mapping[int, str]
) -> None:
    # Rows are not net as the costs beside them are: what came and went again in between is in both figures.
    places = [
        number_column("Id"),
        name_column("Statement", spare=1),
        name_column("Publications", spare=2),
        name_column("Published (UTC)", spare=3),
        name_column("Rows rewritten", spare=3),
    ]
    table = make_table(
        *places, name_column("Currency"), number_column("Old"), number_column("New"), number_column("Difference")
    )
    for change in changes:
        style = _CLOSED_STYLE if change.closed_month_moved else ""
        cells = [
            str(change.statement_id),
            names[change.statement_id],
            _spell_span(change),
            show_moment(change.later.published_at),
            f"+{change.rows_added:,} -{change.rows_removed:,}",
        ]
        for total in change.totals or [None]:
            add_row(table, *cells, *(_amounts(total) if total else ["-"] * 4), style=style)
            cells = [""] * len(cells)
    if len(report.changes) > 1:
        unmoved = len(report.changes) - len(changes)
        note = f"with {unmoved:,} unmoved" if unmoved else ""
        for line, total in enumerate(report.totals):
            add_total(table, line, ["Total", note, *[""] * (len(places) - 2), *_amounts(total)])
    print_table(console, table)
    if len(report.changes) > 1 and not all(change.counted for change in report.changes):
        console.print("statements that are not counted are in no total", style="dim")


def _amounts(row: ChangeRow) -> Iterator[str]:
    amounts = (show_money(row.old, row.currency), show_money(row.new, row.currency))
    yield from (row.currency, *amounts, show_difference(row.difference, row.currency))


def _name(change: StatementChange, *, with_client: bool) -> str:
    client = f"{change.client_id} " if with_client else ""
    return f"{client}{change.export_name} {change.billing_period}{'' if change.counted else ' (not counted)'}"


def _spell_span(change: StatementChange) -> str:
    later = f"{change.later.number}{'' if change.later.kind == 'delivery' else f' {change.later.kind}'}"
    return f"{change.earlier.number if change.earlier else 0} to {later}"


def _spell_move(change: StatementChange) -> str:
    if change.earlier is None:
        # The difference is the whole bill: what the month's end was followed by is only a part of it.
        return "after its first publication"
    return (
        ", ".join(
            f"{show_difference(total.difference, total.currency)} {total.currency}"
            f" (was {show_money(total.old, total.currency)})"
            for total in change.totals
            if total.difference or len(change.totals) == 1
        )
        or "nothing in total"
    )
