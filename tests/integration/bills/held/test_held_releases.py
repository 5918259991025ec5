"""A release lets one held delivery through, once, and nothing else."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from billfold.aws import Bucket
from billfold.bills import delivery as delivery_module
from billfold.errors import UsageError
from billfold.model import Delivery, DeliveryState, SpooledFile
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.integration.bills.held.held_helpers import USD, let_through, states


def permits(landing: Landing) -> int:
    """How many deliveries may pass although they were held."""
    return int(landing.value("SELECT count(*) FROM billing_deliveries WHERE released_at IS NOT NULL"))


def test_a_release_is_refused_where_another_delivery_stands_at_the_key(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2", "3"))
    landing.ingest()
    write_bill(landing.root, described("1"), revision=2)
    held = landing.ingest()
    write_bill(landing.root, described("1", "2", "4"), revision=3)
    before = landing.snapshot()

    with pytest.raises(UsageError, match="the delivery of 2026-05-28 23:26:40 UTC is"):
        let_through(landing, held.delivery_id)

    assert states(landing) == ["published", "held"]
    assert permits(landing) == 0
    assert landing.snapshot() == before


def test_a_release_is_not_used_up_by_a_key_that_is_gone(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2", "3"))
    landing.ingest()
    manifest = write_bill(landing.root, described("1"), revision=2)
    held = landing.ingest()
    manifest.unlink()

    outcome = let_through(landing, held.delivery_id)

    assert outcome.state is DeliveryState.FAILED
    assert states(landing) == ["published", "held"]
    assert permits(landing) == 0


def test_a_release_that_is_overtaken_while_it_is_read_lets_nothing_through(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bill(landing.root, described("1", "2", "3"))
    landing.ingest()
    write_bill(landing.root, described("1"), revision=2)
    held = landing.ingest()
    fetch = delivery_module.fetch_delivery

    def replace_first(bucket: Bucket, delivery: Delivery, *arguments: Any) -> tuple[SpooledFile, ...]:
        monkeypatch.setattr(delivery_module, "fetch_delivery", fetch)
        write_bill(landing.root, described("1", "2", "4"), revision=3)
        return fetch(bucket, delivery, *arguments)

    monkeypatch.setattr(delivery_module, "fetch_delivery", replace_first)

    with pytest.raises(UsageError, match=r"replaced it meanwhile and is published"):
        let_through(landing, held.delivery_id)

    assert permits(landing) == 0
    assert landing.billed() == {USD: Decimal(7)}


def test_a_permit_is_not_kept_for_a_delivery_that_comes_back(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2", "3"))
    landing.ingest()
    write_bill(landing.root, described("1"), revision=2)
    held = landing.ingest()
    # The release was given, and broke off before the delivery was read.
    landing.execute("UPDATE billing_deliveries SET released_at = now() WHERE delivery_id = %s", held.delivery_id)
    write_bill(landing.root, described("1", "2", "4"), revision=3)
    landing.ingest()
    manifest = write_bill(landing.root, described("1"), revision=2)
    os.utime(manifest, (1_790_000_000, 1_790_000_000))

    back = landing.ingest()

    assert (back.delivery_id, back.state) == (held.delivery_id, DeliveryState.HELD)
    assert landing.billed() == {USD: Decimal(7)}


def test_force_passes_the_limit_and_says_so(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2", "3"))
    landing.ingest()
    write_bill(landing.root, described("1"), revision=2)

    outcome = landing.ingest(force=True)

    assert outcome.state is DeliveryState.PUBLISHED
    assert "published by force, although it would leave 1 of 3 rows and 1 of 6 USD" in outcome.findings


def test_force_on_a_held_delivery_says_it_once(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2", "3"))
    landing.ingest()
    write_bill(landing.root, described("1"), revision=2)
    landing.ingest()

    outcome = landing.ingest(force=True)

    assert outcome.findings == ("published by force, although it would leave 1 of 3 rows and 1 of 6 USD",)


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


def test_a_published_delivery_that_comes_back_and_is_overtaken_stays_published(landing: Landing) -> None:
    write_bill(landing.root, described("10"))
    landing.ingest()
    write_bill(landing.root, described("10", "20", "30"), revision=2)
    landing.ingest()
    manifest = write_bill(landing.root, described("10"), revision=1)
    os.utime(manifest, (1_790_000_000, 1_790_000_000))
    held = landing.ingest()
    manifest = write_bill(landing.root, described("10", "20", "40"), revision=3)
    os.utime(manifest, (1_790_003_600, 1_790_003_600))

    landing.ingest()

    assert held.state is DeliveryState.HELD
    assert states(landing) == ["published"] * 3
    assert landing.broken_rules() == []
