"""The help of the command line: quick, and the same in the overview as in each command."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import typer

# It looks at FORCE_COLOR once.
import typer.rich_utils
from rich.style import Style
from rich.text import Text
from typer.main import solve_typer_info_help

from billfold.cli import app, main
from billfold.cli.application import choose_application
from billfold.cli.command_list import PANELS

# Each takes longer to load than all that the help needs.
_HEAVY = ("boto3", "duckdb", "fastapi", "psycopg", "pyarrow", "pydantic_settings", "structlog")
# The overview does without these too.
_LIBRARIES_OF_COMMANDS = ("markdown_it", "pydantic", "pygments", "typer")


def _list_own_summaries() -> dict[str, str]:
    commands = {
        entry.name or entry.callback.__name__: inspect.cleandoc(entry.callback.__doc__ or "").split("\n\n")[0]
        for entry in app.registered_commands
        if entry.callback
    }
    groups = {str(entry.name): solve_typer_info_help(entry).split("\n\n")[0] for entry in app.registered_groups}
    return {name: " ".join(text.split()) for name, text in {**commands, **groups}.items()}


def _seen(printed: str) -> list[tuple[str, object]]:
    """Each character with its style, of which only the background is seen of a blank."""
    text = Text.from_ansi(printed)
    styles = [Style()] * len(text)
    for span in text.spans:
        for place in range(span.start, span.end):
            styles[place] += Style.parse(str(span.style))
    return [
        (character, style.bgcolor if character.isspace() else style)
        for character, style in zip(text.plain, styles, strict=True)
    ]


@pytest.mark.parametrize("width", [40, 57, 80, 200])
def test_the_overview_looks_as_typer_draws_it(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    words = ["--help"]

    typer.main.get_command(choose_application(words)).main(words, prog_name="billfold", standalone_mode=False)
    drawn_by_typer = capsys.readouterr().out
    assert main(words) == 0
    drawn = capsys.readouterr().out

    assert "\x1b[" in drawn
    assert _seen(drawn) == _seen(drawn_by_typer)


def test_the_overview_says_of_each_command_what_its_own_help_says() -> None:
    overview = {name: summary for commands in PANELS.values() for name, summary in commands.items()}

    assert overview == _list_own_summaries()


@pytest.mark.parametrize(
    ("commands", "unwanted"),
    [
        (["--version"], (*_HEAVY, *_LIBRARIES_OF_COMMANDS, "rich")),
        (["", "--help", "-h"], _HEAVY + _LIBRARIES_OF_COMMANDS),
        (["version", "costs --help", "ingest --help", "statement --help"], _HEAVY),
    ],
    ids=["version", "overview", "command"],
)
def test_help_and_version_load_no_driver(commands: list[str], unwanted: tuple[str, ...]) -> None:
    program = f"""
import sys
from billfold.cli import main
for words in sys.argv[1:]:
    code = main(words.split())
    print(repr(words), code, *sorted({{*{unwanted}}} & {{*sys.modules}}), file=sys.stderr)
"""

    run = subprocess.run([sys.executable, "-c", program, *commands], capture_output=True, text=True, check=True)

    assert run.stderr.splitlines() == [f"{words!r} 0" for words in commands]


def test_every_command_names_itself_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for commands in PANELS.values():
        for name in commands:
            assert main([name, "--help"]) == 0
            shown = capsys.readouterr()
            assert f"Usage: billfold {name}" in shown.out
            assert shown.err == ""
