"""What is seen while AWS writes the next delivery over the present one: an error that passes, never a mixture."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from moto.s3.models import s3_backends

from billfold.aws import Bucket, LocalAws, SilentProgress, fetch_delivery, open_bucket, resolve
from billfold.aws.delivery import read_manifest
from billfold.errors import BillfoldError, SourceNotFoundError, TornDeliveryError
from billfold.model import Client, Delivery
from billfold.settings import Settings
from tests.bills.export_trees import BUCKET, write_data, write_export, write_report

ACCOUNT = "123456789012"
DATA = "exports/acme/data/BILLING_PERIOD=2023-11/acme-00001.csv.gz"
SECOND = "exports/acme/data/BILLING_PERIOD=2023-11/acme-00002.csv.gz"
MANIFEST = "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json"
OLD = "2023-11-05T10:00:00.000Z-aaaa"
NEW = "2023-11-06T10:00:00.000Z-bbbb"


class Meanwhile:
    """A progress at whose first byte something else happens."""

    def __init__(self, happen: Callable[[], object]) -> None:
        self._happen = happen
        self._has_happened = False

    def started(self, total_bytes: int) -> None:
        return

    def advanced(self, size_bytes: int) -> None:
        if not self._has_happened:
            self._has_happened = True
            self._happen()


@pytest.fixture
def aws(aws: LocalAws, environment: pytest.MonkeyPatch) -> LocalAws:
    environment.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
    aws.create_bucket(BUCKET)
    return aws


@pytest.fixture
def bucket(here: Settings) -> Bucket:
    return open_bucket(Client(client_id="acme", bucket=BUCKET), here)


def write_at(key: str, moment: datetime) -> None:
    """Let an object have been written at that moment: S3 has no call for it."""
    s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys[key].last_modified = moment.replace(tzinfo=None)


def deliver(aws: LocalAws, tree: Path, *, hours_ago: int = 0, execution: str = "", chunks: int = 2) -> list[str]:
    """One whole delivery of the export, written so long ago; returns its data keys."""
    keys = write_export(tree, chunks=chunks, execution=execution)
    for key in aws.upload_folder(BUCKET, tree):
        write_at(key, datetime.now(UTC) - timedelta(hours=hours_ago))
    return keys


def put_next(aws: LocalAws, *keys: str) -> bytes:
    """Files of the next delivery, written over those of the present one; returns their content."""
    content = gzip.compress(b"line_item_unblended_cost\n0.2\n", mtime=0)
    for key in keys:
        aws.put(BUCKET, key, content)
    return content


def finish_next(aws: LocalAws, tree: Path) -> None:
    """The manifest of the next delivery, which AWS writes last."""
    aws.put(BUCKET, MANIFEST, (tree / MANIFEST).read_bytes().replace(b"overwritten", b"overwritten anew"))


def delete(aws: LocalAws, key: str) -> None:
    aws.client("s3").delete_object(Bucket=BUCKET, Key=key)


def fetch(bucket: Bucket, delivery: Delivery, folder: Path, happen: Callable[[], object]) -> list[bytes]:
    spooled = fetch_delivery(bucket, delivery, folder, bucket.settings, Meanwhile(happen))
    return [file.path.read_bytes() for file in spooled]


@pytest.mark.parametrize("key", ["", "exports/acme/data/", DATA, SECOND, MANIFEST])
def test_a_file_written_long_after_its_manifest_belongs_to_the_next_delivery(
    aws: LocalAws, bucket: Bucket, tmp_path: Path, key: str
) -> None:
    deliver(aws, tmp_path, hours_ago=8)
    put_next(aws, DATA)
    write_at(DATA, datetime(2026, 5, 3, 12, 30, 1, tzinfo=UTC))
    write_at(MANIFEST, datetime(2026, 5, 3, 4, 0, 0, tzinfo=UTC))
    write_at(SECOND, datetime(2026, 5, 3, 3, 59, 0, tzinfo=UTC))

    with pytest.raises(TornDeliveryError) as caught:
        resolve(bucket, key)

    assert caught.value.retryable
    assert str(caught.value) == (
        f"s3://{BUCKET}/{DATA} was written at 2026-05-03 12:30:01 UTC, after its manifest of 2026-05-03 04:00:00 UTC:"
        " the next delivery is being written: wait for its manifest; if the bucket is a copy whose files were written"
        " after the manifest, use --force"
    )


def test_the_next_delivery_is_taken_once_its_manifest_stands(aws: LocalAws, bucket: Bucket, tmp_path: Path) -> None:
    deliver(aws, tmp_path / "tree", hours_ago=8)
    content = put_next(aws, DATA, SECOND)
    with pytest.raises(TornDeliveryError):
        resolve(bucket, MANIFEST)
    finish_next(aws, tmp_path / "tree")

    [delivery] = resolve(bucket, MANIFEST)

    assert delivery.execution_id == "overwritten anew"
    assert fetch(bucket, delivery, tmp_path / "spool", lambda: None) == [content, content]


@pytest.mark.parametrize(("minutes", "is_torn"), [(-600, False), (0, False), (15, False), (16, True)])
def test_a_quarter_of_an_hour_tells_nothing(
    aws: LocalAws, bucket: Bucket, tmp_path: Path, minutes: int, is_torn: bool
) -> None:
    deliver(aws, tmp_path)
    delivered_at = datetime(2026, 5, 3, 4, tzinfo=UTC)
    for key, later in ((MANIFEST, 0), (DATA, minutes), (SECOND, -1)):
        write_at(key, delivered_at + timedelta(minutes=later))

    found: list[Delivery] = []
    refused: list[BillfoldError] = []
    found += resolve(bucket, "", on_refused=lambda key, error: refused.append(error))

    assert (len(found), [type(error) for error in refused]) == ((0, [TornDeliveryError]) if is_torn else (1, []))


@pytest.mark.parametrize("key", ["", DATA, MANIFEST])
def test_newer_files_can_be_tolerated(aws: LocalAws, bucket: Bucket, tmp_path: Path, key: str) -> None:
    keys = deliver(aws, tmp_path, hours_ago=8)
    put_next(aws, DATA)

    [delivery] = resolve(bucket, key, tolerate_newer_files=True)

    assert [file.key for file in delivery.files] == keys


def test_a_surplus_file_may_be_newer_than_the_manifest(aws: LocalAws, bucket: Bucket, tmp_path: Path) -> None:
    deliver(aws, tmp_path, hours_ago=8, chunks=1)
    put_next(aws, SECOND)

    [delivery] = resolve(bucket, "")

    assert [file.key for file in delivery.files] == [DATA]


def test_a_torn_statement_leaves_the_others_alone(aws: LocalAws, bucket: Bucket, tmp_path: Path) -> None:
    write_report(tmp_path)
    flat = write_data(tmp_path, "flat/acme-1.csv.gz")
    (tmp_path / "flat/acme-Manifest.json").write_text(f'{{"dataFiles": {flat}}}'.replace("'", '"'))
    deliver(aws, tmp_path, hours_ago=8)
    put_next(aws, DATA, *flat)
    refused: list[str] = []

    deliveries = resolve(bucket, "", on_refused=lambda key, error: refused.append(key))

    assert [delivery.export_path for delivery in deliveries] == ["cur/acme"]
    assert refused == [MANIFEST, "flat/acme-Manifest.json"]


def test_an_earlier_executions_delivery_stays_whole(aws: LocalAws, bucket: Bucket, tmp_path: Path) -> None:
    [old] = write_export(tmp_path, execution=OLD, latest=False)
    [new] = deliver(aws, tmp_path, hours_ago=8, execution=NEW, chunks=1)
    put_next(aws, new)

    [delivery] = resolve(bucket, old)

    assert [file.key for file in delivery.files] == [old]
    with pytest.raises(TornDeliveryError):
        resolve(bucket, new)


@pytest.mark.parametrize("tear", [put_next, delete])
def test_a_file_replaced_or_gone_during_the_fetch_tears_it_and_the_next_attempt_gets_the_new_delivery(
    aws: LocalAws, bucket: Bucket, tmp_path: Path, tear: Callable[[LocalAws, str], object]
) -> None:
    deliver(aws, tmp_path / "tree")
    [delivery] = resolve(bucket, "")

    with pytest.raises(TornDeliveryError, match=f"s3://{BUCKET}/{SECOND} (changed|disappeared)") as caught:
        fetch(bucket, delivery, tmp_path / "first", lambda: tear(aws, SECOND))
    content = put_next(aws, DATA, SECOND)
    finish_next(aws, tmp_path / "tree")
    [latest] = resolve(bucket, MANIFEST)

    assert caught.value.retryable
    assert [path.name for path in (tmp_path / "first").iterdir()] == ["00001"]
    assert latest.execution_id == "overwritten anew"
    assert fetch(bucket, latest, tmp_path / "second", lambda: None) == [content, content]


def test_a_manifest_replaced_during_the_fetch_tears_it_and_the_next_attempt_gets_the_new_delivery(
    aws: LocalAws, bucket: Bucket, tmp_path: Path
) -> None:
    deliver(aws, tmp_path / "tree", chunks=1)
    [delivery] = resolve(bucket, "")

    def replace() -> None:
        put_next(aws, DATA)
        finish_next(aws, tmp_path / "tree")

    with pytest.raises(TornDeliveryError, match=f"{MANIFEST} was replaced while its files were being read"):
        fetch(bucket, delivery, tmp_path / "first", replace)
    [latest] = resolve(bucket, MANIFEST)

    assert latest.execution_id == "overwritten anew"
    assert latest.files != delivery.files


def test_a_manifest_gone_during_the_fetch_tears_it(aws: LocalAws, bucket: Bucket, tmp_path: Path) -> None:
    deliver(aws, tmp_path / "tree")
    [delivery] = resolve(bucket, "")

    with pytest.raises(TornDeliveryError, match=f"{MANIFEST} was replaced"):
        fetch(bucket, delivery, tmp_path / "spool", lambda: delete(aws, MANIFEST))


@pytest.mark.parametrize("tear", [put_next, delete])
def test_a_manifest_that_changes_before_it_is_read_tears_the_delivery(
    aws: LocalAws, bucket: Bucket, tmp_path: Path, tear: Callable[[LocalAws, str], object]
) -> None:
    deliver(aws, tmp_path)
    listed = bucket.head(MANIFEST)
    tear(aws, MANIFEST)

    with pytest.raises(TornDeliveryError, match=f"s3://{BUCKET}/{MANIFEST} (changed|disappeared)"):
        read_manifest(bucket, listed)


def test_a_standalone_file_that_goes_away_is_not_found_by_the_next_attempt(
    aws: LocalAws, bucket: Bucket, tmp_path: Path
) -> None:
    put_next(aws, "november.csv.gz")
    [delivery] = resolve(bucket, "november.csv.gz")
    delete(aws, "november.csv.gz")

    with pytest.raises(TornDeliveryError, match=r"november\.csv\.gz disappeared"):
        fetch_delivery(bucket, delivery, tmp_path, bucket.settings, SilentProgress())

    with pytest.raises(SourceNotFoundError):
        resolve(bucket, "november.csv.gz")
