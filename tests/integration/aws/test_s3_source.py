"""A bucket in S3, read through real boto3 from a local AWS; what is sent is captured on its way."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from billfold.aws import (
    LocalAws,
    SilentProgress,
    aws_client,
    fetch_delivery,
    locate,
    open_bucket,
    open_session,
    resolve,
    unpack,
)
from billfold.errors import AccessDeniedError, SourceLimitError, SourceNotFoundError, TornDeliveryError
from billfold.model import Client
from billfold.settings import Settings, load_settings
from tests.bills.export_trees import BUCKET, write_export, write_report
from tests.processes.refusing_aws import RefusingAws
from tests.sent import Sent

ACCOUNT = "123456789012"


@pytest.fixture
def aws(aws: LocalAws, environment: pytest.MonkeyPatch) -> LocalAws:
    environment.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
    aws.create_bucket(BUCKET)
    return aws


@pytest.fixture
def client(aws: LocalAws) -> Client:
    role_arn = aws.create_role("billfold-read", "111122223333", "secret-id")
    return Client(
        client_id="acme",
        role_arn=role_arn,
        role_session_name="billfold-acme",
        external_id="secret-id",
        bucket=BUCKET,
        account_id=ACCOUNT,
    )


@pytest.fixture
def sent(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent.by_this_process(monkeypatch)


def test_a_delivery_comes_from_s3_as_it_was_written(
    aws: LocalAws, client: Client, here: Settings, tmp_path: Path
) -> None:
    keys = write_export(tmp_path / "tree", chunks=2)
    aws.upload_folder(BUCKET, tmp_path / "tree")

    bucket, key = locate("exports/", client, here)
    [delivery] = resolve(bucket, key)
    spooled = fetch_delivery(bucket, delivery, tmp_path / "spool", here, SilentProgress())

    assert [file.key for file in delivery.files] == keys
    for file in spooled:
        content = (tmp_path / "tree" / file.source.key).read_bytes()
        assert file.path.read_bytes() == content
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert unpack(file, tmp_path / "spool", here).path.read_bytes() == gzip.decompress(content)


@pytest.mark.parametrize("tree", ["legacy-cur", "cur2-csv", "cur2-parquet", "focus12", "focus10", "noid-duplicates"])
def test_a_sample_is_the_same_in_s3_and_on_the_disk(
    aws: LocalAws, client: Client, here: Settings, shared_samples: Path, tree: str
) -> None:
    keys = aws.upload_folder(BUCKET, shared_samples / tree)
    bucket = open_bucket(client, here)
    folder = open_bucket(client, here, f"file://{shared_samples / tree}")

    for key in [*keys, ""]:
        [remote] = resolve(bucket, key)
        [local] = resolve(folder, key)

        assert remote.export_path == local.export_path
        assert remote.period == local.period
        assert [file.key for file in remote.files] == [file.key for file in local.files]


def test_the_role_is_assumed_in_the_clients_name(client: Client, here: Settings, sent: Sent) -> None:
    with pytest.raises(SourceNotFoundError):
        resolve(open_bucket(client, here), "")

    [request] = sent.of("AssumeRole")
    assert json.loads(request.pop("Policy"))["Version"] == "2012-10-17"
    assert request == {
        "RoleArn": client.role_arn,
        "RoleSessionName": "billfold-acme",
        "DurationSeconds": 3600,
        "ExternalId": "secret-id",
    }


def test_without_an_external_id_none_is_sent(aws: LocalAws, here: Settings, sent: Sent) -> None:
    role_arn = aws.create_role("plain", "111122223333")

    open_bucket(Client(client_id="acme", role_arn=role_arn, bucket=BUCKET), here)

    assert "ExternalId" not in sent.of("AssumeRole")[0]


def test_without_a_role_the_ambient_credentials_are_used(aws: LocalAws, here: Settings, sent: Sent) -> None:
    aws.put(BUCKET, "a.csv", b"a\n1\n")

    bucket = open_bucket(Client(client_id="acme", bucket=BUCKET), here)

    assert bucket.head("a.csv").size_bytes == 4
    assert sent.of("AssumeRole") == []


def test_credentials_are_renewed_before_they_expire(client: Client, here: Settings, sent: Sent) -> None:
    now = datetime.now(UTC)
    s3 = aws_client(open_session(client, here, clock=lambda: now), "s3", here)

    s3.list_objects_v2(Bucket=BUCKET)
    now += timedelta(minutes=40)
    s3.list_objects_v2(Bucket=BUCKET)
    assert len(sent.of("AssumeRole")) == 1

    now += timedelta(minutes=8)
    s3.list_objects_v2(Bucket=BUCKET)

    assert len(sent.of("AssumeRole")) == 2
    assert sent.of("AssumeRole")[1] == sent.of("AssumeRole")[0]


def test_sts_is_asked_in_the_clients_region(client: Client, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("AWS_ENDPOINT_URL")
    settings = load_settings()

    sts = aws_client(open_session(Client(client_id="acme", region="ap-south-1"), settings), "sts", settings)

    assert sts.meta.endpoint_url == "https://sts.ap-south-1.amazonaws.com"


def test_an_endpoint_that_only_the_file_names_is_used(
    aws: LocalAws, environment: pytest.MonkeyPatch, sent: Sent
) -> None:
    environment.delenv("AWS_ENDPOINT_URL")
    Path(".env").write_text(f"AWS_ENDPOINT_URL={aws.endpoint_url}\n")
    aws.put(BUCKET, "a.csv", b"a\n1\n")

    assert open_bucket(Client(client_id="acme", bucket=BUCKET), load_settings()).head("a.csv").size_bytes == 4


def test_every_read_names_the_expected_owner_and_pins_the_version(
    aws: LocalAws, client: Client, here: Settings, sent: Sent, tmp_path: Path
) -> None:
    write_export(tmp_path / "tree")
    aws.upload_folder(BUCKET, tmp_path / "tree")
    bucket = open_bucket(client, here)
    sent.calls.clear()

    [delivery] = resolve(bucket, "exports")
    fetch_delivery(bucket, delivery, tmp_path / "spool", here, SilentProgress())

    assert {name for name, _ in sent.calls} == {"HeadObject", "ListObjectsV2", "GetObject"}
    assert {params["ExpectedBucketOwner"] for _, params in sent.calls} == {ACCOUNT}
    assert delivery.manifest is not None
    pinned = [f'"{delivery.manifest.etag}"', *(f'"{file.etag}"' for file in delivery.files)]
    assert [params["IfMatch"] for params in sent.of("GetObject")] == pinned


def test_an_object_replaced_since_it_was_resolved_tears_the_delivery(
    aws: LocalAws, client: Client, here: Settings, tmp_path: Path
) -> None:
    [key] = write_export(tmp_path / "tree")
    aws.upload_folder(BUCKET, tmp_path / "tree")
    bucket = open_bucket(client, here)
    [delivery] = resolve(bucket, "exports/")
    aws.put(BUCKET, key, b"another version")

    with pytest.raises(TornDeliveryError, match=f"s3://{BUCKET}/{key} changed"):
        fetch_delivery(bucket, delivery, tmp_path / "spool", here, SilentProgress())

    assert list((tmp_path / "spool").iterdir()) == []


def test_a_listing_reads_every_page(
    aws: LocalAws, client: Client, here: Settings, sent: Sent, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    keys = [f"many/{number}.csv" for number in range(5)]
    for key in keys:
        aws.put(BUCKET, key, b"x")

    listed = [source.key for source in open_bucket(client, here).list_objects("many/")]

    assert listed == keys
    assert len(sent.of("ListObjectsV2")) == 3


def test_a_listing_and_a_head_tell_the_same(aws: LocalAws, client: Client, here: Settings) -> None:
    etag = aws.put(BUCKET, "a.csv", b"a\n1\n")
    bucket = open_bucket(client, here)

    assert list(bucket.list_objects("")) == [bucket.head("a.csv")]
    assert bucket.head("a.csv").etag == etag


def test_keys_with_special_characters_come_through(aws: LocalAws, client: Client, here: Settings) -> None:
    key = "exports/acme/data/BILLING_PERIOD%3D2023-11/2023-11-05T10:00:00.000Z-x/acme 1+2 é.csv.gz"
    aws.put(BUCKET, key, b"a\n1\n")
    manifest = "exports/acme/metadata/BILLING_PERIOD%3D2023-11/acme-Manifest.json"
    aws.put(BUCKET, manifest, json.dumps({"dataFiles": [key]}).encode())

    bucket = open_bucket(client, here)

    for source in (key, manifest, "exports/"):
        [delivery] = resolve(bucket, source)
        assert [file.key for file in delivery.files] == [key]


def test_a_replicated_bill_is_read_from_the_bucket_it_stands_in(
    aws: LocalAws, client: Client, here: Settings, tmp_path: Path
) -> None:
    write_export(tmp_path / "tree", bucket="elsewhere")
    aws.upload_folder(BUCKET, tmp_path / "tree")

    [delivery] = resolve(open_bucket(client, here), "")

    assert delivery.bucket == BUCKET
    assert {file.bucket for file in delivery.files} == {BUCKET}


def test_a_small_read_has_a_limit(aws: LocalAws, client: Client, here: Settings) -> None:
    aws.put(BUCKET, "a.csv", b"12345")
    bucket = open_bucket(client, here)

    assert bucket.read_small(bucket.head("a.csv"), 5) == b"12345"
    with pytest.raises(SourceLimitError, match="has 5 bytes, more than 4"):
        bucket.read_small(bucket.head("a.csv"), 4)


@pytest.mark.parametrize("source", ["nothing.csv", "nothing/", f"s3://{BUCKET}/nothing"])
def test_a_missing_key_is_told_with_its_address(client: Client, here: Settings, source: str) -> None:
    bucket, key = locate(source, client, here)

    with pytest.raises(SourceNotFoundError, match=f"s3://{BUCKET}/nothing"):
        resolve(bucket, key)


def test_a_missing_bucket_is_told_as_such(client: Client, here: Settings) -> None:
    bucket, key = locate("s3://not-there/x.csv", client, here)

    with pytest.raises(SourceNotFoundError, match="the bucket of s3://not-there/"):
        resolve(bucket, key)


def test_a_bucket_in_another_region_is_read(aws: LocalAws, client: Client, here: Settings, tmp_path: Path) -> None:
    aws.create_bucket("bills-in-mumbai", "ap-south-1")
    write_report(tmp_path / "tree")
    aws.put("bills-in-mumbai", "a.csv", b"a\n1\n")

    assert len(resolve(open_bucket(client, here, "bills-in-mumbai"), "")) == 1


def test_manifests_are_uploaded_last(aws: LocalAws, tmp_path: Path) -> None:
    write_report(tmp_path / "tree")

    keys = aws.upload_folder(BUCKET, tmp_path / "tree")

    assert [key.endswith("Manifest.json") for key in keys] == [False, True, True]


@pytest.mark.parametrize("operation", ["head", "read"])
def test_an_object_that_is_gone_is_told_from_one_that_is_refused(
    aws: LocalAws, client: Client, here: Settings, operation: str
) -> None:
    """As S3 does where s3:ListBucket is granted for a prefix: a missing key is refused like a forbidden one."""
    for key in ("exports/gone.csv", "exports/gone.csv.1", "exports/secret.csv"):
        aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"x")
    with RefusingAws(aws) as gate:
        bucket = open_bucket(client, here.model_copy(update={"endpoint_url": gate.endpoint_url}))
        known = {key: bucket.head(f"exports/{key}") for key in ("gone.csv", "secret.csv")}
        aws.client("s3").delete_object(Bucket=BUCKET, Key="exports/gone.csv")
        gate.refuse(lambda request: request.path.endswith(("/gone.csv", "/secret.csv")))

        def ask(key: str) -> object:
            return bucket.head(f"exports/{key}") if operation == "head" else bucket.read_small(known[key], 10)

        with pytest.raises(SourceNotFoundError, match=r"exports/gone\.csv does not exist"):
            ask("gone.csv")
        with pytest.raises(AccessDeniedError):
            ask("secret.csv")

        gate.refuse(lambda request: "list-type" in request.form)
        with pytest.raises(AccessDeniedError):
            ask("gone.csv")
