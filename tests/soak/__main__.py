"""Crash trials, attacks, random restatements and a fleet of workers: `make soak`, or `python -m tests.soak --help`.

Each trial lands a random bill in an empty database, kills the ingest of its restatement one to three times, at named
points and at random moments, runs it to its end and looks at everything that was promised. The first broken promise
ends the soak with exit code 1 and with the seed that makes the same bills and the same kills again.

Then come the attacks of `tests.soak.attacks`: kills during starts, copied homes and two namespaces on one, signals at
random moments, hostile settings of PostgreSQL, damaged files; `--attacks` is a percentage of their usual number.

After them the tables are held against a simple model through random deliveries, rollbacks, remaps and crashes:
`python -m tests.restatement_model`, with as many examples as `--examples` says and the same seed. With any examples at
all, the tests that CI runs with few rounds (marker `at_length`) run with all of theirs.

At last a line sums up how much was tried and how many promises were broken.

In between four workers share the queue of 50 clients: 10,000 events of 500 deliveries, in disorder and repeated. Each
delivery must be published once, with nothing left in the queue; `--events` and the options beside it make it smaller.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random, SystemRandom

from psycopg.conninfo import make_conninfo

from billfold.aws import LocalAws
from billfold.log import configure_logging
from billfold.settings import load_settings, setting_fields
from billfold.store.database import Database, connect
from billfold.store.embedded import start_embedded, stop_embedded
from billfold.store.migrate import migrate_database
from tests.at_length import VARIABLE
from tests.bills.landing import Landing
from tests.connections import forget
from tests.processes.crash_worker import POINTS
from tests.soak.attacks import KINDS, run_attacks, tell
from tests.soak.fleet import OBJECT_COUNT, Fleet, run_fleet
from tests.soak.trials import Trial, TrialReport, measure_duration, run_trial

MAX_KILLS = 3
MAX_RANDOM_SEED = 1_000_000
TELL_EVERY_TRIALS = 10

_TEMPLATE = "soak_template"


def main() -> int:
    """Run everything, say how it goes and leave nothing behind; what breaks a promise ends it."""
    options = _parse_options()
    started = time.monotonic()
    with _server(options.postgres) as (conninfo, folder):
        is_whole = _run_trials(options, conninfo, folder)
        if is_whole and options.events:
            is_whole = _run_fleet(options, conninfo, folder)
    attacks = 0
    if is_whole:
        for tally in run_attacks(_count_attacks(options), options.seed):
            tell(tally)
            attacks += tally.attacks
            is_whole = is_whole and not tally.violations
    if is_whole and options.examples:
        is_whole = _run_model(options) and _run_tests_at_length()
    _tell(
        f"\nseed {options.seed}, {time.monotonic() - started:.0f} s: {options.trials} crash trials,"
        f" {options.events:,} events, {attacks:,} attacks, {options.examples} random restatements:"
        f" {'no promise broken' if is_whole else 'a promise was broken'}"
    )
    return 0 if is_whole else 1


def _count_attacks(options: argparse.Namespace) -> dict[str, int]:
    return {name: kind.count * options.attacks // 100 for name, kind in KINDS.items()}


def _run_trials(options: argparse.Namespace, conninfo: str, folder: Path) -> bool:
    with _landing(conninfo, folder, "calm") as calm:
        duration_seconds = measure_duration(calm, seed=options.seed, item_count=options.items)
    _tell(
        f"{options.trials} trials from seed {options.seed}, {options.items:,} line items,"
        f" PostgreSQL {options.postgres}; an undisturbed ingest takes {duration_seconds:.2f} s"
    )
    started = time.monotonic()
    met: Counter[str] = Counter()
    for number, seed in enumerate(range(options.seed, options.seed + options.trials), start=1):
        trial = _plan(seed, options.items)
        report = _run(trial, conninfo, folder, duration_seconds)
        met.update(report.met)
        if report.violations:
            _tell_violations(trial, report, options)
            return False
        if number % TELL_EVERY_TRIALS == 0:
            seconds = time.monotonic() - started
            _tell(f"{number} of {options.trials} trials, {met.total()} kills, {seconds / number:.1f} s each")
    if options.trials:
        _tell(f"\n{options.trials} trials in {time.monotonic() - started:.0f} s, no promise broken")
        _tell("the kills left the delivery: " + ", ".join(f"{state} {count}" for state, count in met.most_common()))
    return True


def _run_fleet(options: argparse.Namespace, conninfo: str, folder: Path) -> bool:
    """Workers on the events of many clients; whether every promise was kept."""
    fleet = Fleet(
        client_count=options.clients,
        delivery_count=options.deliveries,
        event_count=options.events,
        worker_count=options.workers,
        seed=options.seed,
        kill_count=options.kills,
        stop_count=options.stops,
    )
    _tell(
        f"\n{fleet.event_count:,} events of {fleet.delivery_count:,} deliveries of {fleet.client_count:,} clients,"
        f" {fleet.worker_count} workers, of which {fleet.kill_count} are killed and {fleet.stop_count} stopped"
    )
    with LocalAws() as aws, _landing(conninfo, folder, "fleet") as landing:
        os.environ |= aws.environment()
        report = run_fleet(fleet, landing.with_settings(endpoint_url=aws.endpoint_url), aws)
        for name in aws.environment():
            del os.environ[name]
    _tell(
        f"{report.seconds:.0f} s, {fleet.event_count / report.seconds:.1f} events and"
        f" {fleet.delivery_count / report.seconds:.2f} deliveries per second; {report.received_count:,} receipts"
    )
    for violation in report.violations:
        _tell(f"  {violation}")
    return not report.violations


def _run_model(options: argparse.Namespace) -> bool:
    """The random restatements in a process of their own, which prints its seed and how a failure comes again."""
    command = [sys.executable, "-m", "tests.restatement_model"]
    for name in ("examples", "steps", "seed", "postgres"):
        command += [f"--{name}", str(getattr(options, name))]
    _tell(f"\n{' '.join(['python', *command[1:]])}")
    return subprocess.run(command, check=False).returncode == 0


def _run_tests_at_length() -> bool:
    """The tests of the suite that try more here than in CI, in a process of its own."""
    command = ["-m", "pytest", "-q", "-m", "at_length", "-p", "no:cacheprovider"]
    _tell(f"\n{VARIABLE}=1 python {' '.join(command)}")
    return subprocess.run([sys.executable, *command], check=False, env=os.environ | {VARIABLE: "1"}).returncode == 0


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--seed", type=int, help="of the first trial; each further one has the next (default: any)")
    parser.add_argument("--items", type=int, default=2_000, help="line items of a bill (default 2,000)")
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=16, help="version of the embedded server")
    parser.add_argument(
        "--examples", type=int, default=50, help="of random restatements after the trials (default 50; 0: none)"
    )
    parser.add_argument("--events", type=int, default=10_000, help="told to the workers (default 10,000; 0: none)")
    parser.add_argument("--deliveries", type=int, default=500, help="that the events tell of (default 500)")
    parser.add_argument("--clients", type=int, default=50, help="that the deliveries are of (default 50)")
    parser.add_argument("--workers", type=int, default=4, help="that share the queue (default 4)")
    parser.add_argument("--kills", type=int, default=68, help="of workers during the events (default 68)")
    parser.add_argument("--stops", type=int, default=21, help="of workers, for some seconds each (default 21)")
    parser.add_argument("--steps", type=int, default=20, help="of such an example at most (default 20)")
    parser.add_argument("--attacks", type=int, default=100, help="percent of their usual number (default 100; 0: none)")
    options = parser.parse_args()
    if options.trials < 0 or options.items < 100 or options.examples < 0 or options.steps < 1 or options.attacks < 0:
        parser.error("at least 100 line items and 1 step, and no negative number of trials, attacks and examples")
    if min(options.deliveries, options.clients, options.workers) < 1:
        parser.error("at least 1 delivery, client and worker")
    if options.events and options.events < options.deliveries * OBJECT_COUNT:
        parser.error(f"each delivery has {OBJECT_COUNT} objects: at least {options.deliveries * OBJECT_COUNT} events")
    if options.seed is None:
        options.seed = SystemRandom().randrange(MAX_RANDOM_SEED)
    return options


def _plan(seed: int, item_count: int) -> Trial:
    """The kills of a trial follow from its seed alone."""
    random = Random(seed)
    points = sorted(POINTS)
    kills = tuple(
        random.random() if random.random() < 0.5 else random.choice(points)
        for _ in range(random.choice((1, 1, *range(1, MAX_KILLS + 1))))
    )
    return Trial(seed=seed, kills=kills, item_count=item_count)


def _run(trial: Trial, conninfo: str, folder: Path, duration_seconds: float) -> TrialReport:
    with _landing(conninfo, folder, f"trial_{trial.seed}") as landing:
        return run_trial(landing, trial, duration_seconds=duration_seconds)


def _tell_violations(trial: Trial, report: TrialReport, options: argparse.Namespace) -> None:
    _tell(f"\nseed {trial.seed} breaks promises, killed at {trial.kills} of its duration, which left {report.met}:")
    for violation in report.violations:
        _tell(f"  {violation}")
    _tell(
        f"again: make soak ARGS='--trials 1 --seed {trial.seed} --items {options.items} --postgres {options.postgres}'"
    )


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def _server(version: int) -> Iterator[tuple[str, Path]]:
    """A server of its own with a migrated template database, and a folder; both are gone afterwards.

    The path is short: the server's socket lies in it.
    """
    folder = Path(tempfile.mkdtemp(prefix="bf-soak-", dir="/tmp"))
    # For root PostgreSQL runs as another user, who must be able to enter.
    folder.chmod(0o755)
    for name in setting_fields():
        os.environ.pop(name, None)
    os.environ |= {"BILLFOLD_HOME": str(folder / "home"), "BILLFOLD_MIN_FREE_BYTES": "0", "LOG_LEVEL": "error"}
    try:
        configure_logging(load_settings())
        conninfo = start_embedded(folder / "home", postgres_version=version)
        with connect(conninfo) as connection:
            # Nothing here must survive a power cut.
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {name} = off".encode())
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
        template = make_conninfo(conninfo, dbname=_TEMPLATE)
        migrate_database(Database(conninfo=template, reader_conninfo=None, is_embedded=True))
        yield conninfo, folder
        stop_embedded(folder / "home")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _landing(conninfo: str, folder: Path, name: str) -> Iterator[Landing]:
    """An empty, migrated database and a folder for the client's bucket; both are gone afterwards."""
    with connect(conninfo) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy".encode())
    database = Database(conninfo=make_conninfo(conninfo, dbname=name), reader_conninfo=None, is_embedded=True)
    try:
        yield Landing.make(database, load_settings(), folder / name)
    finally:
        forget(database.conninfo)
        with connect(conninfo) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        shutil.rmtree(folder / name, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
