"""Which files are the current bill: by the manifest, over trees as AWS writes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from importlib import import_module
from pathlib import Path

import pytest

from billfold.aws import LocalBucket, resolve
from billfold.errors import BillfoldError, ManifestError, SourceLimitError, SourceNotFoundError, UsageError
from billfold.model import Delivery
from billfold.period import BillingPeriod
from billfold.settings import Settings
from tests.bills.export_trees import write, write_data, write_export, write_report

OLD = "2023-11-05T10:00:00.000Z-aaaa"
NEW = "2023-11-06T10:00:00.000Z-bbbb"
NOVEMBER = BillingPeriod(date(2023, 11, 1))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "bucket"
    path.mkdir()
    return path


@pytest.fixture
def bucket(root: Path, settings: Settings) -> LocalBucket:
    return LocalBucket(root, settings)


def keys_of(delivery: Delivery) -> list[str]:
    return [file.key for file in delivery.files]


def test_a_manifest_means_its_delivery(root: Path, bucket: LocalBucket) -> None:
    keys = write_export(root, chunks=2)

    [delivery] = resolve(bucket, "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json")

    assert keys_of(delivery) == keys
    assert (delivery.export_path, delivery.export_name, str(delivery.period)) == ("exports/acme", "acme", "2023-11")
    assert delivery.manifest is not None
    assert delivery.delivered_at == delivery.manifest.modified_at
    assert delivery.bucket == bucket.name


def test_a_data_file_means_its_manifests_delivery(root: Path, bucket: LocalBucket) -> None:
    keys = write_export(root, chunks=2)

    [delivery] = resolve(bucket, keys[1])

    assert keys_of(delivery) == keys


def test_a_data_file_finds_a_manifest_that_spells_the_period_otherwise(root: Path, bucket: LocalBucket) -> None:
    [key] = write_data(root, "exports/acme/data/billing_period%3D2023-11/acme-00001.csv.gz")
    write(
        root, "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json", f'{{"dataFiles":["{key}"]}}'.encode()
    )

    [delivery] = resolve(bucket, key)

    assert delivery.manifest is not None
    assert keys_of(delivery) == [key]


def test_a_surplus_chunk_means_the_delivery_that_does_not_name_it(root: Path, bucket: LocalBucket) -> None:
    keys = write_export(root)
    [surplus] = write_data(root, "exports/acme/data/BILLING_PERIOD=2023-11/acme-00002.csv.gz")

    [delivery] = resolve(bucket, surplus)

    assert keys_of(delivery) == keys


def test_a_data_file_of_an_earlier_execution_means_that_delivery(root: Path, bucket: LocalBucket) -> None:
    [old] = write_export(root, execution=OLD, latest=False)
    [new] = write_export(root, execution=NEW)

    assert [keys_of(delivery) for delivery in resolve(bucket, old)] == [[old]]
    assert [keys_of(delivery) for delivery in resolve(bucket, new)] == [[new]]


def test_a_data_file_without_any_manifest_stands_alone(root: Path, bucket: LocalBucket) -> None:
    [key] = write_data(root, "exports/acme/data/BILLING_PERIOD=2023-11/acme-00001.csv.gz")

    [delivery] = resolve(bucket, key)

    assert (delivery.export_path, delivery.export_name, delivery.manifest) == (key, key, None)
    assert str(delivery.period) == "2023-11"
    assert keys_of(delivery) == [key]


def test_a_file_whose_key_tells_no_period_leaves_it_to_the_content(root: Path, bucket: LocalBucket) -> None:
    write_data(root, "november.csv.gz")

    [delivery] = resolve(bucket, "november.csv.gz")

    assert delivery.period is None


@pytest.mark.parametrize(
    "key", ["", "exports", "exports/", "exports/acme/", "exports/acme/data/", "exports/acme/metadata"]
)
def test_a_folder_means_every_statement_in_it(root: Path, bucket: LocalBucket, key: str) -> None:
    december = write_export(root, period="2023-12")
    november = write_export(root, period="2023-11", chunks=2)

    deliveries = resolve(bucket, key)

    assert [keys_of(delivery) for delivery in deliveries] == [november, december]


def test_a_folder_of_one_months_data_means_that_month_only(root: Path, bucket: LocalBucket) -> None:
    write_export(root, period="2023-12")
    november = write_export(root, period="2023-11")

    [delivery] = resolve(bucket, "exports/acme/data/BILLING_PERIOD=2023-11/")

    assert keys_of(delivery) == november


def test_deliveries_are_ordered_by_period_and_then_by_export(root: Path, bucket: LocalBucket) -> None:
    write_data(root, "undated.csv.gz")
    write_export(root, "exports/beta", "2023-11")
    write_report(root, "cur/acme", "20231201-20240101")
    write_export(root, "exports/alpha", "2023-11")

    paths = [delivery.export_path for delivery in resolve(bucket, "")]

    assert paths == ["exports/alpha", "exports/beta", "cur/acme", "undated.csv.gz"]


def test_two_manifests_of_one_execution_are_one_delivery(root: Path, bucket: LocalBucket) -> None:
    keys = write_report(root)

    [delivery] = resolve(bucket, "")

    assert keys_of(delivery) == keys
    assert delivery.manifest is not None
    assert delivery.manifest.key == "cur/acme/20231101-20231201/acme-Manifest.json"


@pytest.mark.parametrize(
    ("write_tree", "folder", "execution"),
    [
        (lambda root: write_report(root, assembly="b81e"), "cur/acme/20231101-20231201/", "b81e"),
        (
            lambda root: write_export(root, execution=NEW, chunks=2),
            "exports/acme/metadata/BILLING_PERIOD=2023-11/",
            NEW,
        ),
    ],
    ids=["legacy", "data exports"],
)
def test_either_manifest_of_an_execution_means_the_same_delivery(
    root: Path, bucket: LocalBucket, write_tree: Callable[[Path], list[str]], folder: str, execution: str
) -> None:
    keys = write_tree(root)

    [latest] = resolve(bucket, f"{folder}acme-Manifest.json")
    [own] = resolve(bucket, f"{folder}{execution}/acme-Manifest.json")

    assert own.manifest != latest.manifest
    assert keys_of(own) == keys
    assert own.files == latest.files
    assert (own.export_path, own.export_name, own.period, own.execution_id) == (
        latest.export_path,
        latest.export_name,
        latest.period,
        execution,
    )


def test_the_shallowest_manifest_decides_over_older_executions(root: Path, bucket: LocalBucket) -> None:
    write_export(root, execution=OLD, latest=False)
    keys = write_export(root, execution=NEW, age_minutes=5)

    [delivery] = resolve(bucket, "")

    assert keys_of(delivery) == keys
    assert delivery.execution_id == NEW


def test_among_equals_the_newest_manifest_decides(root: Path, bucket: LocalBucket) -> None:
    keys = write_export(root, execution="aaaa", latest=False)
    write_export(root, execution="bbbb", latest=False, age_minutes=5)

    [delivery] = resolve(bucket, "")

    assert keys_of(delivery) == keys


def test_surplus_files_of_a_statement_are_left_out(root: Path, bucket: LocalBucket) -> None:
    write_export(root)
    write_report(root)
    write_data(
        root,
        "exports/acme/data/BILLING_PERIOD=2023-11/acme-00002.csv.gz",
        "cur/acme/20231101-20231201/older/acme-1.csv.gz",
        "cur/acme/acme/year=2023/month=11/acme-00002.snappy.parquet",
        "cur/acme/acme/cost_and_usage_data_status/cost_and_usage_data_status.parquet",
    )

    deliveries = resolve(bucket, "")

    assert [delivery.export_path for delivery in deliveries] == ["cur/acme", "exports/acme"]
    assert [len(delivery.files) for delivery in deliveries] == [1, 1]


@pytest.mark.parametrize("key", ["", "cur/acme/acme/", "cur/acme/acme/year=2023/month=11/acme-00001.snappy.parquet"])
def test_the_manifest_of_an_athena_report_stands_in_the_months_folder(
    root: Path, bucket: LocalBucket, key: str
) -> None:
    keys = write_report(root, keys=["cur/acme/acme/year=2023/month=11/acme-00001.snappy.parquet"])

    [delivery] = resolve(bucket, key)

    assert keys_of(delivery) == keys
    assert delivery.export_path == "cur/acme"


def test_colons_and_encoded_signs_in_keys_are_taken_as_they_are(root: Path, bucket: LocalBucket) -> None:
    key = f"exports/acme/data/BILLING_PERIOD%3D2023-11/{OLD}/acme 1+2.csv.gz"
    write_data(root, key)
    write(
        root,
        f"exports/acme/metadata/BILLING_PERIOD%3D2023-11/{OLD}/acme-Manifest.json",
        f'{{"dataFiles":["{key}"]}}'.encode(),
    )

    [delivery] = resolve(bucket, "exports/")

    assert keys_of(delivery) == [key]
    assert str(delivery.period) == "2023-11"


def test_hidden_files_are_left_out(root: Path, bucket: LocalBucket) -> None:
    write_export(root)
    write_data(root, ".cache/a.csv.gz", "exports/.b.csv.gz", "exports/_c.csv.gz")

    assert len(resolve(bucket, "")) == 1


def test_a_manifest_outside_of_every_layout_is_followed(root: Path, bucket: LocalBucket) -> None:
    keys = write_data(root, "flat/acme-1.csv.gz", "flat/acme-2.csv.gz")
    write(
        root,
        "flat/acme-Manifest.json",
        b'{"exportName":"acme","dataFiles":["flat/acme-1.csv.gz","flat/acme-2.csv.gz"]}',
    )

    [delivery] = resolve(bucket, "")

    assert keys_of(delivery) == keys
    assert (delivery.export_path, delivery.export_name) == ("flat", "acme")


def test_a_copied_manifest_does_not_double_its_statement(root: Path, bucket: LocalBucket) -> None:
    keys = write_export(root)
    original = root / "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json"
    write(root, "backup/acme-Manifest.json", original.read_bytes())

    [delivery] = resolve(bucket, "")

    assert delivery.export_path == "exports/acme"
    assert keys_of(delivery) == keys


def test_a_foreign_manifest_outside_of_every_layout_is_left_out(root: Path, bucket: LocalBucket) -> None:
    write_export(root)
    write(root, "site/app-Manifest.json", b'{"icons": []}')

    assert len(resolve(bucket, "")) == 1


def test_an_empty_list_of_files_is_an_empty_delivery(root: Path, bucket: LocalBucket) -> None:
    write_export(root, chunks=0)

    [delivery] = resolve(bucket, "")

    assert delivery.files == ()
    assert str(delivery.period) == "2023-11"


def test_a_manifest_that_names_missing_files_is_refused(root: Path, bucket: LocalBucket) -> None:
    keys = write_export(root, chunks=5)
    for key in keys[1:]:
        (root / key).unlink()

    with pytest.raises(ManifestError, match="names 4 of 5 files that are not in") as caught:
        resolve(bucket, "")

    assert "acme-00002.csv.gz" in str(caught.value)
    assert str(caught.value).startswith("exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json")


def test_a_broken_statement_can_be_told_apart_from_the_others(root: Path, bucket: LocalBucket) -> None:
    write_export(root, period="2023-10")
    write_export(root, period="2023-11")
    broken = write(root, "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json", b"{")
    refused: list[tuple[str, BillfoldError]] = []

    deliveries = resolve(bucket, "", on_refused=lambda key, error: refused.append((key, error)))

    assert [str(delivery.period) for delivery in deliveries] == ["2023-10"]
    assert [(key, type(error)) for key, error in refused] == [(broken, ManifestError)]


def test_a_manifest_larger_than_its_limit_is_refused(root: Path, settings: Settings) -> None:
    write_export(root)
    bucket = LocalBucket(root, settings.model_copy(update={"max_manifest_bytes": 10}))

    with pytest.raises(SourceLimitError, match="BILLFOLD_MAX_MANIFEST_BYTES"):
        resolve(bucket, "")


@pytest.mark.parametrize("key", ["", "exports/", "exports/acme/data/"])
def test_earlier_months_are_left_out_before_their_manifests_are_read(root: Path, bucket: LocalBucket, key: str) -> None:
    write_export(root, period="2023-10")
    write(root, "exports/acme/metadata/BILLING_PERIOD=2023-10/acme-Manifest.json", b"no manifest")
    november = write_export(root, period="2023-11")
    december = write_export(root, period="2023-12")

    deliveries = resolve(bucket, key, since=NOVEMBER)

    assert [keys_of(delivery) for delivery in deliveries] == [november, december]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "cur/acme/20231001-20231101/acme-Manifest.json",
        "cur/acme/20231001-20231101/b81e/acme-1.csv.gz",
        "cur/acme/20231001-20231101/",
        "loose/BILLING_PERIOD=2023-10/a.csv.gz",
        "flat/acme-Manifest.json",
    ],
)
def test_where_everything_is_earlier_nothing_is_left(root: Path, bucket: LocalBucket, key: str) -> None:
    write_report(root, folder="20231001-20231101")
    write_data(root, "loose/BILLING_PERIOD=2023-10/a.csv.gz", "flat/acme-1.csv.gz")
    write(
        root,
        "flat/acme-Manifest.json",
        b'{"billingPeriod":{"start":"2023-10-01T00:00:00.000Z"},"dataFiles":["flat/acme-1.csv.gz"]}',
    )

    assert resolve(bucket, key, since=NOVEMBER) == []
    assert resolve(bucket, key) != []


def test_what_only_the_content_can_date_is_never_left_out(root: Path, bucket: LocalBucket) -> None:
    write_export(root, period="2023-10")
    write_data(root, "undated.csv.gz")

    assert [delivery.export_path for delivery in resolve(bucket, "", since=NOVEMBER)] == ["undated.csv.gz"]
    assert len(resolve(bucket, "undated.csv.gz", since=NOVEMBER)) == 1


def test_a_copied_manifest_does_not_bring_an_earlier_month_back(root: Path, bucket: LocalBucket) -> None:
    [key] = write_export(root, period="2023-10")
    write(root, "backup/acme-Manifest.json", f'{{"dataFiles":["{key}"]}}'.encode())

    assert resolve(bucket, "", since=NOVEMBER) == []


def test_files_of_a_copy_may_be_newer_than_its_manifest(root: Path, bucket: LocalBucket) -> None:
    keys = write_export(root, age_minutes=600)

    [delivery] = resolve(bucket, "")

    assert keys_of(delivery) == keys


def test_files_of_a_refused_manifest_outside_of_every_layout_are_no_deliveries(root: Path, bucket: LocalBucket) -> None:
    write_export(root)
    write_data(root, "flat/acme-1.csv.gz")
    write(root, "flat/acme-Manifest.json", b'{"dataFiles":["flat/acme-1.csv.gz","flat/acme-2.csv.gz"]}')
    refused: list[str] = []

    deliveries = resolve(bucket, "", on_refused=lambda key, error: refused.append(key))

    assert [delivery.export_path for delivery in deliveries] == ["exports/acme"]
    assert refused == ["flat/acme-Manifest.json"]


@pytest.mark.parametrize("key", ["", "exports/", "nothing", "exports/acme/readme.txt/"])
def test_where_no_export_stands_nothing_is_found(root: Path, bucket: LocalBucket, key: str) -> None:
    write(root, "readme.txt", b"hello")

    with pytest.raises(SourceNotFoundError, match="no billing export at"):
        resolve(bucket, key)


@pytest.mark.parametrize("tree", ["legacy-cur", "cur2-csv", "cur2-parquet", "focus12", "focus10", "noid-duplicates"])
def test_each_sample_is_one_statement(shared_samples: Path, settings: Settings, tree: str) -> None:
    deliveries = resolve(LocalBucket(shared_samples / tree, settings), "")

    assert len(deliveries) == 1
    assert deliveries[0].manifest is not None


def test_a_folder_of_too_many_deliveries_is_refused_before_their_manifests_are_read(
    root: Path, bucket: LocalBucket
) -> None:
    for name in ("a", "b", "c"):
        write(root, f"exports/{name}/metadata/BILLING_PERIOD=2023-11/{name}-Manifest.json", b"no manifest")

    with pytest.raises(UsageError, match=r"exports/ holds too much for one request: at most 2 deliveries"):
        resolve(bucket, "exports/", max_deliveries=2)
    with pytest.raises(ManifestError):
        resolve(bucket, "exports/", max_deliveries=3)


def test_files_without_a_manifest_count_as_deliveries_of_a_folder(root: Path, bucket: LocalBucket) -> None:
    for name in ("a", "b"):
        write_data(root, f"{name}.csv")

    assert len(resolve(bucket, "", max_deliveries=2)) == 2
    with pytest.raises(UsageError):
        resolve(bucket, "", max_deliveries=1)


def test_a_folder_of_too_many_keys_is_not_looked_through(
    root: Path, bucket: LocalBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("billfold.aws.folder"), "KEYS_PER_DELIVERY", 3)
    write_export(root, chunks=2)

    assert len(resolve(bucket, "", max_deliveries=1)) == 1
    write(root, "exports/readme.txt", b"")
    with pytest.raises(UsageError, match="1 deliveries and 3 keys"):
        resolve(bucket, "", max_deliveries=1)
