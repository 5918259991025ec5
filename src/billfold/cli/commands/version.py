"""`billfold version`."""

from __future__ import annotations

from billfold.cli.application import app, print_version
from billfold.cli.exits import ExitCode


@app.command()
def version() -> int:
    """Print the version."""
    print_version()
    return ExitCode.SUCCESS
