"""Data files that a lifecycle rule removes: the published bill stays, and nothing fails."""

from __future__ import annotations

import json

import pytest

from billfold.aws import LocalAws
from billfold.bills.backfill import backfill
from billfold.model import DeliveryState, RunStatus
from billfold.settings import load_settings
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.services import Landed

BUCKET = "acme-bills"


def expire(landing: Landing, *, count: int | None = None) -> None:
    for path in sorted(landing.root.rglob("*.csv.gz"))[:count]:
        path.unlink()


def deliver(landing: Landing) -> None:
    """A bill of two files."""
    write_bill(landing.root, described("1"), described("2"))
    landing.ingest()


@pytest.mark.parametrize("count", [None, 1])
@pytest.mark.parametrize("by_name", [True, False])
def test_a_published_delivery_whose_files_expire_stays(landed: Landed, count: int | None, by_name: bool) -> None:
    landing = landed((deliver,))
    [manifest] = landing.root.rglob("*Manifest.json")
    before = landing.snapshot()
    expire(landing, count=count)

    outcome = landing.ingest(manifest if by_name else None)

    assert (outcome.state, outcome.exit_error) == (DeliveryState.PUBLISHED, None)
    assert [(run.status, run.rows_read) for run in outcome.runs] == [(RunStatus.SKIPPED, 1)] * 2
    assert "no longer in the bucket" in str(outcome.reason)
    assert landing.snapshot() == before
    assert landing.query("SELECT state FROM billing_deliveries") == [("published",)]
    assert landing.value("SELECT count(*) FROM billing_ingestion_runs WHERE status = 'failed'") == 0


def test_force_says_that_the_files_are_gone(landed: Landed) -> None:
    landing = landed((deliver,))
    expire(landing)

    outcome = landing.ingest(force=True)

    assert outcome.state is DeliveryState.FAILED
    assert "names 2 of 2 files that are not in" in str(outcome.exit_error)


def test_a_delivery_that_never_came_in_needs_its_files(landed: Landed) -> None:
    landing = landed((deliver,))
    write_bill(landing.root, described("1", "2"), revision=2)
    expire(landing)

    assert "names 1 of 1 files that are not in" in str(landing.ingest().exit_error)


def test_another_export_of_the_same_execution_id_is_not_taken_for_it(landed: Landed) -> None:
    landing = landed((deliver,))
    write_bill(landing.root, described("5"), export_path="exports/other")
    expire(landing)

    acme, other = sorted(landing.ingest_all(), key=lambda outcome: outcome.export_name)

    assert acme.state is DeliveryState.PUBLISHED
    assert other.state is DeliveryState.FAILED


def test_a_copy_of_the_manifest_of_its_execution_is_known(landed: Landed) -> None:
    landing = landed((deliver,))
    [manifest] = landing.root.rglob("*Manifest.json")
    # Another version of the same manifest, as a bucket that encrypts or another writer leaves it.
    manifest.write_text(json.dumps(json.loads(manifest.read_text()), indent=1))
    expire(landing)

    assert landing.ingest().state is DeliveryState.PUBLISHED


def test_a_backfill_of_a_bucket_counts_it_as_current(aws: LocalAws, landing: Landing) -> None:
    aws.create_bucket(BUCKET)
    landing = landing.with_settings(endpoint_url=load_settings().endpoint_url).with_client(bucket=BUCKET)
    write_bill(landing.root, described("1"))
    aws.upload_folder(BUCKET, landing.root)
    backfill(client=landing.client, settings=landing.settings, database=landing.database)
    s3 = aws.client("s3")
    for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        if entry["Key"].endswith(".csv.gz"):
            s3.delete_object(Bucket=BUCKET, Key=entry["Key"])

    report = backfill(client=landing.client, settings=landing.settings, database=landing.database)

    assert (report.statement_count, report.current_count, report.outcomes) == (1, 1, ())
    assert landing.value("SELECT count(*) FROM billing_ingestion_runs WHERE status = 'failed'") == 0
