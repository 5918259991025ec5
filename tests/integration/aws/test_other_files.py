"""What lies beside bills and is not a bill is left out and named; what may be a damaged bill never is."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from structlog.testing import capture_logs

from billfold import clients
from billfold.aws import LocalAws, LocalBucket
from billfold.aws.other_files import find_kind
from billfold.bills.backfill import backfill
from billfold.bills.ingest import ingest
from billfold.bills.requests import request
from billfold.errors import SourceNotFoundError
from billfold.jobs.results import Done
from billfold.model import DeliveryState, LeftOutFile, TriggerSource
from billfold.settings import Settings, load_settings
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, write_bill, write_object
from tests.messages import ACCOUNT as BUCKET_OWNER
from tests.messages import s3_event
from tests.processes.faulty_aws import Call, faulty_aws
from tests.taken import take

COH = "coh/cid-coh"
COH_MANIFEST = f"{COH}/metadata/date=2026-05-04/cid-coh-Manifest.json"
COH_DATA = f"{COH}/data/date=2026-05-04/2026-05-04T01-02-03.000Z-1f2e/cid-coh-00001.snappy.parquet"


def as_parquet(*names: str) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table({name: ["x"] for name in names}), file)
    return file.getvalue()


def as_zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report.csv", content)
    return file.getvalue()


def manifest_of(key: str, **fields: Any) -> bytes:
    return json.dumps(
        {"exportName": "x", "executionId": "e1", "dataFiles": [f"s3://acme-bills/{key}"], **fields}
    ).encode()


RECOMMENDATIONS = as_parquet(
    "account_id", "action_type", "recommendation_id", "estimated_monthly_savings_after_discount"
)
OLD_CSV = (
    b'"InvoiceID","PayerAccountId","LinkedAccountId","RecordType","UnBlendedCost"\n'
    b'"1","111122223333","","LineItem","3"\n'
)

OTHER_FILES = {
    COH_MANIFEST: manifest_of(COH_DATA),
    COH_DATA: RECOMMENDATIONS,
    "carbon/c/metadata/carbon_model_version=v3.0.0/usage_period=2026-03/c-Manifest.json": b"{broken",
    "carbon/c/data/carbon_model_version=v3.0.0/usage_period=2026-03/c-1.parquet": as_parquet(
        "payer_account_id", "usage_account_id", "total_mbm_emissions_value"
    ),
    "odd/e/metadata/week=2026-18/e-Manifest.json": manifest_of(
        "odd/e/data/week=2026-18/e-1.csv.gz", columns=[{"name": "asset_id"}, {"name": "score"}]
    ),
    "odd/e/data/week=2026-18/e-1.csv.gz": gzip.compress(b"asset_id,score\n1,2\n"),
    "lens/StorageLens/111122223333/default/V_1/manifests/dt=2026-05-03/manifest.json": b'{"reportFiles": []}',
    "lens/StorageLens/111122223333/default/V_1/reports/dt=2026-05-03/x.csv": b"version_number,configuration_id\nV,a\n",
    "inventory/src/all/2026-05-03T01-00Z/manifest.json": b'{"fileSchema": "Bucket, Key", "files": []}',
    "inventory/src/all/data/5d2f.csv.gz": gzip.compress(b'"acme-bills","exports/a.csv","12"\n'),
    "optimizer/us-east-1.csv": b"accountId,recommendationOptions_1_instanceType\n1,2\n",
    "athena/7c3a.csv": b'"_col0"\n"42"\n',
    "111122223333-aws-billing-csv-2026-04.csv": OLD_CSV,
    "111122223333-aws-cost-allocation-2026-04.csv": b'"Don\'t see your tags in the report?"\n' + OLD_CSV,
    "111122223333-aws-billing-detailed-line-items-with-resources-and-tags-2026-04.csv.zip": as_zip(OLD_CSV),
    "renamed.csv.zip": as_zip(OLD_CSV),
    "AWSLogs/111122223333/CloudTrail/us-east-1/2026/05/03/x.json.gz": gzip.compress(b'{"Records": []}'),
    "trail/x.json.gz": gzip.compress(b'{"Records": []}'),
    "elb/111122223333_elasticloadbalancing_eu-west-1_app.log.gz": gzip.compress(
        b'https 2026-05-03T22:23:00Z app/x 1.2.3.4:80 "GET /"\n'
    ),
    "vpc/flow.log.gz": gzip.compress(b"version account-id interface-id srcaddr\n2 111122223333 eni-1 1.2.3.4\n"),
    "backup/site.tar.gz": gzip.compress(b"x".ljust(257, b"\0") + b"ustar\x0000" + bytes(300)),
    "lake/table.parquet": as_parquet("id", "name"),
}


def bill(**renamed: str) -> bytes:
    """A bill whose columns have been renamed; all of those that are not named keep their names."""
    items = described("1.25", "2.5")
    return as_csv([{renamed.get(name, name): value for name, value in item.items()} for item in items])


ALL_RENAMED = {name: f"c{number}" for number, name in enumerate(described("1")[0])}
HEADLESS = bill().partition(b"\n")[2]
MAYBE_BILLS = {
    "bill.csv": bill(),
    "renamed.csv": bill(line_item_unblended_cost="cost", line_item_line_item_type="type"),
    "all-renamed.csv": bill(**ALL_RENAMED),
    "spelled.csv": b"Unblended Cost,Account\n1,2\n",
    "semicolons.csv": bill().replace(b",", b";"),
    "separator.csv": b"sep=,\n" + bill(),
    "headless.csv.gz": gzip.compress(HEADLESS),
    "missing.csv": b"bill_payer_account_id,line_item_unblended_cost\n1,2\n",
    "missing.parquet": as_parquet("BilledCost", "Account"),
    "legacy.csv": b"identity/LineItemId,lineItem/UnblendedCost\n1,2\n",
    "empty.csv": b"",
    "blank.csv.gz": gzip.compress(b""),
    "truncated.csv.gz": gzip.compress(bill())[:60],
    "corrupt.csv.gz": b"\x1f\x8b" + b"\xff" * 40,
    "encrypted.parquet": b"PARE" + bytes(40),
    "encrypted.csv": bytes(range(128, 256)) * 4,
    "torn.parquet": as_parquet("id")[:-20],
    "utf16.csv": bill().decode().encode("utf-16"),
    "broken/acme-Manifest.json": b'{"dataFiles": [',
    "cut/acme-Manifest.json": b'{"exportName": "acme"}',
    "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv": b"a,b\n1,2\n",
    "cur/acme/20260501-20260601/acme-1.csv": b"a,b\n1,2\n",
}


def kind_of(root: Path, settings: Settings, key: str, content: bytes) -> str | None:
    write_object(root, key, content)
    bucket = LocalBucket(root, settings)
    return find_kind(bucket, bucket.head(key))


@pytest.mark.parametrize("key", OTHER_FILES)
def test_what_is_known_not_to_be_a_bill_has_a_name(tmp_path: Path, settings: Settings, key: str) -> None:
    assert kind_of(tmp_path, settings, key, OTHER_FILES[key])


@pytest.mark.parametrize("key", MAYBE_BILLS)
def test_what_may_be_a_bill_or_a_damaged_one_is_never_left_out(tmp_path: Path, settings: Settings, key: str) -> None:
    assert kind_of(tmp_path, settings, key, MAYBE_BILLS[key]) is None


def test_a_query_result_of_a_bill_is_known_by_its_metadata(tmp_path: Path, settings: Settings) -> None:
    write_object(tmp_path, "athena/7c3a.csv.metadata", b"\x00\x01")

    assert kind_of(tmp_path, settings, "athena/7c3a.csv", bill()) == "Athena query result"


def test_a_version_that_is_not_a_bill_is_read_once(aws: LocalAws, landing: Landing) -> None:
    aws.create_bucket(BUCKET)
    aws.put(BUCKET, "large.csv", b"id,name\n" + b"1,x\n" * 200_000)
    write_bill(landing.root, described("1"))
    aws.upload_folder(BUCKET, landing.root)
    reads: list[str] = []

    def note(call: Call) -> None:
        if call.is_download and "large.csv" in call.path:
            reads.append(call.method)

    with faulty_aws(aws.endpoint_url, note) as watched, capture_logs() as logged:
        here = landing.with_settings(endpoint_url=watched.endpoint_url).with_client(bucket=BUCKET)
        report = backfill(client=here.client, settings=here.settings, database=here.database)
        again = backfill(client=here.client, settings=here.settings, database=here.database)
        aws.put(BUCKET, "large.csv", b"id,name\n2,y\n")
        backfill(client=here.client, settings=here.settings, database=here.database)

    [one, two, three] = [event for event in logged if event["event"] == "files_left_out"]
    assert one == two == three
    assert [each.key for each in report.left_out] == ["large.csv"]
    assert (report.counts, again.counts) == ({"current": 0, "published": 1}, {"current": 1})
    assert len(reads) == 2


def test_a_folder_leaves_out_what_is_not_a_bill_at_every_pass(landing: Landing) -> None:
    write_bill(landing.root, described("10.5", "0.25"))
    for key, content in OTHER_FILES.items():
        write_object(landing.root, key, content)
    found: list[LeftOutFile] = []

    for _ in range(2):
        [outcome] = ingest(
            str(landing.root),
            client=landing.client,
            settings=landing.settings,
            database=landing.database,
            on_left_out=found.extend,
        )
        assert (outcome.state, outcome.exit_error) == (DeliveryState.PUBLISHED, None)

    named = [each.key for each in found]
    data_files = {key for key in OTHER_FILES if not key.endswith("/manifest.json")}
    assert sorted(named) == sorted([*data_files, *data_files])
    assert landing.query("SELECT state FROM billing_deliveries") == [("published",)]
    assert landing.query("SELECT DISTINCT status FROM billing_ingestion_runs") == [("success",)]


def test_a_folder_without_a_bill_fails_once_and_a_file_named_by_itself_says_why(landing: Landing) -> None:
    for key, content in OTHER_FILES.items():
        write_object(landing.root, key, content)

    folder = landing.ingest()
    file = landing.ingest(landing.root / "lake/table.parquet")

    assert isinstance(folder.exit_error, SourceNotFoundError)
    assert "is a bill" in str(folder.exit_error)
    assert file.exit_error is not None
    assert file.exit_error.error_code == "unknown_format"


def test_a_bill_that_is_replaced_by_something_else_is_not_left_out(landing: Landing) -> None:
    write_object(landing.root, "may.csv", bill())
    landing.ingest()
    write_object(landing.root, "may.csv", b"id,name\n1,x\n", revision=2)

    outcome = landing.ingest()

    assert outcome.state is DeliveryState.FAILED
    assert outcome.exit_error is not None
    assert outcome.exit_error.error_code == "unknown_format"


@pytest.fixture
def fleet(aws: LocalAws, landing: Landing) -> Landing:
    """A landing whose bucket, with what is not a bill, stands in the local AWS."""
    aws.create_bucket(BUCKET)
    for key, content in OTHER_FILES.items():
        aws.put(BUCKET, key, content)
    landing = landing.with_settings(endpoint_url=load_settings().endpoint_url)
    values = {"client_id": "acme", "bucket": BUCKET, "account_id": BUCKET_OWNER, "prefix": ""}
    return replace(landing, client=clients.register(landing.database, landing.settings, values))


def test_events_of_what_is_not_a_bill_are_done(fleet: Landing) -> None:
    # That each of them is known is proved without a database.
    for key in list(OTHER_FILES)[::4]:
        result = take(fleet, s3_event(BUCKET, key))

        assert isinstance(result, Done), (key, result)
        assert "is not a bill" in str(result.reason), key
    assert (
        fleet.count("billing_deliveries") == fleet.count("billing_ingestion_runs") == fleet.count("billing_jobs") == 0
    )


def test_an_event_over_http_of_what_is_not_a_bill_asks_for_nothing(fleet: Landing) -> None:
    rows = request(
        fleet.client,
        COH_DATA,
        requested_by=TriggerSource.EVENTBRIDGE,
        settings=fleet.settings,
        database=fleet.database,
        is_event=True,
    )

    assert rows == ()
    assert fleet.count("billing_ingestion_runs") == 0


def test_the_bucket_of_the_field_comes_in(landing: Landing, shared_samples: Path) -> None:
    shutil.copytree(shared_samples / "field/other-exports-beside", landing.root, dirs_exist_ok=True)

    for _ in range(2):
        assert landing.ingest().exit_error is None

    assert landing.value('SELECT sum("BilledCost")::text FROM focus_cost_and_usage') == "10.75"
    assert landing.value("SELECT count(*) FROM billing_deliveries WHERE state = 'failed'") == 0


@pytest.mark.parametrize("is_copy_first", [False, True])
def test_a_second_download_of_a_file_is_left_out_and_counts_once(landing: Landing, is_copy_first: bool) -> None:
    names = ["may.csv", "may (1).csv", "may copy.csv"]
    if is_copy_first:
        write_object(landing.root, "may (1).csv", as_csv(described("10", "2")))
        landing.ingest()
    else:
        write_object(landing.root, "june.csv", as_csv(described("1")))
    for name in names:
        write_object(landing.root, name, as_csv(described("10", "2")))
    named: list[LeftOutFile] = []

    ingest(
        str(landing.root),
        client=landing.client,
        settings=landing.settings,
        database=landing.database,
        on_left_out=named.extend,
    )

    kept = "may (1).csv" if is_copy_first else "may.csv"
    assert {each.key for each in named} == {*names} - {kept}
    assert {each.kind for each in named} == {"copy of the file beside it"}
    assert landing.value("SELECT sum(billed_cost) FROM billing_usage_fact") == (12 if is_copy_first else 13)
