"""Files without a manifest: statements of their own, until a manifest names them."""

from __future__ import annotations

import gzip
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from billfold.bills.rollback import roll_back
from billfold.errors import UsageError
from billfold.model import DeliveryOutcome, DeliveryState
from billfold.store.database import BulkConnection, Connection, connect
from billfold.store.deliveries import publications
from tests.bills.landing import Landing
from tests.bills.line_items import PERIOD, as_csv, described, write_bill, write_delivery, write_object
from tests.services import Landed

USD = "USD"
FOLDER = f"exports/acme/data/BILLING_PERIOD={PERIOD}"


def write_file(root: Path, name: str, items: list[dict[str, str]], *, revision: int = 1) -> Path:
    """Write one data file and no manifest."""
    return write_object(root, name, gzip.compress(as_csv(items), mtime=0), revision=revision)


ITEMS = described("1", "2", "3")


def land_alone(landing: Landing) -> None:
    """A file of an export's folder without its manifest."""
    write_file(landing.root, f"{FOLDER}/acme-00001.csv.gz", ITEMS)
    landing.ingest()


def kinds(landing: Landing) -> list[tuple[str, str, int]]:
    """Every publication: its statement's export, its kind, the rows after it."""
    return landing.query(
        "SELECT export_name, kind, rows_after FROM billing_publications"
        " JOIN billing_statements USING (statement_id) ORDER BY publication_id"
    )


def test_a_changed_file_replaces_what_stood_at_its_key(landed: Landed) -> None:
    landing = landed((land_alone,))
    # An older time than before: what stands at the key is what counts.
    write_file(landing.root, f"{FOLDER}/acme-00001.csv.gz", described("1", "2", "4"), revision=0)

    outcome = landing.ingest()

    assert (outcome.state, outcome.rows_added, outcome.rows_removed) == (DeliveryState.PUBLISHED, 1, 1)
    assert landing.count("billing_statements") == 1
    assert landing.billed() == {USD: Decimal(7)}


def test_a_manifest_takes_over_the_files_of_its_folder_and_no_reader_sees_both(
    landing: Landing, tmp_path: Path
) -> None:
    named, surplus = f"{FOLDER}/acme-00001.csv.gz", f"{FOLDER}/20260501T000000Z-old/acme-00001.csv.gz"
    write_file(landing.root, named, ITEMS[:2])
    write_file(landing.root, surplus, ITEMS[2:])
    write_file(landing.root, "elsewhere.csv.gz", described("7", line_item_usage_account_id="777788889999"))
    alone = landing.ingest_all()
    other = Landing.make(landing.database, landing.settings, tmp_path / "other", "other")
    write_file(other.root, named, described("9"))
    other.ingest()
    moments = landing.published_at()
    # What a reader could see at the moment of each write to the statements is kept by the database itself.
    landing.execute("CREATE TABLE seen (billed numeric)")
    landing.execute(
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO seen SELECT sum(billed_cost) FROM billing_usage_fact; RETURN NULL; END'"
    )
    landing.execute(
        "CREATE CONSTRAINT TRIGGER look AFTER UPDATE ON billing_statements DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION look()"
    )
    manifest = write_bill(landing.root, ITEMS[:2], ITEMS[2:], revision=2)

    outcome = landing.ingest(manifest)
    by_its_key = landing.ingest(landing.root / named)

    assert [each.state for each in alone] == [DeliveryState.PUBLISHED] * 3
    assert outcome.state is DeliveryState.PUBLISHED
    assert outcome.rows_added == 3
    # The files come again only by their manifest, and it cannot be rolled back.
    assert (by_its_key.export_name, by_its_key.rows_added, by_its_key.rows_unchanged) == ("acme", 0, 3)
    assert outcome.delivery_id is not None
    with pytest.raises(UsageError, match="took over 2 standalone files "):
        roll_back(outcome.delivery_id, settings=landing.settings, database=landing.database)
    assert landing.billed() == {USD: Decimal(6 + 7 + 9)}
    assert landing.count("billing_usage_fact") == 3 + 1 + 1
    # Files in other places stay, and so does another client's file of the same key.
    assert sorted(kinds(landing)) == sorted(
        [
            (named, "delivery", 2),
            (surplus, "delivery", 1),
            ("elsewhere.csv.gz", "delivery", 1),
            (named, "delivery", 1),
            ("acme", "delivery", 3),
            (named, "adoption", 0),
            (surplus, "adoption", 0),
        ]
    )
    assert set(landing.query("SELECT billed FROM seen")) == {(Decimal(22),)}
    assert landing.as_of(moments[-1]) == landing.as_of(landing.published_at()[-1]) == {USD: (5, Decimal(22))}
    assert landing.broken_rules() == []


def test_an_empty_manifest_does_not_blank_the_files_that_stand(landed: Landed) -> None:
    landing = landed((land_alone,))
    write_delivery(landing.root, revision=2)
    (landing.root / f"{FOLDER}/acme-00001.csv.gz").unlink()

    outcome = landing.ingest()

    assert (outcome.state, outcome.reason) == (DeliveryState.HELD, "would leave 0 of 3 rows and 0 of 6 USD")
    assert landing.billed() == {USD: Decimal(6)}


def test_a_file_that_is_published_beside_its_manifest_counts_once(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = described("1", "2", "3")
    manifest = write_bill(landing.root, items)
    late = manifest.read_bytes()
    manifest.unlink()
    locked = publications.lock_bucket

    def let_the_manifest_in(bulk: BulkConnection, *, client_id: str) -> None:
        # The file's publication is all but done when the manifest's comes before it.
        monkeypatch.setattr(publications, "lock_bucket", locked)
        manifest.write_bytes(late)
        assert landing.ingest(manifest).state is DeliveryState.PUBLISHED
        locked(bulk, client_id=client_id)

    monkeypatch.setattr(publications, "lock_bucket", let_the_manifest_in)
    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert landing.billed() == {USD: Decimal(6)}
    assert landing.broken_rules() == []


def test_a_file_and_its_manifest_that_wait_for_each_other_both_come_in(
    landed: Landed, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = landed((land_alone,))
    write_file(landing.root, f"{FOLDER}/acme-00001.csv.gz", ITEMS[:2], revision=2)
    locked = publications.lock_bucket

    with ThreadPoolExecutor(max_workers=1) as beside:

        def let_the_manifest_wait(bulk: BulkConnection, *, client_id: str) -> None:
            # The file's statement is locked by its own publication when the manifest's wants to empty it.
            monkeypatch.setattr(publications, "lock_bucket", locked)
            manifest = write_bill(landing.root, ITEMS[:2], revision=3)
            waiting.append(beside.submit(landing.ingest, manifest))
            with connect(landing.database.conninfo) as gate:
                await_lock(gate)
            locked(bulk, client_id=client_id)

        waiting: list[Future[DeliveryOutcome]] = []
        monkeypatch.setattr(publications, "lock_bucket", let_the_manifest_wait)
        outcome = landing.ingest()
        by_manifest = waiting[0].result()

    assert (outcome.exit_error, by_manifest.exit_error) == (None, None)
    assert by_manifest.state is DeliveryState.PUBLISHED
    assert landing.billed() == {USD: Decimal(3)}
    assert landing.broken_rules() == []


def await_lock(connection: Connection) -> None:
    """Wait until a transaction waits for another one; PostgreSQL itself waits between two questions."""
    for _ in range(600):
        waiting = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted")
        if waiting.fetchone() != (0,):
            return
        connection.execute("SELECT pg_sleep(0.05)")
    raise AssertionError("nobody waits")
