"""What a SOURCE means: an address, a path or a key, in this order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from billfold.aws import LocalBucket, locate, open_bucket, resolve
from billfold.errors import AccessDeniedError, ManifestError, SourceNotFoundError, UsageError
from billfold.model import Client
from billfold.settings import Settings
from tests.bills.export_trees import write, write_data, write_export, write_report

CLIENT = Client(client_id="acme")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "bucket"
    path.mkdir()
    return path


def test_a_folder_is_the_root_of_a_bucket(root: Path, settings: Settings) -> None:
    bucket, key = locate(str(root), CLIENT, settings)

    assert (bucket.name, key) == (f"file://{root.resolve()}", "")


def test_a_folder_keeps_its_name_however_it_is_spelled(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    monkeypatch.chdir(root.parent)

    names = {locate(text, CLIENT, settings)[0].name for text in ("bucket", "./bucket/", "link", f"file://{root}")}

    assert names == {f"file://{root.resolve()}"}


def test_a_manifests_root_is_the_nearest_folder_where_its_keys_resolve(root: Path, settings: Settings) -> None:
    keys = write_export(root, chunks=2)

    bucket, key = locate(
        str(root / "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json"), CLIENT, settings
    )

    assert bucket.name == f"file://{root.resolve()}"
    assert [file.key for file in resolve(bucket, key)[0].files] == keys


def test_a_manifest_with_a_missing_file_is_refused_with_its_name(root: Path, settings: Settings) -> None:
    keys = write_export(root, chunks=2)
    (root / keys[1]).unlink()

    bucket, key = locate(
        str(root / "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json"), CLIENT, settings
    )

    with pytest.raises(ManifestError, match="acme-00002"):
        resolve(bucket, key)


def test_a_data_file_of_an_export_has_the_root_of_its_manifest(root: Path, settings: Settings) -> None:
    data = [*write_export(root), *write_report(root)]

    for data_key in data:
        bucket, key = locate(str(root / data_key), CLIENT, settings)

        assert (bucket.name, key) == (f"file://{root.resolve()}", data_key)
        assert resolve(bucket, key)[0].manifest is not None


def test_a_data_file_alone_has_its_own_folder_as_root(root: Path, settings: Settings) -> None:
    [data_key] = write_data(root, "downloads/november.csv.gz")

    bucket, key = locate(str(root / data_key), CLIENT, settings)

    assert (bucket.name, key) == (f"file://{(root / 'downloads').resolve()}", "november.csv.gz")


def test_an_empty_manifest_keeps_its_export(root: Path, settings: Settings) -> None:
    write_export(root, chunks=0)

    bucket, key = locate(
        str(root / "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json"), CLIENT, settings
    )

    assert resolve(bucket, key)[0].export_path == "acme"


def test_a_key_with_a_leading_slash_resolves_below_the_folder(root: Path, settings: Settings) -> None:
    write_data(root, "acme/20231101-20231201/acme-1.csv.gz")
    write(
        root, "acme/20231101-20231201/acme-Manifest.json", b'{"reportKeys":["/acme/20231101-20231201/acme-1.csv.gz"]}'
    )

    bucket, key = locate(str(root / "acme/20231101-20231201/acme-Manifest.json"), CLIENT, settings)

    assert [file.key for file in resolve(bucket, key)[0].files] == ["acme/20231101-20231201/acme-1.csv.gz"]


@pytest.mark.parametrize("source", ["./nothing.csv", "../nothing", "/nothing/here", "~/nothing", "file:///nothing"])
def test_a_path_that_does_not_exist_is_never_asked_of_s3(settings: Settings, source: str) -> None:
    client = Client(client_id="acme", bucket="acme-bills")

    with pytest.raises(SourceNotFoundError, match="does not exist"):
        locate(source, client, settings)


def test_a_bare_key_needs_a_bucket(settings: Settings) -> None:
    with pytest.raises(UsageError, match=r"no such file: exports/a\.csv.*AWS_BILLING_BUCKET"):
        locate("exports/a.csv", CLIENT, settings)


@pytest.mark.parametrize("source", ["s3://", "s3:///key", "s3://Not_A_Bucket/key"])
def test_an_address_without_a_bucket_is_refused(settings: Settings, source: str) -> None:
    with pytest.raises(UsageError, match="names no bucket"):
        locate(source, CLIENT, settings)


def test_the_name_of_a_folder_opens_it_again(root: Path, settings: Settings) -> None:
    write_export(root)
    name = locate(str(root), CLIENT, settings)[0].name

    assert len(resolve(open_bucket(CLIENT, settings, name), "")) == 1


@pytest.mark.parametrize("key", ["../outside.csv", "link.csv", "folder/outside.csv", "a/../../outside.csv"])
def test_nothing_outside_of_the_folder_is_read(root: Path, settings: Settings, key: str) -> None:
    write(root.parent, "outside.csv", b"secret")
    (root / "link.csv").symlink_to(root.parent / "outside.csv")
    (root / "folder").symlink_to(root.parent)
    bucket = LocalBucket(root, settings)

    with pytest.raises(AccessDeniedError, match="leads outside"):
        bucket.head(key)

    assert list(bucket.list_objects("")) == []


def test_a_manifest_cannot_name_a_file_outside_of_the_folder(root: Path, settings: Settings) -> None:
    write(root.parent, "outside.csv", b"secret")
    write(root, "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json", b'{"dataFiles":["../outside.csv"]}')

    with pytest.raises(AccessDeniedError, match="leads outside"):
        resolve(LocalBucket(root, settings), "")


def test_a_link_inside_of_the_folder_is_read(root: Path, settings: Settings) -> None:
    [key] = write_data(root, "a.csv.gz")
    (root / "b.csv.gz").symlink_to(root / key)
    bucket = LocalBucket(root, settings)

    assert bucket.head("b.csv.gz").etag == bucket.head(key).etag


def test_what_is_no_file_is_never_opened(root: Path, settings: Settings) -> None:
    os.mkfifo(root / "pipe.csv")
    bucket = LocalBucket(root, settings)

    with pytest.raises(SourceNotFoundError, match="is not a file"):
        bucket.head("pipe.csv")

    assert list(bucket.list_objects("")) == []


def known(root: Path, *folders: str) -> list[str]:
    return [f"file://{(root / folder).resolve()}" for folder in folders]


def test_a_data_file_alone_has_the_nearest_known_folder_as_root(root: Path, settings: Settings) -> None:
    [data_key] = write_data(root, "downloads/2023/november.csv.gz")
    buckets = known(root, "", "downloads", "elsewhere")

    bucket, key = locate(str(root / data_key), CLIENT, settings, known_buckets=["acme-bills", *buckets])

    assert (bucket.name, key) == (f"file://{(root / 'downloads').resolve()}", "2023/november.csv.gz")


def test_a_manifests_root_counts_before_a_known_folder(root: Path, settings: Settings) -> None:
    [data_key] = write_export(root / "copy")

    bucket, key = locate(str(root / "copy" / data_key), CLIENT, settings, known_buckets=known(root, ""))

    assert (bucket.name, key) == (f"file://{(root / 'copy').resolve()}", data_key)


@pytest.mark.parametrize(("folder", "key"), [("", ""), ("exports", "exports/"), ("exports/acme", "exports/acme/")])
def test_a_folder_of_a_known_one_is_a_prefix_in_it(root: Path, settings: Settings, folder: str, key: str) -> None:
    write_export(root)

    found, prefix = locate(str(root / folder), CLIENT, settings, known_buckets=known(root, ""))

    assert (found.name, prefix) == (f"file://{root.resolve()}", key)
    assert len(resolve(found, prefix)) == 1


def test_a_folder_that_no_known_one_holds_is_a_bucket(root: Path, settings: Settings) -> None:
    write_data(root, "downloads/november.csv.gz")

    bucket, key = locate(str(root), CLIENT, settings, known_buckets=known(root, "downloads", "other"))

    assert (bucket.name, key) == (f"file://{root.resolve()}", "")


def test_a_manifest_that_cannot_be_read_makes_no_folder_a_bucket(root: Path, settings: Settings) -> None:
    write(root, "downloads/broken-Manifest.json", b"{")

    bucket, key = locate(str(root / "downloads"), CLIENT, settings, known_buckets=known(root, ""))

    assert (bucket.name, key) == (f"file://{root.resolve()}", "downloads/")


def test_an_empty_manifest_keeps_its_export_in_a_known_folder(root: Path, settings: Settings) -> None:
    write_export(root, chunks=0)
    manifest = root / "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json"

    bucket, key = locate(str(manifest), CLIENT, settings, known_buckets=known(root, ""))

    assert (bucket.name, resolve(bucket, key)[0].export_path) == (f"file://{root.resolve()}", "exports/acme")
