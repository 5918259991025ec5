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


def test_identical_rows_are_all_charged(landing: Landing) -> None:
    write_bill(landing.root, [line_item(cost="1.5")] * 3, [line_item(cost="1.5")] * 2)

    outcome = landing.ingest()

    assert (outcome.rows_read, outcome.rows_added) == (5, 5)
    assert landing.billed() == {USD: Decimal("7.5")}
    assert landing.query("SELECT occurrence FROM raw_aws_billing_rows ORDER BY 1") == [(1,), (2,), (3,), (4,), (5,)]


def test_one_identical_row_less_takes_one_charge_away(landing: Landing) -> None:
    write_bill(landing.root, [line_item(cost="1.5")] * 3)
    landing.ingest()
    write_bill(landing.root, [line_item(cost="1.5")] * 2, revision=2)

    outcome = landing.ingest()

    assert (outcome.rows_added, outcome.rows_removed, outcome.rows_unchanged) == (0, 1, 2)
    assert landing.billed() == {USD: Decimal(3)}
    assert landing.broken_rules() == []


def test_a_restatement_writes_only_what_changed(on_each: Landing) -> None:
    write_bill(on_each.root, described("1", "2", "3", "4"))
    on_each.ingest()
    before = _places(on_each)
    write_bill(on_each.root, described("1", "2", "3.5", "4", "5"), revision=2)

    outcome = on_each.ingest()

    assert (outcome.rows_read, outcome.rows_added, outcome.rows_removed, outcome.rows_unchanged) == (5, 2, 1, 3)
    assert len(before & _places(on_each)) == 6
    assert on_each.billed() == {USD: Decimal("15.5")}
    assert on_each.broken_rules() == []


def _places(landing: Landing) -> set[tuple[Any, ...]]:
    """Where each raw row and charge lies and who wrote it: another place or writer means that it was written anew."""
    return {
        (table, *row)
        for table in (RAW, FACT)
        for row in landing.query(f"SELECT row_hash, occurrence, ctid::text, xmin::text, added_by FROM {table}")
    }


def test_a_moved_line_item_is_no_change(landing: Landing) -> None:
    items = described("1", "2", "3")
    write_bill(landing.root, items)
    landing.ingest()
    before = _places(landing)
    headers = sorted(items[0], reverse=True)
    write_delivery(landing.root, as_csv(items[2:], headers), as_csv(items[:2], headers), revision=2, ending="csv")

    outcome = landing.ingest()

    assert (outcome.rows_added, outcome.rows_removed, outcome.rows_unchanged) == (0, 0, 3)
    assert _places(landing) == before
    assert landing.count("billing_publications") == 1
    assert [(run.rows_read, run.rows_inserted, run.rows_skipped) for run in outcome.runs] == [(1, 0, 1), (2, 0, 2)]


def test_the_counts_of_each_file_are_told(landing: Landing) -> None:
    items = described("1", "2", "3")
    write_bill(landing.root, items[:1], items[1:])

    outcome = landing.ingest()

    assert [(run.rows_read, run.rows_inserted, run.rows_skipped) for run in outcome.runs] == [(1, 1, 0), (2, 2, 0)]
    assert landing.query(
        "SELECT file_number, outcome, file.rows_read, file.rows_inserted, status, run.rows_read, sha256 IS NOT NULL,"
        " size_bytes > 0, attempts FROM billing_delivery_files AS file"
        " JOIN billing_ingestion_runs AS run USING (ingestion_run_id) ORDER BY 1"
    ) == [(0, "success", 1, 1, "success", 1, True, True, 1), (1, "success", 2, 2, "success", 2, True, True, 1)]


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


def test_withdrawn_rows_and_charges_are_remembered(landed: Landing) -> None:
    write_bill(landed.root, described("1", "3"), revision=2)

    landed.ingest()

    first, second = (row[0] for row in landed.query("SELECT publication_id FROM billing_publications ORDER BY number"))
    assert landed.query(
        "SELECT row_data ->> 'line_item_unblended_cost', added_by, removed_by FROM raw_aws_billing_rows_history"
    ) == [("2", first, second)]
    assert landed.query("SELECT billed_cost, added_by, removed_by FROM billing_usage_fact_history") == [
        (Decimal(2), first, second)
    ]
    assert landed.query("SELECT billed_cost, added_by FROM billing_usage_fact ORDER BY 1") == [
        (Decimal(1), first),
        (Decimal(3), second),
    ]


def test_a_bill_that_comes_back_is_current_again(landed: Landing) -> None:
    write_bill(landed.root, described("1", "3"), revision=2)
    landed.ingest()
    write_bill(landed.root, described("1", "2"), revision=3)

    outcome = landed.ingest()

    assert outcome.state is DeliveryState.PUBLISHED
    assert (outcome.rows_added, outcome.rows_removed) == (1, 1)
    assert landed.billed() == {USD: Decimal(3)}
    assert landed.count("billing_ingestion_runs") == 2
    assert landed.query("SELECT number, rows_after FROM billing_publications ORDER BY 1") == [(1, 2), (2, 2), (3, 2)]
    assert landed.broken_rules() == []


def test_net_costs_that_appear_change_the_basis_of_every_charge(landing: Landing) -> None:
    net = "line_item_net_unblended_cost"
    items = described("10", "20")
    write_bill(landing.root, [{**item, net: ""} for item in items])
    landing.ingest()
    write_bill(landing.root, [{**items[0], net: "9"}, {**items[1], net: ""}], revision=2)
    to_net = landing.ingest()
    billed_net = landing.billed()
    broken_net = landing.broken_rules()
    write_bill(landing.root, [{**item, net: ""} for item in items], revision=3)

    to_gross = landing.ingest()

    assert (to_net.rows_added, to_net.rows_removed, to_net.rows_unchanged) == (1, 1, 1)
    assert (billed_net, broken_net) == ({USD: Decimal(29)}, [])
    assert to_gross.exit_error is None
    assert landing.billed() == {USD: Decimal(30)}
    assert landing.query("SELECT cost_basis FROM billing_publications ORDER BY number") == [
        ("gross",),
        ("net",),
        ("gross",),
    ]
    assert landing.broken_rules() == []


def test_discounts_count_once_when_the_basis_changes(landing: Landing) -> None:
    items = [*described("10"), line_item("EdpDiscount", "-1", line_item_line_item_description="discount")]
    net = "line_item_net_unblended_cost"
    write_bill(landing.root, [{**item, net: ""} for item in items])
    gross = landing.ingest()
    write_bill(landing.root, [{**items[0], net: "9"}, {**items[1], net: ""}], revision=2)

    outcome = landing.ingest()

    assert gross.billed_cost == outcome.billed_cost == {USD: Decimal(9)}
    assert landing.billed() == {USD: Decimal(9)}
    [left_out] = landing.value("SELECT left_out FROM billing_publications WHERE number = 2")
    assert (left_out["rows"], left_out["cost"]) == (1, "-1")


def test_an_older_delivery_is_superseded_unless_forced(landing: Landing, tmp_path: Path) -> None:
    write_bill(landing.root, described("5"), revision=9)
    landing.ingest()
    write_bill(landing.root, described("1"), revision=2)

    older = landing.ingest()
    billed_then = landing.billed()
    forced = landing.ingest(force=True)

    assert older.state is DeliveryState.SUPERSEDED
    assert [run.status for run in older.runs] == [RunStatus.SKIPPED]
    assert billed_then == {USD: Decimal(5)}
    assert forced.state is DeliveryState.PUBLISHED
    assert landing.billed() == {USD: Decimal(1)}
    assert landing.broken_rules() == []


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


def test_a_delivery_without_files_is_an_empty_bill(landed: Landing) -> None:
    write_delivery(landed.root, revision=2)

    outcome = landed.with_settings(hold_below_percent=0).ingest()

    assert outcome.exit_error is None
    assert outcome.rows_removed == 2
    assert landed.count("billing_usage_fact") == 0
    assert landed.broken_rules() == []


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
    write_bill(landing.root, [plan[0], {**plan[1], "line_item_unblended_cost": "-8"}, *described("2")], revision=3)
    landing.ingest()
    third = landing.query(residual)
    broken = landing.broken_rules()
    write_bill(landing.root, [plan[0], {**plan[1], "line_item_unblended_cost": "-10"}, *described("2")], revision=4)

    outcome = landing.ingest()

    assert [row[2] for row in first] == [Decimal(1)]
    assert second == first
    assert ([row[2] for row in third], broken) == ([Decimal(2)], [])
    assert outcome.billed_cost == landing.billed() == {USD: Decimal(2)}
    assert landing.query(residual) == []
    assert landing.broken_rules() == []


def test_currencies_are_never_summed_together(landing: Landing) -> None:
    write_bill(landing.root, [*described("1"), line_item(cost="2", line_item_currency_code="EUR")])

    outcome = landing.ingest()

    assert outcome.billed_cost == landing.billed() == {"EUR": Decimal(2), USD: Decimal(1)}
    assert landing.value("SELECT billed_cost_after FROM billing_publications") == {"EUR": "2", USD: "1"}
