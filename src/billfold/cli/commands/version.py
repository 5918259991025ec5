"""`billfold version`."""

from __future__ import annotations

from billfold.cli.application import app
from billfold.cli.exits import ExitCode
from billfold.cli.output.streams import print_version


@app.command()
def version() -> int:
    """Print the version."""
    print_version()
    return ExitCode.SUCCESS
