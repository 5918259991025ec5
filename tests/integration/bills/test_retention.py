"""Prune: withdrawn rows go when they are asked to, and only what stood before them is forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billfold.bills.prune import Pruning, prune
from billfold.bills.rollback import roll_back
from billfold.errors import StoreError, UsageError
from billfold.verification import ProofState, verify
from tests.bills import verified
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.services import CopyDatabase, Landed

USD = "USD"
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def restated_once(shared_landing: Landing) -> Landing:
    """A statement of four publications, which were made 40, 30, 20 and 10 days before NOW; the last changes all."""
    for revision, costs in enumerate((("1", "2"), ("1", "3"), ("1", "4"), ("5", "6")), start=1):
        write_bill(shared_landing.root, described(*costs), revision=revision)
        shared_landing.ingest()
        shared_landing.execute(
            "UPDATE billing_publications SET published_at = %s WHERE number = %s",
            NOW - timedelta(days=50 - 10 * revision),
            revision,
        )
    return shared_landing


@pytest.fixture
def restated(restated_once: Landing, copy_database: CopyDatabase) -> Landing:
    """What a test does to it is its own."""
    return replace(restated_once, database=copy_database(restated_once.database))


def run(landing: Landing, keep_days: int | None, *, dry_run: bool = False) -> Pruning:
    return prune(settings=landing.settings, database=landing.database, keep_days=keep_days, dry_run=dry_run, now=NOW)


def test_what_was_withdrawn_before_goes_and_the_rest_is_remembered(restated: Landing) -> None:
    before = restated.snapshot()

    pruning = run(restated, 15)

    [forgotten] = pruning.statements
    assert (forgotten.row_count, forgotten.charge_count) == (2, 2)
    assert restated.snapshot() == before
    assert restated.count("raw_aws_billing_rows_history") == restated.count("billing_usage_fact_history") == 2
    moments = restated.published_at()
    assert restated.as_of(moments[2]) == {USD: (2, Decimal(5))}
    assert restated.as_of(moments[3]) == {USD: (2, Decimal(11))}
    with pytest.raises(StoreError, match="is pruned"):
        restated.query("SELECT * FROM charges_as_of(%s)", moments[1])
    assert restated.value("SELECT sum(billed_cost) FROM daily_cost_as_of(%s)", moments[1]) == Decimal(4)


def test_a_moment_before_everything_is_refused_whatever_is_asked_of_it(restated: Landing) -> None:
    run(restated, 15)

    for condition in ("billing_period = '2026-05-01'", "billed_cost > 0", "row_hash IS NOT NULL"):
        with pytest.raises(StoreError, match="is pruned"):
            restated.query(
                f"SELECT sum(billed_cost) FROM charges_as_of(%s) WHERE {condition}", NOW - timedelta(days=35)
            )


def test_before_the_first_publication_there_was_nothing_to_forget(restated: Landing) -> None:
    run(restated, 15)

    assert restated.query("SELECT * FROM charges_as_of(%s)", NOW - timedelta(days=60)) == []


def test_what_is_forgotten_cannot_be_rolled_back_to(restated: Landing) -> None:
    deliveries = [row[0] for row in restated.query("SELECT delivery_id FROM billing_deliveries ORDER BY created_at")]
    run(restated, 15)

    roll_back(deliveries[3], settings=restated.settings, database=restated.database)
    with pytest.raises(UsageError, match="is pruned and cannot be restored"):
        roll_back(deliveries[2], settings=restated.settings, database=restated.database)

    assert restated.billed() == {USD: Decimal(5)}
    assert restated.broken_rules() == []


def test_a_dry_run_counts_and_deletes_nothing(restated: Landing) -> None:
    pruning = run(restated, 15, dry_run=True)

    [forgotten] = pruning.statements
    assert (forgotten.row_count, forgotten.charge_count) == (2, 2)
    assert restated.count("raw_aws_billing_rows_history") == 4
    assert restated.value("SELECT remembered_since FROM billing_statements") is None


def test_a_second_prune_finds_nothing_more(restated: Landing) -> None:
    run(restated, 15)

    assert run(restated, 15).statements == ()
    [later] = run(restated, 5).statements
    assert later.row_count == 2


def test_nothing_is_forgotten_unless_somebody_says_how_long_it_is_kept(restated: Landing) -> None:
    with pytest.raises(UsageError, match="no retention period is set"):
        run(restated, None)
    pruning = run(restated.with_settings(keep_history_days=25), None)

    assert [forgotten.row_count for forgotten in pruning.statements] == [1]
    assert restated.count("raw_aws_billing_rows_history") == 3


def test_only_the_named_client_is_pruned(restated: Landing) -> None:
    other = prune(settings=restated.settings, database=restated.database, keep_days=1, client_id="other", now=NOW)

    assert other.statements == ()
    assert restated.count("raw_aws_billing_rows_history") == 4


def forget_everything(landing: Landing) -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    pruning = prune(settings=landing.settings, database=landing.database, keep_days=1, now=later)
    assert pruning.statements
    assert landing.count("raw_aws_billing_rows_history") == landing.count("billing_usage_fact_history") == 0


def differing(landing: Landing) -> list[str]:
    verdicts = verify(settings=landing.settings, database=landing.database, with_source=False)
    return [proof.name for verdict in verdicts for proof in verdict.proofs if proof.state is ProofState.DIFFERS]


def empty(landing: Landing) -> None:
    """A bill whose only delivery was rolled back."""
    write_bill(landing.root, described("1", "2"))
    delivery_id = landing.ingest().delivery_id
    assert delivery_id is not None
    roll_back(delivery_id, settings=landing.settings, database=landing.database)


def test_a_bill_of_which_every_row_has_changed_is_true_when_the_rest_is_pruned(restated: Landing) -> None:
    forget_everything(restated)

    before = differing(restated)
    remembered = restated.as_of(restated.published_at()[-1])
    restated.execute("DELETE FROM billing_usage_fact WHERE billed_cost = 5")

    assert before == []
    assert remembered == {USD: (2, Decimal(11))}
    # What differs is still found.
    assert "history_charges" in verified.differing(restated, verified.of_history)


def test_a_bill_that_was_emptied_and_restored_is_true_when_the_rest_is_pruned(landed: Landed) -> None:
    landing = landed((empty,))
    delivery_id = landing.value("SELECT delivery_id FROM billing_deliveries")
    roll_back(delivery_id, settings=landing.settings, database=landing.database, undo=True)

    forget_everything(landing)

    assert differing(landing) == []
    assert [landing.as_of(moment) for moment in landing.published_at()[1:]] == [{}, {USD: (2, Decimal(3))}]


def test_a_bill_that_was_emptied_and_pruned_is_true(landed: Landed) -> None:
    landing = landed((empty,))

    forget_everything(landing)

    assert differing(landing) == []
