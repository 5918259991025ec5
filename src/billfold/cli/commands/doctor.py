"""`billfold doctor`: everything an ingest needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output.screen import Screen, printable
from billfold.cli.output.streams import write_document
from billfold.documents import dump
from billfold.model import Probe, ProbeState

_STYLES = {
    ProbeState.OK: "green",
    ProbeState.WARNING: "yellow",
    ProbeState.FAILED: "bold red",
    ProbeState.UNKNOWN: "cyan",
    ProbeState.SKIPPED: "dim",
}
# What failed nearest to us is fixed first.
_EXIT_CODES = (("machine", ExitCode.USAGE), ("database", ExitCode.STORE), ("aws", ExitCode.SOURCE))


@app.command(
    epilog=(
        "Examples: `billfold doctor` · `billfold doctor --client acme --json`\n\n"
        "Exit codes: 0 nothing failed (there may be warnings and unknown results); 2 the machine or a setting; 3 AWS;"
        " 5 PostgreSQL."
    )
)
def doctor(
    client: Annotated[
        str | None,
        typer.Option("--client", metavar="ID", help="Only this client; all that are enabled by default."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Check everything an ingest needs and show how to fix what is missing.

    The machine, PostgreSQL and the rights in it, our own AWS credentials and the clock, the worker's queue. Then for
    each client: that its role accepts our external id, and no other or none; that its folder can be listed, read and
    decrypted, and nothing beside it; that a recent manifest with all required columns is there; that S3 notifies us of
    new objects. It ingests and changes nothing.
    """
    screen = Screen()
    shown: list[str | None] = []

    def show(probe: Probe) -> None:
        if as_json:
            return
        if probe.client_id not in shown:
            screen.print(Text(printable(f"client {probe.client_id}" if probe.client_id else "billfold"), style="bold"))
            shown.append(probe.client_id)
        _show(screen, probe)

    probes = start().doctor(client, on_probe=show)
    counts = Counter(probe.state for probe in probes)
    if as_json:
        write_document(dump(_document(probes)))
    else:
        screen.print(", ".join(f"{counts[state]} {state}" for state in ProbeState if counts[state]))
    failed = {probe.area for probe in probes if probe.state is ProbeState.FAILED}
    return next((code for area, code in _EXIT_CODES if area in failed), ExitCode.SUCCESS)


def _document(probes: Sequence[Probe]) -> dict[str, Any]:
    counts = Counter(probe.state for probe in probes)
    return {
        "checks": [
            {
                "client": probe.client_id,
                "area": probe.area,
                "name": probe.name,
                "state": probe.state,
                "found": probe.found,
                "fix": probe.fix,
            }
            for probe in probes
        ],
        "summary": {state: counts[state] for state in ProbeState},
    }


def _show(screen: Screen, probe: Probe) -> None:
    """One line for what was found and, where something is wrong, one that shows how to fix it."""
    line = Text.assemble("  ", (f"{probe.state:8}", _STYLES[probe.state]), f"{probe.name:20}")
    screen.print(line.append(printable(probe.found)), soft_wrap=True)
    if probe.fix and probe.state is not ProbeState.OK:
        screen.print(Text(printable(f"{'':30}→ {probe.fix}")), soft_wrap=True)
