"""The mutation fuzzer, some cases of it: whatever is wrong with a delivery, it ends as promised and stops no other."""

from __future__ import annotations

import pytest

from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.soak.mutations import Case, run_cases
from tests.soak.valid_exports import spell_manifest, valid_exports, write_export

CASES = rounds(50, in_soak=300)
# Processes that share the tests share these.
BATCHES = rounds(2, in_soak=6)


@pytest.mark.at_length
@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_deliveries_end_as_promised_and_stop_no_other(landing: Landing, batch: int) -> None:
    count = CASES // BATCHES

    report = run_cases(batch * count, count, landing)

    assert report.violations == []
    assert report.outcomes.total() == count
    # A fuzzer that damages too much, or too little, proves nothing.
    assert count * 0.1 < report.outcomes["published"] < count * 0.6


def test_what_is_damaged_is_valid_before(landing: Landing) -> None:
    for export in valid_exports():
        name = export.label.replace(" ", "-").replace(".", "-")
        write_export(export, landing.root, name, export.content(), spell_manifest(export.manifest(name)))

    outcomes = landing.ingest_all()

    assert {outcome.export_name: outcome.exit_error for outcome in outcomes} == {
        export.label.replace(" ", "-").replace(".", "-"): None for export in valid_exports()
    }
    assert {outcome.rows_read for outcome in outcomes} == {12}


def test_a_case_is_the_same_each_time() -> None:
    assert Case.of_seed(7) == Case.of_seed(7)
    assert Case.of_seed(7) != Case.of_seed(8)


def test_a_broken_promise_is_told_with_its_seed(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.soak.mutations._find_faults", lambda error: ["is broken"])

    report = run_cases(0, 2, landing)

    assert report.violations
    assert all(line.startswith("seed ") and line.endswith("is broken") for line in report.violations)
