"""`billfold worker`, and `billfold serve`, as processes of their own, which a test can tell to end, or kill."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from billfold.jobs import pool, rescue
from tests.processes.warm_process import WarmProcess
from tests.processes.web_server import WebServer

# Nothing here takes nearly as long; who waits longer waits for a process that hangs.
LIMIT_SECONDS = 300


class WorkerProcess:
    """The parent's hold on the process."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for its end; returns the exit code."""
        self.tell(number)
        return self.finish_within(LIMIT_SECONDS)

    def finish_within(self, seconds: int) -> int:
        """Wait for its end, for no longer than this; returns the exit code."""
        self._process.communicate(timeout=seconds)
        return self._process.returncode

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, and wait for nothing."""
        self._process.send_signal(number)

    def finish(self, limit_seconds: int = LIMIT_SECONDS) -> dict[str, Any]:
        """Wait until it has drained the queue; returns its document."""
        out, _ = self._process.communicate(timeout=limit_seconds)
        assert self._process.returncode == 0, self._log.read_text()
        document: dict[str, Any] = json.loads(out)
        return document

    def wait_for(self, event: str, is_it: Callable[[dict[str, Any]], bool] = lambda _: True) -> None:
        """Wait until it logs this event."""
        self.wait_until(lambda: any(logged["event"] == event and is_it(logged) for logged in self.events()))

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait while it lives until something is so."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not is_so():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def events(self) -> list[dict[str, Any]]:
        """What it has logged so far; a line that is still being written comes later."""
        lines = self._log.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def kill(self) -> None:
        """Kill it as a machine that is gone."""
        self._process.kill()
        self._process.communicate(timeout=LIMIT_SECONDS)


def blame_soon() -> None:
    """Prepares a process that follows a killed or a stopped one: it waits for the other only a moment."""
    pool.LOOK_SECONDS = 0.2
    pool.SILENCE_SECONDS = 2
    rescue.GRACE_SECONDS = 0.5


@contextmanager
def start_worker(
    environment: Mapping[str, str], *options: str, prepare: Callable[[], None] | None = None
) -> Iterator[WorkerProcess]:
    """A worker with these variables; it is killed, if it still lives, at the end."""
    with _start(environment, "worker", *options, "--json", prepare=prepare) as worker:
        yield worker


@contextmanager
def start_server(
    environment: Mapping[str, str], prepare: Callable[[], None] | None = None
) -> Iterator[tuple[WorkerProcess, WebServer]]:
    """A server with these variables, on a free port, that answers; it is killed, if it still lives, at the end."""
    with _start(environment, "serve", "--port", "0", prepare=prepare) as process:
        process.wait_for("server_started")
        [started] = [event for event in process.events() if event["event"] == "server_started"]
        # The socket listens a moment later.
        process.wait_until(lambda: _listens(started["port"]))
        yield process, WebServer(port=started["port"], token=Path(started["token_file"]).read_text().strip())


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def _start(environment: Mapping[str, str], *words: str, prepare: Callable[[], None] | None) -> Iterator[WorkerProcess]:
    with tempfile.TemporaryDirectory(prefix="billfold-worker-") as name:
        log = Path(name) / "log"
        with (
            log.open("w") as stderr,
            WarmProcess(
                [sys.executable, "-m", "billfold", *words],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=name,
                preexec_fn=prepare,
                env={**environment, "BILLFOLD_LOG_FORMAT": "json"},
            ) as process,
        ):
            try:
                yield WorkerProcess(process, log)
            finally:
                process.kill()
