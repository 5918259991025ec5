"""Where deliveries come from: a bucket in S3, or a local folder that is treated as one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from billfold.aws.spool import OnBytes
from billfold.model import SourceObject, SpooledFile
from billfold.settings import Settings

LOCAL_SCHEME = "file://"


class Bucket(Protocol):
    """Reads one bucket under the limits of its settings. Every version read is pinned by its ETag.

    All methods raise the subclasses of SourceError: AccessDeniedError, SourceNotFoundError, SourceUnavailableError,
    SourceLimitError, and TornDeliveryError if an object is no longer the requested version.
    """

    @property
    def name(self) -> str:
        """The bucket's name in S3, or `file://` and the folder's real path."""

    @property
    def settings(self) -> Settings:
        """The limits."""

    def list_objects(self, prefix: str) -> Iterator[SourceObject]:
        """Every object whose key starts with `prefix`, in the order of the keys."""

    def list_folder(self, folder: str) -> Iterator[SourceObject]:
        """The objects directly in a folder, not in folders below it; `folder` ends with a slash or is empty."""

    def head(self, key: str) -> SourceObject:
        """The current version of one object."""

    def read_small(self, source: SourceObject, limit_bytes: int) -> bytes:
        """The whole content, at most `limit_bytes` of it."""

    def read_part(self, source: SourceObject, part: str) -> bytes:
        """A part of the content, given as an HTTP range: `bytes=0-9`, or `bytes=-8` for the last eight."""

    def download(self, source: SourceObject, path: Path, on_bytes: OnBytes) -> SpooledFile:
        """Write the object to `path` in constant memory; on failure the file is removed."""


def is_local(name: str) -> bool:
    """Whether this is the name of a local folder that is treated as a bucket."""
    return name.startswith(LOCAL_SCHEME)


def address(bucket: str, key: str) -> str:
    """An object's address for messages: `s3://bucket/key`, or the path of a local file."""
    if is_local(bucket):
        return f"{bucket.removeprefix(LOCAL_SCHEME).rstrip('/')}/{key}"
    return f"s3://{bucket}/{key}"
