"""What a rollback or an undo brings back meets files that stand alone by now: each counts once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from billfold.bills.rollback import Restoration, roll_back
from billfold.errors import UsageError
from billfold.model import DeliveryState
from billfold.store.database import BulkConnection
from billfold.store.deliveries import publications
from billfold.verification import ProofState, verify
from tests.bills.landing import Landing
from tests.bills.line_items import PERIOD, as_csv, described, write_delivery, write_object
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


def counted_twice(landing: Landing) -> Iterator[str]:
    """What `verify` says of files that stand alone and in an export's bill."""
    for verdict in verify(settings=landing.settings, database=landing.database, with_source=False):
        for proof in verdict.proofs:
            if proof.state is ProofState.DIFFERS:
                assert proof.name == "standalone_files"
                yield f"{verdict.export_name}: {proof.detail}"


def write_both(landing: Landing) -> Path:
    """Write `a` of 100 and `b` of 500, and a manifest that names both; returns `a`."""
    source = write_file(landing, "a.csv.gz", "100")
    write_file(landing, "b.csv.gz", "500")
    name(landing, "a.csv.gz", "b.csv.gz", revision=1)
    return source


def part(landing: Landing) -> None:
    """First the export names both files; its next delivery names only `b`, so that `a` stands alone."""
    write_both(landing)
    deliver(landing)
    name(landing, "b.csv.gz", revision=2)
    outcomes = landing.ingest_all()
    assert [outcome.export_name for outcome in outcomes] == ["acme", "a.csv.gz"]
    assert billed(landing) == 600


def empty(landing: Landing) -> None:
    """The export's only delivery, of two files, is rolled back."""
    write_both(landing)
    back(landing, deliver(landing))


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
    landing = landed((part,))
    return landing, of_export(landing)


@pytest.fixture
def rejoined(landed: Landed) -> tuple[Landing, UUID]:
    """The same after that delivery was rolled back: the first one took `a` over again."""
    landing = landed((part,), (back_export,))
    return landing, of_export(landing)


@pytest.fixture
def emptied(landed: Landed) -> tuple[Landing, UUID]:
    """As `empty` leaves it, with `a` alone, and the export's delivery."""
    landing = landed((empty,), (let_stand_alone,))
    return landing, of_export(landing)


@pytest.fixture
def restored(landed: Landed) -> tuple[Landing, UUID]:
    """The same after the rollback was undone: the delivery took `a` over again."""
    landing = landed((empty,), (let_stand_alone,), (bring_back,))
    return landing, of_export(landing)


def test_a_delivery_that_comes_back_takes_over_the_file_that_it_names(parted: tuple[Landing, UUID]) -> None:
    landing, second = parted

    restoration = back(landing, second)

    assert billed(landing) == 600
    assert restoration.adopted_files == ("a.csv.gz",)
    assert landing.query(
        "SELECT export_name, kind, rows_after FROM billing_publications JOIN billing_statements USING (statement_id)"
        " ORDER BY publication_id DESC LIMIT 2"
    ) == [("a.csv.gz", "adoption", 0), ("acme", "rollback", 2)]
    # One transaction has one time: at no moment do both stand. A file of the export's own accounts does not count.
    assert [landing.as_of(moment)[USD][1] for moment in landing.published_at()] == [600, 500, 500, 600, 600]
    assert landing.broken_rules() == []
    assert list(counted_twice(landing)) == []


def test_what_comes_back_does_not_touch_other_files(parted: tuple[Landing, UUID]) -> None:
    landing, second = parted
    deliver(landing, write_file(landing, "c.csv.gz", "7"))

    back(landing, second)

    assert billed(landing) == 607


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


def test_an_undo_takes_over_the_file_that_came_meanwhile(emptied: tuple[Landing, UUID]) -> None:
    landing, delivery = emptied

    restoration = back(landing, delivery, undo=True)

    assert billed(landing) == 600
    assert restoration.adopted_files == ("a.csv.gz",)
    assert landing.broken_rules() == []
    assert list(counted_twice(landing)) == []


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


def test_a_file_in_the_place_of_what_comes_back_is_taken_over(landing: Landing) -> None:
    content = gzip.compress(as_csv(described("100", "500")), mtime=0)
    manifest = write_delivery(landing.root, content)
    delivery = deliver(landing)
    back(landing, delivery)
    manifest.unlink()
    write_file(landing, f"{FOLDER}/earlier/acme-00002.csv.gz", "100")
    landing.ingest_all()
    billed_then = billed(landing)

    restoration = back(landing, delivery, undo=True)

    assert billed_then == 700
    assert restoration.adopted_files == (f"{FOLDER}/acme-00001.csv.gz", f"{FOLDER}/earlier/acme-00002.csv.gz")
    assert billed(landing) == 600


def test_a_file_of_another_client_is_not_taken_over(emptied: tuple[Landing, UUID], tmp_path: Path) -> None:
    landing, delivery = emptied
    other = Landing.make(landing.database, landing.settings, tmp_path / "other", "other")
    deliver(other, write_file(other, "a.csv.gz", "100"))

    back(landing, delivery, undo=True)

    assert billed(landing) == 700


def take_file_back(landing: Landing) -> None:
    back(landing, deliver(landing, write_file(landing, "a.csv.gz", "100")))


def test_a_file_does_not_come_back_beside_the_manifest_that_names_it(landed: Landed) -> None:
    landing = landed((take_file_back,))
    alone = landing.value("SELECT delivery_id FROM billing_deliveries")
    deliver(landing, name(landing, "a.csv.gz", revision=2))

    with pytest.raises(UsageError, match=r"a\.csv\.gz belongs to acme 2026-05, which is ingested by its manifest"):
        back(landing, alone, undo=True)

    assert billed(landing) == 100


def test_a_file_comes_back_where_no_manifest_names_it(landed: Landed) -> None:
    landing = landed((take_file_back,))
    alone = landing.value("SELECT delivery_id FROM billing_deliveries")
    write_file(landing, "b.csv.gz", "500")
    deliver(landing, name(landing, "b.csv.gz", revision=2))

    back(landing, alone, undo=True)

    assert billed(landing) == 600


def test_a_file_that_is_published_beside_the_undo_counts_once(landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = landed((empty,))
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


def test_a_file_that_stands_in_an_exports_bill_too_is_named(landing: Landing) -> None:
    source = write_both(landing)
    deliver(landing)
    before = list(counted_twice(landing))
    deliver(landing, source, force=True)
    landing.execute("UPDATE billing_statements SET counted = true, yields = false")

    found = list(counted_twice(landing))
    landing.execute("UPDATE billing_statements SET counted = false WHERE export_name = 'a.csv.gz'")

    assert before == []
    assert found == [
        "acme: its file a.csv.gz is counted in statement 2 as well",
        "a.csv.gz: a.csv.gz is counted in statement 1 (acme 2026-05) as well",
    ]
    assert list(counted_twice(landing)) == []
