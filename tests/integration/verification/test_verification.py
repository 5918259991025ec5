"""`billfold verify`: what is true is found true, and whatever is tampered with is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from billfold.aws import LocalAws
from billfold.bills.prune import prune
from billfold.bills.rollback import roll_back
from billfold.cli import main
from billfold.errors import ReconciliationError, UsageError
from billfold.period import BillingPeriod
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.transform.mapping import MAPPING_VERSION
from billfold.transform.sample_bill import SampleBill, SampleFormat, write_sample_bill
from billfold.verification import ProofState, Verdict, verify
from tests.bills.landing import Landing
from tests.bills.line_items import PAYER, PLAN, described, line_item, write_bill

FIXTURES = ("legacy-cur", "cur2-csv", "cur2-parquet", "focus12", "focus10", "noid-duplicates")
SAMPLE = SampleBill(payer_account_id=PAYER, period=BillingPeriod(date(2026, 5, 1)), line_item_count=350)
NET = "line_item_net_unblended_cost"

RAW = "raw_aws_billing_rows"
RAW_HISTORY = "raw_aws_billing_rows_history"
FACT = "billing_usage_fact"
FACT_HISTORY = "billing_usage_fact_history"
ITEM_2 = f"(SELECT row_hash FROM {RAW} WHERE strpos(row_data::text, 'item 2\"') > 0)"


def verify_all(landing: Landing, *, with_source: bool = True) -> list[Verdict]:
    return verify(settings=landing.settings, database=landing.database, with_source=with_source)


def untrue(landing: Landing, *, with_source: bool = True) -> dict[str, str]:
    """The checks that do not hold, or could not be made, with their details."""
    return {
        proof.name: proof.detail
        for verdict in verify_all(landing, with_source=with_source)
        for proof in verdict.proofs
        if proof.state is not ProofState.TRUE
    }


def plan_rows(covered: str = "10", negated: str = "-9") -> list[dict[str, str]]:
    """Covered usage and its negation, which leave something over."""
    return [
        line_item("SavingsPlanCoveredUsage", covered, savings_plan_savings_plan_a_r_n=PLAN),
        line_item("SavingsPlanNegation", negated, savings_plan_savings_plan_a_r_n=PLAN),
    ]


def restate(landing: Landing) -> None:
    """Three publications: everything that a statement can hold, and something withdrawn by each later one."""
    twins = [line_item(cost="1.5", line_item_resource_id="i-0a1b2c")] * 3
    write_bill(landing.root, [*described("1", "2", "3", "4"), *twins, *plan_rows()])
    landing.ingest()
    write_bill(landing.root, [*described("1", "2", "3.5", "4", "5"), *twins[:2], *plan_rows()], revision=2)
    landing.ingest()
    write_bill(landing.root, [*described("1", "2", "3.5", "4.25", "5"), *plan_rows(negated="-9.5")], revision=3)
    landing.ingest()


@dataclass(slots=True, kw_only=True)
class Pattern:
    """The restated bill of this module, landed once: its database and its bucket are copied for each test.

    The bucket's path stands in the database: the tests have it one after the other.
    """

    folder: Path
    database: Database | None = None

    @property
    def root(self) -> Path:
        return self.folder / "bucket"

    @property
    def kept(self) -> Path:
        return self.folder / "kept"


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Pattern:
    return Pattern(folder=tmp_path_factory.mktemp("restated"))


@pytest.fixture
def restated(pattern: Pattern, new_database: Callable[[int], Database], settings: Settings) -> Iterator[Landing]:
    """A bill that was restated twice; what a test does to it is its own."""
    if pattern.database is None:
        pattern.database = new_database(16)
        restate(Landing.make(pattern.database, settings, pattern.root))
        shutil.copytree(pattern.root, pattern.kept)
    shutil.rmtree(pattern.root)
    shutil.copytree(pattern.kept, pattern.root)
    with copied(pattern.database) as database:
        yield Landing.make(database, settings, pattern.root)


@contextmanager
def copied(database: Database) -> Iterator[Database]:
    """A copy of a database that nobody is connected to; it is dropped at the end."""
    name, source = f"test_{uuid4().hex}", conninfo_to_dict(database.conninfo)["dbname"]
    with connect(make_conninfo(database.conninfo, dbname="postgres")) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY file_copy".encode())
        yield replace(database, conninfo=make_conninfo(database.conninfo, dbname=name), reader_conninfo=None)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("tree", FIXTURES)
def test_a_sample_is_true(landing: Landing, shared_samples: Path, tree: str) -> None:
    landing.ingest(shared_samples / tree)

    assert untrue(landing) == {}


@pytest.mark.parametrize("sample_format", SampleFormat)
def test_a_sample_bill_is_true(landing: Landing, sample_format: SampleFormat) -> None:
    write_sample_bill(replace(SAMPLE, balanced=False, sample_format=sample_format, file_count=2), landing.root)
    landing.ingest()

    assert untrue(landing) == {}


def test_a_restated_bill_is_true(each_database: Database, settings: Settings, tmp_path: Path) -> None:
    landing = Landing.make(each_database, settings, tmp_path / "bucket")
    restate(landing)

    [verdict] = verify_all(landing)

    assert verdict.is_true
    assert verdict.exit_error is None
    assert {proof.state for proof in verdict.proofs} == {ProofState.TRUE}
    assert [proof.name for proof in verdict.proofs] == [
        "statement",
        "raw_hashes",
        "raw_totals",
        "charge_totals",
        "charge_rows",
        "dimension_keys",
        "dimension_members",
        "charges_mapped",
        "split_mapped",
        "delivery",
        "raw_sources",
        "publications",
        "history_rows",
        "history_costs",
        "history_charges",
        "history_order",
        "history_versions",
        "history_hashes",
        "history_mapped",
        "daily_costs",
        "restatements",
        "split_totals",
        "split_history",
        "standalone_files",
        "source_rows",
        "source_totals",
    ]


def test_a_bill_that_went_from_gross_to_net_and_back_is_true(landing: Landing) -> None:
    gross = described("10", "20", **{NET: ""})
    net = described("10", "20", **{NET: "8"})
    for revision, items in enumerate([gross, net, gross], start=1):
        write_bill(landing.root, items, revision=revision)
        landing.ingest()

    assert untrue(landing) == {}
    assert landing.count(FACT_HISTORY) > 2


def test_what_was_rolled_back_and_brought_back_is_true(restated: Landing) -> None:
    [[current]] = restated.query("SELECT current_delivery_id FROM billing_statements")
    roll_back(current, settings=restated.settings, database=restated.database)
    after_rollback = untrue(restated, with_source=False)
    roll_back(current, settings=restated.settings, database=restated.database, undo=True)

    assert after_rollback == {"source_rows": "not requested"}
    assert untrue(restated) == {}


def test_a_statement_whose_only_delivery_was_rolled_back_is_true(landing: Landing) -> None:
    write_bill(landing.root, [*described("1", "2"), *plan_rows()])
    landing.ingest()
    [[current]] = landing.query("SELECT current_delivery_id FROM billing_statements")
    roll_back(current, settings=landing.settings, database=landing.database)

    assert untrue(landing) == {"source_rows": "no delivery is current"}


def test_a_delivery_without_rows_is_true(landing: Landing) -> None:
    write_bill(landing.root, [], headers=line_item())
    landing.ingest()

    assert untrue(landing) == {}


def test_a_statement_that_nothing_was_published_for_is_true(restated: Landing) -> None:
    restated.execute(
        "INSERT INTO billing_statements (client_id, bucket, export_path, export_name, billing_period, hash_version,"
        " currency) SELECT client_id, bucket, 'other', 'other', '2024-02-01', hash_version, currency"
        " FROM billing_statements"
    )

    first, second = verify_all(restated)

    assert (first.export_name, first.is_true) == ("other", True)
    assert second.is_true


def test_two_currencies_and_odd_values_are_true(landing: Landing) -> None:
    odd = {
        "line_item_line_item_description": 'a "quoted" \\ text, with\nlines and é',
        "resource_tags": '{"user_b": "1"}',
    }
    items = [
        line_item(cost="1E-7", **odd),
        line_item(cost="0.10", line_item_currency_code="EUR", resource_tags='{"b": "2", "a": "x/y~z"}'),
        line_item(cost="-3.00", discount='{"volume": -0.25}', resource_tags="no JSON"),
    ]
    write_bill(landing.root, items)
    landing.ingest()

    assert untrue(landing) == {}


def test_headers_with_one_meaning_are_read_as_they_were_landed(landing: Landing) -> None:
    legacy = {
        "bill/PayerAccountId": PAYER,
        "bill/BillingPeriodStartDate": "2026-05-01T00:00:00Z",
        "lineItem/LineItemType": "Usage",
        "lineItem/UsageStartDate": "2026-05-03T04:00:00Z",
        "lineItem/UsageEndDate": "2026-05-03T05:00:00Z",
        "lineItem/UsageAccountId": PAYER,
        "lineItem/CurrencyCode": "USD",
    }
    items = [
        {**legacy, "lineItem/UnblendedCost": "1", "product/transferType": "a", "resourceTags/user:Env": "x"},
        {**legacy, "lineItem/UnblendedCost": "2", "product/TransferType": "b", "resourceTags/user:env": "y"},
        {**legacy, "lineItem/UnblendedCost": "3", "product/TransferType": "b", "product/transferType": "c"},
        {**legacy, "lineItem/UnblendedCost": "4", "resourceTags/user:env": "y", "resourceTags/user:Env": "Y"},
    ]
    write_bill(landing.root, items)
    landing.ingest()

    assert untrue(landing) == {}


def test_rows_of_an_older_format_may_stand_beside_newer_ones(landing: Landing) -> None:
    plain = {
        "bill/PayerAccountId": PAYER,
        "bill/BillingPeriodStartDate": "2026-05-01T00:00:00Z",
        "lineItem/LineItemType": "Usage",
        "lineItem/UsageStartDate": "2026-05-03T04:00:00Z",
        "lineItem/UsageEndDate": "2026-05-03T05:00:00Z",
        "lineItem/UsageAccountId": PAYER,
        "lineItem/CurrencyCode": "USD",
        "lineItem/UnblendedCost": "1",
    }
    newer = {
        "bill_payer_account_id": PAYER,
        "bill_billing_period_start_date": "2026-05-01T00:00:00Z",
        "line_item_line_item_type": "Usage",
        "line_item_usage_start_date": "2026-05-03T04:00:00Z",
        "line_item_usage_end_date": "2026-05-03T05:00:00Z",
        "line_item_usage_account_id": PAYER,
        "line_item_currency_code": "USD",
        "line_item_unblended_cost": "1",
    }
    write_bill(landing.root, [plain])
    landing.ingest()
    write_bill(landing.root, [newer, {**newer, "line_item_unblended_cost": "2"}], revision=2)
    outcome = landing.ingest()

    assert (outcome.rows_unchanged, outcome.rows_added) == (1, 1)
    assert untrue(landing) == {}


def test_history_of_every_format_is_true(landing: Landing) -> None:
    legacy = {
        "bill/PayerAccountId": PAYER,
        "bill/BillingPeriodStartDate": "2026-05-01T00:00:00Z",
        "lineItem/LineItemType": "Usage",
        "lineItem/UsageStartDate": "2026-05-03T04:00:00Z",
        "lineItem/UsageEndDate": "2026-05-03T05:00:00Z",
        "lineItem/UsageAccountId": PAYER,
        "lineItem/CurrencyCode": "USD",
        "lineItem/UnblendedCost": "1",
        "resourceTags/user:env": "one",
    }
    focus = {
        "BilledCost": "4",
        "EffectiveCost": "4",
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": "2026-05-03T00:00:00Z",
        "ChargePeriodEnd": "2026-05-04T00:00:00Z",
        "BillingPeriodStart": "2026-05-01T00:00:00Z",
        "BillingPeriodEnd": "2026-06-01T00:00:00Z",
        "BillingAccountId": PAYER,
        "Tags": '{"env": "four"}',
    }
    bills = [
        [legacy, {**legacy, "resourceTags/user:env": ""}],
        [line_item(cost="2", resource_tags_user_env="two", cost_category_team="a"), *plan_rows()],
        [line_item(cost="3", resource_tags='{"user_env": "three"}', cost_category='{"team": "b"}'), *plan_rows("10.5")],
        [focus, {**focus, "Tags": ""}],
        [line_item(cost="5", line_item_resource_id="i-1")],
    ]
    for revision, items in enumerate(bills, start=1):
        write_bill(landing.root, items, revision=revision)
        landing.ingest()

    found = untrue(landing)
    landing.execute(f"UPDATE {FACT_HISTORY} SET tag_set_key = NULL WHERE billed_cost = 4")

    assert found == {}
    assert landing.count("billing_publications") == len(bills)
    assert "column tag_set_key: expected " in untrue(landing)["history_mapped"]


def test_charges_of_rows_that_stay_are_proved_too(landing: Landing) -> None:
    write_bill(landing.root, [*described("1", "2"), *plan_rows()])
    landing.ingest()
    # A row more changes what Savings Plans leave over, and nothing else is withdrawn.
    write_bill(landing.root, [*described("1", "2"), *plan_rows(), plan_rows("3")[0]], revision=2)
    landing.ingest()
    withdrawn_first = landing.query(f"SELECT occurrence, billed_cost::text FROM {FACT_HISTORY}")
    # One net cost, and all charges are made anew of the rows that were there.
    net = [*described("1", "2"), *plan_rows(), plan_rows("3")[0], line_item(cost="9", **{NET: "8"})]
    write_bill(landing.root, net, revision=3)
    landing.ingest()

    found = untrue(landing)
    landing.execute(f"UPDATE {FACT_HISTORY} SET consumed_quantity = 77 WHERE billed_cost = 2")

    assert withdrawn_first == [(0, "1")]
    assert landing.count(RAW_HISTORY) == 0
    assert found == {}
    assert "column consumed_quantity: expected 0, found 77" in untrue(landing)["history_mapped"]


def test_withdrawn_charges_of_another_mapping_are_left_out(restated: Landing) -> None:
    restated.execute("UPDATE billing_publications SET mapping_version = 0 WHERE number = 1")
    restated.execute(f"UPDATE {FACT_HISTORY} SET consumed_quantity = 77 WHERE added_by = 1")

    [verdict] = verify_all(restated)

    [told] = [proof.detail for proof in verdict.proofs if proof.name == "history_mapped"]
    assert verdict.is_true
    assert "but for 6 that another version of the mapping made" in told


def test_withdrawn_rows_hashed_another_way_leave_their_check_out(restated: Landing) -> None:
    restated.execute("UPDATE billing_publications SET hash_version = 0 WHERE number = 1")

    assert untrue(restated) == {"history_hashes": "hashed by version 0 too, this is version 1"}


def test_a_redelivery_that_took_the_place_of_another_is_true(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2"))
    landing.ingest()
    write_bill(landing.root, described("1", "2", "3"), revision=2)
    landing.ingest()
    for revision in (3, 4):
        write_bill(landing.root, list(reversed(described("1", "2", "3"))), revision=revision)
        landing.ingest()
    [current] = landing.query("SELECT current_delivery_id FROM billing_statements")
    after_redeliveries = untrue(landing)
    roll_back(current[0], settings=landing.settings, database=landing.database)
    after_rollback = untrue(landing, with_source=False)
    roll_back(current[0], settings=landing.settings, database=landing.database, undo=True)
    after_undo = untrue(landing)
    # An earlier redelivery of the same rows stood before the latest one.
    landing.execute(
        "UPDATE billing_statements SET current_delivery_id = (SELECT delivery_id FROM billing_publications"
        " WHERE number = 1)"
    )

    assert landing.count("billing_publications") == 4
    assert after_redeliveries == after_undo == {}
    assert after_rollback == {"source_rows": "not requested"}
    assert f"column current_delivery_id: expected {current[0]}, found " in untrue(landing)["delivery"]


def test_the_place_of_a_redelivery_is_not_that_of_the_one_before(landing: Landing) -> None:
    for revision in (1, 2):
        write_bill(landing.root, described("1", "2")[::-1] if revision > 1 else described("1", "2"), revision=revision)
        landing.ingest()
    [[current]] = landing.query("SELECT current_delivery_id FROM billing_statements")
    landing.execute(
        "UPDATE billing_statements SET current_delivery_id = (SELECT delivery_id FROM billing_publications)"
    )

    found = untrue(landing, with_source=False)

    assert f"column current_delivery_id: expected {current}, found " in found["delivery"]


def test_a_rollback_that_says_another_total_is_found(restated: Landing) -> None:
    [[current]] = restated.query("SELECT current_delivery_id FROM billing_statements")
    roll_back(current, settings=restated.settings, database=restated.database)
    restated.execute("UPDATE billing_publications SET net_cost_after = '{\"USD\": \"1\"}' WHERE kind = 'rollback'")

    found = untrue(restated, with_source=False)

    assert "publication 4: column net_cost_after: expected 0 USD, found 1 USD" in found["publications"]


def test_what_is_pruned_is_left_out(restated: Landing) -> None:
    [second] = restated.query("SELECT published_at FROM billing_publications WHERE number = 2")
    prune(
        settings=restated.settings,
        database=restated.database,
        keep_days=0,
        now=second[0].astimezone(UTC) + timedelta(microseconds=1),
    )

    [verdict] = verify_all(restated)

    assert restated.count(RAW_HISTORY) > 0
    assert verdict.is_true
    assert {proof.detail for proof in verdict.proofs if proof.name.startswith("history_")} >= {
        "3 publications, 2 of them pruned"
    }


# What is done to the tables, and for each check that must find it a part of what it says.
TAMPERING: dict[str, tuple[str, dict[str, str]]] = {
    "a cost inside a raw row": (
        f"UPDATE {RAW} SET row_data = replace(row_data::text, '\"2\"', '\"2.5\"')::json WHERE row_hash = {ITEM_2}",
        {
            "raw_hashes": "column row_hash: expected ",
            "raw_totals": "column gross_cost_after: expected ",
            "charges_mapped": "column billed_cost: expected 2.5, found 2",
            "history_costs": "column gross_cost_after: expected ",
        },
    ),
    "a text inside a raw row": (
        f"UPDATE {RAW} SET row_data = replace(row_data::text, 'item 2', 'item two')::json WHERE row_hash = {ITEM_2}",
        {"raw_hashes": "of exports/acme/data/", "charges_mapped": "column sku_key", "dimension_members": "dim_sku"},
    ),
    "a raw row that is no object": (
        f"UPDATE {RAW} SET row_data = '[]' WHERE row_hash = {ITEM_2}",
        {
            "raw_hashes": "column row_hash",
            "raw_totals": "gross_cost_after",
            "charges_mapped": "",
            "dimension_members": "",
            "history_costs": "column gross_cost_after: expected ",
        },
    ),
    "the number of a raw row": (
        f"UPDATE {RAW} SET occurrence = 7 WHERE row_hash = {ITEM_2}",
        {
            "raw_hashes": "occurrence 7 of exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz: column"
            " occurrence: expected 1 to 1, found 7",
            "charge_rows": "occurrence 1, part 0: column row_hash: expected a raw row, found nothing",
            "charges_mapped": "column part: expected no charge, found a charge",
            "source_rows": "occurrence 1 of exports/acme/data/",
        },
    ),
    "a raw row is gone": (
        f"DELETE FROM {RAW} WHERE row_hash = {ITEM_2}",
        {
            "raw_totals": "raw rows: column rows_after: expected 7, found 6",
            "charge_rows": "expected a raw row, found nothing",
            "charges_mapped": "column part: expected no charge, found a charge",
            "history_rows": "rows of publication 1: column added_by: expected 9, found 8",
            "source_rows": "there is no such raw row (1 only in the files, 0 only landed)",
            "history_costs": "column gross_cost_after: expected ",
        },
    ),
    "a raw row stands twice": (
        f"INSERT INTO {RAW} SELECT (jsonb_populate_record(raw, '{{\"occurrence\": 2}}')).* FROM {RAW} AS raw"
        f" WHERE row_hash = {ITEM_2}",
        {
            "raw_totals": "expected 7, found 8",
            "charges_mapped": "occurrence 2, part 0: column part: expected a charge, found no charge",
            "history_rows": "expected 9, found 10",
            "source_rows": "there is no such row in the files (0 only in the files, 1 only landed)",
            "history_costs": "column gross_cost_after: expected ",
        },
    ),
    "the cost of a charge": (
        f"UPDATE {FACT} SET billed_cost = 2.01 WHERE row_hash = {ITEM_2}",
        {
            "charge_totals": "charges: column billed_cost_after: expected 16.25 USD, found 16.26 USD",
            "charges_mapped": "occurrence 1, part 0: column billed_cost: expected 2, found 2.01",
            "history_charges": "charges as of publication 1: column billed_cost_after",
            "daily_costs": "column billed_cost: expected 15.76, found 15.75",
        },
    ),
    "the last decimal of an effective cost": (
        f"UPDATE {FACT} SET effective_cost = 2.0000000000000000001 WHERE row_hash = {ITEM_2}",
        {
            "charges_mapped": "column effective_cost: expected 2, found 2.0000000000000000001",
            "daily_costs": "column effective_cost",
        },
    ),
    "a quantity of a charge": (
        f"UPDATE {FACT} SET consumed_quantity = 5 WHERE row_hash = {ITEM_2}",
        {"charges_mapped": "column consumed_quantity: expected 0, found 5"},
    ),
    "the currency of a charge": (
        f"UPDATE {FACT} SET billing_currency = 'EUR' WHERE row_hash = {ITEM_2}",
        {
            "charge_totals": "expected 0 EUR, found 2 EUR",
            "charges_mapped": "column billing_currency: expected USD, found EUR",
            "history_charges": "EUR",
            "daily_costs": "column billed_cost",
        },
    ),
    "the time of a charge": (
        f"UPDATE {FACT} SET charge_period_end = charge_period_end + interval '1 hour' WHERE row_hash = {ITEM_2}",
        {"charges_mapped": "column charge_period_end"},
    ),
    "a key that is no member's": (
        f"UPDATE {FACT} SET sku_key = 999 WHERE row_hash = {ITEM_2}",
        {
            "dimension_keys": "column sku_key: expected a member's key, found 999",
            "charges_mapped": "column sku_key: expected ",
        },
    ),
    "a key of another member": (
        f"UPDATE {FACT} SET sku_key = (SELECT min(sku_key) FROM {FACT} AS other WHERE other.sku_key <> fact.sku_key)"
        f" FROM {FACT} AS fact WHERE {FACT}.row_hash = {ITEM_2} AND fact.row_hash = {ITEM_2}",
        {"charges_mapped": "column sku_key: expected "},
    ),
    "what Savings Plans leave over": (
        f"UPDATE {FACT} SET billed_cost = 0.75 WHERE occurrence = 0",
        {
            "charge_totals": "found 16.50 USD",
            "charges_mapped": "occurrence 0, part 0: column billed_cost: expected 0.5, found 0.75",
            "history_charges": "charges as of publication 3",
            "daily_costs": "column billed_cost",
            "restatements": "column billed_cost",
        },
    ),
    "a charge is gone": (
        f"DELETE FROM {FACT} WHERE row_hash = {ITEM_2}",
        {
            "charge_totals": "charges: column charges_after: expected 7, found 6",
            "charges_mapped": "column part: expected a charge, found no charge",
            "history_charges": "charges as of publication 1: column charges_after: expected 9, found 8",
            "daily_costs": "",
        },
    ),
    "an attribute of a member": (
        "UPDATE dim_sku SET charge_description = 'other' WHERE charge_description = 'item 2'",
        {"dimension_members": "column charge_description: expected item 2, found other"},
    ),
    "a member is gone": (
        "DELETE FROM dim_sku WHERE charge_description = 'item 2'",
        {
            "dimension_keys": "column sku_key: expected a member's key",
            "dimension_members": "column sku_key: expected a member, found nothing",
            "charges_mapped": "column sku_key",
        },
    ),
    "a withdrawn row is gone": (
        f"DELETE FROM {RAW_HISTORY} WHERE row_data::text LIKE '%item 3%'",
        {
            "history_rows": "rows of publication 1: column added_by: expected 9, found 8",
            "history_costs": "column gross_cost_after: expected ",
            "history_versions": "expected a raw row that was current as long, found nothing",
            "history_mapped": "column part: expected no charge, found a charge",
        },
    ),
    "a withdrawn row was there before it came": (
        f"UPDATE {RAW_HISTORY} SET removed_by = added_by WHERE row_data::text LIKE '%item 3%'",
        {
            "history_rows": "rows of publication 1: column removed_by: expected 0, found 1",
            "history_order": "column removed_by: expected more than ",
            "history_costs": "column gross_cost_after: expected ",
            "history_versions": "expected a raw row that was current as long",
        },
    ),
    "two versions of one row at a time": (
        f"INSERT INTO {RAW_HISTORY} SELECT raw.*, added_by + 1 FROM {RAW} AS raw WHERE row_hash = {ITEM_2}",
        {
            "history_rows": "rows of publication 1",
            "history_order": "column added_by",
            "history_costs": "column gross_cost_after: expected ",
        },
    ),
    "a withdrawn charge is gone": (
        f"DELETE FROM {FACT_HISTORY} WHERE billed_cost = 3",
        {
            "history_charges": "charges as of publication 1: column charges_after: expected 9, found 8",
            "restatements": "statement 1, billing_restatement of publication_id ",
        },
    ),
    "the cost of a withdrawn charge": (
        f"UPDATE {FACT_HISTORY} SET billed_cost = 3.01 WHERE billed_cost = 3",
        {
            "history_charges": "billed_cost_after",
            "restatements": "column billed_cost",
            "history_mapped": "column billed_cost: expected 3, found 3.01",
        },
    ),
    "a cost inside a withdrawn row": (
        f"UPDATE {RAW_HISTORY} SET row_data = replace(row_data::text, '\"4\"', '\"4.5\"')::json"
        " WHERE row_data::text LIKE '%item 4%'",
        {
            "history_hashes": "of exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz, withdrawn by"
            " publication_id 3: column row_hash: expected ",
            "history_costs": "rows as of publication 1: column gross_cost_after: expected ",
            "history_mapped": "occurrence 1, part 0, withdrawn by publication_id 3: column billed_cost: expected 4.5,"
            " found 4",
        },
    ),
    "a withdrawn row that is no object": (
        f"UPDATE {RAW_HISTORY} SET row_data = '[]' WHERE row_data::text LIKE '%item 4%'",
        {"history_hashes": "column row_hash", "history_costs": "gross_cost_after", "history_mapped": ""},
    ),
    "the hash of a withdrawn row": (
        f"UPDATE {RAW_HISTORY} SET row_hash = gen_random_uuid() WHERE row_data::text LIKE '%item 4%'",
        {
            "history_hashes": "column row_hash: expected ",
            "history_versions": "column row_hash: expected a raw row that was current as long, found nothing",
            "history_mapped": "column part: expected no charge, found a charge",
        },
    ),
    "a key of withdrawn charges that is no member's": (
        f"UPDATE {FACT_HISTORY} SET sku_key = 99999",
        {
            "dimension_keys": "column sku_key: expected a member's key, found 99999",
            "history_mapped": "column sku_key: expected ",
        },
    ),
    "a key of another member in a withdrawn charge": (
        f"UPDATE {FACT_HISTORY} SET sku_key = (SELECT sku_key FROM {FACT} WHERE row_hash = {ITEM_2})"
        " WHERE billed_cost = 4",
        {"history_mapped": "column sku_key: expected "},
    ),
    "the resource of withdrawn charges": (
        f"UPDATE {FACT_HISTORY} SET resource_key = NULL",
        {"history_mapped": "withdrawn by publication_id 3: column resource_key: expected "},
    ),
    "a quantity of withdrawn charges": (
        f"UPDATE {FACT_HISTORY} SET consumed_quantity = 77",
        {"history_mapped": "column consumed_quantity: expected 0, found 77"},
    ),
    "a quantity of what Savings Plans left over": (
        f"UPDATE {FACT_HISTORY} SET consumed_quantity = 77 WHERE occurrence = 0",
        {"history_mapped": "occurrence 0, part 0, withdrawn by publication_id 3: column consumed_quantity"},
    ),
    "the hashes of withdrawn charges": (
        f"UPDATE {FACT_HISTORY} SET row_hash = gen_random_uuid()",
        {
            "history_versions": "column row_hash: expected a raw row that was current as long, found nothing",
            "history_mapped": "column part: expected no charge, found a charge",
        },
    ),
    "a publication that was before an earlier one": (
        "UPDATE billing_publications SET published_at = published_at - interval '1 year' WHERE number = 2",
        {"publications": "publication 2: column published_at: expected later than 20"},
    ),
    "the gross and net costs of earlier publications": (
        """UPDATE billing_publications SET gross_cost_after = '{"USD": "1"}', net_cost_after = '{"USD": "2"}'"""
        " WHERE number < 3",
        {"history_costs": "rows as of publication 1: column gross_cost_after: expected 1 USD, found "},
    ),
    "which delivery stands": (
        "UPDATE billing_statements SET current_delivery_id = (SELECT delivery_id FROM billing_publications WHERE"
        " number = 1)",
        {"delivery": "billing_statements: column current_delivery_id: expected "},
    ),
    "the rows of a delivery": (
        "UPDATE billing_deliveries SET rows_read = rows_read + 1, rows_unchanged = rows_unchanged + 1"
        " WHERE delivery_id = (SELECT current_delivery_id FROM billing_statements)",
        {"delivery": "column rows_read: expected 7, found 8"},
    ),
    "the new rows of a delivery": (
        "UPDATE billing_deliveries SET rows_added = rows_added + 1, rows_unchanged = rows_unchanged - 1"
        " WHERE delivery_id = (SELECT current_delivery_id FROM billing_statements)",
        {"delivery": "column rows_added: expected "},
    ),
    "the rows of a delivery's file": (
        "UPDATE billing_delivery_files SET rows_read = rows_read + 1"
        " WHERE delivery_id = (SELECT current_delivery_id FROM billing_statements)",
        {"delivery": "billing_delivery_files of delivery ", "source_rows": "column rows_read: expected 7, found 8"},
    ),
    "the file of a raw row": (
        f"UPDATE {RAW} SET source_s3_key = 'other.csv' WHERE row_hash = {ITEM_2}",
        {"raw_sources": "occurrence 1: column source_s3_key: expected exports/acme/data/"},
    ),
    "the version of a withdrawn row's file": (
        f"UPDATE {RAW_HISTORY} SET source_etag = 'other' WHERE row_data::text LIKE '%item 3%'",
        {"raw_sources": "occurrence 1, withdrawn by publication_id 2: column source_etag: expected "},
    ),
    "the run of a raw row": (
        f"UPDATE {RAW} SET ingestion_run_id = gen_random_uuid() WHERE row_hash = {ITEM_2}",
        {"raw_sources": "column ingestion_run_id: expected a run of delivery "},
    ),
    "a raw row of another delivery's run": (
        f"UPDATE {RAW} AS raw SET ingestion_run_id = run.ingestion_run_id, source_etag = run.source_etag FROM"
        f" billing_ingestion_runs AS run WHERE run.source_etag <> raw.source_etag AND row_hash = {ITEM_2}",
        {"raw_sources": "column ingestion_run_id: expected a run of delivery "},
    ),
    "a row marked by nobody's publication": (
        f"UPDATE {RAW} SET added_by = 9999 WHERE row_hash = {ITEM_2}",
        {
            "history_rows": "rows of publication 1: column added_by: expected 9, found 8 (1 more like it)",
            "history_costs": "column gross_cost_after: expected ",
            "charge_rows": "expected a raw row, found nothing",
        },
    ),
    "a daily cost": (
        "UPDATE billing_daily_cost SET list_cost = list_cost + 0.01",
        {"daily_costs": "statement 1, billing_daily_cost: charge_date 2026-05-01, billing_account_key "},
    ),
    "a daily cost of tags": (
        "UPDATE billing_daily_tag_cost SET list_cost = list_cost + 0.01",
        {"daily_costs": "statement 1, billing_daily_tag_cost: charge_date 2026-05-01, billing_account_key "},
    ),
    "a daily cost of tags is gone": (
        "DELETE FROM billing_daily_tag_cost WHERE billed_cost = 15.75",
        {"daily_costs": "column billed_cost: expected 15.75, found nothing"},
    ),
    "a daily cost of other tags": (
        "UPDATE billing_daily_tag_cost SET tag_set_key = 9999 WHERE billed_cost = 15.75",
        {"daily_costs": "tag_set_key 9999"},
    ),
    "a daily cost is gone": (
        "DELETE FROM billing_daily_cost WHERE billed_cost = 15.75",
        {"daily_costs": "column billed_cost: expected 15.75, found nothing"},
    ),
    "a daily cost of nothing": (
        'INSERT INTO billing_daily_cost SELECT (jsonb_populate_record(daily, \'{"charge_date": "2026-05-09",'
        ' "billed_cost": 0, "effective_cost": 0, "list_cost": 0, "contracted_cost": 0, "charge_count": 0}\')).*'
        " FROM billing_daily_cost AS daily LIMIT 1",
        {"daily_costs": "charge_date 2026-05-09"},
    ),
    "a restatement": (
        "UPDATE billing_restatement SET effective_cost = effective_cost + 1",
        {"restatements": "column effective_cost"},
    ),
    "a restatement is gone": (
        "DELETE FROM billing_restatement",
        {"restatements": "column billed_cost: expected "},
    ),
    "the gross cost of a publication": (
        'UPDATE billing_publications SET gross_cost_after = \'{"USD": "1"}\' WHERE number = 3',
        {
            "raw_totals": "column gross_cost_after: expected 1 USD, found ",
            "source_totals": "expected 1 USD",
            "history_costs": "rows as of publication 3: column gross_cost_after: expected 1 USD",
        },
    ),
    "the billed cost of a publication": (
        'UPDATE billing_publications SET billed_cost_after = \'{"USD": "1"}\' WHERE number = 2',
        {
            "publications": "publication 3: column billed_cost_before: expected 1 USD",
            "history_charges": "charges as of publication 2: column billed_cost_after: expected 1 USD",
            "restatements": "column billed_cost",
        },
    ),
    "the charges of a publication": (
        "UPDATE billing_publications SET charges_after = 1 WHERE number = 3",
        {
            "charge_totals": "expected 1, found 7",
            "history_charges": "charges as of publication 3",
            "restatements": "column charge_count",
        },
    ),
    "the rows of a publication": (
        "UPDATE billing_publications SET rows_added = rows_added + 1, rows_removed = rows_removed + 1 WHERE number = 2",
        {"history_rows": "rows of publication 2: column added_by: expected 3, found 2 (1 more like it)"},
    ),
    "the rows before a publication": (
        "UPDATE billing_publications SET rows_before = rows_before + 1, rows_added = rows_added - 1 WHERE number = 2",
        {"publications": "publication 2: column rows_before: expected 9, found 10", "history_rows": "publication 2"},
    ),
    "which publication stands": (
        "UPDATE billing_statements SET current_publication_id = (SELECT min(publication_id) FROM billing_publications)",
        {"statement": "column current_publication_id"},
    ),
    "the basis of the costs": (
        "UPDATE billing_statements SET cost_basis = 'net'",
        {"charges_mapped": "column cost_basis: expected gross, found net"},
    ),
}


@pytest.mark.parametrize("tampering", TAMPERING)
def test_tampering_is_found_and_named(restated: Landing, tampering: str) -> None:
    damage, expected = TAMPERING[tampering]
    with_source = any(name.startswith("source") for name in expected)
    row_hash = str(restated.value(f"SELECT {ITEM_2}"))
    restated.execute(damage)

    [verdict] = verify_all(restated, with_source=with_source)

    found = {proof.name: proof.detail for proof in verdict.proofs if proof.state is ProofState.DIFFERS}
    assert set(found) == set(expected)
    assert {name: found[name] for name, part in expected.items() if part not in found[name]} == {}
    named = f"statement 1, row_hash {row_hash}, occurrence "
    of_item_2 = [found[name] for name in ("raw_hashes", "charge_rows", "dimension_keys") if name in found]
    assert all(named in detail or "withdrawn by" in detail for detail in of_item_2)
    assert isinstance(verdict.exit_error, ReconciliationError)
    assert "\n" not in str(verdict.exit_error)


def test_nothing_is_changed_by_it(restated: Landing) -> None:
    restated.execute("DELETE FROM dim_sku WHERE charge_description = 'item 2'")
    before = [restated.query(f"SELECT * FROM {table}") for table in ("dim_sku", FACT, "billing_publications")]

    verify_all(restated)

    assert [restated.query(f"SELECT * FROM {table}") for table in ("dim_sku", FACT, "billing_publications")] == before
    assert list(restated.settings.spool.iterdir()) == []


def test_a_changed_mapping_leaves_its_check_out(restated: Landing) -> None:
    restated.execute("UPDATE billing_statements SET mapping_version = 0")

    found = untrue(restated)

    assert found == {
        "dimension_members": f"mapped by version 0, this is version {MAPPING_VERSION}",
        "charges_mapped": f"mapped by version 0, this is version {MAPPING_VERSION}",
    }


def test_rows_hashed_another_way_leave_their_checks_out(restated: Landing) -> None:
    restated.execute("UPDATE billing_statements SET hash_version = 0")

    found = untrue(restated)

    assert found == {
        "raw_hashes": "hashed by version 0, this is version 1",
        "source_rows": "the raw rows' identity is unknown",
    }


def test_rows_of_two_families_are_told(restated: Landing) -> None:
    focus = json.dumps({"BilledCost": "1", "ChargeCategory": "Usage", "ChargePeriodStart": "2026-05-01"})
    restated.execute(f"UPDATE {RAW} SET row_data = %s WHERE row_hash = {ITEM_2}", focus)

    found = untrue(restated)

    assert found["raw_totals"] == "raw_aws_billing_rows: rows of focus stand between rows of cur-2.0"
    assert found["charges_mapped"] == "the raw rows cannot be read"


def test_a_file_that_is_gone_is_no_difference(restated: Landing) -> None:
    for file in restated.root.rglob("*.csv.gz"):
        file.unlink()

    [verdict] = verify_all(restated)

    assert verdict.is_true
    assert "can no longer be read" in untrue(restated)["source_rows"]


def test_another_version_of_a_file_is_no_difference(restated: Landing) -> None:
    write_bill(restated.root, described("1"), revision=9)

    found = untrue(restated)

    assert list(found) == ["source_rows"]
    assert "is another version now" in found["source_rows"]


def test_a_source_that_says_otherwise_is_found(restated: Landing) -> None:
    [file] = restated.root.rglob("*.csv.gz")
    write_bill(restated.root, described("1", "2", "3.5", "4.25", "6"), revision=9)
    etag = hashlib.sha256(file.read_bytes()).hexdigest()
    restated.execute(
        "UPDATE billing_ingestion_runs SET source_etag = %s WHERE ingestion_run_id IN (SELECT ingestion_run_id"
        " FROM billing_delivery_files JOIN billing_statements ON current_delivery_id = delivery_id)",
        etag,
    )

    found = untrue(restated)

    assert set(found) == {"raw_sources", "source_rows", "source_totals"}
    assert "(1 only in the files, 3 only landed)" in found["source_rows"]
    assert found["source_totals"].startswith("raw rows: column rows_after: expected 7, found 5")


def test_a_bucket_in_aws_is_read_in_the_clients_name(landing: Landing, environment: pytest.MonkeyPatch) -> None:
    write_bill(landing.root, described("1", "2"))
    with LocalAws() as aws:
        for name, value in aws.environment().items():
            environment.setenv(name, value)
        aws.create_bucket("acme-bills")
        aws.upload_folder("acme-bills", landing.root)
        role = aws.create_role("billfold-read", "111122223333")
        there = landing.with_client(bucket="acme-bills", role_arn=role).with_settings(
            endpoint_url=aws.endpoint_url, region=aws.region
        )
        there.ingest("exports/")

        found = untrue(there)

    assert found == {}
    assert landing.settings.client != landing.client.client_id


def test_the_statements_are_filtered_and_ordered(landing: Landing) -> None:
    for period in ("2026-05", "2026-04"):
        write_bill(
            landing.root, [line_item(bill_billing_period_start_date=f"{period}-01T00:00:00.000Z")], period=period
        )
    landing.ingest_all()

    everything = verify_all(landing)
    may = verify(settings=landing.settings, database=landing.database, period=BillingPeriod(date(2026, 5, 1)))
    of_nobody = verify(settings=landing.settings, database=landing.database, client="nobody")

    assert [verdict.billing_period for verdict in everything] == ["2026-04", "2026-05"]
    assert [verdict.billing_period for verdict in may] == ["2026-05"]
    assert of_nobody == []
    with pytest.raises(UsageError, match="no such statement 99"):
        verify(settings=landing.settings, database=landing.database, statement_id=99)


def test_the_command_tells_what_differs_and_fails(
    restated: Landing, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("DATABASE_URL", restated.database.conninfo)

    codes = [main(["verify", "--json"])]
    sound = json.loads(capsys.readouterr().out)
    restated.execute(f"UPDATE {FACT} SET billed_cost = 2.01 WHERE row_hash = {ITEM_2}")
    codes.append(main(["verify", "--no-source", "--json"]))
    damaged = json.loads(capsys.readouterr().out)
    codes.append(main(["verify", "--no-source"]))
    shown = capsys.readouterr()

    assert codes == [0, 7, 7]
    assert [list(statement) for statement in sound["statements"]] == [
        ["statement_id", "client", "export", "billing_period", "is_true", "checks"]
    ]
    assert sound["statements"][0]["is_true"] is True
    assert damaged["statements"][0]["is_true"] is False
    states = {check["name"]: check["state"] for check in damaged["statements"][0]["checks"]}
    assert (states["charges_mapped"], states["raw_hashes"], states["source_rows"]) == ("differs", "true", "skipped")
    assert "column billed_cost: expected 2, found 2.01" in shown.out
    assert len(shown.err.strip().splitlines()) == 1
