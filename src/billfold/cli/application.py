"""The application that every command belongs to, and what each of them starts with.

Importing a command loads nothing below `Billfold` but values: `billfold --help` waits for no driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer
import typer.models

from billfold.cli.command_list import ABOUT, EPILOG, PANELS, VERSION_HELP
from billfold.cli.exits import ExitCode
from billfold.cli.output.streams import print_version

if TYPE_CHECKING:
    from billfold import Billfold

# Where a command is not in the module of its own name.
_MODULES = {
    "client": "client_change",
    "deliveries": "lists",
    "publications": "lists",
    "restore": "backup",
    "runs": "lists",
    "statements": "lists",
}


def _make_application() -> typer.Typer:
    made = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback(invoke_without_command=True, help=ABOUT, epilog=EPILOG)(billfold)
    return made


def billfold(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help=VERSION_HELP)] = False,
) -> int:
    if version:
        print_version()
        raise typer.Exit(ExitCode.SUCCESS)
    if context.invoked_subcommand is None:
        raise typer.BadParameter("which command?")
    return ExitCode.SUCCESS


# Each command registers itself here when its module is imported.
app = _make_application()


def start(shown_elsewhere: Sequence[str] = ()) -> Billfold:
    """Billfold with the settings of the environment, and logs where these say; the command prints `shown_elsewhere`."""
    from billfold import Billfold
    from billfold.log import configure_logging
    from billfold.settings import load_settings

    settings = load_settings()
    configure_logging(settings, shown_elsewhere=shown_elsewhere)
    return Billfold(settings)


def make_group(name: str, text: str | None = None) -> typer.Typer:
    """A group of commands, such as `billfold client …`.

    One without a text does something without one of them: its callback, whose docstring is the text.
    """
    group = typer.Typer(
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=text is not None,
        invoke_without_command=text is None,
    )
    app.add_typer(group, name=name, help=text or typer.models.Default(None))
    return group


def choose_application(words: Sequence[str]) -> typer.Typer:
    """The application for a command line: with the command that it names alone, or with the names of all of them."""
    wanted = next((word for word in words if not word.startswith("-")), None)
    if any(wanted in commands for commands in PANELS.values()):
        assert wanted is not None
        load_commands([wanted])
        chosen = _make_application()
        # Its module may hold others, and so may a process that has run one before.
        chosen.registered_commands = [each for each in app.registered_commands if _name_of(each) == wanted]
        chosen.registered_groups = [each for each in app.registered_groups if _name_of(each) == wanted]
        return chosen
    overview = _make_application()
    for panel, commands in PANELS.items():
        for name, summary in commands.items():
            overview.command(name, help=summary, rich_help_panel=panel)(_never_runs)
    return overview


def load_commands(names: Sequence[str] = ()) -> None:
    """Register these commands, or all of them, each in its panel."""
    for name in names or [name for commands in PANELS.values() for name in commands]:
        import_module(f"billfold.cli.commands.{_MODULES.get(name, name)}")
    panels = {name: panel for panel, commands in PANELS.items() for name in commands}
    places = {name: place for place, name in enumerate(panels)}
    for command in app.registered_commands:
        command.rich_help_panel = panels[_name_of(command)]
    for group in app.registered_groups:
        group.rich_help_panel = panels[_name_of(group)]
    app.registered_commands.sort(key=lambda entry: places[_name_of(entry)])
    app.registered_groups.sort(key=lambda entry: places[_name_of(entry)])


def _name_of(entry: typer.models.CommandInfo | typer.models.TyperInfo) -> str:
    return entry.name or str(getattr(entry.callback, "__name__", ""))


def _never_runs() -> None:
    raise AssertionError("the overview only names the commands")
