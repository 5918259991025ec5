"""A bucket in S3, read as one client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from billfold.aws.aws_errors import translated
from billfold.aws.bucket import address
from billfold.aws.keys import is_trick
from billfold.aws.spool import CHUNK_BYTES, OnBytes, spool
from billfold.errors import AccessDeniedError, SourceLimitError, SourceNotFoundError, TornDeliveryError
from billfold.model import SourceObject, SpooledFile
from billfold.settings import Settings


class S3Bucket:
    """One bucket, or a folder of it, through one boto3 S3 client: keys outside the folder are never requested.

    `account_id`, if known, must own the bucket: otherwise S3 refuses every call.
    """

    def __init__(
        self, name: str, s3: Any, settings: Settings, *, account_id: str | None = None, folder: str = ""
    ) -> None:
        self._folder = folder
        self._name = name
        self._s3 = s3
        self._settings = settings
        self._account_id = account_id
        self._scope = {"Bucket": name, **({"ExpectedBucketOwner": account_id} if account_id else {})}

    @property
    def name(self) -> str:
        return self._name

    @property
    def settings(self) -> Settings:
        return self._settings

    def list_objects(self, prefix: str) -> Iterator[SourceObject]:
        return self._list(prefix)

    def list_folder(self, folder: str) -> Iterator[SourceObject]:
        return self._list(folder, Delimiter="/")

    def _list(self, prefix: str, **options: str) -> Iterator[SourceObject]:
        with self._translated(prefix, "s3:ListBucket"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(**self._scope, Prefix=prefix, **options)
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield self._object(entry["Key"], entry["ETag"], entry["Size"], entry["LastModified"])

    def head(self, key: str) -> SourceObject:
        with self._reading(key):
            answer = self._s3.head_object(**self._scope, Key=key)
        return self._object(key, answer["ETag"], answer["ContentLength"], answer["LastModified"])

    def read_small(self, source: SourceObject, limit_bytes: int) -> bytes:
        if source.size_bytes > limit_bytes:
            raise SourceLimitError(
                f"{address(self._name, source.key)} has {source.size_bytes} bytes, more than {limit_bytes}"
            )
        return b"".join(self._chunks(source))

    def read_part(self, source: SourceObject, part: str) -> bytes:
        with self._reading(source.key):
            answer = self._s3.get_object(**self._scope, Key=source.key, IfMatch=f'"{source.etag}"', Range=part)
            with closing(answer["Body"]) as body:
                return bytes(body.read())

    def download(self, source: SourceObject, path: Path, on_bytes: OnBytes) -> SpooledFile:
        return spool(self._chunks(source), source, path, self._settings, on_bytes)

    def _chunks(self, source: SourceObject) -> Iterator[bytes]:
        with self._reading(source.key):
            answer = self._s3.get_object(**self._scope, Key=source.key, IfMatch=f'"{source.etag}"')
            # A store that ignores If-Match must not deliver another version.
            if answer["ETag"].strip('"') != source.etag:
                raise TornDeliveryError(f"{address(self._name, source.key)} changed while its delivery was being read")
            with closing(answer["Body"]) as body:
                yield from body.iter_chunks(CHUNK_BYTES)

    def _object(self, key: str, etag: str, size_bytes: int, modified_at: Any) -> SourceObject:
        # A HEAD gives whole seconds; a listing of the same version must not give more.
        return SourceObject(
            bucket=self._name,
            key=key,
            etag=etag.strip('"'),
            size_bytes=size_bytes,
            modified_at=modified_at.replace(microsecond=0),
        )

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """Tell a missing object from a refused one.

        S3 answers 403 for a missing key where s3:ListBucket is granted under a condition on s3:prefix: a HEAD or GET
        sends no prefix, so the condition never holds (AWS: "GetObject", Permissions). A listing sends one.
        """
        # Refuses a key outside the folder before any request to S3.
        translation = self._translated(key, "s3:GetObject")
        try:
            with translation:
                yield
        except AccessDeniedError as error:
            if self._is_gone(key):
                raise SourceNotFoundError(f"{address(self._name, key)} does not exist") from error
            raise

    def _is_gone(self, key: str) -> bool:
        """Whether a listing of the key is allowed and lacks it; it would be the first of all keys with this prefix.

        Raises SourceUnavailableError if S3 is busy: the next attempt asks again.
        """
        try:
            with self._translated(key, "s3:ListBucket"):
                answer = self._s3.list_objects_v2(**self._scope, Prefix=key, MaxKeys=1)
        except AccessDeniedError:
            return False
        return key not in [entry["Key"] for entry in answer.get("Contents", ())]

    def _translated(self, key: str, permission: str) -> Any:
        if not key.startswith(self._folder) or is_trick(key):
            raise AccessDeniedError(
                f"{address(self._name, key)} is not in the client's folder {self._folder or '/'}",
                advice="a client can only read its own folder",
            )
        return translated(address(self._name, key), permission=permission, account_id=self._account_id)
