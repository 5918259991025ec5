"""A delivery on the local disk: every file as it was when its manifest was read, or an error."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from billfold.aws.bucket import Bucket, address
from billfold.aws.spool import check_limits
from billfold.errors import SourceNotFoundError, TornDeliveryError
from billfold.model import Delivery, SourceObject, SpooledFile
from billfold.settings import Settings


class Progress(Protocol):
    """Receives the progress of a fetch, in bytes as delivered."""

    def started(self, total_bytes: int) -> None:
        """The fetch begins and will read this many bytes."""

    def advanced(self, size_bytes: int) -> None:
        """This many more bytes have been read."""


class SilentProgress:
    """Shows no progress."""

    def started(self, total_bytes: int) -> None:
        return

    def advanced(self, size_bytes: int) -> None:
        return


def fetch_delivery(
    bucket: Bucket, delivery: Delivery, folder: Path, settings: Settings, progress: Progress
) -> tuple[SpooledFile, ...]:
    """The files of the delivery in its order, spooled into `folder` under numbers: a key never becomes a path.

    Before the first byte, the sizes are compared with the limits and the free space. Raises TornDeliveryError if a file
    or the manifest has gone or is another version than the delivery's; the next attempt must then resolve again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_limits(delivery.files, folder, settings)
    progress.started(sum(source.size_bytes for source in delivery.files))
    spooled = tuple(
        _download(bucket, source, folder / f"{number:05d}", progress)
        for number, source in enumerate(delivery.files, start=1)
    )
    _check_manifest(bucket, delivery)
    return spooled


def _download(bucket: Bucket, source: SourceObject, path: Path, progress: Progress) -> SpooledFile:
    try:
        return bucket.download(source, path, progress.advanced)
    except SourceNotFoundError as error:
        raise TornDeliveryError(
            f"{address(bucket.name, source.key)} disappeared while its delivery was being read",
            advice="the next attempt reads what is there then",
        ) from error


def _check_manifest(bucket: Bucket, delivery: Delivery) -> None:
    """AWS may write the next delivery meanwhile: then the manifest has another version, or has gone."""
    if delivery.manifest is None:
        return
    try:
        current = bucket.head(delivery.manifest.key)
    except SourceNotFoundError:
        current = None
    if current is None or current.etag != delivery.manifest.etag:
        raise TornDeliveryError(
            f"{address(bucket.name, delivery.manifest.key)} was replaced while its files were being read",
            advice="the next attempt reads the new delivery",
        )
