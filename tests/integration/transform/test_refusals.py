"""A file that is refused gets one clear line and a failed run, and leaves not a single row."""

from __future__ import annotations

import shutil
from datetime import date

import pytest

from billfold.errors import InputError
from billfold.model import DeliveryState, RunStatus
from billfold.period import parse_period
from tests.bills.landing import Landing
from tests.bills.line_items import PERIOD, write_delivery
from tests.bills.parsed import Parse
from tests.bills.refusals import (
    FILE,
    REFUSALS,
    SECOND_FILE,
    assert_next_good_delivery_works,
    assert_nothing_landed,
)

# These come as deliveries, one of each code among them: what a refusal leaves behind does not depend on what was wrong.
DELIVERED = {
    *{refusal.error_code: name for name, refusal in REFUSALS.items()}.values(),
    "a bad cost in the second file",
    "two billing periods",
}


def find_period(parse: Parse, *files: bytes) -> None:
    # That there are several billing periods is only found when they are asked for.
    parse(*files).find_period(expected=parse_period(PERIOD), fallback=date.max)


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_refused_in_one_clear_line(parse: Parse, name: str) -> None:
    refusal = REFUSALS[name]

    with pytest.raises(InputError) as refused:
        find_period(parse, *refusal.files)

    line = str(refused.value)
    for number, file in enumerate((FILE, SECOND_FILE)):
        line = line.replace(f"file-{number}", file)
    assert refused.value.error_code == refusal.error_code
    assert [word for word in refusal.words if word not in line] == [], line
    assert "\n" not in line
    assert not refused.value.retryable


def test_refused_deliveries_leave_failed_runs_and_the_next_good_one_comes_in(landing: Landing) -> None:
    refusals = {name.replace(" ", "-"): REFUSALS[name] for name in DELIVERED}
    for name, refusal in refusals.items():
        write_delivery(landing.root, *refusal.files, export_path=f"exports/{name}")

    outcomes = {outcome.export_name: outcome for outcome in landing.ingest_all()}

    assert outcomes.keys() == refusals.keys()
    for name, outcome in outcomes.items():
        code, count = refusals[name].error_code, len(refusals[name].files)
        assert outcome.exit_error is not None
        assert outcome.exit_error.error_code == code
        assert outcome.state is DeliveryState.FAILED
        assert [(run.status, run.error_code) for run in outcome.runs] == [(RunStatus.FAILED, code)] * count
        runs = landing.query(
            "SELECT status, error_code, error_message FROM billing_ingestion_runs WHERE delivery_id = %s",
            outcome.delivery_id,
        )
        assert runs == [("failed", code, str(outcome.exit_error))] * count
    in_second = str(outcomes["a-bad-cost-in-the-second-file"].exit_error)
    assert in_second.startswith(SECOND_FILE.replace("acme", "a-bad-cost-in-the-second-file") + ", line 3, column")
    assert_nothing_landed(landing)

    shutil.rmtree(landing.root)
    assert_next_good_delivery_works(landing)
