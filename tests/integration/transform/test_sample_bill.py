"""The generator of sample bills: the same request gives the same bytes, and a bill with everything that AWS writes."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from billfold.documents import format_money
from billfold.period import BillingPeriod
from billfold.quality import CHECKS
from billfold.reports.checks import list_checks
from billfold.selection import Filter
from billfold.store.database import connect
from billfold.transform.sample_bill import CUR2_COLUMNS, SampleBill, SampleFormat, write_sample_bill
from tests.bills.landing import Landing

BILL = SampleBill(payer_account_id="111122223333", period=BillingPeriod(date(2026, 5, 1)), line_item_count=150)
TYPES = set(
    "Usage SavingsPlanCoveredUsage SavingsPlanNegation SavingsPlanRecurringFee SavingsPlanUpfrontFee DiscountedUsage"
    " RIFee Fee Tax Credit Refund EdpDiscount".split()
)


def read(root: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for path in sorted(root.rglob("*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
            rows += csv.DictReader(stream)
    return rows


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def content_of(row: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """A line item without its id, which every delivery gives anew."""
    return tuple((name, value) for name, value in row.items() if name != "identity_line_item_id")


def contents(rows: list[dict[str, str]]) -> Counter[tuple[tuple[str, str], ...]]:
    return Counter(map(content_of, rows))


def places(contents: Counter[tuple[tuple[str, str], ...]]) -> Counter[tuple[str, str, str]]:
    """How many line items stand on each account, hour and resource: a changed amount changes none of them."""
    return Counter(
        (item["line_item_usage_account_id"], item["line_item_usage_start_date"], item["line_item_resource_id"])
        for item in map(dict, contents.elements())
    )


def plan_costs(rows: list[dict[str, str]]) -> Decimal:
    return sum(
        (
            Decimal(row["line_item_unblended_cost"])
            for row in rows
            if row["line_item_line_item_type"] in ("SavingsPlanCoveredUsage", "SavingsPlanNegation")
        ),
        Decimal(0),
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bill to which others are compared, written once."""
    root = tmp_path_factory.mktemp("plain")
    write_sample_bill(BILL, root)
    return root


def test_the_same_request_gives_the_same_bytes(plain: Path, tmp_path: Path) -> None:
    write_sample_bill(BILL, tmp_path / "csv")
    for name in ("one", "two"):
        write_sample_bill(replace(BILL, sample_format=SampleFormat.PARQUET, file_count=2), tmp_path / name)

    assert content(tmp_path / "csv") == content(plain)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_another_seed_gives_another_bill(plain: Path, tmp_path: Path) -> None:
    write_sample_bill(replace(BILL, seed=2), tmp_path)

    assert read(plain) != read(tmp_path)


@pytest.mark.parametrize("count", [100, 1001])
def test_a_bill_has_exactly_the_line_items_asked_for_in_the_files_that_its_manifest_names(
    tmp_path: Path, count: int
) -> None:
    manifest = write_sample_bill(replace(BILL, line_item_count=count, file_count=3), tmp_path)

    rows, named = read(tmp_path), json.loads(manifest.read_text())["dataFiles"]
    assert len(rows) == count
    assert {row["line_item_line_item_type"] for row in rows} == TYPES
    assert sorted(named) == sorted(f"s3://sample-bucket/{path}" for path in content(tmp_path) if path.endswith(".gz"))
    assert len(named) == 3


def test_a_bill_has_the_columns_of_cur_2_and_usage_on_spot(plain: Path) -> None:
    rows = read(plain)

    assert list(rows[0]) == CUR2_COLUMNS
    assert any(row["pricing_term"] == "Spot" for row in rows)
    assert any(row["bill_billing_entity"] == "AWS Marketplace" for row in rows)


def test_savings_plans_net_out_unless_the_switch_says_otherwise(plain: Path, tmp_path: Path) -> None:
    write_sample_bill(replace(BILL, balanced=False), tmp_path)

    assert plan_costs(read(plain)) == 0
    assert plan_costs(read(tmp_path)) == Decimal("0.125")


def test_a_revision_alone_changes_the_ids_and_the_order_only(plain: Path, tmp_path: Path) -> None:
    write_sample_bill(replace(BILL, revision=1), tmp_path)

    first, again = read(plain), read(tmp_path)
    assert not {row["identity_line_item_id"] for row in first} & {row["identity_line_item_id"] for row in again}
    assert contents(first) == contents(again)
    assert list(map(content_of, first)) != list(map(content_of, again))


def test_each_revision_changes_about_the_percentage_asked_for_of_its_own_choice_and_replaces_some(
    plain: Path, tmp_path: Path
) -> None:
    for revision in (1, 2):
        write_sample_bill(replace(BILL, revision=revision, changed_percent=20), tmp_path / str(revision))

    first, changed, third = (read(root) for root in (plain, tmp_path / "1", tmp_path / "2"))
    gone, come = contents(first) - contents(changed), contents(changed) - contents(first)
    assert len(changed) == len(first)
    assert 15 <= gone.total() == come.total() <= 45
    assert {dict(item)["line_item_line_item_type"] for item in gone | come} == {"Usage"}
    assert 1 <= (places(gone) - places(come)).total() <= 8
    assert plan_costs(changed) == 0
    assert gone != contents(first) - contents(third)


def test_an_invoice_id_stands_in_every_line_item_and_changes_nothing_else(plain: Path, tmp_path: Path) -> None:
    write_sample_bill(replace(BILL, invoice_id="2026053101"), tmp_path)

    still_open, final = read(plain), read(tmp_path)
    assert {row["bill_invoice_id"] for row in still_open} == {""}
    assert {row["bill_invoice_id"] for row in final} == {"2026053101"}
    assert [row | {"bill_invoice_id": ""} for row in final] == still_open


@pytest.fixture(scope="module")
def landed_bills(shared_landing: Landing, plain: Path) -> Landing:
    """The bill as CSV, and another payer's as Parquet with a negation that falls short."""
    write_sample_bill(replace(BILL, file_count=2), shared_landing.root)
    short = replace(BILL, export_name="short", payer_account_id="999988887777", balanced=False)
    write_sample_bill(replace(short, sample_format=SampleFormat.PARQUET, file_count=2), shared_landing.root)
    wanted = sum(Decimal(row["line_item_unblended_cost"]) for row in read(plain))
    assert {outcome.export_name: outcome.billed_cost for outcome in shared_landing.ingest_all()} == {
        "sample": {"USD": wanted},
        "short": {"USD": wanted + Decimal("0.125")},
    }
    return shared_landing


def test_a_sample_bill_lands_to_the_cent(landed_bills: Landing) -> None:
    adjustments = landed_bills.query(
        "SELECT export_name, billed_cost FROM billing_usage_fact JOIN dim_charge USING (charge_key)"
        " JOIN billing_statements USING (statement_id) WHERE charge_category = 'Adjustment'"
    )

    assert adjustments == [("short", Decimal("0.125"))]
    assert landed_bills.broken_rules() == []


def test_used_and_unused_are_what_the_commitment_cost(landed_bills: Landing) -> None:
    wanted = landed_bills.query(
        "SELECT statement_id,"
        " coalesce(row_data ->> 'savings_plan_savings_plan_a_r_n', row_data ->> 'reservation_reservation_a_r_n'),"
        " sum(coalesce((row_data ->> 'savings_plan_recurring_commitment_for_billing_period')::numeric, 0)"
        "   + coalesce((row_data ->> 'savings_plan_amortized_upfront_commitment_for_billing_period')::numeric, 0)"
        "   + coalesce((row_data ->> 'reservation_amortized_upfront_fee_for_billing_period')::numeric, 0)"
        "   + CASE WHEN row_data ->> 'line_item_line_item_type' = 'RIFee'"
        "     THEN (row_data ->> 'line_item_unblended_cost')::numeric ELSE 0 END)"
        " FROM raw_aws_billing_rows"
        " WHERE row_data ->> 'line_item_line_item_type' IN ('RIFee', 'SavingsPlanRecurringFee')"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    )
    found = landed_bills.query(
        'SELECT "x_StatementId"::bigint, "CommitmentDiscountId", sum("EffectiveCost") FROM focus_cost_and_usage'
        " WHERE \"CommitmentDiscountStatus\" IN ('Used', 'Unused') GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert len(wanted) == 2 * 3
    assert found == wanted


def test_the_checks_see_what_falls_short_and_commitments_that_add_up(landed_bills: Landing) -> None:
    checks = {row.name: row for row in list_checks(landed_bills.database, Filter(export="short", limit=1000)).rows}

    assert checks["commitment_identity"].state == "passed"
    assert "3 of 3 commitments" in checks["commitment_identity"].detail
    for name in ("savings_plan_residual", "savings_plan_hours"):
        assert (checks[name].state, checks[name].row_count) == ("warned", 1)
        assert {currency: format_money(cost) for currency, cost in checks[name].cost.items()} == {"USD": "0.125"}
    with connect(landed_bills.database.reader_conninfo or "") as connection:
        assert connection.execute("SELECT count(*) FROM billing_checks").fetchall() == [(2 * len(CHECKS),)]
