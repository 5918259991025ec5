"""`billfold verify`: what is true is found true, and whatever is tampered with is named."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path

import pytest

from billfold.aws import LocalAws
from billfold.cli import main
from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.settings import Settings
from billfold.transform.mapping import MAPPING_VERSION
from billfold.transform.sample_bill import SampleBill
from billfold.verification import ProofState, verify
from tests.bills.landing import Landing
from tests.bills.line_items import PAYER, described, write_bill
from tests.bills.verified import FACT, ITEM_2, RAW, restate, untrue, verify_all
from tests.services import NewDatabase

FIXTURES = ("legacy-cur", "cur2-csv", "cur2-parquet", "focus12", "focus10", "noid-duplicates")
SAMPLE = SampleBill(payer_account_id=PAYER, period=BillingPeriod(date(2026, 5, 1)), line_item_count=350)


@pytest.mark.parametrize("tree", FIXTURES)
def test_a_sample_is_true(landing: Landing, shared_samples: Path, tree: str) -> None:
    landing.ingest(shared_samples / tree)

    assert untrue(landing) == {}


def test_a_restated_bill_is_true_on_postgresql_18(
    new_database: NewDatabase, settings: Settings, tmp_path: Path
) -> None:
    landing = Landing.make(new_database(18), settings, tmp_path / "bucket")
    restate(landing)

    assert untrue(landing) == {}


def test_a_restated_bill_is_true(restated: Landing) -> None:
    [verdict] = verify_all(restated)

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

    assert found["raw_totals"] == "raw_aws_billing_rows: rows of focus are mixed with rows of cur-2.0"
    assert found["charges_mapped"] == "the raw rows cannot be read"


def test_a_file_that_is_gone_is_no_difference(restated: Landing) -> None:
    for file in restated.root.rglob("*.csv.gz"):
        file.unlink()

    [verdict] = verify_all(restated)

    [told] = [proof.detail for proof in verdict.proofs if proof.name == "source_rows"]
    assert verdict.is_true
    assert "can no longer be read" in told


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


def test_a_bucket_in_aws_is_read_in_the_clients_name(landing: Landing, aws: LocalAws) -> None:
    write_bill(landing.root, described("1", "2"))
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


def test_the_statements_are_filtered_and_ordered(restated: Landing) -> None:
    # Nothing was published for the other two.
    restated.execute(
        "INSERT INTO billing_statements (client_id, bucket, export_path, export_name, billing_period, hash_version,"
        " currency) SELECT client_id, bucket, 'other', 'other', month, hash_version, currency"
        " FROM billing_statements, unnest('{2026-04-01,2024-02-01}'::date[]) AS month"
    )

    everything = verify_all(restated)
    april = verify(settings=restated.settings, database=restated.database, period=BillingPeriod(date(2026, 4, 1)))
    of_nobody = verify(settings=restated.settings, database=restated.database, client="nobody")

    assert [(verdict.billing_period, verdict.export_name, verdict.is_true) for verdict in everything] == [
        ("2024-02", "other", True),
        ("2026-04", "other", True),
        ("2026-05", "acme", True),
    ]
    assert [verdict.billing_period for verdict in april] == ["2026-04"]
    assert of_nobody == []
    with pytest.raises(UsageError, match="no such statement 99"):
        verify(settings=restated.settings, database=restated.database, statement_id=99)


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
