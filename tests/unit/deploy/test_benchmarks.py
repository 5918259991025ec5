"""The benchmarks are run together: whatever one of them is told, the others understand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.benchmarks.workbench import parse_options

ROOT = Path(__file__).parents[3]
OPTIONS = ["--rows", "1000", "--runs", "1", "--postgres", "18", "--only-cold", "--large-rows", "2000", "--charges", "0"]
OPTIONS += ["--flood", "0", "--deliveries", "0"]


def benchmarks() -> list[str]:
    """The modules that `make bench` runs."""
    return re.findall(r"-m tests\.benchmarks\.(\w+) \$\(ARGS\)", (ROOT / "Makefile").read_text())


def test_one_line_of_options_serves_all_benchmarks() -> None:
    sources = {name: (ROOT / "tests" / "benchmarks" / f"{name}.py").read_text() for name in benchmarks()}

    options = parse_options("", OPTIONS)

    assert vars(options) == {
        "rows": 1000,
        "runs": 1,
        "postgres": 18,
        "only_cold": True,
        "large_rows": 2000,
        "charges": 0,
        "flood": 0,
        "deliveries": 0,
    }
    assert list(sources) == ["cold_ingest", "restatement", "large_ingest", "dashboard", "pages", "fairness", "scrapes"]
    assert [name for name, text in sources.items() if "parse_options(" not in text or "add_argument" in text] == []


def test_the_large_bill_is_measured_unless_it_is_left_out() -> None:
    assert parse_options("", []).large_rows == 5_000_000
    assert parse_options("", ["--large-rows", "0"]).large_rows == 0


@pytest.mark.parametrize("arguments", [["--rows", "0"], ["--runs", "0"], ["--large-rows", "-1"], ["--warm"]])
def test_options_that_mean_nothing_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options("", arguments)

    assert "error: " in capsys.readouterr().err
