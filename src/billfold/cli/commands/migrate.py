"""`billfold migrate`: the database's schema for this version."""

from __future__ import annotations

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.output.screen import Screen


@app.command(epilog="The embedded database is migrated at every start; run this for the database of DATABASE_URL.")
def migrate() -> int:
    """Upgrade the database's schema to this version of Billfold.

    Creates the embedded database if it does not exist. Prints the migrations that it applied.
    """
    applied = start().migrate()
    screen = Screen()
    for migration in applied:
        screen.print(f"applied {migration.number:04} {migration.name}")
    if not applied:
        screen.print("nothing to apply: the schema is current")
    return ExitCode.SUCCESS
