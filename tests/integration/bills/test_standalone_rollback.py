"""What a rollback or an undo brings back meets files that stand alone by now: each counts once."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from billfold.bills.rollback import Restoration, roll_back
from billfold.errors import UsageError
from billfold.model import DeliveryState
from billfold.store.database import BulkConnection
from billfold.store.deliveries import publications
from billfold.verification.files import prove_files
from billfold.verification.origin import prove_origin
from tests.bills.landing import Landing
from tests.bills.line_items import PERIOD, as_csv, described, write_object
from tests.bills.verified import differing_by_export, of_days, of_history
from tests.services import Landed

USD = "USD"
FOLDER = f"exports/acme/data/BILLING_PERIOD={PERIOD}"


def write_file(landing: Landing, key: str, *costs: str, revision: int = 1) -> Path:
    """Write a data file and no manifest."""
    return write_object(landing.root, key, gzip.compress(as_csv(described(*costs)), mtime=0), revision=revision)


def name(landing: Landing, *keys: str, revision: int) -> Path:
    """Write a manifest that names these files, wherever they stand."""
    manifest = {
        "exportName": "acme",
        "executionId": f"execution-{revision}",
        "billingPeriod": {"start": f"{PERIOD}-01T00:00:00.000Z"},
        "dataFiles": list(keys),
    }
    key = f"exports/acme/metadata/BILLING_PERIOD={PERIOD}/acme-Manifest.json"
    return write_object(landing.root, key, json.dumps(manifest).encode(), revision=revision)


def deliver(landing: Landing, source: Path | None = None, *, force: bool = False) -> UUID:
    """Ingest one source and return its delivery, which must be published."""
    outcome = landing.ingest(source, force=force)
    assert outcome.state is DeliveryState.PUBLISHED, outcome
    assert outcome.delivery_id is not None
    return outcome.delivery_id


def back(landing: Landing, delivery_id: UUID, *, undo: bool = False) -> Restoration:
    return roll_back(delivery_id, settings=landing.settings, database=landing.database, undo=undo)


def billed(landing: Landing) -> Decimal:
    return landing.billed().get(USD, Decimal(0))


def counted_twice(landing: Landing) -> dict[str, str]:
    """What a verification says of files that stand alone and in an export's bill, by the statement's export."""
    found = differing_by_export(landing, lambda proofs, _, subject: prove_files(proofs, subject))
    return {export: detail for export, proofs in found.items() for detail in proofs.values()}


def write_both(landing: Landing) -> Path:
    """Write `a` of 100 and `b` of 500, and a manifest that names both; returns `a`."""
    source = write_file(landing, "a.csv.gz", "100")
    write_file(landing, "b.csv.gz", "500")
    name(landing, "a.csv.gz", "b.csv.gz", revision=1)
    return source


def deliver_both(landing: Landing) -> None:
    write_both(landing)
    deliver(landing)


def part(landing: Landing) -> None:
    """The export's next delivery names only `b`, so that `a` stands alone."""
    name(landing, "b.csv.gz", revision=2)
    outcomes = landing.ingest_all()
    assert [outcome.export_name for outcome in outcomes] == ["acme", "a.csv.gz"]
    assert billed(landing) == 600


def let_stand_alone(landing: Landing) -> None:
    deliver(landing, landing.root / "a.csv.gz")
    assert billed(landing) == 100


def of_export(landing: Landing) -> UUID:
    """The latest delivery of the export."""
    query = "SELECT delivery_id FROM billing_deliveries WHERE export_name = 'acme' ORDER BY created_at DESC LIMIT 1"
    found: UUID = landing.value(query)
    return found


def back_export(landing: Landing, *, undo: bool = False) -> None:
    back(landing, of_export(landing), undo=undo)


def bring_back(landing: Landing) -> None:
    back_export(landing, undo=True)


@pytest.fixture
def parted(landed: Landed) -> tuple[Landing, UUID]:
    """As `part` leaves it, and the export's second delivery."""
    landing = landed((deliver_both,), (part,))
    return landing, of_export(landing)


@pytest.fixture
def rejoined(landed: Landed) -> tuple[Landing, UUID]:
    """The same after that delivery was rolled back: the first one took `a` over again."""
    landing = landed((deliver_both,), (part,), (back_export,))
    return landing, of_export(landing)


@pytest.fixture
def emptied(landed: Landed) -> tuple[Landing, UUID]:
    """The export's only delivery was rolled back and `a` stands alone; with that delivery."""
    landing = landed((deliver_both,), (back_export,), (let_stand_alone,))
    return landing, of_export(landing)


@pytest.fixture
def restored(landed: Landed) -> tuple[Landing, UUID]:
    """The same after the rollback was undone: the delivery took `a` over again."""
    landing = landed((deliver_both,), (back_export,), (let_stand_alone,), (bring_back,))
    return landing, of_export(landing)


def test_a_delivery_that_comes_back_takes_over_the_file_that_it_names(parted: tuple[Landing, UUID]) -> None:
    landing, second = parted
    deliver(landing, write_file(landing, "c.csv.gz", "7"))

    restoration = back(landing, second)

    # What it does not name stays.
    assert billed(landing) == 607
    assert restoration.adopted_files == ("a.csv.gz",)
    assert landing.query(
        "SELECT export_name, kind, rows_after FROM billing_publications JOIN billing_statements USING (statement_id)"
        " ORDER BY publication_id DESC LIMIT 2"
    ) == [("a.csv.gz", "adoption", 0), ("acme", "rollback", 2)]
    # One transaction has one time: at no moment do both stand. A file of the export's own accounts does not count.
    assert [landing.as_of(moment)[USD][1] for moment in landing.published_at()] == [600, 500, 500, 500, 600, 600]
    assert landing.broken_rules() == []
    assert [*differing_by_export(landing, prove_origin, of_history, of_days).values()] == [{}, {}, {}]
    assert counted_twice(landing) == {}


def test_a_file_that_came_back_in_its_export_is_not_counted_again(rejoined: tuple[Landing, UUID]) -> None:
    landing, _ = rejoined

    states = {outcome.export_name: outcome.state for outcome in landing.ingest_all()}

    assert states == {"acme": DeliveryState.ROLLED_BACK, "a.csv.gz": DeliveryState.SUPERSEDED}
    assert billed(landing) == 600


def test_a_rollback_that_took_a_file_over_is_not_undone(rejoined: tuple[Landing, UUID]) -> None:
    landing, second = rejoined

    with pytest.raises(UsageError, match=r"took over 1 standalone file \(a\.csv\.gz\)"):
        back(landing, second, undo=True)

    assert billed(landing) == 600


def test_what_was_rolled_back_comes_in_again_by_force_and_its_other_file_beside_it(
    rejoined: tuple[Landing, UUID],
) -> None:
    landing, _ = rejoined

    states = {outcome.export_name: outcome.state for outcome in landing.ingest_all(force=True)}

    assert states == {"acme": DeliveryState.PUBLISHED, "a.csv.gz": DeliveryState.PUBLISHED}
    assert billed(landing) == 600
    assert landing.broken_rules() == []


def test_an_undo_takes_over_the_files_that_came_meanwhile(emptied: tuple[Landing, UUID], tmp_path: Path) -> None:
    landing, delivery = emptied
    in_its_place = f"{FOLDER}/earlier/acme-00002.csv.gz"
    [manifest] = landing.root.rglob("*Manifest.json")
    manifest.unlink()
    deliver(landing, write_file(landing, in_its_place, "3"))
    other = Landing.make(landing.database, landing.settings, tmp_path / "other", "other")
    deliver(other, write_file(other, "a.csv.gz", "7"))

    restoration = back(landing, delivery, undo=True)

    # Another client's file of the same name stays.
    assert billed(landing) == 607
    assert restoration.adopted_files == ("a.csv.gz", in_its_place)
    assert landing.broken_rules() == []


def test_an_undo_that_took_a_file_over_is_not_rolled_back_again(restored: tuple[Landing, UUID]) -> None:
    landing, delivery = restored

    with pytest.raises(UsageError, match="took over 1 standalone file"):
        back(landing, delivery)

    assert billed(landing) == 600


def test_what_took_a_file_over_is_rolled_back_once_the_file_stands_by_itself(restored: tuple[Landing, UUID]) -> None:
    landing, delivery = restored
    deliver(landing, landing.root / "a.csv.gz", force=True)

    back(landing, delivery)

    assert billed(landing) == 100
    assert landing.broken_rules() == []


def test_a_file_comes_back_only_where_no_manifest_names_it(parted: tuple[Landing, UUID]) -> None:
    landing, _ = parted
    alone = landing.value("SELECT delivery_id FROM billing_deliveries WHERE export_name = 'a.csv.gz'")
    back(landing, alone)
    between = billed(landing)

    # The export's first delivery named it, but does not stand any more.
    back(landing, alone, undo=True)

    assert (between, billed(landing)) == (500, 600)
    back(landing, alone)
    deliver(landing, name(landing, "a.csv.gz", "b.csv.gz", revision=3))
    with pytest.raises(UsageError, match=r"a\.csv\.gz belongs to acme 2026-05, which is ingested by its manifest"):
        back(landing, alone, undo=True)
    assert billed(landing) == 600


def test_a_file_that_is_published_beside_the_undo_counts_once(landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = landed((deliver_both,), (back_export,))
    delivery, source = of_export(landing), landing.root / "a.csv.gz"
    locked = publications.lock_bucket

    def let_the_file_in(bulk: BulkConnection, *, client_id: str) -> None:
        # The undo is all but done when the file is published before it.
        monkeypatch.setattr(publications, "lock_bucket", locked)
        deliver(landing, source)
        locked(bulk, client_id=client_id)

    monkeypatch.setattr(publications, "lock_bucket", let_the_file_in)
    restoration = back(landing, delivery, undo=True)

    assert restoration.adopted_files == ("a.csv.gz",)
    assert billed(landing) == 600
    assert landing.broken_rules() == []


def test_a_file_of_an_exports_bill_is_counted_again_only_by_force_and_named(landed: Landed) -> None:
    landing = landed((deliver_both,))
    source = landing.root / "a.csv.gz"
    [manifest] = landing.root.rglob("*Manifest.json")
    manifest.unlink()

    outcome = landing.ingest(source)
    forced = landing.ingest(source, force=True)
    # By itself it is not counted: that is an operator's doing.
    landing.execute("UPDATE billing_statements SET counted = true, yields = false")
    found = counted_twice(landing)
    landing.execute("UPDATE billing_statements SET counted = false WHERE export_name = 'a.csv.gz'")

    reason = "belongs to acme 2026-05, which is ingested by its manifest"
    assert (outcome.state, outcome.reason) == (DeliveryState.SUPERSEDED, reason)
    assert forced.state is DeliveryState.PUBLISHED
    assert f"published by force, although it {reason}" in forced.findings
    assert found == {
        "acme": "its file a.csv.gz is counted in statement 2 as well",
        "a.csv.gz": "a.csv.gz is counted in statement 1 (acme 2026-05) as well",
    }
    assert counted_twice(landing) == {}
