"""No blank month by accident: what would leave too little of a bill is held until somebody lets it through."""

from __future__ import annotations

import os
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from billfold.errors import DeliveryHeldError, UsageError
from billfold.ingest import release
from billfold.model import DeliveryOutcome, DeliveryState, RunStatus
from tests.landing import Landing
from tests.line_items import described, line_item, write_bill, write_delivery

USD = "USD"


def let_through(landing: Landing, delivery_id: UUID | None) -> DeliveryOutcome:
    assert delivery_id is not None
    [outcome] = release(delivery_id, client=landing.client, settings=landing.settings, database=landing.database)
    return outcome


def test_a_delivery_that_leaves_less_than_half_of_the_rows_is_held(landing: Landing) -> None:
    write_bill(landing.root, described("1", "1", "1", "1", "100"))
    landing.ingest()
    before = landing.snapshot()
    write_bill(landing.root, described("1", "100"), revision=2)

    outcome = landing.ingest()

    assert outcome.state is DeliveryState.HELD
    assert outcome.reason == "would leave 2 of 5 rows"
    assert isinstance(outcome.exit_error, DeliveryHeldError)
    assert f"billfold release {outcome.delivery_id}" in str(outcome.exit_error)
    assert [run.status for run in outcome.runs] == [RunStatus.SKIPPED]
    assert landing.query("SELECT state, reason, error_code FROM billing_deliveries ORDER BY created_at")[1] == (
        "held",
        "would leave 2 of 5 rows",
        None,
    )
    assert landing.snapshot() == before
    assert landing.count("billing_publications") == 1


def test_a_delivery_that_leaves_less_than_half_of_the_cost_is_held(landing: Landing) -> None:
    write_bill(landing.root, described("10", "20.5"))
    landing.ingest()
    write_bill(landing.root, described("10", "5.2"), revision=2)

    outcome = landing.ingest()

    assert outcome.state is DeliveryState.HELD
    assert outcome.reason == "would leave 15.2 of 30.5 USD"
    assert landing.billed() == {USD: Decimal("30.5")}


def test_half_of_the_rows_and_of_the_cost_is_enough(landing: Landing) -> None:
    write_bill(landing.root, described("10", "10"))
    landing.ingest()
    write_bill(landing.root, described("10"), revision=2)

    assert landing.ingest().state is DeliveryState.PUBLISHED


def test_each_currency_is_judged_by_itself(landing: Landing) -> None:
    euros = line_item(cost="4", line_item_currency_code="EUR")
    write_bill(landing.root, [*described("10"), euros])
    landing.ingest()
    write_bill(landing.root, [*described("10"), {**euros, "line_item_currency_code": "USD"}], revision=2)

    outcome = landing.ingest()

    assert outcome.reason == "would leave 0 of 4 EUR"


def test_a_bill_of_credits_is_not_judged_by_its_cost(landing: Landing) -> None:
    write_bill(landing.root, described("-10", "1"))
    landing.ingest()
    write_bill(landing.root, described("-100", "1"), revision=2)

    assert landing.ingest().state is DeliveryState.PUBLISHED


def test_an_emptied_export_is_held_and_can_be_let_through(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2"))
    landing.ingest()
    write_delivery(landing.root, revision=2)
    held = landing.ingest()

    released = let_through(landing, held.delivery_id)

    assert held.reason == "would leave 0 of 2 rows and 0 of 3 USD"
    assert released.state is DeliveryState.PUBLISHED
    assert released.delivery_id == held.delivery_id
    assert "published by release, although it would leave 0 of 2 rows and 0 of 3 USD" in released.findings
    assert landing.count("billing_usage_fact") == 0
    assert landing.query("SELECT state, reason FROM billing_deliveries ORDER BY created_at")[1] == ("published", None)
    assert landing.broken_rules() == []


def test_a_held_delivery_is_not_read_again_until_it_is_let_through(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2", "3"))
    landing.ingest()
    write_bill(landing.root, described("1"), revision=2)
    landing.ingest()
    attempts = "SELECT attempts FROM billing_deliveries WHERE state = 'held'"
    before = landing.value(attempts)

    again = landing.ingest()

    assert again.state is DeliveryState.HELD
    assert again.reason == "would leave 1 of 3 rows and 1 of 6 USD"
    assert landing.value(attempts) == before == 1


def test_a_better_delivery_passes_the_held_one_by(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2", "3"))
    landing.ingest()
    write_bill(landing.root, described("1"), revision=2)
    held = landing.ingest()
    write_bill(landing.root, described("1", "2", "4"), revision=3)

    better = landing.ingest()
    # What stands at its key now is the better one.
    late = let_through(landing, held.delivery_id)

    assert better.state is DeliveryState.PUBLISHED
    assert late.delivery_id == better.delivery_id
    assert landing.billed() == {USD: Decimal(7)}


def test_force_passes_the_limit_and_says_so(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2", "3"))
    landing.ingest()
    write_bill(landing.root, described("1"), revision=2)

    outcome = landing.ingest(force=True)

    assert outcome.state is DeliveryState.PUBLISHED
    assert "published by force, although it would leave 1 of 3 rows and 1 of 6 USD" in outcome.findings


def test_the_limit_is_a_setting(landing: Landing) -> None:
    write_bill(landing.root, described("1", "1", "1", "1", "1", "1", "1", "1", "1", "1"))
    landing.ingest()
    write_bill(landing.root, described("1", "1", "1", "1", "1", "1", "1", "1", "1"), revision=2)
    strict = landing.with_settings(hold_below_percent=95).ingest()
    write_bill(landing.root, described("1"), revision=3)

    never = landing.with_settings(hold_below_percent=0).ingest()

    assert strict.state is DeliveryState.HELD
    assert never.state is DeliveryState.PUBLISHED


def test_only_what_is_held_can_be_released(landing: Landing) -> None:
    write_bill(landing.root, described("1"))
    published = landing.ingest()

    with pytest.raises(UsageError, match="is published, not held"):
        let_through(landing, published.delivery_id)
    with pytest.raises(UsageError, match="there is no delivery"):
        let_through(landing, uuid4())
    with pytest.raises(UsageError, match="belongs to client acme"):
        let_through(landing.with_client(client_id="other"), published.delivery_id)


def test_a_published_delivery_that_comes_back_and_is_held_can_be_released(landing: Landing) -> None:
    write_bill(landing.root, described("10"))
    landing.ingest()
    write_bill(landing.root, described("10", "20", "30"), revision=2)
    landing.ingest()
    manifest = write_bill(landing.root, described("10"), revision=1)
    os.utime(manifest, (1_790_000_000, 1_790_000_000))
    held = landing.ingest()
    listed = landing.query("SELECT delivery_id FROM billing_deliveries WHERE state = 'held'")

    released = let_through(landing, held.delivery_id)

    assert (held.state, released.state) == (DeliveryState.HELD, DeliveryState.PUBLISHED)
    assert listed == [(held.delivery_id,)]
    assert landing.billed() == {USD: Decimal(10)}
