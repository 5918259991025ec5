"""A command in a process of its own that stops at a named place, so that a test can send it a signal there."""

from __future__ import annotations

import importlib
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Literal, NoReturn

IMPORTS = "the imports"
NOWHERE = "nowhere"
# Nothing here takes nearly as long; who waits longer waits for a process that hangs.
LIMIT_SECONDS = 120
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Before or after a function of the product; what the process does there is what a signal has to end.

    That is a wait inside of Python, which a line on standard input ends, or a query in DuckDB or PostgreSQL that has no
    end, on the connection that is the function's first argument.
    """

    module: str
    function: str
    moment: Literal["before", "after"] = "before"
    inside: Literal["python", "duckdb", "postgres"] = "python"


PLACES = {
    "registering": Place(
        module="billfold.store.deliveries.registration", function="register_delivery", inside="postgres"
    ),
    "the registered delivery": Place(
        module="billfold.store.deliveries.registration", function="register_delivery", moment="after"
    ),
    "the claim": Place(module="billfold.store.deliveries.claims", function="claim", inside="postgres"),
    "fetching": Place(module="billfold.bills.delivery", function="fetch_delivery"),
    "parsing": Place(module="billfold.transform.refusals", function="refuse_bad_values", inside="duckdb"),
    "identifying": Place(module="billfold.transform.identify", function="identify", inside="duckdb"),
    # In a second thread, to which no signal comes.
    "mapping": Place(module="billfold.transform.mapping", function="prepare_mapping", inside="duckdb"),
    "new members": Place(module="billfold.store.deliveries.members", function="ensure_members", inside="postgres"),
    "landing": Place(module="billfold.store.deliveries.landing", function="land_rows", inside="postgres"),
    "the commit": Place(module="billfold.store.deliveries.publications", function="finish_publication"),
    "the committed bill": Place(
        module="billfold.store.deliveries.publications", function="finish_publication", moment="after"
    ),
    "the checks": Place(module="billfold.quality.checks", function="make_checks"),
    "the end": Place(module="billfold.cli.output.tables", function="show_outcomes"),
    "remapping": Place(module="billfold.store.deliveries.landing", function="withdraw_charges", inside="postgres"),
    "verifying": Place(module="billfold.transform.landed", function="find_misidentified", inside="duckdb"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended after its signal."""

    code: int
    seconds: float
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.err.strip().splitlines()[-1]


class HeldCommand:
    """The parent's hold on the process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def send(self, number: signal.Signals) -> None:
        """Send a signal, and wait for nothing."""
        self._process.send_signal(number)

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends in this time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def read_line(self) -> str:
        """The next line that it logs."""
        stderr = self._process.stderr
        assert stderr is not None
        line = stderr.readline()
        assert line, "the command has ended"
        return line

    def wait_until_held(self) -> None:
        """Wait until it is at its place."""
        stdout = self._process.stdout
        assert stdout is not None
        is_there, _, _ = select.select([stdout], [], [], LIMIT_SECONDS)
        assert is_there, "the command does not come to its place"
        line = stdout.readline()
        assert line == "held\n", (line, self._process.communicate(timeout=LIMIT_SECONDS))

    def finish(self) -> Ended:
        """Let it go on, and wait for the end."""
        started_at = time.monotonic()
        out, err = self._process.communicate("\n", timeout=LIMIT_SECONDS)
        return Ended(code=self._process.returncode, seconds=time.monotonic() - started_at, out=out, err=err)

    def end(self, number: signal.Signals) -> Ended:
        """Send a signal and wait for the end."""
        self._process.send_signal(number)
        sent_at = time.monotonic()
        out, err = self._process.communicate(timeout=LIMIT_SECONDS)
        return Ended(code=self._process.returncode, seconds=time.monotonic() - sent_at, out=out, err=err)


@contextmanager
def held_command(
    place: str, environment: Mapping[str, str], *words: str, ignored: signal.Signals | None = None
) -> Iterator[HeldCommand]:
    """`billfold` with these words, held at a place; it is killed, if it still lives, at the end.

    It is started to ignore a signal, as under nohup, where one is `ignored`.
    """
    # The process, which runs this file too, does without the tests' modules.
    from tests.processes.warm_process import WarmProcess

    with (
        tempfile.TemporaryDirectory(prefix="billfold-held-") as folder,
        (subprocess.Popen if place == IMPORTS else WarmProcess)(
            [sys.executable, "-P", __file__, place, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**environment, "BILLFOLD_LOG_FORMAT": "json"},
            # In the background of a shell SIGINT is ignored.
            preexec_fn=partial(_hear_signals, ignored),
        ) as process,
    ):
        try:
            yield HeldCommand(process)
        finally:
            process.kill()


def _hear_signals(ignored: signal.Signals | None) -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN if number is ignored else signal.SIG_DFL)


def main() -> NoReturn:
    """Wrap the place's function where the product looks it up, and run the command."""
    name = sys.argv.pop(1)
    from billfold.cli import main as run

    if name == IMPORTS:
        sys.meta_path.insert(0, _Holding())
    elif name != NOWHERE:
        _hold_at(PLACES[name])
    sys.exit(run())


class _Holding:
    """Is asked for each module before it is imported, and holds at one of the last ones."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "billfold.cli.commands.version":
            _tell()
            time.sleep(LIMIT_SECONDS)


def _tell() -> None:
    sys.stdout.write("held\n")
    sys.stdout.flush()


def _hold_at(place: Place) -> None:
    module = importlib.import_module(place.module)
    function = getattr(module, place.function)

    is_reached = False

    @wraps(function)
    def held(*arguments: Any, **named: Any) -> Any:
        nonlocal is_reached
        if is_reached:
            # What is written down after the interruption may pass the same place.
            return function(*arguments, **named)
        is_reached = True
        result = function(*arguments, **named) if place.moment == "after" else None
        _tell()
        match place.inside:
            case "python":
                sys.stdin.readline()
            case "postgres":
                arguments[0].execute("SELECT pg_sleep(120)")
            case "duckdb":
                arguments[0].execute("SELECT sum(a.range * b.range) FROM range(10000000) AS a, range(10000000) AS b")
        return result

    setattr(module, place.function, held)


if __name__ == "__main__":
    main()
