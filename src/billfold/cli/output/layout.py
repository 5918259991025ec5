"""How a table fits its window: whole, without the columns that matter least, or as a block of lines for each row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.style import StyleType
from rich.table import Table as RichTable
from rich.text import Text

from billfold.cli.output.columns import Column, Kind

# Between two columns stand two blanks.
_GAP = 2
# What a cell without a value shows.
NO_VALUE = "-"
# A value that is folded beside its key has this much room at least.
_MIN_ROOM = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The cells of a row. `starts_section`: a line parts it from the rows above."""

    cells: tuple[Text, ...]
    style: StyleType = ""
    starts_section: bool = False


@dataclass(slots=True)
class Table:
    """A table before anybody knows how wide its window is."""

    columns: tuple[Column, ...]
    rows: list[Row] = field(default_factory=list)


def print_plain(console: Console, table: Table) -> None:
    """Whole lines for a pipe, without blanks at their ends."""
    drawn = _draw(table, range(len(table.columns)), [None] * len(table.columns), is_terminal=False)
    with console.capture() as lines:
        console.print(drawn)
    console.print("\n".join(line.rstrip() for line in lines.get().splitlines()))


def print_fitting(console: Console, table: Table) -> None:
    """The table as it fits the window: no value is ever cut, and only sentences are folded."""
    natural = [_measure(table, place) for place in range(len(table.columns))]
    least = [_find_least(table, place) for place in range(len(table.columns))]
    empty = {place for place in range(len(table.columns)) if _is_empty(table, place)}
    kept = _choose(table.columns, least, empty, console.width)
    if kept is None:
        _print_blocks(console, table)
        return
    widths = _share_room(table.columns, kept, natural, least, console.width)
    console.print(_draw(table, kept, widths, is_terminal=True), soft_wrap=False)
    gone = [place for place in range(len(table.columns)) if place not in kept]
    left_out = [table.columns[place].header for place in gone if place not in empty]
    if left_out:
        noun = "column" if len(left_out) == 1 else "columns"
        line = f"{noun} left out: {', '.join(left_out)}; widen the window or use --json"
        console.print(Text(line, style="dim"), soft_wrap=True)
    if unused := [table.columns[place].header for place in gone if place in empty]:
        line = f"{'column' if len(unused) == 1 else 'columns'} without values: {', '.join(unused)}"
        console.print(Text(line, style="dim"), soft_wrap=True)


def _measure(table: Table, place: int) -> int:
    return max([cell_len(table.columns[place].header), *(row.cells[place].cell_len for row in table.rows)])


def _find_least(table: Table, place: int) -> int:
    """The width below which the column's values would be cut."""
    natural = _measure(table, place)
    if table.columns[place].kind is not Kind.TEXT:
        return natural
    words = (Text(word).cell_len for row in table.rows for word in row.cells[place].plain.split())
    return min(natural, max([table.columns[place].least_width, cell_len(table.columns[place].header), *words]))


def _is_empty(table: Table, place: int) -> bool:
    """Whether no row has a value in the column, such as the errors of deliveries that all came in."""
    return bool(table.rows) and all(row.cells[place].plain in ("", NO_VALUE) for row in table.rows)


def _choose(columns: Sequence[Column], least: Sequence[int], empty: AbstractSet[int], width: int) -> list[int] | None:
    """The places of the columns that fit side by side; None where those that must stay do not fit.

    Columns without values go before all others.
    """
    kept = [place for place, column in enumerate(columns) if not column.spare and place not in empty]
    spare = [place for place in range(len(columns)) if place not in kept]
    for place in sorted(spare, key=lambda place: (place in empty, columns[place].spare)):
        if _total(least, [*kept, place]) <= width:
            kept.append(place)
    return sorted(kept) if _total(least, kept) <= width else None


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[place] for place in kept) + _GAP * (len(kept) - 1)


def _share_room(
    columns: Sequence[Column], kept: Sequence[int], natural: Sequence[int], least: Sequence[int], width: int
) -> list[int | None]:
    """The width of each column that is kept: what is left over goes to the columns of sentences, evenly."""
    widths: list[int | None] = list(least)
    room = width - _total(least, kept)
    hungry = [place for place in kept if columns[place].kind is Kind.TEXT and natural[place] > least[place]]
    for number, place in enumerate(sorted(hungry, key=lambda place: natural[place] - least[place])):
        share = min(natural[place] - least[place], room // (len(hungry) - number))
        widths[place] = least[place] + share
        room -= share
    return widths


def _draw(table: Table, kept: Iterable[int], widths: Sequence[int | None], *, is_terminal: bool) -> RichTable:
    places = list(kept)
    drawn = RichTable(
        box=box.SIMPLE_HEAD if is_terminal else None,
        pad_edge=False,
        collapse_padding=is_terminal,
        header_style="bold",
        show_edge=False,
    )
    for place in places:
        column = table.columns[place]
        drawn.add_column(
            Text(column.header),
            justify="right" if column.kind is Kind.NUMBER else "left",
            width=widths[place],
            no_wrap=column.kind is not Kind.TEXT or not is_terminal,
            overflow="fold",
        )
    for row in table.rows:
        if row.starts_section:
            drawn.add_section()
        drawn.add_row(*(row.cells[place] for place in places), style=row.style)
    return drawn


def _print_blocks(console: Console, table: Table) -> None:
    """Each row as a block of `key  value` lines; a row that begins with a blank cell goes on with the block above."""
    key_width = max(cell_len(column.header) for column in table.columns)
    for number, row in enumerate(table.rows):
        if number and row.cells[0].plain:
            console.print()
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell.plain:
                _print_line(console, column, cell, key_width, row.style)


def _print_line(console: Console, column: Column, cell: Text, key_width: int, style: StyleType) -> None:
    """A value beside its key, or below it where it does not fit; one that fits nowhere runs over the window's edge."""
    beside, below = console.width - key_width - _GAP, console.width - _GAP
    longest = max((cell_len(word) for word in cell.plain.split()), default=0)
    fits_folded = column.kind is Kind.TEXT and beside >= max(longest, min(_MIN_ROOM, cell.cell_len))
    if fits_folded or cell.cell_len <= beside:
        lines = _fold(column, cell, beside)
        indents = [column.header.ljust(len(column.header) + key_width + _GAP - cell_len(column.header))]
        indents += [" " * (key_width + _GAP)] * (len(lines) - 1)
    else:
        console.print(Text(column.header, style="bold"), soft_wrap=True)
        lines = _fold(column, cell, below)
        fits = all(cell_len(line) <= below for line in lines)
        indents = [" " * _GAP if fits else ""] * len(lines)
    for indent, line in zip(indents, lines, strict=True):
        value = Text(line, style=cell.style)
        value.stylize_before(style)
        console.print(Text.assemble((indent, "bold"), value), soft_wrap=True)


def _fold(column: Column, cell: Text, width: int) -> list[str]:
    """The lines of a sentence, folded between words; anything else is one line."""
    if column.kind is not Kind.TEXT or cell.cell_len <= width:
        return [cell.plain]
    lines: list[str] = []
    for word in cell.plain.split():
        if lines and cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
