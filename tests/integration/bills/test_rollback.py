"""Rollbacks and undos: exactly what stood before, again, and remembered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from billfold.aws import locate, resolve
from billfold.bills.backfill import backfill
from billfold.bills.rollback import Restoration, roll_back
from billfold.errors import ReconciliationError, RunConflictError, UsageError
from billfold.model import DeliveryState, PublicationKind
from billfold.store.database import Connection, connect
from billfold.store.deliveries import claims
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, described, line_item, write_bill
from tests.services import Landed

USD = "USD"
FIRST = described("10", "20", "30")
SECOND = [*described("10", "20", "31"), line_item(cost="4", line_item_line_item_description="new")]
THIRD = described("11", "20", "31")


def deliver(landing: Landing, items: Sequence[Any], revision: int = 1) -> UUID:
    """Ingest one revision and return the delivery."""
    write_bill(landing.root, items, revision=revision)
    outcome = landing.ingest()
    assert outcome.state is DeliveryState.PUBLISHED, outcome
    assert outcome.delivery_id is not None
    return outcome.delivery_id


def deliveries(landing: Landing) -> list[UUID]:
    """In the order of their arrival."""
    return [found for (found,) in landing.query("SELECT delivery_id FROM billing_deliveries ORDER BY created_at")]


PAIR = ((deliver, FIRST, 1), (deliver, SECOND, 2))


@pytest.fixture
def pair(landed: Landed) -> tuple[Landing, UUID]:
    """A statement that was restated once, and the delivery that did it."""
    landing = landed(*PAIR)
    return landing, deliveries(landing)[1]


def back_second(landing: Landing) -> Restoration:
    return back(landing, deliveries(landing)[1])


@pytest.fixture
def taken_back(landed: Landed) -> tuple[Landing, UUID]:
    """The same after the restatement was rolled back."""
    landing = landed(*PAIR, (back_second,))
    return landing, deliveries(landing)[1]


def back(landing: Landing, delivery_id: UUID, *, undo: bool = False) -> Restoration:
    return roll_back(delivery_id, settings=landing.settings, database=landing.database, undo=undo)


def states(landing: Landing) -> list[tuple[str, bool]]:
    """Each delivery's state in the order of their arrival, and whether it is current."""
    return landing.query(
        "SELECT state, coalesce(delivery_id = current_delivery_id, false) FROM billing_deliveries"
        " LEFT JOIN billing_statements USING (statement_id) ORDER BY billing_deliveries.created_at"
    )


@pytest.mark.parametrize("version", [16, 18])
def test_a_rollback_restores_what_stood_before_and_can_be_undone(landed: Landed, version: int) -> None:
    before = landed(PAIR[0], version=version).snapshot()
    landing = landed(*PAIR, version=version)
    first, second = deliveries(landing)
    restated = landing.snapshot()
    kept = "SELECT row_hash, ctid::text, xmin::text FROM raw_aws_billing_rows WHERE added_by = 1"
    stood_all_the_time = landing.query(kept)

    restoration = back(landing, second)

    assert landing.snapshot() == before
    assert len(stood_all_the_time) == 2
    assert landing.query(kept) == stood_all_the_time
    assert (restoration.kind, restoration.restored_number) == (PublicationKind.ROLLBACK, 1)
    assert (restoration.rows_added, restoration.rows_removed, restoration.rows_after) == (1, 2, 3)
    assert restoration.billed_cost_before == {USD: Decimal(65)}
    assert restoration.billed_cost == {USD: Decimal(60)}
    assert restoration.current_delivery_id == first
    assert states(landing) == [("published", True), ("rolled_back", False)]
    assert landing.query(
        "SELECT number, kind, rows_before, rows_added, rows_removed, rows_after FROM billing_publications ORDER BY 1"
    ) == [(1, "delivery", 0, 3, 0, 3), (2, "delivery", 3, 2, 1, 4), (3, "rollback", 4, 1, 2, 3)]
    assert landing.broken_rules() == []

    restoration = back(landing, second, undo=True)

    assert landing.snapshot() == restated
    assert (restoration.kind, restoration.current_delivery_id) == (PublicationKind.UNDO, second)
    assert states(landing) == [("published", False), ("published", True)]
    assert landing.broken_rules() == []


def test_every_moment_keeps_its_bill_across_rollbacks_and_undos(pair: tuple[Landing, UUID]) -> None:
    landing, second = pair
    third = deliver(landing, THIRD, 3)
    back(landing, third)
    back(landing, second)
    back(landing, second, undo=True)
    back(landing, third, undo=True)
    back(landing, third)

    moments = landing.published_at()

    assert [landing.as_of(moment)[USD] for moment in moments] == [
        (3, Decimal(60)),
        (4, Decimal(65)),
        (3, Decimal(62)),
        (4, Decimal(65)),
        (3, Decimal(60)),
        (4, Decimal(65)),
        (3, Decimal(62)),
        (4, Decimal(65)),
    ]
    assert landing.broken_rules() == []


def test_the_first_delivery_rolled_back_leaves_an_empty_statement(landed: Landed) -> None:
    landing = landed(PAIR[0])
    [first] = deliveries(landing)

    restoration = back(landing, first)
    empty = landing.snapshot()
    state_then = states(landing)
    again = landing.ingest()
    back(landing, first, undo=True)

    assert (restoration.current_delivery_id, restoration.restored_number) == (None, None)
    assert all(rows == [] for rows in empty.values())
    assert state_then == [("rolled_back", False)]
    assert again.state is DeliveryState.ROLLED_BACK
    assert landing.billed() == {USD: Decimal(60)}
    assert states(landing) == [("published", True)]
    assert landing.broken_rules() == []


def test_an_emptied_statement_takes_a_newer_delivery(landed: Landed) -> None:
    landing = landed(PAIR[0])
    [first] = deliveries(landing)
    back(landing, first)

    deliver(landing, SECOND, 2)

    assert landing.billed() == {USD: Decimal(65)}
    with pytest.raises(UsageError, match="has changed since"):
        back(landing, first, undo=True)
    assert landing.broken_rules() == []


def test_what_was_rolled_back_is_applied_again_only_by_force(
    taken_back: tuple[Landing, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    landing, _ = taken_back

    again = landing.ingest()
    with monkeypatch.context() as broken:
        broken.setattr("billfold.store.deliveries.landing.roll_up", _break_off)
        broken_off = landing.ingest(force=True)
    after_that = landing.ingest()
    publications = landing.count("billing_publications")
    error_code = landing.value("SELECT last_error_code FROM billing_deliveries WHERE state = 'rolled_back'")
    forced = landing.ingest(force=True)

    assert (again.state, again.exit_error, again.reason) == (DeliveryState.ROLLED_BACK, None, "was rolled back")
    # A forced attempt that breaks off leaves it rolled back.
    assert broken_off.exit_error
    assert str(broken_off.exit_error) == "RuntimeError: broken off"
    assert (after_that.state, publications, error_code) == (DeliveryState.ROLLED_BACK, 3, "internal")
    assert forced.state is DeliveryState.PUBLISHED
    assert "published by force, although it was rolled back" in forced.findings
    assert landing.billed() == {USD: Decimal(65)}
    assert states(landing) == [("published", False), ("published", True)]


def _break_off(*_: object, **__: object) -> None:
    raise RuntimeError("broken off")


def test_a_backfill_does_not_apply_it_again(taken_back: tuple[Landing, UUID]) -> None:
    landing, _ = taken_back
    bucket = f"file://{landing.root.resolve()}"
    there = landing.with_client(bucket=bucket).with_settings(bucket=bucket)

    report = backfill(client=there.client, settings=there.settings, database=there.database)

    assert [outcome.state for outcome in report.outcomes] == [DeliveryState.ROLLED_BACK]
    assert landing.billed() == {USD: Decimal(60)}


def test_a_newer_delivery_replaces_what_the_rollback_left(taken_back: tuple[Landing, UUID]) -> None:
    landing, _ = taken_back

    deliver(landing, THIRD, 3)

    assert landing.billed() == {USD: Decimal(62)}
    assert states(landing) == [("published", False), ("rolled_back", False), ("published", True)]
    assert landing.broken_rules() == []


def test_a_rolled_back_delivery_under_another_manifest_time_is_still_rolled_back(
    taken_back: tuple[Landing, UUID],
) -> None:
    landing, second = taken_back
    # The execution that the manifest names is the one that was rolled back, whenever it is copied there.
    for path in landing.root.rglob("*.json"):
        path.touch()

    again = landing.ingest()

    assert again.delivery_id == second
    assert again.state is DeliveryState.ROLLED_BACK


def test_redeliveries_of_the_same_files_go_with_it(pair: tuple[Landing, UUID]) -> None:
    landing, _ = pair
    same = deliver(landing, SECOND, 3)

    back(landing, same)

    assert landing.count("billing_publications") == 3
    assert len(set(deliveries(landing))) == 3
    assert states(landing) == [("published", True), ("rolled_back", False), ("rolled_back", False)]
    assert landing.billed() == {USD: Decimal(60)}


def test_a_bill_that_came_back_is_rolled_back_to_the_one_between(pair: tuple[Landing, UUID]) -> None:
    landing, second = pair
    first = deliveries(landing)[0]
    deliver(landing, FIRST, 3)
    third = landing.value("SELECT current_delivery_id FROM billing_statements")

    back(landing, third)
    billed_then = landing.billed()
    back(landing, second)

    assert billed_then == {USD: Decimal(65)}
    assert landing.billed() == {USD: Decimal(60)}
    assert landing.value("SELECT current_delivery_id FROM billing_statements") == first
    with pytest.raises(UsageError, match="has changed since"):
        back(landing, third, undo=True)
    assert landing.broken_rules() == []


def test_a_cost_basis_and_what_savings_plans_leave_over_are_rolled_back_too(landing: Landing) -> None:
    net = "line_item_net_unblended_cost"
    plan = [
        line_item("SavingsPlanCoveredUsage", "10", savings_plan_savings_plan_a_r_n=PLAN),
        line_item("SavingsPlanNegation", "-9", savings_plan_savings_plan_a_r_n=PLAN),
    ]
    gross = [{**item, net: ""} for item in (*FIRST, *plan)]
    deliver(landing, gross)
    before = landing.snapshot()
    second = deliver(landing, [{**gross[0], net: "9"}, *gross[1:4], {**gross[4], "line_item_unblended_cost": "-8"}], 2)

    back(landing, second)
    basis, rolled_back = landing.value("SELECT cost_basis FROM billing_statements"), landing.snapshot()
    back(landing, second, undo=True)

    assert (basis, rolled_back) == ("gross", before)
    assert landing.query("SELECT left_out FROM billing_publications WHERE number IN (1, 3) GROUP BY 1") == [
        (landing.value("SELECT left_out FROM billing_publications WHERE number = 1"),)
    ]
    assert landing.value("SELECT cost_basis FROM billing_statements") == "net"
    assert landing.billed() == {USD: Decimal(59 + 10 - 8)}
    back(landing, second)
    assert landing.snapshot() == before
    assert landing.broken_rules() == []


def test_only_the_current_delivery_can_be_rolled_back(pair: tuple[Landing, UUID]) -> None:
    landing, second = pair
    first = deliveries(landing)[0]

    with pytest.raises(UsageError, match=f"not current: delivery {second} is"):
        back(landing, first)
    with pytest.raises(UsageError, match="not rolled back"):
        back(landing, second, undo=True)
    with pytest.raises(UsageError, match="there is no delivery"):
        back(landing, uuid4())

    assert landing.billed() == {USD: Decimal(65)}


def test_a_delivery_that_was_never_published_cannot_be_rolled_back(landed: Landed) -> None:
    landing = landed(PAIR[0])
    write_bill(landing.root, [line_item(cost="none")], revision=2)
    failed = landing.ingest()
    assert failed.delivery_id is not None

    with pytest.raises(UsageError, match="never published"):
        back(landing, failed.delivery_id)


def test_a_rollback_waits_for_the_worker_that_holds_the_statement(pair: tuple[Landing, UUID]) -> None:
    landing, second = pair
    bucket, key = locate(str(landing.root), landing.client, landing.settings)
    [delivery] = resolve(bucket, key)
    impatient = landing.with_settings(claim_wait_seconds=0)

    with connect(landing.database.conninfo) as other:
        claims.claim(other, landing.client, delivery, wait_seconds=1)
        with pytest.raises(RunConflictError):
            back(impatient, second)

    assert landing.billed() == {USD: Decimal(65)}


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM raw_aws_billing_rows_history",
        "UPDATE billing_usage_fact_history SET billed_cost = billed_cost + 0.000001",
        "DELETE FROM billing_usage_fact_history",
    ],
)
def test_a_damaged_history_restores_nothing(pair: tuple[Landing, UUID], damage: str) -> None:
    landing, second = pair
    before = landing.snapshot()
    landing.execute(damage)

    with pytest.raises(ReconciliationError):
        back(landing, second)

    assert landing.snapshot() == before
    assert states(landing) == [("published", False), ("published", True)]
    assert landing.count("billing_publications") == 2


def test_an_event_that_waited_for_the_rollback_does_not_apply_it_again(pair: tuple[Landing, UUID]) -> None:
    landing, second = pair
    bucket, key = locate(str(landing.root), landing.client, landing.settings)
    [delivery] = resolve(bucket, key)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

    with connect(landing.database.conninfo) as gate, ThreadPoolExecutor(max_workers=2) as workers:
        claims.claim(gate, landing.client, delivery, wait_seconds=1)
        rollback = workers.submit(back, landing, second)
        _await(gate, f"SELECT WHERE ({waiting}) = 1")
        # It has seen the delivery as published when its turn comes after the rollback's.
        event = workers.submit(landing.ingest)
        _await(gate, f"SELECT WHERE ({waiting}) = 2")
        gate.execute("SELECT pg_advisory_unlock_all()")
        rollback.result()
        outcome = event.result()

    assert outcome.state is DeliveryState.ROLLED_BACK
    assert landing.billed() == {USD: Decimal(60)}


def _await(connection: Connection, query: str) -> None:
    """Ask until the query has a row; PostgreSQL itself waits between two questions."""
    for _ in range(600):
        if connection.execute(query.encode()).fetchone() is not None:
            return
        connection.execute("SELECT pg_sleep(0.05)")
    raise AssertionError(f"never came true: {query}")


def at(path: Path, hours: int) -> None:
    """Let a manifest be so many hours old."""
    os.utime(path, (1_780_000_000 + hours * 3600,) * 2)


def test_a_rollback_to_a_redelivered_bill_keeps_the_redeliverys_time(landed: Landed) -> None:
    landing = landed(PAIR[0])
    at(write_bill(landing.root, FIRST, revision=2), 20)
    landing.ingest()
    at(write_bill(landing.root, SECOND, revision=3), 30)
    third = landing.ingest()
    assert third.delivery_id is not None
    back(landing, third.delivery_id)
    at(write_bill(landing.root, THIRD, revision=4), 15)  # older than the redelivery at 20

    assert landing.ingest().state is DeliveryState.SUPERSEDED


def test_undoing_the_later_rollback_leaves_the_earlier_one_as_it_was(pair: tuple[Landing, UUID]) -> None:
    landing, second = pair
    first = deliveries(landing)[0]
    at(write_bill(landing.root, FIRST, revision=1), 90)
    again = landing.ingest()
    back(landing, first)
    back(landing, second)
    # Its bill stands again because the second's went, not because its own rollback was undone.
    stands_again = landing.value("SELECT state FROM billing_deliveries WHERE delivery_id = %s", first)

    back(landing, second, undo=True)

    assert again.delivery_id == first
    assert stands_again == "published"
    assert landing.billed() == {USD: Decimal(65)}
    assert landing.ingest().state is DeliveryState.ROLLED_BACK
    assert back(landing, first, undo=True).billed_cost == {USD: Decimal(60)}
    assert landing.broken_rules() == []


def test_a_redelivery_that_stood_between_a_rollback_and_its_undo_stands_for_its_own_bill_only(
    taken_back: tuple[Landing, UUID],
) -> None:
    landing, second = taken_back
    copy = deliver(landing, FIRST, 3)
    back(landing, second, undo=True)
    third = deliver(landing, THIRD, 4)

    restoration = back(landing, third)

    assert copy != second
    assert restoration.current_delivery_id == second
    assert landing.billed() == {USD: Decimal(65)}


def test_a_held_delivery_can_stand_again(pair: tuple[Landing, UUID]) -> None:
    landing, second = pair
    first = deliveries(landing)[0]
    at(write_bill(landing.root, FIRST, revision=1), 99)
    held = landing.with_settings(hold_below_percent=95).ingest()

    back(landing, second)

    assert (held.delivery_id, held.state) == (first, DeliveryState.HELD)
    assert states(landing) == [("published", True), ("rolled_back", False)]
    assert landing.billed() == {USD: Decimal(60)}
