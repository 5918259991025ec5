"""The help of the command line: quick, and the same in the overview as in each command."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from billfold.cli import app, main
from billfold.cli.application import PANELS

# Each takes longer to load than all that the help needs.
_HEAVY = ("boto3", "duckdb", "fastapi", "psycopg", "pyarrow", "pydantic_settings", "structlog")


def _list_own_summaries() -> dict[str, str]:
    commands = {
        entry.name or entry.callback.__name__: inspect.cleandoc(entry.callback.__doc__ or "").split("\n\n")[0]
        for entry in app.registered_commands
        if entry.callback
    }
    groups = {str(entry.name): str(entry.help) for entry in app.registered_groups}
    return {name: " ".join(text.split()) for name, text in {**commands, **groups}.items()}


def test_the_overview_says_of_each_command_what_its_own_help_says() -> None:
    overview = {name: summary for commands in PANELS.values() for name, summary in commands.items()}

    assert overview == _list_own_summaries()


@pytest.mark.parametrize(
    "words", ["--help", "--version", "version", "costs --help", "ingest --help", "statement --help"]
)
def test_help_and_version_load_no_driver(words: str) -> None:
    program = (
        "import sys; from billfold.cli import main; code = main(sys.argv[1:]);"
        f" print('loaded:', *sorted({{*{_HEAVY}}} & {{*sys.modules}}), file=sys.stderr); sys.exit(code)"
    )

    run = subprocess.run([sys.executable, "-c", program, *words.split()], capture_output=True, text=True, check=True)

    assert run.stderr == "loaded:\n"


def test_every_command_names_itself_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for commands in PANELS.values():
        for name in commands:
            assert main([name, "--help"]) == 0
            assert f"Usage: billfold {name}" in capsys.readouterr().out
