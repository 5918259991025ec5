"""The stateful test at length: `python -m tests.restatement_model --help`.

It runs in pytest as in the suite, only longer, and from any seed. What fails is shrunk to the fewest steps and printed
as the calls that do it again; the same seed, examples and steps find it again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from random import SystemRandom

import pytest

from tests.restatement_model.plan import Plan

MAX_RANDOM_SEED = 1_000_000

_TEST = Path(__file__).parents[1] / "integration" / "bills" / "test_restatement_model.py"


def main() -> int:
    """Run the test as the options say."""
    options = _parse_options()
    plan = Plan(examples=options.examples, steps=options.steps, seed=options.seed, postgres=options.postgres)
    sys.stdout.write(f"{plan}\n")
    sys.stdout.flush()
    return pytest.main(["-q", "-p", "no:cacheprovider", str(_TEST)], plugins=[plan])


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.restatement_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--examples", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--steps", type=int, default=20, help="of an example at most (default 20)")
    parser.add_argument("--seed", type=int, help="of the examples (default: any)")
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=16, help="version of the embedded server")
    options = parser.parse_args()
    if options.examples < 1 or options.steps < 1:
        parser.error("at least 1 example and 1 step")
    if options.seed is None:
        options.seed = SystemRandom().randrange(MAX_RANDOM_SEED)
    return options


if __name__ == "__main__":
    sys.exit(main())
