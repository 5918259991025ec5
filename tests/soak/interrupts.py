"""Interruptions: commands under SIGINT, SIGTERM and SIGHUP at random moments, and at last the ingest that ends right.

python -m tests.soak.interrupts --trials 50 --seed 1
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import billfold
from billfold.aws import LocalAws
from billfold.settings import load_settings, setting_fields
from billfold.store.database import Database, connect
from billfold.store.migrate import migrate_database
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.connections import forget
from tests.messages import Mailbox, s3_event
from tests.processes.warm_process import run_warm
from tests.soak.bills import EXPORT, HeldBill, deliver, expect, random_bill, read_bill, restate

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
# What is promised, and what a machine that does other things besides may add to it.
PROMISED_SECONDS = 2.0
SLACK_SECONDS = 1.0
COMMANDS = ("ingest", "ingest", "backfill", "remap", "verify", "worker")
MOMENTS_EACH = 4
_LIMIT_SECONDS = 120
_ITEM_COUNT = 2_000

_SESSIONS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""

Moments = list[tuple[str, float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a trial works: a database, and the bucket whose content lies in the landing's root as well."""

    landing: Landing
    aws: LocalAws

    def environment(self, **changed: str) -> Mapping[str, str]:
        known = setting_fields()
        return {
            **{name: value for name, value in os.environ.items() if name not in known},
            **self.aws.environment(),
            "PYTHONPATH": str(Path(billfold.__file__).parents[1]),
            "DATABASE_URL": self.landing.database.conninfo,
            "BILLFOLD_HOME": str(self.landing.root.parent / "home"),
            "BILLFOLD_MIN_FREE_BYTES": "0",
            "BILLFOLD_LOG_FORMAT": "json",
            "BILLFOLD_CLIENT": "acme",
            "AWS_BILLING_BUCKET": BUCKET,
            "AWS_BILLING_PREFIX": "exports/",
            **changed,
        }


def trial(seed: int, folder: Path, *, moment_count: int = MOMENTS_EACH, moments: Moments | None = None) -> list[str]:
    """One trial with a server and an AWS of its own, in `folder`; what was broken."""
    from tests.services import run_bare_server

    with run_bare_server(16) as conninfo, LocalAws() as aws:
        database = Database(conninfo=conninfo, reader_conninfo=None, is_embedded=True)
        migrate_database(database)
        landing = Landing.make(database, load_settings(), folder / "bucket")
        return run(seed, landing, aws, moment_count=moment_count, moments=moments)


def run(
    seed: int, landing: Landing, aws: LocalAws, *, moment_count: int = MOMENTS_EACH, moments: Moments | None = None
) -> list[str]:
    """Land a bill in an empty database, interrupt several commands on it and its restatement, and look at everything.

    `moments` gets the command, the moment, and the seconds until its end of each interruption.
    """
    random = Random(seed)
    place = _Place(landing=landing, aws=aws)
    aws.create_bucket(BUCKET)
    items = random_bill(random, _ITEM_COUNT)
    _deliver(place, random, items, revision=1)
    old = expect(items)
    started_at = time.monotonic()
    violations = [f"first: {line}" for line in _finish(place, old)]
    # Half of the moments lie in the work that begins with the first session in PostgreSQL, after all the imports.
    duration_seconds = time.monotonic() - started_at
    items = restate(random, items, changed=200, removed=50, added=50, repeated=10)
    manifest = _deliver(place, random, items, revision=2)
    new = expect(items)
    for number in range(moment_count):
        command = random.choice(COMMANDS)
        is_at_work = random.random() < 0.8
        seconds = random.uniform(0, duration_seconds / 2 if is_at_work else duration_seconds)
        name = random.choice(list(SIGNALS))
        with_json = random.random() < 0.5
        after = " after its first session" if is_at_work else ""
        told = f"{number}: {command} {'--json ' if with_json else ''}{name.name} at {seconds:.3f}{after}"
        took, found = _interrupt(place, command, manifest, name, seconds, with_json=with_json, is_at_work=is_at_work)
        violations += [f"{told}: {line}" for line in (*found, *_look(place, old, new))]
        if moments is not None and took is not None:
            moments.append((command, seconds, took))
    return violations + [f"at last: {line}" for line in _finish(place, new)]


def _deliver(place: _Place, random: Random, items: list[dict[str, str]], *, revision: int) -> str:
    manifest = deliver(random, place.landing.root, items, revision=revision, export_path=EXPORT)
    place.aws.upload_folder(BUCKET, place.landing.root)
    return manifest.relative_to(place.landing.root).as_posix()


def _interrupt(
    place: _Place,
    command: str,
    manifest: str,
    number: signal.Signals,
    seconds: float,
    *,
    with_json: bool,
    is_at_work: bool,
) -> tuple[float | None, list[str]]:
    """How long the command took to end after the signal, None where it ended before, and what it broke."""
    words = {"ingest": ["ingest", f"s3://{BUCKET}/{manifest}"], "remap": ["remap", "--force"]}.get(command, [command])
    changed = {}
    if command == "worker":
        mailbox = Mailbox(place.aws, f"queue-{time.monotonic_ns()}")
        mailbox.send(s3_event(BUCKET, manifest))
        changed = {"BILLFOLD_QUEUE_URL": mailbox.url, "BILLFOLD_SHUTDOWN_SECONDS": "1"}
        words += ["--drain"]
    process = subprocess.Popen(
        [sys.executable, "-m", "billfold", *words, *(["--json"] if with_json else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place.landing.root,
        env=place.environment(**changed),
        # A trial in the background of a shell ignores SIGINT, and so would its children.
        preexec_fn=_hear_signals,
    )
    try:
        if is_at_work:
            _wait_for_session(place, process)
        try:
            out, err = process.communicate(timeout=seconds)
            took = None
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            sent_at = time.monotonic()
            out, err = process.communicate(timeout=_LIMIT_SECONDS)
            took = time.monotonic() - sent_at
    finally:
        process.kill()
        process.wait()
    return took, list(_judge(command, process.returncode, SIGNALS[number], number, took, out, err, with_json=with_json))


def _wait_for_session(place: _Place, process: subprocess.Popen[str]) -> None:
    """Wait until the command has a session in PostgreSQL, or has ended."""
    forget(place.landing.database.conninfo)
    with connect(place.landing.database.conninfo) as connection:
        while process.poll() is None and not connection.execute(_SESSIONS).fetchall():
            time.sleep(0.01)


def _hear_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _judge(
    command: str,
    code: int,
    expected: int,
    number: signal.Signals,
    took: float | None,
    out: str,
    err: str,
    *,
    with_json: bool,
) -> Iterator[str]:
    if took is None:
        if code != 0:
            yield f"it ended by itself with {code}: {err[-300:]}"
        return
    # Before the first line of Python's own main, the signal does what it does to any process.
    has_not_begun = code in (-number, -signal.SIGINT) or (not out and "KeyboardInterrupt" in err and "site.py" in err)
    if has_not_begun:
        return
    # A worker ends in order: it has a second for what it is at, and some more until the queue has answered.
    limit = PROMISED_SECONDS + SLACK_SECONDS + (6 if command == "worker" else 0)
    if took > limit:
        yield f"it took {took:.2f} s to end"
    if code not in (expected, 0):
        yield f"the exit code is {code}: {err[-500:]}"
    for word in ("Traceback", "does not answer", "retrying", "internal", "leaked"):
        if word in err:
            yield f"it says {word!r}: {err[-800:]}"
    if code == expected:
        lines = err.strip().splitlines()
        if not lines or not lines[-1].startswith("error: interrupted by"):
            yield f"its last line is {lines[-1:]}"
        if with_json and out and '"interrupted"' not in out:
            yield f"its document says nothing of it: {out[-300:]}"


def _look(place: _Place, old: HeldBill, new: HeldBill) -> Iterator[str]:
    """Nothing is half-written, whatever was interrupted."""
    landing = place.landing
    with connect(landing.database.conninfo) as connection:
        bill = read_bill(connection)
    if bill not in (old, new):
        yield "a reader sees neither bill"
    state, code = landing.query("SELECT state, last_error_code FROM billing_deliveries ORDER BY delivered_at")[-1]
    deliveries = landing.count("billing_deliveries")
    if deliveries == 2:
        runs = set(
            landing.query(
                "SELECT status, error_code FROM billing_ingestion_runs WHERE delivery_id ="
                " (SELECT delivery_id FROM billing_deliveries ORDER BY delivered_at DESC LIMIT 1)"
            )
        )
        is_in = bill == new
        wanted = {("success", None)} if is_in else {("failed", "interrupted")}
        if (state == "published") != is_in:
            yield f"the delivery is {state}, and its bill is {'in' if is_in else 'not in'}"
        if state == "pending" and runs == {("pending", None)} and code is None:
            # Nothing was begun.
            return
        # A worker that was told to end leaves what it was at to the next one.
        if state not in ("published", "pending", "running") or (state != "running" and runs != wanted):
            yield f"the delivery is {state}, its runs are {runs}"


def _finish(place: _Place, wanted: HeldBill) -> Iterator[str]:
    """The next ingest simply works."""
    ended = run_warm(
        [sys.executable, "-m", "billfold", "ingest", f"s3://{BUCKET}/{EXPORT}/"],
        cwd=place.landing.root,
        env=place.environment(),
        timeout_seconds=_LIMIT_SECONDS,
    )
    if ended.returncode != 0:
        yield f"the ingest ends with {ended.returncode}: {ended.stderr[-500:]}"
    with connect(place.landing.database.conninfo) as connection:
        if read_bill(connection) != wanted:
            yield "the tables do not hold the bill"
    for rule in place.landing.broken_rules():
        yield f"broken: {rule}"


def main() -> int:
    """Run the trials one after the other and tell what they found."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.interrupts", description=__doc__)
    parser.add_argument("--trials", type=int, default=50, help="how many (default 50)")
    parser.add_argument("--moments", type=int, default=MOMENTS_EACH, help=f"of each (default {MOMENTS_EACH})")
    parser.add_argument("--seed", type=int, default=1, help="of the first one; each further one has the next")
    options = parser.parse_args()
    moments: Moments = []
    violation_count = 0
    for number, seed in enumerate(range(options.seed, options.seed + options.trials), start=1):
        with tempfile.TemporaryDirectory(prefix="bf-", dir="/tmp") as folder:
            violations = trial(seed, Path(folder), moment_count=options.moments, moments=moments)
        violation_count += len(violations)
        for line in violations:
            sys.stdout.write(f"seed {seed}: {line}\n")
        # A worker lets its work finish.
        seconds = [took for command, _, took in moments if command != "worker"]
        slowest = max(seconds, default=0)
        late = sum(took > PROMISED_SECONDS for took in seconds)
        sys.stdout.write(
            f"{number} trials, {number * options.moments} moments, {len(moments)} of them before the end;"
            f" workers aside the slowest {slowest:.2f} s, {late} over {PROMISED_SECONDS} s; {violation_count} broken"
            "\n"
        )
        sys.stdout.flush()
    return 1 if violation_count else 0


if __name__ == "__main__":
    sys.exit(main())
