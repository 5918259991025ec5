"""Deliveries as AWS makes them: executions, copies, retries, and columns that come and go."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest

from billfold.errors import InvalidValueError
from billfold.model import DeliveryState, RunStatus
from tests.bills.landing import Landing
from tests.bills.line_items import PERIOD, LineItem, as_csv, described, line_item, write_bill, write_object
from tests.services import Landed

USD = "USD"
DATA = f"exports/acme/data/BILLING_PERIOD={PERIOD}"
METADATA = f"exports/acme/metadata/BILLING_PERIOD={PERIOD}"


def write_execution(root: Path, execution: str, items: Sequence[LineItem], *, revision: int) -> tuple[Path, Path]:
    """Write one delivery in create-new mode and return its own manifest and the latest one above it."""
    key = f"{DATA}/{execution}/acme-00001.csv.gz"
    write_object(root, key, gzip.compress(as_csv(items), mtime=0), revision=revision)
    manifest = {
        "exportName": "acme",
        "executionId": execution,
        "billingPeriod": {"start": f"{PERIOD}-01T00:00:00.000Z"},
        "dataFiles": [f"s3://acme-bills/{key}"],
    }
    content = json.dumps(manifest).encode()
    own = write_object(root, f"{METADATA}/{execution}/acme-Manifest.json", content, revision=revision)
    latest = write_object(root, f"{METADATA}/acme-Manifest.json", content, revision=revision)
    return own, latest


EXECUTIONS = [f"2026050{number}T010203Z-e{number}" for number in range(5)]
ITEMS = described("1", "2", pricing_unit="Hrs", line_item_usage_amount="3")


def land_execution(landing: Landing) -> None:
    own, _ = write_execution(landing.root, EXECUTIONS[1], ITEMS, revision=1)
    landing.ingest(own)


@pytest.fixture
def once(landed: Landed) -> Landing:
    """A statement of one delivery, which came in by its execution's own manifest."""
    return landed((land_execution,))


def test_two_manifests_of_one_execution_are_one_delivery(once: Landing) -> None:
    latest = once.root / METADATA / "acme-Manifest.json"
    # AWS writes the latest one a moment after the execution's own.
    os.utime(latest, (latest.stat().st_mtime + 7, latest.stat().st_mtime + 7))

    outcomes = [once.ingest(manifest) for manifest in (latest, latest.parent / EXECUTIONS[1] / latest.name)]

    assert [(outcome.rows_added, outcome.rows_unchanged) for outcome in outcomes] == [(0, 2), (0, 2)]
    assert once.count("billing_deliveries") == once.count("billing_publications") == 1


def test_an_earlier_executions_own_manifest_is_superseded(once: Landing) -> None:
    write_execution(once.root, EXECUTIONS[2], described("1", "3"), revision=2)
    current = once.ingest()
    first = once.root / METADATA / EXECUTIONS[1] / "acme-Manifest.json"

    late = once.ingest(first)
    forced = once.ingest(first, force=True)

    assert current.billed_cost == {USD: Decimal(4)}
    assert late.state is DeliveryState.SUPERSEDED
    assert late.reason is not None
    assert late.reason.startswith("is older than the published delivery of ")
    assert forced.state is DeliveryState.PUBLISHED
    assert f"published by force, although it {late.reason}" in forced.findings
    assert once.billed() == {USD: Decimal(3)}


def test_the_same_bytes_under_another_key_are_not_even_parsed(once: Landing) -> None:
    write_execution(once.root, EXECUTIONS[2], ITEMS, revision=2)

    outcome = once.ingest()
    again = once.ingest()

    assert outcome.state is DeliveryState.PUBLISHED
    assert (outcome.rows_read, outcome.rows_added, outcome.rows_unchanged) == (2, 0, 2)
    assert [(run.status, run.rows_read, run.rows_inserted, run.rows_skipped) for run in outcome.runs] == [
        (RunStatus.SUCCESS, 2, 0, 2)
    ]
    assert [run.status for run in again.runs] == [RunStatus.SKIPPED]
    assert once.count("billing_publications") == 1
    assert once.query("SELECT status, rows_read, rows_inserted FROM billing_ingestion_runs ORDER BY created_at") == [
        ("success", 2, 2),
        ("success", 2, 0),
    ]
    assert (
        once.value(
            "SELECT execution_id FROM billing_statements JOIN billing_deliveries ON delivery_id = current_delivery_id"
        )
        == EXECUTIONS[2]
    )
    assert once.broken_rules() == []


def test_an_older_copy_of_the_current_files_does_not_turn_the_time_back(once: Landing) -> None:
    write_execution(once.root, EXECUTIONS[0], ITEMS, revision=-10)
    copy = once.ingest()
    write_execution(once.root, EXECUTIONS[2], described("10", "21"), revision=-5)

    between = once.ingest()

    assert (copy.state, between.state) == (DeliveryState.SUPERSEDED, DeliveryState.SUPERSEDED)
    assert once.billed() == {USD: Decimal(3)}


def test_columns_that_come_and_go_are_told_and_lose_no_row(once: Landing) -> None:
    changed = [
        {**{name: value for name, value in item.items() if name != "pricing_unit"}, "line_item_usage_amount": "many"}
        for item in ITEMS
    ]
    write_execution(once.root, EXECUTIONS[2], [{**item, "product_sku": "X1"} for item in changed], revision=2)

    outcome = once.ingest()

    assert once.query("SELECT findings FROM billing_deliveries ORDER BY created_at")[0] == ([],)
    assert outcome.findings == (
        "new columns: product_sku",
        "columns that are gone: pricing_unit",
        "columns of another type: line_item_usage_amount (number, now text)",
    )
    assert outcome.state is DeliveryState.PUBLISHED
    assert once.billed() == {USD: Decimal(3)}
    columns = once.value("SELECT columns FROM billing_deliveries WHERE rows_removed = 2")
    assert (columns["product_sku"], columns["line_item_unblended_cost"]) == ("text", "number")
    assert "pricing_unit" not in columns


def test_a_new_month_is_compared_with_the_month_before(once: Landing) -> None:
    june = {
        name: f"2026-06-0{number}T00:00:00.000Z"
        for number, name in enumerate(
            ("bill_billing_period_start_date", "line_item_usage_start_date", "line_item_usage_end_date"), start=1
        )
    }
    write_bill(once.root, [{**item, **june, "product_sku": "X1"} for item in ITEMS], period="2026-06")

    outcomes = once.ingest_all()

    assert [outcome.findings for outcome in outcomes] == [(), ("new columns: product_sku",)]


def land_equal_files(landing: Landing) -> None:
    items = described("1", "2")
    write_bill(landing.root, items, items, items)
    landing.ingest()


def test_one_of_two_equal_files_less_is_no_copy(landed: Landed) -> None:
    landing = landed((land_equal_files,))
    items = described("1", "2")
    write_bill(landing.root, items, items, revision=2)

    outcome = landing.ingest()

    assert (outcome.rows_added, outcome.rows_removed) == (0, 2)
    assert landing.billed() == {USD: Decimal(6)}


def test_a_success_is_not_run_again(landed: Landed) -> None:
    landing = landed((land_equal_files,))
    write_bill(landing.root, described("1", "2"), [line_item(cost="none")], revision=2, headers=described("1")[0])
    landing.ingest()
    landing.ingest()

    runs = landing.query("SELECT status, attempts FROM billing_ingestion_runs ORDER BY created_at, source_s3_key")

    assert runs == [("success", 1)] * 3 + [("failed", 2)]


def test_the_last_error_stays_visible_after_a_success(landing: Landing) -> None:
    write_bill(landing.root, [line_item(cost="none")])
    failed = landing.ingest()
    failed_run = landing.records("SELECT * FROM billing_ingestion_runs")[0]
    # The file version itself was good; what failed it then is gone.
    landing.execute(
        "UPDATE billing_ingestion_runs SET source_etag = %s",
        _etag(write_bill(landing.root, described("1"), revision=2).parents[2] / "data"),
    )

    good = landing.ingest()

    run = landing.records("SELECT * FROM billing_ingestion_runs")[0]
    assert isinstance(failed.exit_error, InvalidValueError)
    assert (failed_run["status"], failed_run["error_code"], failed_run["attempts"]) == ("failed", "invalid_value", 1)
    assert good.state is DeliveryState.PUBLISHED
    assert (run["status"], run["error_code"], run["attempts"]) == ("success", None, 2)
    assert run["last_error_code"] == "invalid_value"
    assert run["last_error_message"] == failed_run["error_message"]
    assert run["last_failed_at"] == failed_run["finished_at"]


def _etag(folder: Path) -> str:
    """The ETag that a local bucket gives the only file below the folder."""
    [path] = [path for path in folder.rglob("*") if path.is_file()]
    return sha256(path.read_bytes()).hexdigest()
