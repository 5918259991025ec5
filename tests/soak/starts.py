"""Trials of the embedded server's starts: kills, power losses, torn files, copies and namespaces, at random moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random

import psutil
import psycopg

from billfold.store import keeper
from tests.bills.line_items import described, write_bill
from tests.processes.homes import (
    UNSHARE,
    kill,
    lose_power,
    may_unshare,
    postmaster,
    processes_of,
    seconds_until_gone,
    start_user,
    use,
    wait_until_up,
)
from tests.processes.warm_process import run_warm

MAX_SECONDS_AFTER_LAST_USER = 3.0
MAX_EVENTS = 3


def trial(seed: int, folder: Path) -> list[str]:
    """Run one trial in an empty folder on a short path; returns a line for each broken promise."""
    folder.chmod(0o755)
    try:
        return _Trial(Random(seed), folder).run()
    finally:
        lose_power(folder)


def list_untried() -> list[str]:
    """What this machine does not let the trials do."""
    return [] if may_unshare() else ["two PID namespaces on one home: unshare is not permitted here"]


class _Trial:
    """A home with one published bill, and what happens to it."""

    def __init__(self, random: Random, folder: Path) -> None:
        self.random = random
        self.home = folder / "home"
        self.copy = folder / "copy"
        self.bucket = folder / "bucket"
        self.costs = [Decimal(random.randrange(1, 10**12)).scaleb(-10) for _ in range(3)]
        self.broken: list[str] = []

    def run(self) -> list[str]:
        if self.random.random() < 0.5:
            self._kill_a_start(at_most_seconds=4.0)
        self._publish()
        events: list[Callable[[], None]] = [
            self._kill_a_start, self._lose_power, self._tear_process_file, self._copy_stopped, self._copy_running,
            self._kill_server, self._kill_keeper, self._begin_at_once,
        ]  # fmt: skip
        if may_unshare():
            events.append(self._use_two_namespaces)
        for event in self.random.sample(events, self.random.randint(1, MAX_EVENTS)):
            event()
            self._check(self.home, f"after {event.__name__.strip('_').replace('_', ' ')}")
        return self.broken

    def _publish(self) -> None:
        write_bill(self.bucket, described(*map(str, self.costs)))
        ended = run_warm(
            [sys.executable, "-m", "billfold", "ingest", str(self.bucket)],
            env={**os.environ, "BILLFOLD_HOME": str(self.home), "BILLFOLD_MIN_FREE_BYTES": "0"},
        )
        if ended.returncode:
            self.broken.append(f"the home does not open for an ingest: {ended.stderr[-300:]}")

    def _check(self, home: Path, when: str) -> None:
        """The home opens with our settings and the bill, in one server that ends after its last user."""
        try:
            with use(home) as conninfo, psycopg.connect(conninfo) as connection:
                row = connection.execute(
                    "SELECT current_setting('shared_buffers'), (SELECT sum(billed_cost) FROM billing_usage_fact)"
                ).fetchone()
                if row != ("256MB", sum(self.costs)):
                    self.broken.append(f"{when} {home.name} holds {row}, not 256MB and {sum(self.costs)}")
                servers = [each for each in processes_of(home) if "-D" in _words(each)]
                if len(servers) != 1:
                    self.broken.append(f"{when} {len(servers)} servers run on {home.name}")
        except (AssertionError, psycopg.Error) as error:
            self.broken.append(f"{when} {home.name} does not open: {error}")
        seconds = seconds_until_gone(home, at_most=20)
        if seconds > MAX_SECONDS_AFTER_LAST_USER:
            self.broken.append(f"{when} the server of {home.name} runs {seconds:.1f} s longer than its last user")

    def _kill_a_start(self, at_most_seconds: float = 1.5) -> None:
        """Kill a command with its process group, or everything at once."""
        user = start_user(self.home)
        time.sleep(self.random.uniform(0, at_most_seconds))
        if self.random.random() < 0.5:
            lose_power(self.home)
        kill(user)

    def _lose_power(self) -> None:
        user = start_user(self.home)
        wait_until_up(user)
        lose_power(self.home)
        kill(user)

    def _tear_process_file(self) -> None:
        lose_power(self.home)
        data = self.home / "postgres"
        lines = [str(os.getpid()), str(data), "1796080000", "5432", str(data), "", "  8826964     65536", "ready   "]
        torn = "".join(f"{line}\n" for line in lines)[: self.random.randrange(120)]
        (data / "postmaster.pid").write_text(self.random.choice([torn, "\0" * 90, "no number"]))
        (data / f"{keeper.SOCKET_NAME}.lock").write_text(torn)

    def _copy_stopped(self) -> None:
        seconds_until_gone(self.home, at_most=20)
        self._copy()

    def _copy_running(self) -> None:
        with use(self.home):
            self._copy()

    def _copy(self) -> None:
        """What is written into a copy stays there."""
        if self.copy.exists():
            return
        subprocess.run(["cp", "-a", self.home, self.copy], check=True)
        with use(self.copy) as conninfo, psycopg.connect(conninfo) as connection:
            connection.execute("CREATE TABLE only_in_the_copy ()")
        self._check(self.copy, "after a copy")
        with use(self.home) as conninfo, psycopg.connect(conninfo) as connection:
            if connection.execute("SELECT to_regclass('only_in_the_copy')").fetchone() != (None,):
                self.broken.append("what was written into a copy changed the original")

    def _kill_server(self) -> None:
        with use(self.home):
            postmaster(self.home).send_signal(self.random.choice([signal.SIGKILL, signal.SIGQUIT, signal.SIGINT]))
            self._check_again()

    def _kill_keeper(self) -> None:
        with use(self.home):
            for each in processes_of(self.home):
                if keeper.__file__ in _words(each):
                    each.kill()
            self._check_again()

    def _check_again(self) -> None:
        """Another user comes while the first one lives."""
        with use(self.home) as conninfo, psycopg.connect(conninfo) as connection:
            connection.execute("SELECT 1 FROM billing_usage_fact")

    def _begin_at_once(self) -> None:
        users = [start_user(self.home) for _ in range(10)]
        for user in users:
            wait_until_up(user)
        for user in users:
            if self.random.random() < 0.5:
                kill(user)
            else:
                user.communicate(timeout=60)

    def _use_two_namespaces(self) -> None:
        first, second = start_user(self.home, within=UNSHARE), None
        wait_until_up(first)
        second = start_user(self.home, within=UNSHARE)
        if "is in use by another container" not in second.communicate(timeout=90)[1]:
            self.broken.append("a second namespace may use the home of the first")
        kill(first)


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []
