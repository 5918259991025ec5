"""An ingest in a process of its own, which dies at a named point as by SIGKILL, or is killed at any moment."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

import billfold
from billfold.bills.ingest import ingest
from billfold.log import configure_logging
from billfold.settings import Settings, load_settings, setting_fields
from billfold.store.database import BulkConnection, Database

# Nothing here takes nearly as long; who waits longer waits for a process that hangs.
LIMIT_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A moment of an ingest: before or after a function of the product, or before the commit inside of it.

    `has_started` says that the attempt is counted by then, `is_published` that the bill is committed.
    """

    module: str
    function: str
    moment: Literal["before", "after", "before its commit"]
    has_started: bool = True
    is_published: bool = False


POINTS = {
    "after register": Point(
        module="billfold.store.deliveries.registration", function="register_delivery", moment="after", has_started=False
    ),
    "after claim": Point(
        module="billfold.store.deliveries.claims", function="claim", moment="after", has_started=False
    ),
    "after start": Point(module="billfold.store.deliveries.attempts", function="start", moment="after"),
    "after fetch": Point(module="billfold.bills.delivery", function="fetch_delivery", moment="after"),
    "after new members": Point(module="billfold.store.deliveries.members", function="ensure_members", moment="after"),
    "after land": Point(module="billfold.store.deliveries.landing", function="land_rows", moment="after"),
    # Mapping runs beside landing; both have ended when the first removed row moves to history.
    "after map": Point(module="billfold.store.deliveries.landing", function="withdraw", moment="before"),
    "after charge": Point(module="billfold.store.deliveries.landing", function="land_charges", moment="after"),
    "after roll-up": Point(module="billfold.store.deliveries.landing", function="roll_up", moment="after"),
    "before commit": Point(
        module="billfold.store.deliveries.publications", function="finish_publication", moment="before its commit"
    ),
    "after commit": Point(
        module="billfold.store.deliveries.publications",
        function="finish_publication",
        moment="after",
        is_published=True,
    ),
}


class Worker:
    """The parent's hold on such a process; it is ready, with everything imported, and begins when it is told to."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    @contextmanager
    def start(cls, settings: Settings, *, conninfo: str, client_id: str, dies_at: str | None = None) -> Iterator[Self]:
        """A worker with these settings for this database; it is killed, if it still lives, at the end."""
        # The process, which runs this file too, does without the tests' modules.
        from tests.processes.warm_process import WarmProcess

        with tempfile.TemporaryDirectory(prefix="billfold-worker-") as name:
            folder = Path(name)
            environment = _environment(settings) | {"DATABASE_URL": conninfo, "BILLFOLD_CLIENT": client_id}
            with (
                (folder / "log").open("w") as log,
                WarmProcess(
                    [sys.executable, "-P", __file__, *([dies_at] if dies_at else [])],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=folder,
                    env=environment,
                ) as process,
            ):
                try:
                    yield cls(process, folder / "log")
                finally:
                    process.kill()

    def begin(self, *sources: Path) -> None:
        """Let it ingest these sources, one after the other, as soon as it has imported everything."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        is_ready, _, _ = select.select([stdout], [], [], LIMIT_SECONDS)
        assert is_ready, "the worker does not get ready"
        assert stdout.readline() == "ready\n", self.read_log()
        stdin.write(json.dumps([str(source) for source in sources]) + "\n")
        stdin.flush()

    def finish(self) -> dict[str, Any]:
        """Wait until all is ingested: `seconds`, and `outcomes` with source, state and error of each delivery."""
        document, _ = self._process.communicate(timeout=LIMIT_SECONDS)
        assert self._process.returncode == 0, self.read_log()
        result: dict[str, Any] = json.loads(document)
        return result

    def kill_after(self, seconds: float) -> None:
        """Kill it after this time, whatever it does then; one that has ended its work waits for it."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.wait(timeout=LIMIT_SECONDS)

    def dies_by_itself(self) -> bool:
        """Wait until it is dead; False where it came to the end of its work instead."""
        self._process.communicate(timeout=LIMIT_SECONDS)
        return self._process.returncode == -signal.SIGKILL

    def read_log(self) -> str:
        """What it has logged so far, for the message of a failure."""
        return self._log.read_text()


def _environment(settings: Settings) -> dict[str, str]:
    """This process's environment with exactly these settings, for a process that has to find the same Billfold."""
    known = setting_fields()
    kept = {name: value for name, value in os.environ.items() if name not in known}
    given = {name: getattr(settings, attribute) for name, (attribute, _) in known.items()}
    return {
        **kept,
        **{name: str(value) for name, value in given.items() if value is not None},
        "PYTHONPATH": str(Path(billfold.__file__).parents[1]),
    }


def main() -> None:
    """Get ready, read one line of sources from standard input, ingest them, tell how, and wait for the end of input."""
    if len(sys.argv) > 1:
        _die_at(sys.argv[1])
    settings = load_settings()
    configure_logging(settings)
    assert settings.database_url is not None
    database = Database(conninfo=settings.database_url, reader_conninfo=None, is_embedded=False)
    client = settings.default_client()
    _tell("ready")
    sources = json.loads(sys.stdin.readline())
    started = time.monotonic()
    outcomes = [
        {
            "source": source,
            "state": outcome.state,
            "error": str(outcome.exit_error) if outcome.exit_error else None,
        }
        for source in sources
        for outcome in ingest(source, client=client, settings=settings, database=database)
    ]
    _tell(json.dumps({"seconds": time.monotonic() - started, "outcomes": outcomes}))
    sys.stdin.read()


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _die_at(name: str) -> None:
    """Wrap the point's function where the product looks it up: the product itself knows nothing of it."""
    point = POINTS[name]
    module = importlib.import_module(point.module)
    function = getattr(module, point.function, None)
    assert callable(function), f"{point.module} has no function {point.function}: {name!r} has to name another"

    @wraps(function)
    def dying(*arguments: Any, **named: Any) -> NoReturn:
        if point.moment == "before":
            _die()
        if point.moment == "before its commit":
            BulkConnection.commit = _die  # type: ignore[assignment,method-assign]
        function(*arguments, **named)
        _die()

    setattr(module, point.function, dying)


def _die(*_: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nothing survives SIGKILL")


if __name__ == "__main__":
    main()
