"""Deliveries that are requested over HTTP: they wait in the database and come in once."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import pytest

from billfold.aws import LocalAws
from billfold.bills import requests as asking
from billfold.bills.requests import request
from billfold.errors import ForbiddenError, ManifestError, SourceNotFoundError, SourceUnavailableError, UsageError
from billfold.model import TriggerSource
from billfold.period import parse_period
from billfold.store.database import connect
from billfold.store.jobs import jobs
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, line_item
from tests.integration.jobs.requests.conftest import (
    STATES,
    again,
    ask_for,
    bring_in,
    deliver,
    go_on,
    is_download,
    work_off,
)
from tests.processes.faulty_aws import Call, FaultyAws
from tests.services import Landed

MANIFEST = "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"


@pytest.fixture
def fleet_with_a_bill(landed: Landed, aws: LocalAws, faulty: FaultyAws) -> Landing:
    """Six dollars have come in."""
    return go_on(landed((bring_in, aws)), aws, faulty.endpoint_url)


def test_what_a_folder_holds_waits_and_comes_in(fleet: Landing, aws: LocalAws) -> None:
    for export, cost in (("a", "1.25"), ("b", "2.5")):
        deliver(fleet, aws, cost, export=export)

    rows = ask_for(fleet, "exports/")
    before = fleet.query(STATES)
    events = work_off(fleet, concurrency=2)

    assert sorted((row.client_id, row.export_name, row.billing_period, row.state) for row in rows) == [
        ("acme", "a", "2026-05", "pending"),
        ("acme", "b", "2026-05", "pending"),
    ]
    assert before == [("pending", 0, True, 0, None)] * 2
    assert fleet.query(STATES) == [("published", 1, False, 0, None)] * 2
    assert fleet.query("SELECT DISTINCT trigger_source FROM billing_ingestion_runs") == [("api",)]
    assert fleet.billed() == {"USD": Decimal("3.75")}
    assert sorted(event["event"] for event in events) == ["asked_done"] * 2 + ["asked_started"] * 2
    assert fleet.broken_rules() == []


def test_a_folder_of_too_many_deliveries_is_refused_as_a_whole(
    fleet: Landing, aws: LocalAws, faulty: FaultyAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MAX_REQUESTED", 2)
    for export in ("a", "b", "c"):
        deliver(fleet, aws, "1.25", export=export)
    calls: list[Call] = []
    faulty.plan = calls.append

    with pytest.raises(UsageError, match="name a folder inside it, or a manifest"):
        ask_for(fleet, "exports/")

    assert [call for call in calls if call.is_download] == []
    assert fleet.count("billing_deliveries") == fleet.count("billing_ingestion_runs") == 0
    assert len(ask_for(fleet, "exports/a/")) == 1


def test_what_stands_is_not_asked_for_even_when_its_data_has_expired(fleet_with_a_bill: Landing, aws: LocalAws) -> None:
    data = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"

    [row] = ask_for(fleet_with_a_bill, MANIFEST)
    aws.client("s3").delete_object(Bucket=BUCKET, Key=data)
    [expired] = ask_for(fleet_with_a_bill, MANIFEST)

    assert row == expired
    assert (row.state, row.asked_at) == ("published", None)
    assert fleet_with_a_bill.value("SELECT count(*) FROM billing_ingestion_runs WHERE status = 'failed'") == 0


def test_asking_again_changes_nothing_and_keeps_the_place(fleet: Landing, aws: LocalAws) -> None:
    [first] = ask_for(fleet, deliver(fleet, aws, "1.25", export="a"))
    ask_for(fleet, deliver(fleet, aws, "2.5", export="b"))

    [repeated] = ask_for(fleet, "exports/a/metadata/BILLING_PERIOD=2026-05/a-Manifest.json")
    retried = again(fleet, first.delivery_id)

    assert repeated == retried == first
    with connect(fleet.database.conninfo) as connection:
        [taken] = jobs.take(connection, uuid4(), limit=1)
    assert taken.delivery_id == first.delivery_id


def test_what_cannot_be_resolved_leaves_a_failed_run(fleet: Landing, aws: LocalAws) -> None:
    key = deliver(fleet, aws, "1.25")
    aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"{}")

    with pytest.raises(SourceNotFoundError):
        ask_for(fleet, "exports/none/")
    with pytest.raises(ManifestError):
        ask_for(fleet, key)

    runs = "SELECT source_s3_key, status, trigger_source, error_code FROM billing_ingestion_runs ORDER BY created_at"
    assert fleet.query(runs) == [
        ("exports/none/", "failed", "api", "source_not_found"),
        (key, "failed", "api", "manifest"),
    ]


def test_a_bucket_that_does_not_answer_is_told_at_once(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    key = deliver(fleet, aws, "1.25")
    faulty.plan = lambda _: (503, "SlowDown")

    with pytest.raises(SourceUnavailableError):
        ask_for(fleet, key)


@pytest.mark.parametrize("key", ["other/a", "exports-evil/a", "exports/../other/a", "exports"])
def test_nothing_outside_of_the_clients_folder_is_asked_for(fleet: Landing, key: str) -> None:
    with pytest.raises(ForbiddenError):
        ask_for(fleet, key)

    assert fleet.count("billing_ingestion_runs") == 0


def test_what_fails_comes_again_until_it_is_in_or_has_failed_too_often_and_can_be_asked_for_again(
    fleet: Landing, aws: LocalAws, faulty: FaultyAws
) -> None:
    fleet = fleet.with_settings(message_attempts=2)
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    faulty.plan = lambda call: (503, "SlowDown") if is_download(call) else None

    events = work_off(fleet)
    failed = fleet.query(STATES)
    waiting = again(fleet, row.delivery_id)
    runs = fleet.query("SELECT status, error_code, last_error_code FROM billing_ingestion_runs")
    # Once more it fails, but only once.
    faulty.plan = lambda call: (
        (503, "SlowDown")
        if is_download(call) and not fleet.value("SELECT sum(failure_count) FROM billing_jobs")
        else None
    )
    later = work_off(fleet)

    assert [event["event"] for event in events] == ["asked_started", "asked_later", "asked_started", "asked_dead"]
    assert failed == [("failed", 2, False, 0, "source_unavailable")]
    assert waiting.state == "pending"
    assert runs == [("pending", None, "source_unavailable")]
    assert [event["event"] for event in later] == ["asked_started", "asked_later", "asked_started", "asked_done"]
    assert fleet.query(STATES) == [("published", 4, False, 0, None)]
    assert fleet.billed() == {"USD": Decimal("1.25")}
    assert fleet.count("billing_jobs") == 0


def test_what_can_never_succeed_fails_at_once(fleet: Landing, aws: LocalAws) -> None:
    fleet.root.joinpath("exports").mkdir(parents=True)
    (fleet.root / "exports/bill.csv").write_text("identity_line_item_id,nothing\na,b\n")
    aws.upload_folder(BUCKET, fleet.root)
    ask_for(fleet, "exports/bill.csv")

    events = work_off(fleet)

    assert [(event["event"], event["error_code"]) for event in events[1:]] == [("asked_dead", "unknown_format")]
    assert fleet.query(STATES) == [("failed", 1, False, 0, "unknown_format")]


def test_a_delivery_that_is_gone_from_its_key_fails(fleet: Landing, aws: LocalAws) -> None:
    key = deliver(fleet, aws, "1.25")
    ask_for(fleet, key)
    aws.client("s3").delete_object(Bucket=BUCKET, Key=key)

    work_off(fleet)

    assert fleet.query(STATES) == [("failed", 0, False, 0, "source_not_found")]
    statuses = fleet.query(
        "SELECT DISTINCT status FROM billing_ingestion_runs UNION SELECT outcome FROM billing_delivery_files"
    )
    assert statuses == [("failed",)]


def test_a_newer_delivery_at_the_key_comes_in_instead(fleet: Landing, aws: LocalAws) -> None:
    ask_for(fleet, deliver(fleet, aws, "1.25"))
    ask_for(fleet, deliver(fleet, aws, "1.25", "5", revision=2))
    deliver(fleet, aws, "1.25", "7", revision=3)
    waiting = fleet.query(STATES)

    events = work_off(fleet)

    assert [row[:3] for row in waiting] == [("superseded", 0, False), ("pending", 0, True)]
    assert events[-1]["instead"]
    assert [row[:3] for row in fleet.query(STATES)] == [("superseded", 0, False)] * 2 + [("published", 1, False)]
    reasons = fleet.query("SELECT DISTINCT reason FROM billing_deliveries WHERE state = 'superseded'")
    assert reasons == [("was replaced at its key before it was read",)]
    statuses = fleet.query("SELECT status FROM billing_ingestion_runs ORDER BY created_at")
    assert statuses == [("skipped",), ("skipped",), ("success",)]
    assert fleet.billed() == {"USD": Decimal("8.25")}


def test_only_what_failed_or_waits_can_be_tried_again_by_the_server(fleet_with_a_bill: Landing) -> None:
    fleet = fleet_with_a_bill
    delivery_id = fleet.value("SELECT delivery_id FROM billing_deliveries")

    for state in ("published", "superseded", "held", "rolled_back"):
        fleet.execute("UPDATE billing_deliveries SET state = %s", state)
        with pytest.raises(UsageError, match=f"is {state.replace('_', ' ')}, not failed"):
            again(fleet, delivery_id)
    fleet.execute(
        "UPDATE billing_deliveries SET state = 'failed', error_code = 'spool_full', bucket = 'another-bucket'"
    )
    with pytest.raises(UsageError, match="is not the bucket of client acme"):
        again(fleet, delivery_id)
    fleet.execute("UPDATE billing_deliveries SET bucket = 'file:///home/acme'")
    with pytest.raises(UsageError, match=r"is in a local folder, .*, which the server does not read"):
        again(fleet, delivery_id)


def test_a_month_that_is_named_over_http_is_kept_until_the_file_is_in(fleet: Landing, aws: LocalAws) -> None:
    items = [*described("10"), line_item(cost="3.5", line_item_usage_start_date="2026-04-29T10:00:00Z")]
    names = [name for name in items[0] if name != "bill_billing_period_start_date"]
    aws.put(BUCKET, "exports/may.csv", as_csv(items, names))
    [unnamed] = ask_for(fleet, "exports/may.csv")
    work_off(fleet)
    failed = fleet.value("SELECT error_code FROM billing_deliveries")

    [named] = request(
        fleet.client,
        "exports/may.csv",
        requested_by=TriggerSource.API,
        settings=fleet.settings,
        database=fleet.database,
        month=parse_period("2026-05"),
    )
    work_off(fleet)

    assert (unnamed.billing_period, failed) == (None, "invalid_value")
    assert named.billing_period == "2026-05"
    assert fleet.value("SELECT state FROM billing_deliveries WHERE delivery_id = %s", named.delivery_id) == "published"
    assert fleet.billed() == {"USD": Decimal("13.5")}
