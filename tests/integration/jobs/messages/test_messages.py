"""What a message brings in, and what becomes of one that brings nothing."""

from __future__ import annotations

import json
from decimal import Decimal

from structlog.testing import capture_logs

from billfold import clients
from billfold.aws import LocalAws
from billfold.jobs.results import Dead, Done
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described
from tests.integration.jobs.messages.conftest import DATA, MANIFEST, deliver, events, put_bad
from tests.messages import ACCOUNT, S3_TEST_EVENT, eventbridge_event, request, s3_event, s3_record
from tests.taken import take


def test_data_files_wait_for_the_manifest_that_names_them_or_is_newer(fleet: Landing, aws: LocalAws) -> None:
    deliver(fleet, aws, "1.25", "2.50")
    etag = aws.client("s3").head_object(Bucket=BUCKET, Key=DATA)["ETag"].strip('"')
    named = s3_event(BUCKET, DATA, etag=etag, size=77)
    told = {
        "an older version": DATA,
        "surplus": DATA.replace("00001", "00007"),
        "april": DATA.replace("2026-05", "2026-04"),
        "next refresh": DATA.replace("00001", "00002"),
    }

    results = [take(fleet, named), take(fleet, named)]
    pending = fleet.query("SELECT source_s3_key, source_etag, status, size_bytes FROM billing_ingestion_runs")
    results += [take(fleet, s3_event(BUCKET, key, etag=version)) for version, key in told.items()]
    job_count = fleet.count("billing_jobs")
    fleet.execute(
        "UPDATE billing_ingestion_runs"
        " SET created_at = now() + CASE source_etag WHEN 'next refresh' THEN 1 ELSE -1 END * interval '1 day'"
    )
    with capture_logs() as logged:
        result = take(fleet, s3_event(BUCKET, MANIFEST))
    results.append(take(fleet, named))

    assert [isinstance(each, Done) for each in results] == [True] * 7
    assert (pending, job_count) == ([(DATA, etag, "pending", 77)], 0)
    assert isinstance(result, Done)
    assert (result.state, result.delivery_id) == (
        "published",
        fleet.value("SELECT current_delivery_id FROM billing_statements"),
    )
    assert fleet.billed() == {"USD": Decimal("3.75")}
    assert fleet.query("SELECT rows_read, trigger_source FROM billing_ingestion_runs WHERE status = 'success'") == [
        (2, "sqs")
    ]
    assert dict(fleet.query("SELECT source_etag, status FROM billing_ingestion_runs")) == {
        etag: "success",
        "an older version": "skipped",
        "surplus": "skipped",
        "april": "pending",
        "next refresh": "pending",
    }
    [done] = [event for event in logged if event["event"] == "message_done"]
    assert (done["client"], done["delivery_id"], done["state"]) == ("acme", str(result.delivery_id), "published")


def test_a_delivery_is_published_even_where_the_files_that_it_does_not_name_cannot_be_told(
    fleet: Landing, aws: LocalAws
) -> None:
    take(fleet, s3_event(BUCKET, DATA, etag="surplus"))
    fleet.execute("UPDATE billing_ingestion_runs SET created_at = now() - interval '1 day'")
    fleet.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'injected'; END $$"
    )
    fleet.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON billing_ingestion_runs FOR EACH ROW WHEN (new.status = 'skipped')"
        " EXECUTE FUNCTION refuse()"
    )
    deliver(fleet, aws, "1.25")

    with capture_logs() as logged:
        result = take(fleet, s3_event(BUCKET, MANIFEST))

    assert isinstance(result, Done)
    assert result.state == "published"
    assert fleet.query("SELECT state, error_code, last_error_code FROM billing_deliveries") == [
        ("published", None, None)
    ]
    [warning] = [event for event in logged if event["event"] == "unnamed_not_skipped"]
    assert "injected" in warning["error"]
    assert "delivery_finished" in events(logged)


def test_repeated_and_reversed_events_leave_what_stands(fleet: Landing, aws: LocalAws) -> None:
    deliver(fleet, aws, "1.25", "7")
    old = s3_event(BUCKET, MANIFEST, etag="old", sequencer="01")
    new = s3_event(BUCKET, MANIFEST, etag="new", sequencer="02")

    results = [take(fleet, body) for body in (new, old, new, s3_event(BUCKET, DATA), old)]
    deliver(fleet, aws, "1", revision=2)
    held = take(fleet, s3_event(BUCKET, MANIFEST, etag="third", sequencer="03"))

    assert all(isinstance(result, Done) for result in results)
    # It waits for its release, and not in the queue.
    assert isinstance(held, Done)
    assert held.state == "held"
    assert fleet.billed() == {"USD": Decimal("8.25")}
    assert fleet.count("billing_publications") == 1
    assert fleet.count("billing_jobs") == 0
    assert fleet.broken_rules() == []


def test_a_request_for_what_is_not_the_clients_is_dead(fleet: Landing) -> None:
    for client_id, key, error_code in (
        ("nobody", MANIFEST, "usage"),
        ("acme", "other/acme-Manifest.json", "access_denied"),
        ("acme", "exports-evil/acme-Manifest.json", "access_denied"),
        ("acme", "exports/../secret/acme-Manifest.json", "access_denied"),
        ("default", MANIFEST, "configuration"),
    ):
        result = take(fleet, request(client_id, key))

        assert isinstance(result, Dead)
        assert result.error_code == error_code
    assert fleet.count("billing_ingestion_runs") == fleet.count("billing_jobs") == 0


def test_an_event_of_nobodys_folder_is_logged_and_forgotten(fleet: Landing) -> None:
    for body in (
        s3_event("someone-elses-bucket", MANIFEST),
        s3_event(BUCKET, "exports-evil/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"),
        s3_event(BUCKET, MANIFEST.upper()),
        eventbridge_event(BUCKET, "exports%2Facme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"),
    ):
        with capture_logs() as logged:
            result = take(fleet, body)

        assert isinstance(result, Done)
        assert events(logged) == ["event_foreign", "message_done"]
    assert fleet.count("billing_ingestion_runs") == fleet.count("billing_jobs") == 0


def test_an_event_that_somebody_made_up_is_kept_as_evidence_and_nothing_is_read(fleet: Landing) -> None:
    for body in (
        eventbridge_event(BUCKET, MANIFEST, account="999999999999"),
        eventbridge_event(BUCKET, DATA, account="999999999999"),
        s3_event(BUCKET, "exports/../exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"),
        s3_event(BUCKET, "exports/./acme-Manifest.json"),
    ):
        with capture_logs() as logged:
            result = take(fleet, body)

        assert isinstance(result, Dead)
        assert result.error_code == "access_denied"
        assert ACCOUNT not in result.reason
        assert events(logged) == ["event_refused", "message_dead"]
    assert fleet.count("billing_ingestion_runs") == fleet.count("billing_jobs") == 0


def test_an_event_of_a_disabled_client_is_refused(fleet: Landing, aws: LocalAws) -> None:
    deliver(fleet, aws, "1.25")
    clients.set_enabled(fleet.database, "acme", enabled=False)

    with capture_logs() as logged:
        result = take(fleet, s3_event(BUCKET, MANIFEST))

    assert isinstance(result, Done)
    assert events(logged) == ["event_refused", "message_done"]
    assert fleet.count("billing_deliveries") == 0


def test_what_is_nothing_for_us_is_done_with_one_line(fleet: Landing) -> None:
    for body in (
        S3_TEST_EVENT,
        "{}",
        s3_event(BUCKET, MANIFEST, name="ObjectRemoved:Delete"),
        '{"Type": "Notification"}',
    ):
        with capture_logs() as logged:
            result = take(fleet, body)

        assert result == Done()
        assert events(logged) == ["event_ignored", "message_done"]


def test_an_object_that_is_no_bill_is_left_out(fleet: Landing) -> None:
    for key in ("exports/", "exports/acme/index.html", "exports/acme/acme-RedshiftManifest.json"):
        assert isinstance(take(fleet, s3_event(BUCKET, key)), Done)
    assert fleet.count("billing_ingestion_runs") == fleet.count("billing_jobs") == 0


def test_a_message_that_cannot_be_read_is_dead_with_its_reason(fleet: Landing) -> None:
    for body, reason in (
        ("garbage", "is not JSON"),
        ('{"Records": [\0]}', "is not JSON"),
        (s3_event(BUCKET, "exports/a\0.csv"), "not a possible S3 key"),
        (s3_event(BUCKET, f"exports/{'a' * 1024}.csv"), "not a possible S3 key"),
        (s3_event("bills\0", "exports/a.csv"), "name is missing or not valid text"),
        (eventbridge_event(BUCKET, "exports/\ud800.csv"), "key is missing or not valid text"),
        (request("acme\0", "exports/a.csv"), "client is missing or not valid text"),
    ):
        result = take(fleet, body)

        assert isinstance(result, Dead)
        assert result.error_code == "message"
        assert reason in result.reason
    assert fleet.count("billing_jobs") == 0


def test_one_bad_object_of_a_message_does_not_keep_out_a_data_file_outside_any_export(
    fleet: Landing, aws: LocalAws
) -> None:
    key = "exports/by-hand/may 2026.csv"
    aws.put(BUCKET, key, as_csv(described("4")))
    records = [s3_record(BUCKET, put_bad(aws)), s3_record(BUCKET, key), s3_record("elsewhere", MANIFEST)]

    result = take(fleet, json.dumps({"Records": records}))

    assert isinstance(result, Dead)
    assert fleet.query("SELECT error_code, error_message FROM billing_ingestion_runs WHERE status = 'failed'") == [
        (result.error_code, result.reason)
    ]
    assert fleet.query("SELECT key, state, error_code, reason FROM billing_jobs") == [
        ("exports/bad.csv", "dead", result.error_code, result.reason)
    ]
    assert fleet.query("SELECT export_path FROM billing_statements WHERE row_count > 0") == [(key,)]
    assert fleet.billed() == {"USD": Decimal(4)}
