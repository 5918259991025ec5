"""In S3: what belongs to a refused manifest is never a bill of its own, and keys are taken letter by letter."""

from __future__ import annotations

import gzip
import json

import pytest

from billfold import clients
from billfold.aws import is_data_file, locate, open_bucket, resolve
from billfold.aws.session_policy import session_policy
from billfold.bills.backfill import backfill
from billfold.errors import ManifestError, UsageError
from billfold.jobs.results import Dead, Done, Result
from billfold.model import Client, DeliveryState
from billfold.reports.costs import sum_costs
from billfold.settings import as_folder
from tests.bills.line_items import PERIOD, as_csv, described
from tests.messages import s3_event
from tests.registry import Registry
from tests.taken import take

MONTH = "20260501-20260601"
DATA = f"data/BILLING_PERIOD={PERIOD}/acme-00001.csv.gz"
FULL = f"s3://acme-bills/exports/acme/{DATA}"
MANIFEST = f"metadata/BILLING_PERIOD={PERIOD}/acme-Manifest.json"


def put_file(registry: Registry, client: Client, key: str, *costs: str) -> None:
    assert client.bucket
    registry.aws.put(client.bucket, key, gzip.compress(as_csv(described(*costs)), mtime=0))


def put_manifest(registry: Registry, client: Client, key: str, *files: str) -> None:
    assert client.bucket
    manifest = {"exportName": "acme", "billingPeriod": {"start": f"{PERIOD}-01"}, "dataFiles": list(files)}
    registry.aws.put(client.bucket, key, json.dumps(manifest).encode())


def tell(registry: Registry, client: Client, key: str) -> Result:
    assert client.bucket
    return take(registry, s3_event(client.bucket, key))


# An export copied into a bucket without its prefix, one into the client's folder, and one outside of every layout.
TREES = {
    "at the root": ("", {MANIFEST: [FULL]}, [DATA, DATA.replace("00001", "00002")]),
    "in a folder": ("exports/", {f"exports/copy/{MANIFEST}": [FULL]}, [f"exports/copy/{DATA}"]),
    "legacy at the root": (
        "",
        {f"{MONTH}/acme-Manifest.json": [f"cur/acme/{MONTH}/a1/a-1.csv"]},
        [f"{MONTH}/a1/a-1.csv"],
    ),
    "months at the root": (
        "",
        {f"{MONTH}/acme-Manifest.json": ["cur/acme/acme/year=2026/month=5/a-1.csv"]},
        ["acme/year=2026/month=5/a-1.csv", "year=2026/month=5/a-1.csv"],
    ),
    "in no layout": (
        "flat/",
        {"flat/acme-Manifest.json": ["flat/a-1.csv", "flat/a-2.csv"]},
        ["flat/a-1.csv", "flat/deep/a.csv"],
    ),
}


def put_tree(registry: Registry, prefix: str, manifests: dict[str, list[str]], files: list[str]) -> Client:
    client = registry.add("acme", prefix=prefix)
    for key, named in manifests.items():
        put_manifest(registry, client, key, *named)
    for key in files:
        assert is_data_file(key)
        put_file(registry, client, key, "1", "2")
    return client


@pytest.mark.parametrize(("prefix", "manifests", "files"), TREES.values(), ids=TREES)
def test_the_files_of_a_refused_manifest_never_come_in(
    registry: Registry, prefix: str, manifests: dict[str, list[str]], files: list[str]
) -> None:
    client = put_tree(registry, prefix, manifests, files)
    bucket = open_bucket(client, registry.settings)

    report = backfill(client=client, settings=registry.settings, database=registry.database)

    assert [outcome.state for outcome in report.outcomes] == [DeliveryState.FAILED]
    for key in [*files, *manifests]:
        with pytest.raises(ManifestError, match="that are not in acme-bills"):
            resolve(bucket, key)
    folders = {f"{key.rpartition('/')[0]}/" for key in files}
    for folder in folders:
        with pytest.raises(ManifestError):
            resolve(bucket, folder)


def test_events_of_a_refused_manifest_and_of_its_files_publish_nothing(registry: Registry) -> None:
    prefix, manifests, files = TREES["at the root"]
    client = put_tree(registry, prefix, manifests, files)

    results = [tell(registry, client, key) for key in [*files, *manifests]]

    assert all(
        isinstance(result, Dead) or (isinstance(result, Done) and result.state != "published") for result in results
    )


def test_a_file_without_a_manifest_comes_in_where_nothing_above_its_folder_may_be_listed(registry: Registry) -> None:
    client = registry.add("acme", prefix="exports/by-hand/")
    put_manifest(registry, client, "exports/other-Manifest.json", "nothing.csv")
    put_file(registry, client, "exports/by-hand/may.csv.gz", "4")

    result = tell(registry, client, "exports/by-hand/may.csv.gz")

    assert isinstance(result, Done)
    assert result.state == "published"


@pytest.mark.parametrize(
    ("prefix", "folder"),
    [
        ("", ""),
        ("/", ""),
        ("exports", "exports/"),
        ("exports//", "exports/"),
        ("/billing", "/billing/"),
        ("/billing/acme/", "/billing/acme/"),
    ],
)
def test_a_slash_at_the_beginning_of_a_prefix_belongs_to_it(prefix: str, folder: str) -> None:
    assert as_folder(prefix) == folder


@pytest.mark.parametrize(
    ("prefix", "export"), [("/billing", "/billing/acme"), ("billing/", "billing//acme"), ("", "/acme")]
)
def test_keys_with_empty_parts_are_taken_as_they_are(registry: Registry, prefix: str, export: str) -> None:
    client = registry.add("acme", prefix=prefix)
    data, manifest = f"{export}/{DATA}", f"{export}/{MANIFEST}"
    put_file(registry, client, data, "1", "2")
    put_manifest(registry, client, manifest, f"s3://acme-bills/{data}")

    owners = [clients.find_owner(registry.database, registry.settings, "acme-bills", key) for key in (data, manifest)]
    waiting, result = tell(registry, client, data), tell(registry, client, manifest)
    report = backfill(client=client, settings=registry.settings, database=registry.database)

    assert owners == [client, client]
    assert isinstance(waiting, Done)
    assert waiting.state == "pending"
    assert isinstance(result, Done)
    assert result.state == "published"
    assert (report.current_count, report.outcomes) == (1, ())
    assert sum(row.amount for row in sum_costs(registry.database).rows) == 3
    for source in (data, f"s3://acme-bills/{data}", f"s3://acme-bills/{export}/"):
        if not source.startswith("/") or prefix:
            [delivery] = resolve(*locate(source, client, registry.settings))
            assert (delivery.export_path, delivery.export_name) == (export, "acme")
            assert [file.key for file in delivery.files] == [data]


def test_a_manifest_with_two_slashes_names_no_file_with_one(registry: Registry) -> None:
    client = registry.add("acme", prefix="billing")
    put_file(registry, client, f"billing/acme/{DATA}", "1")
    put_manifest(registry, client, f"billing/acme/{MANIFEST}", f"s3://acme-bills/billing//acme/{DATA}")

    with pytest.raises(ManifestError, match="billing//acme"):
        resolve(open_bucket(client, registry.settings), "billing/")


def test_clients_of_a_folder_with_and_without_a_slash_before_it_are_two(registry: Registry) -> None:
    with_slash = registry.add("acme", prefix="/billing")
    values = {"bucket": "acme-bills", "account_id": with_slash.account_id, "prefix": "billing", "client_id": "globex"}
    without = clients.register(registry.database, registry.settings, values)

    owner = clients.find_owner(registry.database, registry.settings, "acme-bills", f"/billing/acme/{DATA}")

    assert owner == with_slash
    assert not clients.owns(without, f"/billing/acme/{DATA}")
    with pytest.raises(UsageError, match="overlaps"):
        clients.register(registry.database, registry.settings, {**values, "client_id": "x", "prefix": "/billing/acme"})


def test_a_session_reads_the_folder_with_its_slash() -> None:
    client = Client(client_id="acme", bucket="acme-bills", prefix="/billing/", is_registered=True)

    reading, listing, *_ = json.loads(session_policy(client, "acme-bills"))["Statement"]

    assert reading["Resource"] == "arn:aws:s3:::acme-bills//billing/*"
    assert listing["Condition"] == {"StringLike": {"s3:prefix": "/billing/*"}}
