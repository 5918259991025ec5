"""Attacks on what surrounds a bill: the server's start, signals, full disks, the server's settings, damaged files.

`python -m tests.soak.attacks --only starts --trials 5 --seed 7` runs trials of one kind; without options every kind
runs as often as `make soak` runs it. A trial follows from its seed alone, so the line of a violation names what
repeats it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.soak import full_disks, interrupts, mutations, settings, starts

Trial = Callable[[int, Path], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of attack: its trial, how many attacks a trial holds, and how many trials `make soak` runs."""

    trial: Trial
    attacks: int
    count: int


KINDS: Mapping[str, Kind] = {
    "starts": Kind(trial=starts.trial, attacks=1, count=100),
    "interrupts": Kind(trial=interrupts.trial, attacks=interrupts.MOMENTS_EACH, count=50),
    "full-disks": Kind(trial=full_disks.trial, attacks=1, count=20),
    "settings": Kind(trial=settings.trial, attacks=1, count=5),
    "mutations": Kind(trial=mutations.trial, attacks=mutations.CASES_OF_A_TRIAL, count=100),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many attacks of one kind were made, and which promises they broke."""

    kind: str
    attacks: int
    violations: Sequence[str]
    seconds: float

    def describe(self) -> str:
        return f"{self.kind}: {self.attacks:,} attacks in {self.seconds:.0f} s, {len(self.violations)} violations"


def run_kind(name: str, count: int, seed: int) -> Tally:
    """Run trials of one kind, each in an empty folder of its own; their seeds follow each other."""
    kind, violations, started = KINDS[name], list[str](), time.monotonic()
    for each in range(seed, seed + count):
        # The path is short: a server's socket lies in it.
        folder = Path(tempfile.mkdtemp(prefix="bf-", dir="/tmp"))
        # Run by root, PostgreSQL is another user, who must reach a home in here.
        folder.chmod(0o755)
        try:
            violations += [f"{name}, seed {each}: {line}" for line in kind.trial(each, folder)]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Tally(kind=name, attacks=count * kind.attacks, violations=violations, seconds=time.monotonic() - started)


def run_attacks(counts: Mapping[str, int], seed: int) -> Iterator[Tally]:
    """Run the kinds one after the other, as often as `counts` says."""
    for name, count in counts.items():
        if count:
            yield run_kind(name, count, seed)


def tell(tally: Tally) -> None:
    """Print a line for each violation, with the command that repeats it, and one for the kind."""
    for violation in tally.violations:
        sys.stdout.write(f"  {violation}\n")
    sys.stdout.write(f"{tally.describe()}\n")
    for seed in sorted({line.split(":")[0].rsplit(" ", 1)[1] for line in tally.violations}):
        sys.stdout.write(f"again: python -m tests.soak.attacks --only {tally.kind} --trials 1 --seed {seed}\n")
    sys.stdout.flush()


def main() -> int:
    """Run what the command line asks for; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.attacks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=KINDS, help="one kind of attack (default: all)")
    parser.add_argument("--trials", type=int, help="of each kind (default: as many as make soak runs)")
    parser.add_argument("--seed", type=int, default=1, help="of the first trial; each further one has the next")
    options = parser.parse_args()
    names = [options.only] if options.only else list(KINDS)
    counts = {name: KINDS[name].count if options.trials is None else options.trials for name in names}
    is_whole = True
    for tally in run_attacks(counts, options.seed):
        tell(tally)
        is_whole = is_whole and not tally.violations
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
