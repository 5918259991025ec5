"""What a message brings in, and what becomes of one that brings nothing."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from billfold import clients
from billfold.aws import LocalAws
from billfold.jobs.results import Dead, Done
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described
from tests.integration.jobs.messages.conftest import DATA, MANIFEST, deliver, events, take
from tests.messages import ACCOUNT, S3_TEST_EVENT, eventbridge_event, request, s3_event, s3_record


def test_the_event_of_a_manifest_brings_the_delivery_in(fleet: Landing, aws: LocalAws) -> None:
    deliver(fleet, aws, "1.25", "2.50")

    with capture_logs() as logged:
        result = take(fleet, s3_event(BUCKET, MANIFEST))

    assert isinstance(result, Done)
    assert (result.state, result.delivery_id) == (
        "published",
        fleet.value("SELECT current_delivery_id FROM billing_statements"),
    )
    assert fleet.billed() == {"USD": Decimal("3.75")}
    assert fleet.query("SELECT DISTINCT trigger_source FROM billing_ingestion_runs") == [("sqs",)]
    [done] = [event for event in logged if event["event"] == "message_done"]
    assert (done["client"], done["delivery_id"], done["state"]) == ("acme", str(result.delivery_id), "published")


def test_the_event_of_a_data_file_marks_its_run_pending_until_the_manifest_comes(fleet: Landing, aws: LocalAws) -> None:
    deliver(fleet, aws, "1.25")
    etag = aws.client("s3").head_object(Bucket=BUCKET, Key=DATA)["ETag"].strip('"')
    told = s3_event(BUCKET, DATA, etag=etag, size=77)

    first, again = take(fleet, told), take(fleet, told)
    pending = fleet.query("SELECT source_s3_key, source_etag, status, size_bytes FROM billing_ingestion_runs")
    take(fleet, s3_event(BUCKET, MANIFEST))
    late = take(fleet, told)

    assert [isinstance(result, Done) for result in (first, again, late)] == [True] * 3
    assert pending == [(DATA, etag, "pending", 77)]
    assert fleet.query("SELECT status, rows_read FROM billing_ingestion_runs") == [("success", 1)]


def test_an_event_of_eventbridge_is_told_by_its_trigger_and_a_request_is_done_in_the_clients_name(
    fleet: Landing, aws: LocalAws
) -> None:
    deliver(fleet, aws, "1.25")

    # On a full disk it only records what announced it.
    take(fleet.with_settings(min_free_bytes=10**18), eventbridge_event(BUCKET, MANIFEST))
    told = fleet.query("SELECT trigger_source, state FROM billing_deliveries")
    result = take(fleet, request("acme", MANIFEST))

    assert told == [("eventbridge", "failed")]
    assert isinstance(result, Done)
    assert result.state == "published"


@pytest.mark.parametrize(
    ("client_id", "key", "error_code"),
    [
        ("nobody", MANIFEST, "usage"),
        ("acme", "other/acme-Manifest.json", "access_denied"),
        ("acme", "exports-evil/acme-Manifest.json", "access_denied"),
        ("acme", "exports/../secret/acme-Manifest.json", "access_denied"),
        ("default", MANIFEST, "configuration"),
    ],
)
def test_a_request_for_what_is_not_the_clients_is_dead(
    fleet: Landing, client_id: str, key: str, error_code: str
) -> None:
    result = take(fleet, request(client_id, key))

    assert isinstance(result, Dead)
    assert result.error_code == error_code
    assert fleet.count("billing_ingestion_runs") == 0


@pytest.mark.parametrize(
    "body",
    [
        s3_event("someone-elses-bucket", MANIFEST),
        s3_event(BUCKET, "exports-evil/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"),
        s3_event(BUCKET, MANIFEST.upper()),
        eventbridge_event(BUCKET, "exports%2Facme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"),
    ],
)
def test_an_event_of_nobodys_folder_is_logged_and_forgotten(fleet: Landing, body: str) -> None:
    with capture_logs() as logged:
        result = take(fleet, body)

    assert isinstance(result, Done)
    assert events(logged) == ["event_foreign", "message_done"]
    assert fleet.count("billing_ingestion_runs") == 0


@pytest.mark.parametrize(
    "body",
    [
        eventbridge_event(BUCKET, MANIFEST, account="999999999999"),
        eventbridge_event(BUCKET, DATA, account="999999999999"),
        s3_event(BUCKET, "exports/../exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"),
        s3_event(BUCKET, "exports/./acme-Manifest.json"),
    ],
)
def test_an_event_that_somebody_made_up_is_kept_as_evidence_and_nothing_is_read(fleet: Landing, body: str) -> None:
    with capture_logs() as logged:
        result = take(fleet, body)

    assert isinstance(result, Dead)
    assert result.error_code == "access_denied"
    assert ACCOUNT not in result.reason
    assert events(logged) == ["event_refused", "message_dead"]
    assert fleet.count("billing_ingestion_runs") == 0


def test_an_event_of_a_disabled_client_is_refused(fleet: Landing, aws: LocalAws) -> None:
    deliver(fleet, aws, "1.25")
    clients.set_enabled(fleet.database, "acme", enabled=False)

    with capture_logs() as logged:
        result = take(fleet, s3_event(BUCKET, MANIFEST))

    assert isinstance(result, Done)
    assert events(logged) == ["event_refused", "message_done"]
    assert fleet.count("billing_deliveries") == 0


@pytest.mark.parametrize(
    "body", [S3_TEST_EVENT, "{}", s3_event(BUCKET, MANIFEST, name="ObjectRemoved:Delete"), '{"Type": "Notification"}']
)
def test_what_is_nothing_for_us_is_done_with_one_line(fleet: Landing, body: str) -> None:
    with capture_logs() as logged:
        result = take(fleet, body)

    assert result == Done()
    assert events(logged) == ["event_ignored", "message_done"]


@pytest.mark.parametrize("key", ["exports/", "exports/acme/index.html", "exports/acme/acme-RedshiftManifest.json"])
def test_an_object_that_is_no_bill_is_left_out(fleet: Landing, key: str) -> None:
    assert isinstance(take(fleet, s3_event(BUCKET, key)), Done)
    assert fleet.count("billing_ingestion_runs") == 0


def test_a_message_that_is_no_json_is_dead_with_its_reason(fleet: Landing) -> None:
    result = take(fleet, "garbage")

    assert isinstance(result, Dead)
    assert (result.error_code, "is not JSON" in result.reason) == ("message", True)


def test_one_bad_object_of_a_message_does_not_keep_out_a_data_file_outside_any_export(
    fleet: Landing, aws: LocalAws
) -> None:
    key = "exports/by-hand/may 2026.csv"
    aws.put(BUCKET, key, as_csv(described("4")))
    aws.put(BUCKET, "exports/bad.csv", b"line_item_unblended_cost,line_item_usage_amount\n1.25\n")
    records = [s3_record(BUCKET, "exports/bad.csv"), s3_record(BUCKET, key), s3_record("elsewhere", MANIFEST)]

    result = take(fleet, json.dumps({"Records": records}))

    assert isinstance(result, Dead)
    assert fleet.query("SELECT error_code, error_message FROM billing_ingestion_runs WHERE status = 'failed'") == [
        (result.error_code, result.reason)
    ]
    assert fleet.query("SELECT export_path FROM billing_statements WHERE row_count > 0") == [(key,)]
    assert fleet.billed() == {"USD": Decimal(4)}
