"""The mutation fuzzer: damaged deliveries of every format beside a good one, each of which must end as promised.

`python -m tests.soak.mutations --seed 7 --count 300` runs cases against a server of its own; so does `trial`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from structlog.testing import capture_logs

from billfold.errors import BillfoldError, DeliveryHeldError, InputError, SourceError, UsageError
from billfold.model import Client, DeliveryOutcome, DeliveryState
from billfold.settings import load_settings
from billfold.store.database import open_database
from billfold.store.migrate import migrate_database
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.soak.damage import damage_data
from tests.soak.damaged_manifest import damage_manifest
from tests.soak.second_opinion import OtherwiseReadError, read_files
from tests.soak.valid_exports import ValidExport, spell_manifest, valid_exports, write_export

# This many cases share a client and the good delivery beside them: then both are new.
CASES_BESIDE_ONE = 25
# This many are a trial of `make soak`, in a process of its own.
CASES_OF_A_TRIAL = 100
MAX_SECONDS_OF_A_CASE = 60
_MAX_MESSAGE_CHARACTERS = 4_000

_HELD = """
    SELECT (SELECT count(*) FROM raw_aws_billing_rows AS raw WHERE raw.statement_id = statement.statement_id),
        (SELECT coalesce(jsonb_object_agg(billing_currency, cost), '{}') FROM (
            SELECT billing_currency, sum(billed_cost)::text AS cost FROM billing_usage_fact AS fact
            WHERE fact.statement_id = statement.statement_id GROUP BY 1) AS facts),
        (SELECT coalesce(jsonb_object_agg(billing_currency, cost), '{}') FROM (
            SELECT billing_currency, sum(billed_cost)::text AS cost FROM billing_daily_cost AS daily
            WHERE daily.statement_id = statement.statement_id GROUP BY 1) AS days)
    FROM billing_statements AS statement WHERE current_delivery_id = %s"""


@dataclass(slots=True)
class Report:
    """How the cases ended: counts by outcome, and a line for each broken promise with the seed of its case."""

    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        return f"{self.outcomes.total()} cases, {len(self.violations)} broken promises: {counts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One damaged delivery: its export, what was done to it, and its data and manifest after that."""

    seed: int
    export: ValidExport
    name: str
    damage: str
    content: bytes
    manifest: bytes

    @classmethod
    def of_seed(cls, seed: int) -> Case:
        """The case that this number stands for."""
        random = Random(seed)
        export, name = random.choice(valid_exports()), f"x{seed}"
        content, manifest, done = export.content(), export.manifest(name), []
        what = random.choice(("data", "data", "manifest", "both"))
        if what != "manifest":
            how, content = damage_data(random, export)
            done.append(how)
        text = spell_manifest(manifest)
        if what != "data":
            how, text = damage_manifest(random, manifest)
            done.append(how)
        damage = f"{export.label}: {'; '.join(done)}"
        return cls(seed=seed, export=export, name=name, damage=damage, content=content, manifest=text)


def run_cases(seed: int, count: int, landing: Landing) -> Report:
    """Run `count` cases, the first of which is `seed`, in this process and against one database."""
    report = Report()
    # Of a dozen rows each, a second processor's thread costs more than it saves.
    landing = landing.with_settings(retry_max_attempts=1, min_free_bytes=0, threads=1)
    seeds = range(seed, seed + count)
    for first in seeds[::CASES_BESIDE_ONE]:
        beside = replace(landing, client=Client(client_id=f"fuzz-{first}"), root=landing.root / f"f{first}")
        neighbour = _write_neighbour(beside, first)
        for number in range(first, min(first + CASES_BESIDE_ONE, seeds.stop)):
            _run_case(number, beside, neighbour, report)
        shutil.rmtree(beside.root, ignore_errors=True)
    return report


def trial(seed: int, folder: Path) -> list[str]:
    """A hundred cases against a server of their own in `folder`; one line for each broken promise."""
    command = [sys.executable, "-m", "tests.soak.mutations", "--folder", str(folder)]
    command += ["--seed", str(seed * CASES_OF_A_TRIAL), "--count", str(CASES_OF_A_TRIAL)]
    # A process of its own: its server ends with it.
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = ended.stdout.splitlines()
    if ended.returncode not in (0, 1) or not lines:
        return [f"seed {seed}: the fuzzer ended with {ended.returncode}: {ended.stderr.strip()[-500:]}"]
    return lines[:-1]


def _write_neighbour(landing: Landing, seed: int) -> Decimal:
    """A good delivery of what only this client has, and what it costs."""
    costs = (f"{seed}.0625", "0.0000000001", "-1.5")
    write_bill(landing.root, described(*costs), export_path="exports/neighbour", bucket="sample-bucket")
    return sum(map(Decimal, costs), Decimal())


def _run_case(seed: int, landing: Landing, neighbour: Decimal, report: Report) -> None:
    case = Case.of_seed(seed)
    write_export(case.export, landing.root, case.name, case.content, case.manifest)
    started = time.monotonic()
    try:
        with capture_logs() as logged:
            outcomes = landing.ingest_all()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        broken = [f"raised {type(error).__name__}: {error} in {last.name}"]
        ended = "raised"
    else:
        ended, broken = _judge(case, landing, outcomes, neighbour)
        broken += [f"logged {event['event']}" for event in logged if event["event"] == "internal_error"]
    seconds = time.monotonic() - started
    if seconds > MAX_SECONDS_OF_A_CASE:
        broken.append(f"took {seconds:.0f} s")
    if left := [path.name for path in landing.settings.spool.glob("*")]:
        broken.append(f"left {left} in the spool")
    report.outcomes[ended] += 1
    report.violations += [f"seed {seed}, {case.damage}: {each}"[:600] for each in broken]
    shutil.rmtree(landing.root / "exports" / case.name)


def _judge(
    case: Case, landing: Landing, outcomes: Sequence[DeliveryOutcome], neighbour: Decimal
) -> tuple[str, list[str]]:
    """How the case ended, and which promises that breaks."""
    broken = []
    beside = [each for each in outcomes if each.export_name == "neighbour"]
    others = [each for each in outcomes if each.export_name != "neighbour"]
    if [(each.state, each.exit_error) for each in beside] != [(DeliveryState.PUBLISHED, None)]:
        broken.append(f"its neighbour ended as {[(str(each.state), str(each.exit_error)) for each in beside]}")
    elif beside[0].billed_cost != {"USD": neighbour}:
        broken.append(f"its neighbour costs {beside[0].billed_cost}, not {neighbour}")
    ended = []
    for outcome in others:
        error = outcome.exit_error
        ended.append(error.error_code if error else str(outcome.state))
        if error:
            broken += list(_find_faults(error))
        elif outcome.state is DeliveryState.PUBLISHED:
            broken += list(_compare(landing, outcome))
    if not others:
        broken.append("it left no trace")
    return " and ".join(sorted(ended)) or "nothing", broken


def _find_faults(error: BillfoldError) -> Iterator[str]:
    """What no refusal of a file may be."""
    text = str(error)
    if not isinstance(error, InputError | SourceError | DeliveryHeldError | UsageError):
        yield f"is {error.error_code}: {text}"
    if not text.isprintable():
        yield f"is refused in more than one line, or with what does not print: {text[:300]!r}"
    if len(text) > _MAX_MESSAGE_CHARACTERS:
        yield f"is refused in {len(text)} characters"


def _compare(landing: Landing, outcome: DeliveryOutcome) -> Iterator[str]:
    """What is published, against the files themselves."""
    held = landing.query(_HELD, outcome.delivery_id)
    if not held:
        yield "is published, and no statement's current delivery"
        return
    [(row_count, *sums)] = held
    facts, days = ({code: Decimal(text) for code, text in each.items() if Decimal(text)} for each in sums)
    if facts != days:
        yield f"its daily costs are {days}, its charges {facts}"
    try:
        opinion = read_files(landing.root / run.source_s3_key for run in outcome.runs)
    except OtherwiseReadError as error:
        yield f"is published with {row_count} rows and {facts}, and cannot be read: {error}"
        return
    if (row_count, facts) != (opinion.row_count, opinion.billed):
        yield f"has {row_count} rows and {facts}, in the file are {opinion.row_count} and {dict(opinion.billed)}"


def _parse_options() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.mutations", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first case (default 0)")
    parser.add_argument("--count", type=int, default=300, help="how many cases (default 300)")
    parser.add_argument("--folder", type=Path, help="an empty folder on a short path (default: one of its own)")
    return parser.parse_args()


def main() -> int:
    """Run the cases; a line for each broken promise, then the counts."""
    options = _parse_options()
    folder = options.folder or Path(f"/tmp/bf-fuzz-{os.getpid()}")
    os.environ |= {"BILLFOLD_HOME": str(folder / "home"), "BILLFOLD_MIN_FREE_BYTES": "0", "LOG_LEVEL": "error"}
    settings = load_settings()
    database = open_database(settings)
    migrate_database(database)
    landing = Landing.make(database, settings, folder / "bucket")
    total = Report()
    last = options.seed + options.count
    for first in range(options.seed, last, CASES_BESIDE_ONE):
        report = run_cases(first, min(CASES_BESIDE_ONE, last - first), landing)
        total.outcomes += report.outcomes
        total.violations += report.violations
        for line in report.violations:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{total.summary}\n")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
