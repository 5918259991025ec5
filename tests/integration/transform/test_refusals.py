"""A file that is refused gets one clear line and a failed run, and leaves not a single row."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from billfold.model import DeliveryOutcome, DeliveryState, RunStatus
from tests.bills.landing import Landing
from tests.bills.line_items import write_delivery
from tests.bills.refusals import REFUSALS, assert_next_good_delivery_works, assert_nothing_landed, assert_refused

# One of each code: what a refusal leaves behind does not depend on what was wrong.
EXAMPLES = {refusal.error_code: name for name, refusal in REFUSALS.items()}


@pytest.fixture(scope="module")
def refused(shared_landing: Landing) -> Mapping[str, DeliveryOutcome]:
    """The outcome of each refusal: every one is an export of its own, and all come in one ingest."""
    for number, refusal in enumerate(REFUSALS.values(), start=1):
        write_delivery(shared_landing.root, *refusal.files, export_path=f"exports/bad{number}")
    outcomes = {outcome.export_name: outcome for outcome in shared_landing.ingest_all()}
    assert len(outcomes) == len(REFUSALS)
    return {name: outcomes[f"bad{number}"] for number, name in enumerate(REFUSALS, start=1)}


@pytest.mark.parametrize(("number", "name"), list(enumerate(REFUSALS, start=1)), ids=list(REFUSALS))
def test_bad_input_is_refused_in_one_clear_line(
    shared_landing: Landing, refused: Mapping[str, DeliveryOutcome], number: int, name: str
) -> None:
    refusal, outcome = REFUSALS[name], refused[name]

    error = outcome.exit_error
    assert error is not None
    assert error.error_code == refusal.error_code
    line = str(error).replace(f"/bad{number}/", "/acme/").replace(f"/bad{number}-", "/acme-")
    assert [word for word in refusal.words if word not in line] == [], line
    assert "\n" not in str(error)
    assert not error.retryable
    assert outcome.state is DeliveryState.FAILED
    assert {(run.status, run.error_code) for run in outcome.runs} == {(RunStatus.FAILED, refusal.error_code)}
    runs = shared_landing.query(
        "SELECT status, error_code, error_message FROM billing_ingestion_runs WHERE delivery_id = %s",
        outcome.delivery_id,
    )
    assert runs == [("failed", refusal.error_code, str(error))] * len(refusal.files)


def test_bad_input_leaves_nothing(shared_landing: Landing, refused: Mapping[str, DeliveryOutcome]) -> None:
    assert refused
    assert_nothing_landed(shared_landing)


@pytest.mark.parametrize("error_code", EXAMPLES)
def test_the_next_good_delivery_comes_in(landing: Landing, error_code: str) -> None:
    refusal = REFUSALS[EXAMPLES[error_code]]
    write_delivery(landing.root, *refusal.files)

    outcome = landing.ingest()

    assert outcome.exit_error is not None
    assert_refused(landing, error_code, str(outcome.exit_error), files=len(refusal.files))
    assert_next_good_delivery_works(landing)
