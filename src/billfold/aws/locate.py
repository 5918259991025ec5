"""From a typed source, or a stored name, to a bucket and a key in it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from billfold.aws.bucket import LOCAL_SCHEME, Bucket, is_local
from billfold.aws.local_bucket import LocalBucket
from billfold.aws.local_root import root_of_file, root_of_folder
from billfold.errors import SourceNotFoundError, UsageError
from billfold.model import Client
from billfold.settings import Settings, is_bucket_name

_S3_SCHEME = "s3://"
_PATH_STARTS = ("./", "../", "/", "~")


def locate(
    source: str, client: Client, settings: Settings, *, known_buckets: Collection[str] = ()
) -> tuple[Bucket, str]:
    """The bucket and key that a SOURCE means: an S3 address, an existing local path, or a key in the client's bucket.

    The bucket of a local path is the folder above it in which the full keys of its manifests are files. Without such a
    folder, a folder is itself the root, unless it is part of one of the `known_buckets` or of an export; a file's root
    is the nearest known folder, else its export's, else its own. Raises SourceNotFoundError for a path that does not
    exist and UsageError for a bare key if no bucket is configured.
    """
    if source.lower().startswith(_S3_SCHEME):
        name, _, key = source[len(_S3_SCHEME) :].partition("/")
        if not is_bucket_name(name):
            raise UsageError(f"{source} names no bucket", advice="write s3://bucket/key")
        return open_bucket(client, settings, name), key
    text = source.removeprefix(LOCAL_SCHEME)
    path = _existing(text)
    if path is not None:
        known = {Path(name.removeprefix(LOCAL_SCHEME)) for name in known_buckets if is_local(name)}
        return _in_folder(path, settings, known)
    is_key = client.bucket is not None and client.prefix.startswith("/") and source.startswith(client.prefix)
    if not is_key and (text != source or text in (".", "..") or text.startswith(_PATH_STARTS)):
        raise SourceNotFoundError(f"{source} does not exist", advice="check the path")
    if client.bucket is None:
        raise UsageError(
            f"no such file: {source}, and client {client.client_id} has no bucket for it to be a key in",
            advice="set AWS_BILLING_BUCKET, or write s3://bucket/key",
        )
    return open_bucket(client, settings), source


def open_bucket(client: Client, settings: Settings, name: str | None = None) -> Bucket:
    """The named bucket, or else the client's own, opened as the client; `file://…` opens a local folder."""
    name = name or client.bucket
    if name is None:
        raise UsageError(f"client {client.client_id} has no bucket", advice="set AWS_BILLING_BUCKET")
    if is_local(name):
        return LocalBucket(Path(name.removeprefix(LOCAL_SCHEME)), settings)
    if client.is_registered and name != client.bucket:
        raise UsageError(
            f"the bucket {name} does not belong to client {client.client_id}",
            advice="a client can only read its own bucket",
        )
    # They load boto3, which a local source does not need.
    from billfold.aws.credentials import aws_client, open_session
    from billfold.aws.s3_bucket import S3Bucket

    if client.max_file_bytes:
        settings = settings.model_copy(update={"max_file_bytes": client.max_file_bytes})
    s3 = aws_client(open_session(client, settings, bucket=name), "s3", settings)
    folder = client.prefix if client.is_registered else ""
    return S3Bucket(name, s3, settings, account_id=client.account_id, folder=folder)


def _existing(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path.resolve() if text and path.exists() else None
    except (OSError, RuntimeError, ValueError):
        # A key may be too long for a path, or name the home of a user that does not exist.
        return None


def _in_folder(path: Path, settings: Settings, known: Collection[Path]) -> tuple[Bucket, str]:
    if path.is_dir():
        root = root_of_folder(path, settings, known)
        key = f"{path.relative_to(root).as_posix()}/" if root != path else ""
    else:
        root = root_of_file(path, settings, known)
        key = path.relative_to(root).as_posix()
    return LocalBucket(root, settings), key
