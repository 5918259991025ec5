"""The mutation fuzzer, some cases of it: whatever is wrong with a delivery, it ends as promised and stops no other."""

from __future__ import annotations

import pytest

from billfold.aws.manifest import parse_manifest
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.parsed import Parse
from tests.soak.mutations import Case, run_cases
from tests.soak.valid_exports import ROW_COUNT, spell_manifest, valid_exports

CASES = rounds(15, in_soak=300)
# Processes that share the tests share these.
BATCHES = rounds(1, in_soak=6)
# Of the exports that are damaged, which are not made before a test needs them.
LABELS = [
    *("legacy csv.gz", "legacy zip", "legacy snappy.parquet"),
    *("cur2 csv.gz", "cur2 snappy.parquet"),
    *("focus10 csv.gz", "focus12 csv.gz", "focus12 snappy.parquet"),
]


@pytest.mark.at_length
@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_deliveries_end_as_promised_and_stop_no_other(landing: Landing, batch: int) -> None:
    count = CASES // BATCHES

    report = run_cases(batch * count, count, landing)

    assert report.violations == []
    assert report.outcomes.total() == count
    # A fuzzer that damages too much, or too little, proves nothing.
    assert count * 0.1 < report.outcomes["published"] < count * 0.6


@pytest.mark.parametrize("label", LABELS)
def test_what_is_damaged_is_valid_before(parse: Parse, label: str) -> None:
    exports = {export.label: export for export in valid_exports()}
    assert list(exports) == LABELS
    export = exports[label]
    text = spell_manifest(export.manifest("acme"))

    assert parse_manifest(text, export.manifest_key("acme")).file_keys == (export.data_key("acme"),)
    bill = parse(export.content())
    bill.identify()
    assert bill.compare(None).rows_added == ROW_COUNT


def test_a_case_is_the_same_each_time() -> None:
    assert Case.of_seed(7) == Case.of_seed(7)
    assert Case.of_seed(7) != Case.of_seed(8)


def test_a_broken_promise_is_told_with_its_seed(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.soak.mutations._find_faults", lambda error: ["is broken"])

    report = run_cases(0, 2, landing)

    assert report.violations
    assert all(line.startswith("seed ") and line.endswith("is broken") for line in report.violations)
