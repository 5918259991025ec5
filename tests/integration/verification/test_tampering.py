"""`billfold verify`: what is tampered with is found and named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from billfold.errors import ReconciliationError
from billfold.verification import ProofState, Verdict
from tests.bills.landing import Landing
from tests.bills.verified import FACT, FACT_HISTORY, ITEM_2, RAW, RAW_HISTORY, verify_all

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
            "source_rows": "no such raw row (1 only in the files, 0 only landed)",
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
            "source_rows": "no such row in the files (0 only in the files, 1 only landed)",
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
        f"UPDATE {RAW_HISTORY} SET source_etag = 'other' WHERE row_data::text LIKE '%item 4%'",
        {"raw_sources": "occurrence 1, withdrawn by publication_id 3: column source_etag: expected "},
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


def _pack() -> list[list[str]]:
    """The cases in groups: each check tells its first finding, so those of a group are found by different checks."""
    groups: list[tuple[list[str], set[str]]] = []
    for name, (_, expected) in TAMPERING.items():
        group = next((group for group in groups if group[1].isdisjoint(expected)), ([], set()))
        if not group[0]:
            groups.append(group)
        group[0].append(name)
        group[1].update(expected)
    return [names for names, _ in groups]


# A whole verification costs most of a second: what is found by different checks is done to one copy and verified once.
GROUPS = _pack()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tampered:
    """What a bill's verification said after the tampering of a group; `row_hash` is that of item 2."""

    verdict: Verdict
    row_hash: str

    def found(self) -> dict[str, str]:
        return {proof.name: proof.detail for proof in self.verdict.proofs if proof.state is ProofState.DIFFERS}


@pytest.fixture(scope="module")
def verified() -> dict[int, Tampered]:
    """The groups that were verified already."""
    return {}


@pytest.fixture
def tampered(request: pytest.FixtureRequest, verified: dict[int, Tampered], group: int) -> Tampered:
    """The group's verification, which its first test makes."""
    if group not in verified:
        restated: Landing = request.getfixturevalue("restated")
        row_hash = str(restated.value(f"SELECT {ITEM_2}"))
        for name in GROUPS[group]:
            # Item 2 is the same row whatever was done to it before.
            restated.execute(TAMPERING[name][0].replace(ITEM_2, f"'{row_hash}'"))
        with_source = any(check.startswith("source") for name in GROUPS[group] for check in TAMPERING[name][1])
        [verdict] = verify_all(restated, with_source=with_source)
        verified[group] = Tampered(verdict=verdict, row_hash=row_hash)
    return verified[group]


@pytest.mark.parametrize(
    ("group", "tampering"), [(number, name) for number, names in enumerate(GROUPS) for name in names]
)
def test_tampering_is_found_and_named(tampered: Tampered, tampering: str) -> None:
    _, expected = TAMPERING[tampering]

    found = {name: detail for name, detail in tampered.found().items() if name in expected}

    assert set(found) == set(expected)
    assert {name: found[name] for name, part in expected.items() if part not in found[name]} == {}
    named = f"statement 1, row_hash {tampered.row_hash}, occurrence "
    of_item_2 = [found[name] for name in ("raw_hashes", "charge_rows", "dimension_keys") if name in found]
    assert all(named in detail or "withdrawn by" in detail for detail in of_item_2)


@pytest.mark.parametrize("group", range(len(GROUPS)))
def test_no_other_check_finds_tampering(tampered: Tampered, group: int) -> None:
    expected = {check for name in GROUPS[group] for check in TAMPERING[name][1]}

    assert set(tampered.found()) == expected
    assert isinstance(tampered.verdict.exit_error, ReconciliationError)
    assert "\n" not in str(tampered.verdict.exit_error)
