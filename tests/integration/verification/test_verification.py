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
from billfold.store.verification.charges import Snapshot
from billfold.verification import ProofState, verify
from billfold.verification.source import prove_source
from billfold.verification.verdict import Proofs, Subject
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.bills.verified import FACT, ITEM_2, RAW, differing, untrue, verify_all

CHECKS = [
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


def test_rows_of_two_families_are_told(restated: Landing) -> None:
    focus = json.dumps({"BilledCost": "1", "ChargeCategory": "Usage", "ChargePeriodStart": "2026-05-01"})
    restated.execute(f"UPDATE {RAW} SET row_data = %s WHERE row_hash = {ITEM_2}", focus)

    found = untrue(restated)

    assert found["raw_totals"] == "raw_aws_billing_rows: rows of focus are mixed with rows of cur-2.0"
    assert found["charges_mapped"] == "the raw rows cannot be read"


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_file_that_is_gone_or_another_version_now_is_no_difference(
    restated: Landing, tmp_path: Path, is_gone: bool
) -> None:
    [file] = restated.root.rglob("*.csv.gz")
    if is_gone:
        file.unlink()
    else:
        write_bill(restated.root, described("1"), revision=9)

    def of_source(proofs: Proofs, _: Snapshot, subject: Subject) -> None:
        # That there are pairs of raw rows to compare with is enough: no file is read.
        subject.pairs.touch()
        prove_source(proofs, subject)
        [told] = proofs.made
        assert (told.name, told.state) == ("source_rows", ProofState.SKIPPED)
        assert ("can no longer be read" if is_gone else "is another version now") in told.detail

    assert differing(restated, of_source) == {}


def test_a_source_that_says_otherwise_is_found_and_nothing_is_changed_by_it(restated: Landing) -> None:
    [file] = restated.root.rglob("*.csv.gz")
    write_bill(restated.root, described("1", "2", "3.5", "4.25", "6"), revision=9)
    etag = hashlib.sha256(file.read_bytes()).hexdigest()
    restated.execute(
        "UPDATE billing_ingestion_runs SET source_etag = %s WHERE ingestion_run_id IN (SELECT ingestion_run_id"
        " FROM billing_delivery_files JOIN billing_statements ON current_delivery_id = delivery_id)",
        etag,
    )
    restated.execute("DELETE FROM dim_sku WHERE charge_description = 'item 2'")
    tables = ("dim_sku", FACT, "billing_publications")
    before = [restated.query(f"SELECT * FROM {table}") for table in tables]

    found = untrue(restated)

    assert {"raw_sources", "source_rows", "source_totals"} <= set(found)
    assert "(1 only in the files, 3 only landed)" in found["source_rows"]
    assert found["source_totals"].startswith("raw rows: column rows_after: expected 7, found 5")
    assert [restated.query(f"SELECT * FROM {table}") for table in tables] == before
    assert list(restated.settings.spool.iterdir()) == []


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


def test_the_statements_are_filtered_and_ordered(landing: Landing) -> None:
    # Nothing was published for any of them.
    landing.execute(
        "INSERT INTO billing_clients (client_id) VALUES ('acme');"
        " INSERT INTO billing_statements (client_id, bucket, export_path, export_name, billing_period, hash_version,"
        " currency) SELECT 'acme', 'bills', name, name, month::date, 1, 'USD'"
        " FROM (VALUES ('acme', '2026-05-01'), ('other', '2026-04-01'), ('other', '2024-02-01')) AS each (name, month)"
    )

    everything = verify_all(landing)
    april = verify(settings=landing.settings, database=landing.database, period=BillingPeriod(date(2026, 4, 1)))
    of_nobody = verify(settings=landing.settings, database=landing.database, client="nobody")

    assert [(verdict.billing_period, verdict.export_name, verdict.is_true) for verdict in everything] == [
        ("2024-02", "other", True),
        ("2026-04", "other", True),
        ("2026-05", "acme", True),
    ]
    assert [verdict.billing_period for verdict in april] == ["2026-04"]
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
    codes.append(main(["verify", "--no-source"]))
    shown = capsys.readouterr()

    assert codes == [0, 7]
    assert [list(statement) for statement in sound["statements"]] == [
        ["statement_id", "client", "export", "billing_period", "is_true", "checks"]
    ]
    assert sound["statements"][0]["is_true"] is True
    assert [check["name"] for check in sound["statements"][0]["checks"]] == CHECKS
    assert {check["state"] for check in sound["statements"][0]["checks"]} == {"true"}
    assert "column billed_cost: expected 2, found 2.01" in shown.out
    assert len(shown.err.strip().splitlines()) == 1
