"""The promises of a bill: complete, cheap, remembered, closed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import botocore.handlers
import pytest

from billfold.aws import LocalAws
from billfold.errors import UsageError
from billfold.model import DeliveryState, RunStatus
from billfold.settings import Settings
from billfold.store.database import Database
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, as_csv, described, line_item, write_bill, write_delivery
from tests.integration.bills.promises.conftest import FACT, RAW, USD


def _places(landing: Landing) -> set[tuple[Any, ...]]:
    """Where each raw row and charge lies and who wrote it: another place or writer means that it was written anew."""
    return {
        (table, *row)
        for table in (RAW, FACT)
        for row in landing.query(f"SELECT row_hash, occurrence, ctid::text, xmin::text, added_by FROM {table}")
    }


def test_every_identical_row_is_charged_and_a_restatement_writes_only_what_changed(landing: Landing) -> None:
    twins = [line_item(cost="1.5")] * 5
    write_bill(landing.root, [*described("1", "2", "3", "4"), *twins[:3]], twins[3:])
    first = landing.ingest()
    occurrences = landing.query(f"SELECT occurrence FROM {RAW} ORDER BY 1 DESC LIMIT 5")
    files = landing.query(
        "SELECT file_number, outcome, file.rows_read, file.rows_inserted, status, run.rows_read, sha256 IS NOT NULL,"
        " size_bytes > 0, attempts FROM billing_delivery_files AS file"
        " JOIN billing_ingestion_runs AS run USING (ingestion_run_id) ORDER BY 1"
    )
    before = _places(landing)
    restated = [*described("1", "2", "3.5", "4", "5"), *twins[:4]]
    write_bill(landing.root, restated, revision=2)

    second = landing.ingest()

    assert (first.rows_read, first.rows_added) == (9, 9)
    assert occurrences == [(5,), (4,), (3,), (2,), (1,)]
    assert [(run.rows_read, run.rows_inserted, run.rows_skipped) for run in first.runs] == [(7, 7, 0), (2, 2, 0)]
    assert files == [
        (0, "success", 7, 7, "success", 7, True, True, 1),
        (1, "success", 2, 2, "success", 2, True, True, 1),
    ]
    assert (second.rows_read, second.rows_added, second.rows_removed, second.rows_unchanged) == (9, 2, 2, 7)
    after = _places(landing)
    assert len(before & after) == 2 * 7
    assert landing.billed() == {USD: Decimal("21.5")}
    assert landing.broken_rules() == []

    # Other files, other columns first: each line item has moved and none has changed.
    headers = sorted(restated[0], reverse=True)
    write_delivery(landing.root, as_csv(restated[3:], headers), as_csv(restated[:3], headers), revision=3, ending="csv")

    moved = landing.ingest()

    assert (moved.rows_added, moved.rows_removed, moved.rows_unchanged) == (0, 0, 9)
    assert [(run.rows_read, run.rows_inserted, run.rows_skipped) for run in moved.runs] == [(6, 0, 6), (3, 0, 3)]
    assert _places(landing) == after
    assert landing.count("billing_publications") == 2


@pytest.fixture
def aws(aws: LocalAws) -> LocalAws:
    aws.create_bucket("acme-bills")
    return aws


def test_the_current_delivery_again_downloads_nothing(
    landing: Landing, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bill(landing.root, described("1", "2"))
    aws.upload_folder("acme-bills", landing.root)
    role = aws.create_role("billfold-read", "111122223333")
    there = landing.with_client(bucket="acme-bills", role_arn=role).with_settings(
        endpoint_url=aws.endpoint_url, region=aws.region
    )
    there.ingest("exports/")
    read: list[str] = []

    def record(params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name == "GetObject":
            read.append(params["Key"])

    handlers = [*botocore.handlers.BUILTIN_HANDLERS, ("before-parameter-build", record)]
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)

    again = there.ingest("exports/")

    assert again.state is DeliveryState.PUBLISHED
    assert [run.status for run in again.runs] == [RunStatus.SKIPPED]
    assert [key for key in read if "Manifest" not in key] == []
    assert read != []


def test_withdrawn_rows_and_charges_are_remembered_and_a_bill_that_comes_back_is_current(landed: Landing) -> None:
    write_bill(landed.root, described("1", "3"), revision=2)
    landed.ingest()
    raw = landed.query(
        "SELECT row_data ->> 'line_item_unblended_cost', added_by, removed_by FROM raw_aws_billing_rows_history"
    )
    withdrawn = landed.query("SELECT billed_cost, added_by, removed_by FROM billing_usage_fact_history")
    current = landed.query("SELECT billed_cost, added_by FROM billing_usage_fact ORDER BY 1")
    write_bill(landed.root, described("1", "2"), revision=3)

    back = landed.ingest()

    first, second, _ = (
        row[0] for row in landed.query("SELECT publication_id FROM billing_publications ORDER BY number")
    )
    assert raw == [("2", first, second)]
    assert withdrawn == [(Decimal(2), first, second)]
    assert current == [(Decimal(1), first), (Decimal(3), second)]
    assert back.state is DeliveryState.PUBLISHED
    assert (back.rows_added, back.rows_removed) == (1, 1)
    assert landed.billed() == {USD: Decimal(3)}
    assert landed.count("billing_ingestion_runs") == 2
    assert landed.query("SELECT number, rows_after FROM billing_publications ORDER BY 1") == [(1, 2), (2, 2), (3, 2)]
    assert landed.broken_rules() == []


def test_an_older_delivery_is_superseded_unless_forced(landed: Landing) -> None:
    write_bill(landed.root, described("1"), revision=0)

    older = landed.ingest()
    billed_then = landed.billed()
    forced = landed.ingest(force=True)

    assert older.state is DeliveryState.SUPERSEDED
    assert [run.status for run in older.runs] == [RunStatus.SKIPPED]
    assert billed_then == {USD: Decimal(3)}
    assert forced.state is DeliveryState.PUBLISHED
    assert landed.billed() == {USD: Decimal(1)}
    assert landed.broken_rules() == []


def test_a_forced_delivery_that_is_current_changes_nothing(landed: Landing) -> None:
    before = _places(landed)

    forced = landed.ingest(force=True)

    assert (forced.rows_added, forced.rows_removed, forced.rows_unchanged) == (0, 0, 2)
    assert _places(landed) == before


def test_a_delivery_of_a_header_alone_is_an_empty_bill(landed: Landing) -> None:
    write_bill(landed.root, [], headers=line_item(), revision=2)

    outcome = landed.with_settings(hold_below_percent=0).ingest()

    assert outcome.exit_error is None
    assert outcome.state is DeliveryState.PUBLISHED
    assert (outcome.rows_read, outcome.rows_removed) == (0, 2)
    assert landed.count("billing_usage_fact") == 0
    assert landed.count("billing_daily_cost") == 0
    assert landed.count("raw_aws_billing_rows_history") == 2
    assert landed.broken_rules() == []


def test_the_first_delivery_may_be_empty(landing: Landing) -> None:
    write_bill(landing.root, [], headers=line_item())

    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert (outcome.state, outcome.rows_read) == (DeliveryState.PUBLISHED, 0)
    assert landing.query("SELECT status, rows_read FROM billing_ingestion_runs") == [("success", 0)]


def test_clients_do_not_see_each_others_bills(database: Database, settings: Settings, tmp_path: Path) -> None:
    one = Landing.make(database, settings, tmp_path / "one", "one")
    two = Landing.make(database, settings, tmp_path / "two", "two")
    for landing in (one, two):
        write_bill(landing.root, described("1", "2", line_item_resource_id="i-1"))

    first, second = one.ingest(), two.ingest()

    assert (first.rows_added, second.rows_added) == (2, 2)
    assert one.query('SELECT "x_ClientId", sum("BilledCost") FROM focus_cost_and_usage GROUP BY 1 ORDER BY 1') == [
        ("one", Decimal(3)),
        ("two", Decimal(3)),
    ]
    for table in ("dim_account", "dim_resource", "dim_sku"):
        counts = one.query(f"SELECT client_id, count(*) FROM {table} GROUP BY 1 ORDER BY 1")
        assert [client for client, _ in counts] == ["one", "two"]
        assert counts[0][1] == counts[1][1]


def test_a_file_of_one_client_is_refused_to_another(landed: Landing) -> None:

    other = landed.with_client(client_id="other").ingest()

    assert isinstance(other.exit_error, UsageError)
    assert other.state is DeliveryState.FAILED
    assert landed.query("SELECT client_id FROM billing_statements") == [("acme",)]
    assert landed.billed() == {USD: Decimal(3)}


def test_what_savings_plans_leave_over_is_untouched_while_it_is_equal(landing: Landing) -> None:
    plan = [
        line_item("SavingsPlanCoveredUsage", "10", savings_plan_savings_plan_a_r_n=PLAN),
        line_item("SavingsPlanNegation", "-9", savings_plan_savings_plan_a_r_n=PLAN),
    ]
    write_bill(landing.root, [*plan, *described("1")])
    landing.ingest()
    residual = "SELECT ctid::text, xmin::text, billed_cost, part FROM billing_usage_fact WHERE occurrence = 0"
    first = landing.query(residual)
    write_bill(landing.root, [*plan, *described("2")], revision=2)
    landing.ingest()
    second = landing.query(residual)
    broken = landing.broken_rules()
    write_bill(landing.root, [plan[0], {**plan[1], "line_item_unblended_cost": "-10"}, *described("2")], revision=3)

    outcome = landing.ingest()

    assert [row[2] for row in first] == [Decimal(1)]
    assert second == first
    assert broken == []
    assert outcome.billed_cost == landing.billed() == {USD: Decimal(2)}
    assert landing.query(residual) == []
    assert landing.broken_rules() == []
