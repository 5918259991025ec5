"""A held delivery stays held until something changes, or until a release lets it through, once, and nothing else."""

from __future__ import annotations

import gzip
import os
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from billfold.aws import Bucket
from billfold.bills import delivery as delivery_module
from billfold.bills.rollback import roll_back
from billfold.errors import DeliveryHeldError, UsageError
from billfold.model import Delivery, DeliveryState, RunStatus, SpooledFile
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, write_bill, write_delivery, write_object
from tests.integration.bills.held.held_helpers import CUT, USD, WHOLE, deliver, held_id, let_through, states
from tests.services import Landed

DATA = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"


def deliver_file(landing: Landing, key: str, *costs: str) -> None:
    """A file that no manifest names."""
    write_object(landing.root, key, gzip.compress(as_csv(described(*costs))))
    landing.ingest()


def test_an_emptied_export_is_held_and_can_be_let_through(landed: Landed) -> None:
    landing = landed(WHOLE)
    write_delivery(landing.root, revision=2)
    held = landing.ingest()

    released = let_through(landing, held.delivery_id)

    assert held.reason == "would leave 0 of 3 rows and 0 of 6 USD"
    assert released.state is DeliveryState.PUBLISHED
    assert released.delivery_id == held.delivery_id
    assert "published by release, although it would leave 0 of 3 rows and 0 of 6 USD" in released.findings
    assert landing.count("billing_usage_fact") == 0
    assert landing.query("SELECT state, reason FROM billing_deliveries ORDER BY created_at")[1] == ("published", None)
    assert landing.broken_rules() == []


def test_a_held_delivery_changes_nothing_and_is_not_read_again_until_it_is_let_through(landed: Landed) -> None:
    before = landed(WHOLE).snapshot()
    landing = landed(WHOLE, CUT)
    held = "SELECT delivery_id, reason, error_code, attempts FROM billing_deliveries WHERE state = 'held'"
    reason = "would leave 1 of 3 rows and 1 of 6 USD"

    again = landing.ingest()

    assert (again.state, again.reason) == (DeliveryState.HELD, reason)
    assert isinstance(again.exit_error, DeliveryHeldError)
    assert f"billfold release {again.delivery_id}" in str(again.exit_error)
    assert [run.status for run in again.runs] == [RunStatus.SKIPPED]
    assert landing.query(held) == [(again.delivery_id, reason, None, 1)]
    assert landing.snapshot() == before
    assert landing.count("billing_publications") == 1


def test_another_limit_judges_anew(landed: Landed) -> None:
    landing = landed(WHOLE)
    write_bill(landing.root, described("1", "2"), revision=2)

    strict = landing.with_settings(hold_below_percent=51).ingest()
    usual = landing.ingest()

    assert (strict.state, strict.reason) == (DeliveryState.HELD, "would leave 3 of 6 USD")
    assert (usual.state, usual.delivery_id) == (DeliveryState.PUBLISHED, strict.delivery_id)
    assert landing.billed() == {USD: Decimal(3)}


def test_another_bill_judges_anew(landed: Landed) -> None:
    landing = landed(WHOLE, CUT)
    held = held_id(landing)
    first = landing.value("SELECT current_delivery_id FROM billing_statements")
    roll_back(first, settings=landing.settings, database=landing.database)

    again = landing.ingest()

    assert (again.state, again.delivery_id) == (DeliveryState.PUBLISHED, held)
    assert landing.billed() == {USD: Decimal(1)}


def test_another_bill_of_the_file_that_it_would_take_over_judges_anew(landed: Landed) -> None:
    landing = landed((deliver_file, DATA, "1", "2", "3"))
    alone = landing.value("SELECT delivery_id FROM billing_deliveries")
    (landing.root / DATA).unlink()
    write_delivery(landing.root, revision=2)
    held = landing.ingest()
    roll_back(alone, settings=landing.settings, database=landing.database)

    again = landing.ingest()

    assert (held.state, again.state) == (DeliveryState.HELD, DeliveryState.PUBLISHED)


def test_what_was_found_in_a_held_delivery_is_kept(landed: Landed) -> None:
    landing = landed(WHOLE)
    cut = described("1", "1", resource_id="i-1")
    write_bill(landing.root, cut[:1], cut[1:], revision=2)

    outcome = landing.ingest()

    stored = landing.records("SELECT * FROM billing_deliveries WHERE state = 'held'")[0]
    assert outcome.state is DeliveryState.HELD
    assert (outcome.rows_read, outcome.rows_added, outcome.rows_removed) == (2, 0, 0)
    assert [run.rows_read for run in outcome.runs] == [1, 1]
    assert (outcome.source_cost, outcome.billed_cost) == ({USD: Decimal(2)}, {})
    assert outcome.findings == ("new columns: resource_id",)
    assert (stored["rows_read"], stored["source_cost"]) == (2, {USD: "2"})
    assert stored["findings"] == list(outcome.findings)
    assert stored["columns"]["resource_id"] == "text"
    assert {"fetch", "parse", "identify", "compare", "map"} <= stored["timings"].keys()
    assert (stored["format"], str(stored["billing_period"])) == ("cur-2.0", "2026-05-01")
    assert landing.query("SELECT sum(rows_read) FROM billing_delivery_files WHERE outcome = 'skipped'") == [(2,)]
    assert landing.query("SELECT sum(rows_read) FROM billing_ingestion_runs WHERE status = 'skipped'") == [(2,)]
    assert landing.broken_rules() == []


def test_a_better_delivery_passes_the_held_one_by(landed: Landed) -> None:
    landing = landed(WHOLE, CUT)
    held = held_id(landing)
    write_bill(landing.root, described("1", "2", "4"), revision=3)

    better = landing.ingest()

    assert better.state is DeliveryState.PUBLISHED
    assert landing.query("SELECT delivery_id, reason FROM billing_deliveries WHERE state = 'superseded'") == [
        (
            held,
            "was held (would leave 1 of 3 rows and 1 of 6 USD) until the delivery of 2026-05-28 23:26:40 UTC was"
            " published",
        )
    ]
    with pytest.raises(UsageError, match=r"is superseded, not held: it was held \(would leave 1 of 3 rows"):
        let_through(landing, held)
    assert landing.billed() == {USD: Decimal(7)}


def test_a_delivery_of_the_same_rows_passes_the_held_one_by_too(landed: Landed) -> None:
    landing = landed(WHOLE, CUT)
    write_bill(landing.root, described("1", "2", "3"), revision=3)

    same = landing.ingest()

    assert (same.state, same.rows_added) == (DeliveryState.PUBLISHED, 0)
    assert states(landing) == ["published", "superseded", "published"]


def test_an_older_delivery_that_is_forced_passes_the_limit_and_leaves_a_newer_one_held(landed: Landed) -> None:
    landing = landed(WHOLE, CUT)
    write_bill(landing.root, described("3"), revision=0)

    forced = landing.ingest(force=True)

    assert forced.state is DeliveryState.PUBLISHED
    assert "published by force, although it would leave 1 of 3 rows" in forced.findings
    assert states(landing) == ["published", "held", "published"]


def test_another_version_of_a_file_passes_the_held_one_by(landed: Landed) -> None:
    landing = landed((deliver_file, DATA, "1", "2", "3"), (deliver_file, DATA, "1"))

    deliver_file(landing, DATA, "1", "2", "4")

    assert states(landing) == ["published", "superseded", "published"]


def test_a_manifest_ends_the_hold_of_a_file_that_it_takes_over(landed: Landed) -> None:
    landing = landed((deliver_file, DATA, "1", "2", "3"), (deliver_file, DATA, "1"))
    write_bill(landing.root, described("1", "2", "3"), revision=2)

    landing.ingest()

    assert states(landing) == ["published", "superseded", "published"]


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
