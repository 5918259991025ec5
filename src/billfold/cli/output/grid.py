"""Tables for people: how a table is made of cells, and how money and instants look in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.style import StyleType
from rich.text import Text

from billfold.cli.output.columns import Column, Kind
from billfold.cli.output.layout import NO_VALUE, Row, Table, print_fitting, print_plain
from billfold.cli.output.screen import printable
from billfold.documents import format_money
from billfold.identifiers import shorten
from billfold.money import round_amount, round_to

# AWS writes ten decimals. Computed amounts have up to 18, and sums of foreign files even more.
_MAX_DECIMALS = 10

# How states look.
_STYLES = {
    "published": "green",
    "success": "green",
    "failed": "bold red",
    "running": "cyan",
    "superseded": "yellow",
    "held": "bold yellow",
    "rolled_back": "yellow",
    "passed": "green",
    "warned": "yellow",
    "must": "bold red",
    "should": "yellow",
}


def make_table(*columns: Column) -> Table:
    """An empty table with these columns."""
    return Table(columns=tuple(replace(column, header=_escape(column.header.strip())) for column in columns))


def add_row(table: Table, *cells: Any, style: StyleType = "") -> None:
    """A row of values: None is a dash, counts have thousands, anything else is shown as its text."""
    table.rows.append(Row(cells=tuple(map(_cell, cells)), style=style))


def add_total(table: Table, number: int, cells: Sequence[str]) -> None:
    """One of the rows of totals; a line parts the first of them (0) from the rows above."""
    row = Row(cells=tuple(Text(_escape(cell)) for cell in cells), style="bold", starts_section=number == 0)
    table.rows.append(row)


def print_table(console: Console, table: Table, *, nothing: str = "") -> None:
    """Print it; `nothing` is printed for a table without rows.

    On a terminal no number, name or id is cut or folded, however narrow the window; ids are prefixes there.
    """
    if not table.rows and nothing:
        console.print(nothing, style="dim")
    elif console.is_terminal:
        print_fitting(console, shorten_ids(table))
    else:
        print_plain(console, table)


def shorten_ids(table: Table) -> Table:
    """The table with each id as its prefix."""
    places = [place for place, column in enumerate(table.columns) if column.kind is Kind.ID]
    if not places:
        return table
    short = shorten(row.cells[place].plain for row in table.rows for place in places)
    for place in places:
        short.update(table.columns[place].short)
    rows = [
        replace(
            row,
            cells=tuple(
                Text(short.get(cell.plain, cell.plain), style=cell.style) if place in places else cell
                for place, cell in enumerate(row.cells)
            ),
        )
        for row in table.rows
    ]
    return Table(columns=table.columns, rows=rows)


def show_money(amount: Decimal, currency: str = "") -> str:
    """An amount with the decimals of its currency, for the eye: 1,234.50."""
    return f"{round_amount(amount, currency):,f}"


def show_amounts(amounts: Mapping[str, Decimal | str]) -> str:
    """Amounts with their currencies: exact up to ten decimals, else rounded, which a tilde says."""
    return ", ".join(f"{_spell_amount(amount)} {currency}" for currency, amount in sorted(amounts.items())) or "-"


def _spell_amount(amount: Decimal | str) -> str:
    rounded = round_to(Decimal(amount), _MAX_DECIMALS)
    return format_money(amount) if rounded == Decimal(amount) else f"~{format_money(rounded)}"


def show_rounded(amounts: Mapping[str, str]) -> str:
    """Amounts with the decimals of their currencies."""
    return (
        ", ".join(f"{show_money(Decimal(amount), currency)} {currency}" for currency, amount in sorted(amounts.items()))
        or "-"
    )


def show_instant(instant: datetime | None) -> str | None:
    """An instant to the minute."""
    return f"{instant:%Y-%m-%d %H:%M}" if instant else None


def show_moment(instant: datetime) -> str:
    """When something was published, to the second and rounded up: `--as-of` this moment shows the bill after it."""
    rounded = instant.replace(microsecond=0)
    return f"{rounded + timedelta(seconds=1) if rounded < instant else rounded:%Y-%m-%d %H:%M:%S}"


def _cell(value: Any) -> Text:
    if value is None:
        return Text(NO_VALUE, style="dim")
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    return Text(_escape(str(value)), style=_STYLES.get(str(value).rstrip("*"), ""))


def _escape(text: str) -> str:
    """A cell is one line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")
