"""`billfold verify`: what is tampered with is found and named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from billfold.errors import ReconciliationError
from billfold.model import CostBasis
from billfold.store.verification.charges import Difference, Snapshot
from billfold.store.verification.history import History
from billfold.transform.mapping import MAPPING_VERSION
from billfold.verification import ProofState, Verdict
from billfold.verification.history import prove_days
from billfold.verification.verdict import Proofs, Subject, compare_charges
from tests.bills.landing import Landing
from tests.bills.verified import FACT, FACT_HISTORY, ITEM_2, RAW, RAW_HISTORY, differing, of_history, verify_all

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

# The same for what is found without mapping any row again.
TAMPERING_OF_MARKS_AND_SUMS: dict[str, tuple[str, dict[str, str]]] = {
    "the currency of a charge": (
        f"UPDATE {FACT} SET billing_currency = 'EUR' WHERE row_hash = {ITEM_2}",
        {
            "charge_totals": "expected 0 EUR, found 2 EUR",
            "history_charges": "EUR",
            "daily_costs": "column billed_cost",
        },
    ),
    "a key that is no member's": (
        f"UPDATE {FACT} SET sku_key = 999 WHERE row_hash = {ITEM_2}",
        {
            "dimension_keys": "column sku_key: expected a member's key, found 999",
        },
    ),
    "what Savings Plans leave over": (
        f"UPDATE {FACT} SET billed_cost = 0.75 WHERE occurrence = 0",
        {
            "charge_totals": "found 16.50 USD",
            "history_charges": "charges as of publication 3",
            "daily_costs": "column billed_cost",
            "restatements": "column billed_cost",
        },
    ),
    "a charge is gone": (
        f"DELETE FROM {FACT} WHERE row_hash = {ITEM_2}",
        {
            "charge_totals": "charges: column charges_after: expected 7, found 6",
            "history_charges": "charges as of publication 1: column charges_after: expected 9, found 8",
            "daily_costs": "",
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
    "the gross and net costs of earlier publications": (
        """UPDATE billing_publications SET gross_cost_after = '{"USD": "1"}', net_cost_after = '{"USD": "2"}'"""
        " WHERE number < 3",
        {"history_costs": "rows as of publication 1: column gross_cost_after: expected 1 USD, found "},
    ),
    "a row marked by nobody's publication": (
        f"UPDATE {RAW} SET added_by = 9999 WHERE row_hash = {ITEM_2}",
        {
            "history_rows": "rows of publication 1: column added_by: expected 9, found 8 (1 more like it)",
            "history_costs": "column gross_cost_after: expected ",
            "charge_rows": "expected a raw row, found nothing",
        },
    ),
}
# What names a charge, or tells who added it.
NAMES = ("row_hash", "occurrence", "part", "added_by")
# Another value of a column, by its type; of a number, another last decimal.
OTHER_VALUES = {
    "bigint": "coalesce({}, 0) + 1",
    "integer": "coalesce({}, 0) + 1",
    "numeric": "coalesce({}, 0) + 0.0000000000000000001",
    "text": "coalesce({}, '') || 'X'",
    "date": "{} + 1",
    "timestamp with time zone": "{} + interval '1 second'",
    "jsonb": """'{{"other": 1}}'""",
}


def of_sums(proofs: Proofs, snapshot: Snapshot, subject: Subject) -> None:
    """What is proved of charges without mapping their rows, and of the days."""
    proofs.add("charge_totals", compare_charges(subject.recorded.after, snapshot.sum_charges()), "")
    proofs.add_first("charge_rows", snapshot.find_charge_without_row(), "")
    proofs.add_first("dimension_keys", snapshot.find_unknown_key(), "")
    prove_days(proofs, snapshot, snapshot.list_publications())


@pytest.mark.parametrize("tampering", TAMPERING_OF_MARKS_AND_SUMS)
def test_tampering_with_marks_and_sums_is_found_and_named(restated: Landing, tampering: str) -> None:
    statement, expected = TAMPERING_OF_MARKS_AND_SUMS[tampering]
    restated.execute(statement)

    found = differing(restated, of_history, of_sums)

    assert set(found) == set(expected)
    assert {name: found[name] for name, part in expected.items() if part not in found[name]} == {}


@pytest.mark.parametrize("is_withdrawn", [False, True])
def test_every_column_of_a_charge_is_compared(restated: Landing, is_withdrawn: bool) -> None:
    columns = restated.query(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position",
        FACT,
    )
    found = {}

    def of_columns(_: Proofs, snapshot: Snapshot, __: Subject) -> None:
        def find() -> Difference | None:
            if is_withdrawn:
                return History(snapshot).find_charge_difference(CostBasis.GROSS, mapping_version=MAPPING_VERSION)
            return snapshot.find_charge_difference()

        # The charges as they are, in the place of those that mapping would give.
        table = FACT_HISTORY if is_withdrawn else FACT
        snapshot.expect_no_charges()
        snapshot.bulk.execute(
            f"INSERT INTO expected_charge SELECT {', '.join(name for name, _ in columns)} FROM {table}"
        )
        assert find() is None
        for name, kind in columns:
            if name not in NAMES:
                snapshot.bulk.execute("SAVEPOINT sound")
                snapshot.bulk.execute(f"UPDATE expected_charge SET {name} = {OTHER_VALUES[kind].format(name)}")
                found[name] = find()
                snapshot.bulk.execute("ROLLBACK TO SAVEPOINT sound")

    differing(restated, of_columns)

    assert len(found) == len(columns) - len(NAMES)
    assert {name: each and each.column for name, each in found.items()} == {name: name for name in found}


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
