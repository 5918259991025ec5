"""Bills from copies of one export's folder: the right money, and one statement however the copy is named."""

from __future__ import annotations

import gzip
import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from billfold.errors import ManifestError
from billfold.model import DeliveryState
from tests.bills.landing import Landing
from tests.bills.line_items import PERIOD, as_csv, described, write_bill, write_object

USD = "USD"
MONTH = "20260501-20260601"
FULL = "exports/acme"


def write_file(root: Path, key: str, *costs: str, revision: int = 1) -> Path:
    return write_object(root, key, gzip.compress(as_csv(described(*costs)), mtime=0), revision=revision)


def write_export(root: Path, *costs: str, export_path: str = FULL, revision: int = 1, left_out: str = FULL) -> None:
    """Write one overwritten Data Export of one file, as if `left_out` had been copied to the root."""
    bucket = root.parent / f"{root.name}-bucket"
    write_bill(bucket, described(*costs), export_path=export_path, revision=revision)
    shutil.copytree(bucket / left_out, root, dirs_exist_ok=True)
    shutil.rmtree(bucket)


def write_assembly(root: Path, assembly: str, *costs: str, is_latest: bool, revision: int) -> None:
    """Write one version of a legacy report whose keys' prefix was left out."""
    write_file(root, f"{MONTH}/{assembly}/acme-1.csv.gz", *costs, revision=revision)
    manifest = json.dumps(
        {
            "assemblyId": assembly,
            "reportName": "acme",
            "bucket": "acme-bills",
            "reportKeys": [f"cur/acme/{MONTH}/{assembly}/acme-1.csv.gz"],
            "billingPeriod": {"start": "20260501T000000.000Z", "end": "20260601T000000.000Z"},
        }
    ).encode()
    for folder in (f"{assembly}/", "") if is_latest else (f"{assembly}/",):
        write_object(root, f"{MONTH}/{folder}acme-Manifest.json", manifest, revision=revision)


def statements(landing: Landing) -> list[tuple[str, str, str]]:
    """Each statement's bucket, as a path below the root, its export's path and name."""
    found = landing.query("SELECT bucket, export_path, export_name FROM billing_statements ORDER BY statement_id")
    root = landing.root.resolve()
    return [
        (Path(bucket.removeprefix("file://")).relative_to(root).as_posix(), path, name) for bucket, path, name in found
    ]


def test_a_copy_is_one_statement_however_it_is_named(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    write_export(landing.root / "copy", "5", "7")
    write_file(landing.root, f"copy/data/BILLING_PERIOD={PERIOD}/acme-00002.csv.gz", "100")
    first = landing.ingest(landing.root / "copy/data")
    monkeypatch.chdir(landing.root)
    manifest = f"copy/metadata/BILLING_PERIOD={PERIOD}/acme-Manifest.json"
    data = f"copy/data/BILLING_PERIOD={PERIOD}/acme-00001.csv.gz"

    for source in ("copy", "copy/", "./copy", manifest, f"./{manifest}", data, "copy/data/", "copy/metadata", "."):
        outcome = landing.ingest(source)

        assert (outcome.state, outcome.rows_added, outcome.rows_unchanged) == (DeliveryState.PUBLISHED, 0, 2), source
    # The surplus chunk, which its manifest does not name, does not count.
    assert (first.state, first.export_name, first.rows_added) == (DeliveryState.PUBLISHED, "acme", 2)
    assert statements(landing) == [("copy", ".", "acme")]
    assert landing.billed() == {USD: Decimal(12)}
    assert landing.broken_rules() == []


def test_a_restated_copy_stays_the_statement_that_it_first_came_in_as(landing: Landing) -> None:
    write_export(landing.root / "copy", "5", "7")
    landing.ingest()
    write_export(landing.root / "copy", "5", "8", revision=2)

    restated = landing.ingest(landing.root / "copy")
    again = [landing.ingest(landing.root / source) for source in (".", "copy", "copy/data", "copy/metadata")]

    assert restated.rows_added == 1
    assert [outcome.rows_added for outcome in again] == [0, 0, 0, 0]
    assert statements(landing) == [(".", "copy", "acme")]
    assert landing.billed() == {USD: Decimal(13)}
    assert landing.broken_rules() == []


def test_folders_of_a_whole_copy_are_parts_of_its_bucket_and_another_copy_counts_once(landing: Landing) -> None:
    write_export(landing.root / "bucket", "5", "7", left_out="")
    write_export(landing.root / "copy", "5", "7")

    landing.ingest(landing.root / "bucket/exports/acme")
    outcomes = [landing.ingest(landing.root / source) for source in ("bucket", "bucket/exports")]
    first = statements(landing)
    landing.ingest(landing.root / "copy")
    landing.ingest_all()

    assert [outcome.rows_unchanged for outcome in outcomes] == [2, 2]
    assert first == [("bucket", FULL, "acme")]
    assert statements(landing)[1:] == [("copy", ".", "acme")]
    assert landing.value("SELECT count(*) FROM billing_statements WHERE counted") == 1


def test_files_that_came_before_their_manifest_are_taken_over(landing: Landing) -> None:
    data = f"data/BILLING_PERIOD={PERIOD}/"
    write_file(landing.root, f"{data}acme-00002.csv.gz", "3")
    landing.ingest_all()

    write_export(landing.root, "5", "7", revision=2)
    outcome = landing.ingest()
    by_its_key = landing.ingest(landing.root / f"{data}acme-00002.csv.gz")

    assert (outcome.export_name, by_its_key.export_name) == ("acme", "acme")
    assert landing.billed() == {USD: Decimal(12)}
    assert landing.broken_rules() == []


def test_the_latest_version_of_a_copied_report_takes_over_what_came_before_its_manifest(landing: Landing) -> None:
    write_file(landing.root, f"{MONTH}/0002/acme-1.csv.gz", "100", "120")
    landing.ingest(landing.root / MONTH)
    before = landing.billed()
    write_assembly(landing.root, "0001", "1", "2", is_latest=False, revision=1)
    write_assembly(landing.root, "0002", "100", "120", is_latest=True, revision=2)

    outcome = landing.ingest(landing.root / MONTH)

    assert (outcome.state, outcome.export_name) == (DeliveryState.PUBLISHED, "acme")
    assert before == landing.billed() == {USD: Decimal(220)}
    assert landing.broken_rules() == []


def test_a_half_copied_export_leaves_nothing(landing: Landing) -> None:
    write_assembly(landing.root, "0001", "1", "2", is_latest=False, revision=1)
    write_assembly(landing.root, "0002", "100", "120", is_latest=True, revision=2)
    shutil.move(landing.root / f"{MONTH}/0002/acme-1.csv.gz", landing.root / f"{MONTH}/acme-1.csv.gz")

    outcome = landing.ingest()
    by_its_key = landing.ingest(landing.root / f"{MONTH}/acme-1.csv.gz")

    assert isinstance(outcome.exit_error, ManifestError)
    assert f"names 1 of 1 files that are not in file://{landing.root.resolve()}" in str(outcome.exit_error)
    assert f"cur/acme/{MONTH}/0002/acme-1.csv.gz" in str(outcome.exit_error)
    assert isinstance(by_its_key.exit_error, ManifestError)
    assert landing.count("billing_usage_fact") == 0


def test_an_empty_month_of_a_copied_export_is_its_own(landing: Landing) -> None:
    manifest = {"exportName": "acme", "billingPeriod": {"start": f"{PERIOD}-01T00:00:00.000Z"}, "dataFiles": []}
    key = f"metadata/BILLING_PERIOD={PERIOD}/acme-Manifest.json"
    path = write_object(landing.root, f"copy/{key}", json.dumps(manifest).encode())

    landing.ingest(landing.root / "copy")
    landing.ingest(path)
    landing.ingest()

    assert statements(landing) == [("copy", ".", "acme")]
