"""One local file is one statement, whichever folder above it was taken for the bucket."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest

from billfold.bills.rollback import roll_back
from billfold.errors import UsageError
from billfold.model import DeliveryState
from billfold.store.database import BulkConnection
from billfold.store.deliveries import publications
from billfold.verification.files import prove_files
from tests.bills.landing import Landing
from tests.bills.line_items import PERIOD, as_csv, described, write_bill, write_object
from tests.bills.verified import differing_by_export
from tests.services import Landed

USD = "USD"


def write_file(landing: Landing, key: str, *costs: str, revision: int = 1) -> Path:
    return write_object(landing.root, key, gzip.compress(as_csv(described(*costs)), mtime=0), revision=revision)


def statements(landing: Landing) -> list[tuple[str, str]]:
    """Each statement's bucket, as a path below the root, and its export."""
    found = landing.query("SELECT bucket, export_path FROM billing_statements ORDER BY statement_id")
    root = landing.root.resolve()
    return [(Path(bucket.removeprefix("file://")).relative_to(root).as_posix(), path) for bucket, path in found]


def land_above(landing: Landing) -> None:
    """A file that comes in with the folder above its own."""
    write_file(landing, "loose/a.csv.gz", "100")
    landing.ingest()


def land_by_its_key(landing: Landing) -> None:
    """A file that comes in alone, in the name of its own folder."""
    landing.ingest(write_file(landing, "loose/a.csv.gz", "100"))


def stand_twice(landing: Landing) -> None:
    """As an earlier version of Billfold let it come to be: the file stands in two buckets."""
    landing.ingest(write_file(landing, "b.csv.gz", "100"))
    for table in ("billing_statements", "billing_deliveries"):
        landing.execute(
            f"UPDATE {table} SET bucket = %s, export_path = 'loose/a.csv.gz', export_name = 'loose/a.csv.gz'"
            " WHERE export_path = 'b.csv.gz'",
            f"file://{landing.root.resolve()}",
        )
    landing.execute(
        "UPDATE billing_ingestion_runs SET source_s3_key = 'loose/a.csv.gz' WHERE source_s3_key = 'b.csv.gz'"
    )


@pytest.fixture
def above(landed: Landed) -> Landing:
    return landed((land_above,))


@pytest.fixture
def by_its_key(landed: Landed) -> Landing:
    return landed((land_by_its_key,))


def test_a_file_below_a_known_folder_is_the_one_that_stands_there(above: Landing) -> None:
    outcome = above.ingest(above.root / "loose/a.csv.gz")

    assert outcome.rows_unchanged == 1
    assert statements(above) == [(".", "loose/a.csv.gz")]
    assert above.billed() == {USD: Decimal(100)}


def test_a_new_file_below_a_known_folder_has_that_folder_as_its_bucket(above: Landing) -> None:
    above.ingest(write_file(above, "loose/deep/b.csv.gz", "7"))

    assert statements(above) == [(".", "loose/a.csv.gz"), (".", "loose/deep/b.csv.gz")]


def test_a_folder_below_a_known_folder_is_a_part_of_it(above: Landing) -> None:
    write_file(above, "loose/b.csv.gz", "7")

    outcomes = above.ingest_all(above.root / "loose")

    assert [outcome.export_name for outcome in outcomes] == ["loose/a.csv.gz", "loose/b.csv.gz"]
    assert above.billed() == {USD: Decimal(107)}


def test_a_folder_that_is_a_copy_of_a_bucket_stays_one_below_a_known_folder(above: Landing) -> None:
    write_bill(above.root / "copy", described("7"))

    outcome = above.ingest(above.root / "copy")

    assert outcome.state is DeliveryState.PUBLISHED
    assert statements(above) == [(".", "loose/a.csv.gz"), ("copy", "exports/acme")]


def test_folders_of_another_client_do_not_matter(above: Landing) -> None:
    above.with_client(client_id="other").ingest(above.root / "loose/a.csv.gz")

    assert statements(above) == [(".", "loose/a.csv.gz"), ("loose", "a.csv.gz")]


def test_a_file_of_a_known_folder_is_not_counted_again_by_the_folder_above(by_its_key: Landing) -> None:
    landing = by_its_key
    write_file(landing, "loose/b.csv.gz", "7")
    landing.ingest_all()
    write_file(landing, "loose/b.csv.gz", "8", revision=2)

    # Known under the folder above by now, although its own folder is known too.
    landing.ingest(landing.root / "loose/b.csv.gz")

    assert statements(landing) == [("loose", "a.csv.gz"), (".", "loose/b.csv.gz")]
    assert landing.billed() == {USD: Decimal(108)}
    assert landing.broken_rules() == []


def test_a_manifest_takes_over_a_file_that_is_known_under_another_folder(by_its_key: Landing) -> None:
    landing = by_its_key
    manifest = {
        "exportName": "acme",
        "billingPeriod": {"start": f"{PERIOD}-01T00:00:00.000Z"},
        "dataFiles": ["loose/a.csv.gz"],
    }
    key = f"exports/acme/metadata/BILLING_PERIOD={PERIOD}/acme-Manifest.json"
    write_object(landing.root, key, json.dumps(manifest).encode(), revision=2)

    landing.ingest()
    outcome = landing.ingest(landing.root / "loose/a.csv.gz")

    assert outcome.state is DeliveryState.SUPERSEDED
    assert landing.billed() == {USD: Decimal(100)}
    assert landing.broken_rules() == []


def test_a_file_that_stands_in_two_buckets_is_refused_until_one_is_rolled_back(landed: Landed) -> None:
    landing = landed((land_by_its_key,), (stand_twice,))
    source = landing.root / "loose/a.csv.gz"
    delivery = landing.value("SELECT current_delivery_id FROM billing_statements WHERE statement_id = 2")
    # Of two statements of one bill the second one is not counted: that was an operator's doing.
    landing.execute("UPDATE billing_statements SET counted = true, yields = false")
    doubled = differing_by_export(landing, lambda proofs, _, subject: prove_files(proofs, subject))

    refused = landing.ingest(source)
    roll_back(delivery, settings=landing.settings, database=landing.database)
    accepted = landing.ingest(source)

    assert [*map(set, doubled.values())] == [{"standalone_files"}] * 2
    assert isinstance(refused.exit_error, UsageError)
    assert "loose/a.csv.gz is counted more than once, as statement 1 of file://" in str(refused.exit_error)
    assert accepted.rows_unchanged == 1
    # It does not come back under the other folder.
    with pytest.raises(UsageError, match=r"loose/a\.csv\.gz is statement 1 already"):
        roll_back(delivery, settings=landing.settings, database=landing.database, undo=True)
    assert landing.billed() == {USD: Decimal(100)}


def test_a_file_that_comes_in_under_two_folders_at_once_counts_once(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_file(landing, "loose/a.csv.gz", "100")
    locked = publications.lock_bucket

    def let_the_other_in(bulk: BulkConnection, *, client_id: str) -> None:
        # Nothing is known yet when both begin.
        monkeypatch.setattr(publications, "lock_bucket", locked)
        assert landing.ingest(source).state is DeliveryState.PUBLISHED
        locked(bulk, client_id=client_id)

    monkeypatch.setattr(publications, "lock_bucket", let_the_other_in)
    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert landing.billed() == {USD: Decimal(100)}
    assert landing.broken_rules() == []
