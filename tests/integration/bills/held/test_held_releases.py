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
from tests.integration.bills.held.held_helpers import CUT, USD, WHOLE, deliver, held_id, let_through, states
from tests.services import Landed


def permits(landing: Landing) -> int:
    """How many deliveries may pass although they were held."""
    return int(landing.value("SELECT count(*) FROM billing_deliveries WHERE released_at IS NOT NULL"))


def test_a_release_is_refused_where_another_delivery_stands_at_the_key(landed: Landed) -> None:
    landing = landed(WHOLE, CUT)
    write_bill(landing.root, described("1", "2", "4"), revision=3)
    before = landing.snapshot()

    with pytest.raises(UsageError, match="the delivery of 2026-05-28 23:26:40 UTC is"):
        let_through(landing, held_id(landing))

    assert states(landing) == ["published", "held"]
    assert permits(landing) == 0
    assert landing.snapshot() == before


def test_a_release_is_not_used_up_by_a_key_that_is_gone(landed: Landed) -> None:
    landing = landed(WHOLE, CUT)
    [manifest] = landing.root.rglob("*Manifest.json")
    manifest.unlink()

    outcome = let_through(landing, held_id(landing))

    assert outcome.state is DeliveryState.FAILED
    assert states(landing) == ["published", "held"]
    assert permits(landing) == 0


def test_a_release_that_is_overtaken_while_it_is_read_lets_nothing_through(
    landed: Landed, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = landed(WHOLE, CUT)
    fetch = delivery_module.fetch_delivery

    def replace_first(bucket: Bucket, delivery: Delivery, *arguments: Any) -> tuple[SpooledFile, ...]:
        monkeypatch.setattr(delivery_module, "fetch_delivery", fetch)
        write_bill(landing.root, described("1", "2", "4"), revision=3)
        return fetch(bucket, delivery, *arguments)

    monkeypatch.setattr(delivery_module, "fetch_delivery", replace_first)

    with pytest.raises(UsageError, match=r"replaced it meanwhile and is published"):
        let_through(landing, held_id(landing))

    assert permits(landing) == 0
    assert landing.billed() == {USD: Decimal(7)}


def test_a_permit_is_not_kept_for_a_delivery_that_comes_back(landed: Landed) -> None:
    landing = landed(WHOLE, CUT)
    held = held_id(landing)
    # The release was given, and broke off before the delivery was read.
    landing.execute("UPDATE billing_deliveries SET released_at = now() WHERE delivery_id = %s", held)
    write_bill(landing.root, described("1", "2", "4"), revision=3)
    landing.ingest()
    manifest = write_bill(landing.root, described("1"), revision=2)
    os.utime(manifest, (1_790_000_000, 1_790_000_000))

    back = landing.ingest()

    assert (back.delivery_id, back.state) == (held, DeliveryState.HELD)
    assert landing.billed() == {USD: Decimal(7)}


def test_force_passes_the_limit_and_says_so(landed: Landed) -> None:
    landing = landed(WHOLE)
    write_bill(landing.root, described("1"), revision=2)

    outcome = landing.ingest(force=True)

    assert outcome.state is DeliveryState.PUBLISHED
    assert "published by force, although it would leave 1 of 3 rows and 1 of 6 USD" in outcome.findings


def test_force_on_a_held_delivery_says_it_once(landed: Landed) -> None:
    landing = landed(WHOLE, CUT)

    outcome = landing.ingest(force=True)

    assert outcome.findings == ("published by force, although it would leave 1 of 3 rows and 1 of 6 USD",)


def test_only_what_is_held_can_be_released(landed: Landed) -> None:
    landing = landed(WHOLE)
    published = landing.value("SELECT delivery_id FROM billing_deliveries")

    with pytest.raises(UsageError, match="is published, not held"):
        let_through(landing, published)
    with pytest.raises(UsageError, match="there is no delivery"):
        let_through(landing, uuid4())
    with pytest.raises(UsageError, match="belongs to client acme"):
        let_through(landing.with_client(client_id="other"), published)


def come_back(landing: Landing) -> None:
    """The first of two published deliveries comes back as the latest, and is held."""
    deliver(landing, described("10"))
    deliver(landing, described("10", "20", "30"), 2)
    manifest = write_bill(landing.root, described("10"), revision=1)
    os.utime(manifest, (1_790_000_000, 1_790_000_000))
    assert landing.ingest().state is DeliveryState.HELD


def test_a_published_delivery_that_comes_back_and_is_held_can_be_released(landed: Landed) -> None:
    landing = landed((come_back,))
    first = landing.value("SELECT delivery_id FROM billing_deliveries ORDER BY created_at LIMIT 1")
    listed = landing.query("SELECT delivery_id FROM billing_deliveries WHERE state = 'held'")

    released = let_through(landing, first)

    assert released.state is DeliveryState.PUBLISHED
    assert listed == [(first,)]
    assert landing.billed() == {USD: Decimal(10)}


def test_a_published_delivery_that_comes_back_and_is_overtaken_stays_published(landed: Landed) -> None:
    landing = landed((come_back,))
    manifest = write_bill(landing.root, described("10", "20", "40"), revision=3)
    os.utime(manifest, (1_790_003_600, 1_790_003_600))

    landing.ingest()

    assert states(landing) == ["published"] * 3
    assert landing.broken_rules() == []
