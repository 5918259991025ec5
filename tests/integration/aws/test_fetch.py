"""A delivery on the local disk is exactly the one that was resolved, or nothing."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from billfold.aws import LocalBucket, SilentProgress, fetch_delivery, resolve
from billfold.aws.spool import spool
from billfold.errors import SourceLimitError, SourceUnavailableError, SpoolFullError, TornDeliveryError
from billfold.model import SourceObject
from billfold.settings import Settings
from tests.bills.export_trees import write, write_export

MANIFEST = "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "bucket"
    path.mkdir()
    return path


class Watcher:
    """Remembers the progress and does what it is told at the first byte."""

    def __init__(self, root: Path | None = None, key: str = "") -> None:
        self.total_bytes = 0
        self.read_bytes = 0
        self._root = root
        self._key = key

    def started(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes

    def advanced(self, size_bytes: int) -> None:
        if self._root and not self.read_bytes:
            write(self._root, self._key, b"another version")
        self.read_bytes += size_bytes


def test_the_files_are_spooled_in_the_order_of_the_manifest(root: Path, tmp_path: Path, settings: Settings) -> None:
    keys = write_export(root, chunks=3)
    bucket = LocalBucket(root, settings)
    [delivery] = resolve(bucket, "")
    watcher = Watcher()

    spooled = fetch_delivery(bucket, delivery, tmp_path / "spool", settings, watcher)

    assert [file.source.key for file in spooled] == keys
    assert [file.path.name for file in spooled] == ["00001", "00002", "00003"]
    assert [file.path.read_bytes() for file in spooled] == [(root / key).read_bytes() for key in keys]
    assert [file.sha256 for file in spooled] == [hashlib.sha256((root / key).read_bytes()).hexdigest() for key in keys]
    assert watcher.read_bytes == watcher.total_bytes == sum(file.size_bytes for file in delivery.files)


def test_a_manifest_replaced_meanwhile_tears_the_delivery(root: Path, tmp_path: Path, settings: Settings) -> None:
    write_export(root)
    bucket = LocalBucket(root, settings)
    [delivery] = resolve(bucket, "")

    with pytest.raises(TornDeliveryError, match="was replaced while its files were being read"):
        fetch_delivery(bucket, delivery, tmp_path / "spool", settings, Watcher(root, MANIFEST))


def test_a_manifest_gone_meanwhile_tears_the_delivery(root: Path, tmp_path: Path, settings: Settings) -> None:
    write_export(root)
    bucket = LocalBucket(root, settings)
    [delivery] = resolve(bucket, "")
    (root / MANIFEST).unlink()

    with pytest.raises(TornDeliveryError):
        fetch_delivery(bucket, delivery, tmp_path / "spool", settings, SilentProgress())


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 5_000_000])
def test_a_file_changed_since_it_was_resolved_tears_the_delivery(
    root: Path, tmp_path: Path, settings: Settings, content: bytes
) -> None:
    [key] = write_export(root)
    bucket = LocalBucket(root, settings)
    [delivery] = resolve(bucket, "")
    write(root, key, content)

    with pytest.raises(TornDeliveryError, match="changed while it was being read"):
        fetch_delivery(bucket, delivery, tmp_path / "spool", settings, SilentProgress())

    assert list((tmp_path / "spool").iterdir()) == []


def test_a_file_gone_since_it_was_resolved_tears_the_delivery(root: Path, tmp_path: Path, settings: Settings) -> None:
    [key] = write_export(root)
    bucket = LocalBucket(root, settings)
    [delivery] = resolve(bucket, "")
    (root / key).unlink()

    with pytest.raises(TornDeliveryError, match=r"acme-00001.* disappeared while its delivery was being read"):
        fetch_delivery(bucket, delivery, tmp_path / "spool", settings, SilentProgress())


def test_a_file_beyond_the_limit_is_refused_before_the_first_byte(
    root: Path, tmp_path: Path, settings: Settings
) -> None:
    write_export(root)
    small = settings.model_copy(update={"max_file_bytes": 10})
    bucket = LocalBucket(root, small)
    [delivery] = resolve(bucket, "")
    watcher = Watcher()

    with pytest.raises(SourceLimitError, match="BILLFOLD_MAX_FILE_BYTES"):
        fetch_delivery(bucket, delivery, tmp_path / "spool", small, watcher)

    assert watcher.total_bytes == watcher.read_bytes == 0


def test_a_delivery_without_room_is_refused_before_the_first_byte(
    root: Path, tmp_path: Path, settings: Settings
) -> None:
    write_export(root)
    full = settings.model_copy(update={"min_free_bytes": 2**60})
    bucket = LocalBucket(root, full)
    [delivery] = resolve(bucket, "")
    watcher = Watcher()

    with pytest.raises(SpoolFullError, match=r"no room for .*BILLFOLD_SPOOL"):
        fetch_delivery(bucket, delivery, tmp_path / "spool", full, watcher)

    assert watcher.total_bytes == 0


def test_a_disk_that_fills_up_meanwhile_is_told_as_such(
    source: SourceObject, tmp_path: Path, settings: Settings
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"12345"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SpoolFullError, match="no room for"):
        spool(chunks(), source, tmp_path / "file", settings, lambda _: None)

    assert not (tmp_path / "file").exists()


def test_a_file_that_ends_early_can_be_tried_again(source: SourceObject, tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(SourceUnavailableError, match="ended after 5 of 10 bytes") as caught:
        spool(iter([b"12345"]), source, tmp_path / "file", settings, lambda _: None)

    assert caught.value.retryable
    assert not (tmp_path / "file").exists()


def test_an_interrupted_fetch_leaves_no_partial_file(source: SourceObject, tmp_path: Path, settings: Settings) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spool(iter([b"12345", b"67890"]), source, tmp_path / "file", settings, interrupt)

    assert not (tmp_path / "file").exists()


@pytest.fixture
def source(root: Path, settings: Settings) -> SourceObject:
    write(root, "a.csv", b"1234567890")
    return LocalBucket(root, settings).head("a.csv")
