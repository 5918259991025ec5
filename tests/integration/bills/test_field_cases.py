"""Inputs from public bug reports of this field: those that are shared with us, and our own of the same kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from billfold.cli import main
from billfold.store.database import Database
from tests.bills.field_cases import Case, Check, Run, play, read_cases
from tests.bills.field_kinds import BILLED, KINDS

SHARED = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "field" / "cases.json"
# Where the file is missing, one test that says so is skipped.
NAMES = list(read_cases(SHARED)) if SHARED.is_file() else ["cases.json"]


@pytest.fixture
def run(database: Database, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process, with a database of its own."""
    assert database.reader_conninfo
    environment.setenv("DATABASE_URL", database.conninfo)
    environment.setenv("BILLFOLD_READER_DATABASE_URL", database.reader_conninfo)
    environment.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
    environment.setenv("INGEST_RETRY_BASE_DELAY_MS", "0")

    def run(words: Sequence[str]) -> tuple[int, str, str]:
        code = main(words)
        written = capsys.readouterr()
        return code, written.out, written.err

    return run


@pytest.mark.parametrize("name", NAMES)
def test_a_reported_input_has_its_right_answer(name: str, shared_samples: Path, tmp_path: Path, run: Run) -> None:
    case = _answered(read_cases(shared_samples / "field" / "cases.json")[name])

    wrong = play(case, tmp_path / "bucket", run)

    assert wrong == []


@pytest.mark.parametrize("name", KINDS)
def test_an_input_of_the_same_kind_has_its_right_answer(name: str, tmp_path: Path, run: Run) -> None:
    case = KINDS[name](tmp_path / "trees")

    wrong = play(case, tmp_path / "bucket", run)

    assert wrong == []


def _answered(case: Case) -> Case:
    """The first of the answers that a case allows: where it allows a refusal too, that is the bill.

    A file that names no month is refused with the option that names it, and then comes in by that.
    """
    if case.name == "lone-file-without-period":
        [step] = case.steps
        steps = [
            replace(step, exits=["not 0"], says="--month"),
            replace(step, exits=[0], options=["--month", "2026-05"]),
        ]
        return replace(case, steps=steps, checks=[Check(sql=BILLED, answers=["922.25"])])
    return replace(
        case,
        steps=[replace(step, exits=step.exits[:1]) for step in case.steps],
        checks=[replace(check, answers=check.answers[:1]) for check in case.checks],
    )
