"""The application that every command belongs to, and what each of them starts with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
import typer.models

from billfold import __version__
from billfold.cli.exits import EXIT_CODES_HELP, ExitCode
from billfold.cli.output.screen import Screen
from billfold.log import configure_logging
from billfold.settings import Settings, load_settings
from billfold.store.database import Database, open_database
from billfold.store.migrate import prepare

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

# How the help of `billfold` itself arranges the commands.
PANELS = {
    "Bring bills in": ("ingest", "backfill", "schedule", "worker", "release", "dlq"),
    "Look at them": (
        "costs", "changes", "statements", "deliveries", "runs", "publications", "checks", "export", "sql", "owner",
    ),
    "Change what stands": ("remap", "rollback", "statement", "prune"),
    "Prove it": ("verify", "validate"),
    "Clients and access": ("client", "onboard", "doctor", "serve", "token"),
    "Billfold itself": ("demo", "migrate", "backup", "restore", "version"),
}  # fmt: skip

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(
    invoke_without_command=True,
    epilog=(
        f"{EXIT_CODES_HELP}\n\n"
        "Settings come from the environment and from `.env` in the working directory. Without `DATABASE_URL` an"
        " embedded PostgreSQL runs under `BILLFOLD_HOME`.\n\n"
        "Start with: `billfold demo --no-serve`"
    ),
)
def billfold(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> int:
    """Billfold lands AWS billing exports in PostgreSQL, to the cent."""
    if version:
        Screen().print(f"billfold {__version__}")
    elif context.invoked_subcommand is None:
        raise typer.BadParameter("which command?")
    if version:
        raise typer.Exit(ExitCode.SUCCESS)
    return ExitCode.SUCCESS


def start(shown_elsewhere: Sequence[str] = ()) -> Settings:
    """The settings, with logs going where they say; events in `shown_elsewhere` the command tells itself."""
    settings = load_settings()
    configure_logging(settings, shown_elsewhere=shown_elsewhere)
    return settings


def open_store(settings: Settings) -> Database:
    """The database, its schema ready for use."""
    database = open_database(settings)
    prepare(database)
    return database


def arrange() -> None:
    """Put every command into its panel, in the panel's order; to be called when all are registered."""
    panels = {name: panel for panel, names in PANELS.items() for name in names}
    places = {name: place for place, name in enumerate(panels)}

    def name_of(entry: typer.models.CommandInfo | typer.models.TyperInfo) -> str:
        return entry.name or str(getattr(entry.callback, "__name__", ""))

    for command in app.registered_commands:
        command.rich_help_panel = panels[name_of(command)]
    for group in app.registered_groups:
        group.rich_help_panel = panels[name_of(group)]
    app.registered_commands.sort(key=lambda entry: places[name_of(entry)])
    app.registered_groups.sort(key=lambda entry: places[name_of(entry)])
