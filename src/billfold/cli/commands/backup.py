"""`billfold backup` and `billfold restore`: a copy of the embedded database with its home."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output.screen import Screen, printable
from billfold.cli.output.streams import write_document
from billfold.documents import dump

_NEXT = "Before anything else uses it, run: billfold doctor, then billfold verify --no-source"


@app.command(epilog="For the database of DATABASE_URL use pg_dump: see docs/backups.md.")
def backup(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)],
    as_json: Json = False,
) -> int:
    """Copy the embedded database with its home into a folder while other commands run.

    The copy has the database as it was at one moment, the spool, `.env` of the working directory and the home's small
    files. PostgreSQL verifies it before the folder gets its name. Protect it as you protect the database.
    """
    made = start().back_up(target)
    if as_json:
        write_document(dump({"backup": asdict(made)}))
    else:
        Screen().print(
            f"{made.size_bytes / 2**20:,.1f} MiB in {printable(str(target))}, verified: {', '.join(made.holds)}"
        )
    return ExitCode.SUCCESS


@app.command(epilog="For the database of DATABASE_URL use pg_restore: see docs/backups.md.")
def restore(
    source: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that `billfold backup` made.", show_default=False)
    ],
    as_json: Json = False,
) -> int:
    """Restore a backup into BILLFOLD_HOME, which must not have a database.

    It is restored completely or not at all, and the backup is only read. A `.env` in it stays there: copy it yourself
    to where you run Billfold. To rehearse an upgrade, restore into another BILLFOLD_HOME: the original is never
    touched.
    """
    billfold = start()
    restored = billfold.restore(source)
    if as_json:
        write_document(dump({"backup": asdict(restored)}))
    else:
        screen = Screen()
        screen.print(f"{printable(str(billfold.settings.home))} has the database of {restored.finished_at}.")
        screen.print(_NEXT)
    return ExitCode.SUCCESS
