"""The application that every command belongs to, and what each of them starts with.

Importing a command loads nothing below `Billfold` but values: `billfold --help` waits for no driver.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer
import typer.models

from billfold import __version__
from billfold.cli.exits import EXIT_CODES_HELP, ExitCode

if TYPE_CHECKING:
    from billfold import Billfold

# The list that each command's JSON document holds, empty where the command failed.
LIST_NAMES = {
    "ingest": "deliveries",
    "backfill": "deliveries",
    "release": "deliveries",
    "prune": "statements",
    "runs": "runs",
    "deliveries": "deliveries",
    "statements": "statements",
    "costs": "costs",
    "owner": "owners",
    "client": "clients",
    "schedule": "clients",
    "dlq": "messages",
    "doctor": "checks",
    "publications": "publications",
    "changes": "changes",
    "verify": "statements",
    "remap": "statements",
    "validate": "statements",
    "checks": "checks",
    "token": "tokens",
}

# What the help of `billfold` itself shows, without loading the commands: a test compares it with their own help.
PANELS = {
    "Ingest": {
        "ingest": "Ingest billing deliveries from S3 or from disk into PostgreSQL.",
        "backfill": "Ingest every statement in the client's folder that is not current, the oldest month first.",
        "schedule": "Backfill each client at its refresh interval, and say which clients are late.",
        "worker": "Ingest the deliveries announced on an SQS queue.",
        "release": "Ingest a held delivery although it leaves little of the current bill.",
        "dlq": "List the messages that no worker could handle, and send them again.",
    },
    "Reports": {
        "costs": "Show costs: by service and month, or as you group them.",
        "changes": "Show what changed between two publications or moments of each statement.",
        "statements": "List the statements: what each export says about each month now.",
        "deliveries": "List the deliveries: each is one refresh of a statement, with its rows and its cost.",
        "runs": "List the runs: each is the ingestion of one version of one data file.",
        "publications": "List the publications: each is one change of a statement's bill.",
        "checks": "Show the data-quality checks of the current bills.",
        "export": "Write the charges of some months to a CSV or Parquet file in FOCUS 1.2 columns.",
        "sql": "Query PostgreSQL with one statement that only reads.",
        "owner": "Manage the owners of accounts, for `billfold costs --by owner`.",
    },
    "Change published bills": {
        "remap": "Make the charges again from the landed line items with this version's mapping, without AWS.",
        "rollback": "Restore the bill from before a statement's current delivery, exactly, in one transaction.",
        "statement": "Choose which statements costs include.",
        "prune": "Delete line items and charges that were withdrawn long ago.",
    },
    "Prove": {
        "verify": "Prove from the ground up that what is published is true, and show the first row that differs.",
        "validate": "Check the charges against the rules of FOCUS 1.2.",
    },
    "Clients and access": {
        "client": "Manage the clients whose bills are ingested.",
        "onboard": "Write the CloudFormation template that a client deploys in its account.",
        "doctor": "Check everything an ingest needs and show how to fix what is missing.",
        "serve": "Serve HTTP: the dashboard, the API, health, and events from an API destination of EventBridge.",
        "token": "Manage the tokens of the API and the dashboard.",
    },
    "Installation": {
        "demo": "Try Billfold without an AWS account: generated bills, a local AWS and the embedded PostgreSQL.",
        "migrate": "Upgrade the database's schema to this version of Billfold.",
        "backup": "Copy the embedded database with its home into a folder while other commands run.",
        "restore": "Restore a backup into BILLFOLD_HOME, which must not have a database.",
        "version": "Print the version.",
    },
}
# Where a command is not in the module of its own name.
_MODULES = {
    "client": "client_change",
    "deliveries": "lists",
    "publications": "lists",
    "restore": "backup",
    "runs": "lists",
    "statements": "lists",
}

_EPILOG = (
    f"{EXIT_CODES_HELP}\n\n"
    "Settings come from the environment and from `.env` in the working directory. Without `DATABASE_URL` an"
    " embedded PostgreSQL runs under `BILLFOLD_HOME`.\n\n"
    "Start with: `billfold demo --no-serve`"
)


def _make_application() -> typer.Typer:
    made = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback(invoke_without_command=True, epilog=_EPILOG)(billfold)
    return made


def billfold(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> int:
    """Billfold lands AWS billing exports in PostgreSQL, to the cent."""
    if version:
        print_version()
        raise typer.Exit(ExitCode.SUCCESS)
    if context.invoked_subcommand is None:
        raise typer.BadParameter("which command?")
    return ExitCode.SUCCESS


# Each command registers itself here when its module is imported.
app = _make_application()


def print_version() -> None:
    """One line, without Rich: scripts ask for it."""
    sys.stdout.write(f"billfold {__version__}\n")


def start(shown_elsewhere: Sequence[str] = ()) -> Billfold:
    """Billfold with the settings of the environment, and logs where these say; the command prints `shown_elsewhere`."""
    from billfold import Billfold
    from billfold.log import configure_logging
    from billfold.settings import load_settings

    settings = load_settings()
    configure_logging(settings, shown_elsewhere=shown_elsewhere)
    return Billfold(settings)


def make_group(name: str, text: str) -> typer.Typer:
    """A group of commands, such as `billfold client …`."""
    group = typer.Typer(
        rich_markup_mode="markdown", context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True
    )
    app.add_typer(group, name=name, help=text)
    return group


def choose_application(words: Sequence[str]) -> typer.Typer:
    """The application for a command line: with the command that it names alone, or with the names of all of them."""
    wanted = next((word for word in words if not word.startswith("-")), None)
    if any(wanted in commands for commands in PANELS.values()):
        assert wanted is not None
        load_commands([wanted])
        return app
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
