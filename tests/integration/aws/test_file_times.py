"""Local manifests whose file times cannot be true, are missing or are equal, and which delivery then counts."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from billfold.model import DeliveryState
from billfold.store.migrate import list_migrations
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill

USD = "USD"
YEAR_2030 = 1_893_456_000
NO_TIMES = {
    "2030": YEAR_2030 if time.time() < YEAR_2030 else int(time.time()) + 10**8,
    "the year 30000": 884_541_340_800,
    "1970": 0,
    "1901": -2_177_452_800,
    "1980, as archives without times say": 315_532_800,
}


def set_time(path: Path, moment: float) -> None:
    os.utime(path, (moment, moment))


@pytest.mark.parametrize("moment", NO_TIMES.values(), ids=NO_TIMES)
def test_a_file_time_that_cannot_be_true_is_a_finding_and_supersedes_no_later_delivery(
    landing: Landing, moment: float
) -> None:
    set_time(write_bill(landing.root, described("1", "2")), moment)
    doubtful = landing.ingest()
    write_bill(landing.root, described("1", "3"), revision=2)

    later = landing.ingest()

    assert any("the file time of" in finding and "order" in finding for finding in doubtful.findings)
    assert (doubtful.state, later.state) == (DeliveryState.PUBLISHED, DeliveryState.PUBLISHED)
    assert landing.billed() == {USD: Decimal(4)}
    assert not any("file time" in finding for finding in later.findings)
    for delivered_at, created_at in landing.query("SELECT delivered_at, created_at FROM billing_deliveries"):
        assert delivered_at <= created_at + timedelta(minutes=5)


def test_a_delivery_whose_time_cannot_be_true_replaces_what_was_there_before(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2"))
    landing.ingest()
    set_time(write_bill(landing.root, described("1", "3"), revision=2), 0)

    newer = landing.ingest()

    assert newer.state is DeliveryState.PUBLISHED
    assert landing.billed() == {USD: Decimal(4)}


def test_the_same_file_again_is_the_same_delivery_and_keeps_its_assumed_time(landing: Landing) -> None:
    manifest = write_bill(landing.root, described("1", "2"))
    set_time(manifest, NO_TIMES["2030"])
    first = landing.ingest()
    before = landing.query("SELECT delivered_at, is_time_assumed FROM billing_deliveries")

    again = landing.ingest()
    after = landing.query("SELECT delivered_at, is_time_assumed FROM billing_deliveries")
    set_time(manifest, 1_780_003_600)
    corrected = landing.ingest()

    assert first.delivery_id == again.delivery_id == corrected.delivery_id
    assert before == after
    assert landing.query("SELECT delivered_at, is_time_assumed FROM billing_deliveries") == [
        (datetime.fromtimestamp(1_780_003_600, UTC), False)
    ]


def test_a_clock_that_is_a_little_ahead_is_believed(landing: Landing) -> None:
    set_time(write_bill(landing.root, described("1")), time.time() + 60)

    outcome = landing.ingest()

    assert outcome.findings == ()
    assert landing.value("SELECT is_time_assumed FROM billing_deliveries") is False


def test_of_equal_file_times_the_delivery_that_is_ingested_last_counts(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2"))
    landing.ingest()
    # As a fresh checkout or a copy without times leaves them.
    set_time(write_bill(landing.root, described("1", "3"), revision=2), 1_780_003_600)

    second = landing.ingest()

    assert second.state is DeliveryState.PUBLISHED
    assert landing.billed() == {USD: Decimal(4)}


def test_among_manifests_of_one_statement_a_time_that_cannot_be_true_comes_after_all_others(landing: Landing) -> None:
    good = write_bill(landing.root, described("1", "2"))
    doubtful = good.with_name("copy-Manifest.json")
    shutil.copy(good, doubtful)
    doubtful.write_text(good.read_text().replace("execution-1", "execution-0"))
    set_time(doubtful, NO_TIMES["2030"])

    outcome = landing.ingest()

    assert outcome.findings == ()
    assert landing.query("SELECT execution_id FROM billing_deliveries") == [("execution-1",)]


def test_a_delivery_of_2030_that_an_earlier_version_let_in_supersedes_none_after_the_upgrade(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2"))
    landing.ingest()
    landing.execute("ALTER TABLE billing_deliveries DROP COLUMN is_time_assumed")
    landing.execute("UPDATE billing_deliveries SET delivered_at = '2030-01-01Z', created_at = '2026-06-01Z'")
    [migration] = [each for each in list_migrations() if each.number == 24]

    landing.execute(migration.script)
    write_bill(landing.root, described("1", "3"), revision=2)
    later = landing.ingest()

    assert later.state is DeliveryState.PUBLISHED
    assert landing.billed() == {USD: Decimal(4)}
