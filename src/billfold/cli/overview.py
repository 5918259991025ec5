"""What `billfold --help` prints, drawn with Rich alone.

Typer draws the same with Pydantic and a Markdown parser, which takes three times as long to load. A test compares both.
"""

from __future__ import annotations

import os
import re

from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from billfold.cli.command_list import ABOUT, EPILOG, PANELS, VERSION_HELP

# The Markdown that the texts use.
_CODE_OR_STRONG = re.compile(r"`(?P<code>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*")


def show_overview() -> None:
    """Print the help of `billfold` itself."""
    console = _open_console()
    console.print(
        Padding(Text.assemble(("Usage: ", "yellow"), "billfold [OPTIONS] COMMAND [ARGS]..."), 1), style="bold"
    )
    console.print(Padding(_as_text(ABOUT), (0, 1, 1, 1)))
    console.print(_panel("Options", _options()))
    name_width = max(len(name) for commands in PANELS.values() for name in commands)
    for title, commands in PANELS.items():
        table = _table()
        table.add_column(style="bold cyan", no_wrap=True, width=name_width)
        table.add_column(ratio=10)
        for name, summary in commands.items():
            table.add_row(name, _as_text(summary))
        console.print(_panel(title, table))
    paragraphs = [_as_text(paragraph) for paragraph in EPILOG.split("\n\n")]
    console.print(Padding(Text("\n\n").join(paragraphs), 1))
    console.print()


def _open_console() -> Console:
    """As Typer does, with its variables of the environment."""
    width = os.environ.get("TERMINAL_WIDTH")
    is_forced = any(os.environ.get(name) for name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS"))
    return Console(
        markup=False,
        emoji=False,
        highlight=False,
        width=int(width) if width else None,
        force_terminal=is_forced or None,
    )


def _options() -> Table:
    table = _table()
    kind = Text.assemble(("<", "dim"), "bool", (">", "dim"), style="bold yellow", overflow="fold")
    for long, short, summary in (("--version", "", VERSION_HELP), ("--help", "-h", "Show this message and exit.")):
        # The empty columns are for the opposites of options, which Typer leaves room for.
        table.add_row(Text(long, "bold cyan"), Text(short, "bold green"), "", "", kind, Columns([_as_text(summary)]))
    return table


def _table() -> Table:
    return Table(show_header=False, expand=True, box=None, pad_edge=False)


def _panel(title: str, content: Table) -> Panel:
    return Panel(content, border_style="dim", title=title, title_align="left")


def _as_text(markdown: str) -> Text:
    text = Text(justify="left")
    end = 0
    for found in _CODE_OR_STRONG.finditer(markdown):
        text.append(markdown[end : found.start()])
        text.append(found[found.lastgroup or 0], f"markdown.{found.lastgroup}")
        end = found.end()
    return text.append(markdown[end:])
