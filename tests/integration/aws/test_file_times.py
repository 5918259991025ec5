"""Local manifests whose file times cannot be true, are missing or are equal, and which delivery then counts."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from billfold.aws import locate, resolve
from billfold.model import Client, Delivery, DeliveryState
from billfold.settings import Settings
from billfold.store.migrate import list_migrations
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.services import Landed

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


def deliver(landing: Landing, moment: float, *costs: str) -> None:
    set_time(write_bill(landing.root, described(*costs)), moment)
    landing.ingest()


# As `write_bill` leaves it.
USUAL = 1_780_003_600
FIRST = (deliver, USUAL, "1", "2")
DOUBTFUL = (deliver, NO_TIMES["2030"], "1", "2")


def resolve_at(folder: Path, settings: Settings, moment: float) -> Delivery:
    """The delivery of a manifest that has this time."""
    set_time(write_bill(folder, described("1", "2")), moment)
    [delivery] = resolve(*locate(str(folder), Client(client_id="acme"), settings))
    return delivery


@pytest.mark.parametrize("moment", NO_TIMES.values(), ids=NO_TIMES)
def test_a_file_time_that_cannot_be_true_gives_way_to_the_time_when_it_was_found(
    tmp_path: Path, settings: Settings, moment: float
) -> None:
    delivery = resolve_at(tmp_path, settings, moment)

    assert str(delivery.time_fault).startswith("the file time of")
    assert timedelta() <= datetime.now(UTC) - delivery.delivered_at <= timedelta(minutes=5)


def test_a_clock_that_is_a_little_ahead_is_believed(tmp_path: Path, settings: Settings) -> None:
    moment = int(time.time()) + 60

    delivery = resolve_at(tmp_path, settings, moment)

    assert (delivery.time_fault, delivery.delivered_at) == (None, datetime.fromtimestamp(moment, UTC))


def test_among_manifests_of_one_statement_a_time_that_cannot_be_true_comes_after_all_others(
    tmp_path: Path, settings: Settings
) -> None:
    good = write_bill(tmp_path, described("1", "2"))
    doubtful = good.with_name("copy-Manifest.json")
    doubtful.write_text(good.read_text().replace("execution-1", "execution-0"))
    set_time(doubtful, NO_TIMES["2030"])

    delivery = resolve_at(tmp_path, settings, USUAL)

    assert (delivery.execution_id, delivery.time_fault) == ("execution-1", None)


def test_a_time_that_cannot_be_true_is_a_finding_and_supersedes_no_later_delivery(landed: Landed) -> None:
    landing = landed(DOUBTFUL)
    write_bill(landing.root, described("1", "3"), revision=2)

    later = landing.ingest()

    [finding], _ = (
        findings for (findings,) in landing.query("SELECT findings FROM billing_deliveries ORDER BY created_at")
    )
    assert finding.startswith("the file time of")
    assert finding.endswith("it says nothing about the order of deliveries")
    assert (later.state, later.findings) == (DeliveryState.PUBLISHED, ())
    assert landing.billed() == {USD: Decimal(4)}
    for delivered_at, created_at in landing.query("SELECT delivered_at, created_at FROM billing_deliveries"):
        assert delivered_at <= created_at + timedelta(minutes=5)


def test_the_same_file_again_is_the_same_delivery_and_keeps_its_assumed_time(landed: Landed) -> None:
    landing = landed(DOUBTFUL)
    times = "SELECT delivery_id, delivered_at, is_time_assumed FROM billing_deliveries"
    [before] = landing.query(times)

    landing.ingest()
    again = landing.query(times)
    [manifest] = landing.root.rglob("*Manifest.json")
    set_time(manifest, USUAL)
    landing.ingest()

    assert again == [before]
    assert landing.query(times) == [(before[0], datetime.fromtimestamp(USUAL, UTC), False)]


def test_a_delivery_whose_time_cannot_be_true_replaces_what_was_there_before(landed: Landed) -> None:
    landing = landed(FIRST)
    set_time(write_bill(landing.root, described("1", "3"), revision=2), 0)

    newer = landing.ingest()

    assert newer.state is DeliveryState.PUBLISHED
    assert landing.billed() == {USD: Decimal(4)}


def test_of_equal_file_times_the_delivery_that_is_ingested_last_counts(landed: Landed) -> None:
    landing = landed(FIRST)
    # As a fresh checkout or a copy without times leaves them.
    set_time(write_bill(landing.root, described("1", "3"), revision=2), USUAL)

    second = landing.ingest()

    assert second.state is DeliveryState.PUBLISHED
    assert landing.billed() == {USD: Decimal(4)}


def test_a_delivery_of_2030_that_an_earlier_version_let_in_supersedes_none_after_the_upgrade(landed: Landed) -> None:
    landing = landed(FIRST)
    landing.execute("ALTER TABLE billing_deliveries DROP COLUMN is_time_assumed")
    landing.execute("UPDATE billing_deliveries SET delivered_at = '2030-01-01Z', created_at = '2026-06-01Z'")
    [migration] = [each for each in list_migrations() if each.number == 24]

    landing.execute(migration.script)
    write_bill(landing.root, described("1", "3"), revision=2)
    later = landing.ingest()

    assert later.state is DeliveryState.PUBLISHED
    assert landing.billed() == {USD: Decimal(4)}
