"""Inputs from public bug reports of this field: those that are shared with us, and our own of the same kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from billfold.cli import main
from billfold.store.database import Database
from tests.bills.field_cases import Run, play, read_cases
from tests.bills.field_kinds import KINDS

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
    case = read_cases(shared_samples / "field" / "cases.json")[name]

    wrong = play(case, tmp_path / "bucket", run)

    assert wrong == []


@pytest.mark.parametrize("name", KINDS)
def test_an_input_of_the_same_kind_has_its_right_answer(name: str, tmp_path: Path, run: Run) -> None:
    case = KINDS[name](tmp_path / "trees")

    wrong = play(case, tmp_path / "bucket", run)

    assert wrong == []
