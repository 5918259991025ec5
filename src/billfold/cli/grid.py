"""Tables for people: how a table is made of cells, and how money and instants look in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from billfold.cli.screen import printable
from billfold.documents import spell_money
from billfold.rounding import round_amount

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


def make_table(console: Console, *headers: str) -> Table:
    """A table whose columns headed `#…` are numbers; these and those headed `|…` are never folded."""
    table = Table(
        box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, header_style="bold", show_edge=False
    )
    for header in headers:
        is_number = header.startswith("#")
        is_whole = header.startswith(("#", "|")) or not console.is_terminal
        table.add_column(
            Text(printable(header.lstrip("#|").strip())),
            justify="right" if is_number else "left",
            no_wrap=is_whole,
            overflow="fold",
        )
    return table


def add_row(table: Table, *cells: Any, style: StyleType = "") -> None:
    """A row of values: None is a dash, counts have thousands, what else there is stands as its text."""
    table.add_row(*map(_cell, cells), style=style)


def add_total(table: Table, number: int, cells: Sequence[str]) -> None:
    """One of the rows of totals, the first of them (0) parted from what stands above."""
    if number == 0:
        table.add_section()
    table.add_row(*map(Text, map(printable, cells)), style="bold")


def print_table(console: Console, table: Table, *, nothing: str = "") -> None:
    """Print it, on a pipe without blanks at the lines' ends; `nothing` stands for a table without rows."""
    if not table.row_count and nothing:
        console.print(nothing, style="dim")
    elif console.is_terminal:
        console.print(table)
    else:
        with console.capture() as lines:
            console.print(table)
        console.print("\n".join(line.rstrip() for line in lines.get().splitlines()))


def show_money(amount: Decimal, currency: str = "") -> str:
    """An amount with the decimals of its currency, for the eye: 1,234.50."""
    return f"{round_amount(amount, currency):,f}"


def show_amounts(amounts: Mapping[str, Decimal | str]) -> str:
    """Exact amounts with their currencies."""
    return ", ".join(f"{spell_money(amount)} {currency}" for currency, amount in sorted(amounts.items())) or "-"


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
        return Text("-", style="dim")
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    return Text(printable(str(value)), style=_STYLES.get(str(value).rstrip("*"), ""))
