"""From what the operator typed, or a stored name, to a bucket and a key in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from billfold.config import Settings
from billfold.errors import (
    InputError,
    ManifestError,
    SourceError,
    SourceLimitError,
    SourceNotFoundError,
    UsageError,
)
from billfold.exports.bucket import LOCAL_SCHEME, Bucket, is_local
from billfold.exports.credentials import aws_client, open_session
from billfold.exports.layout import is_manifest, place_of
from billfold.exports.local_bucket import LocalBucket
from billfold.exports.manifest import parse_manifest
from billfold.exports.s3_bucket import S3Bucket
from billfold.model import Client
from billfold.setting import is_bucket_name

_S3_SCHEME = "s3://"
_PATH_STARTS = ("./", "../", "/", "~")


def locate(
    source: str, client: Client, settings: Settings, *, known_buckets: Collection[str] = ()
) -> tuple[Bucket, str]:
    """The bucket and key that a SOURCE means: an S3 address, an existing local path, or a key in the client's bucket.

    A folder is a bucket's root, unless it is a part of one of the `known_buckets` and the manifests in it resolve there
    and not below itself. The root of a single file is the nearest folder above it below which the keys of its manifest
    resolve, else the nearest known one, else its own folder. Raises SourceNotFoundError for a path that does not exist
    and UsageError for a bare key where no bucket is configured.
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
    if text != source or text in (".", "..") or text.startswith(_PATH_STARTS):
        raise SourceNotFoundError(f"{source} does not exist", advice="check the path")
    if client.bucket is None:
        raise UsageError(
            f"no such file: {source}, and client {client.client_id} has no bucket in which it could be a key",
            advice="set AWS_BILLING_BUCKET, or write s3://bucket/key",
        )
    return open_bucket(client, settings), source


def open_bucket(client: Client, settings: Settings, name: str | None = None) -> Bucket:
    """The named bucket, or else the client's own, opened in the client's name; `file://…` opens a local folder."""
    name = name or client.bucket
    if name is None:
        raise UsageError(f"client {client.client_id} has no bucket", advice="set AWS_BILLING_BUCKET")
    if is_local(name):
        return LocalBucket(Path(name.removeprefix(LOCAL_SCHEME)), settings)
    if client.is_registered and name != client.bucket:
        raise UsageError(
            f"the bucket {name} is not that of client {client.client_id}", advice="a client reads its own bucket alone"
        )
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
        root = _nearest(path, known)
        if root is None or root == path or _is_root(path, settings, known):
            return LocalBucket(path, settings), ""
        return LocalBucket(root, settings), f"{path.relative_to(root).as_posix()}/"
    root = _root_of(path, settings, known) or _nearest(path.parent, known) or path.parent
    return LocalBucket(root, settings), path.relative_to(root).as_posix()


def _nearest(folder: Path, known: Collection[Path]) -> Path | None:
    """The folder itself or the nearest one above it that is known."""
    return next((root for root in (folder, *folder.parents) if root in known), None)


def _is_root(folder: Path, settings: Settings, known: Collection[Path]) -> bool:
    """Whether a manifest in the folder names files below it by keys that begin there, as in a copy of a bucket."""
    for manifest in folder.rglob("*.json"):
        if is_manifest(manifest.name):
            try:
                root = _root_of_manifest(manifest, settings, all, known)
            except (InputError, SourceError):
                continue
            if root == folder:
                return True
    return False


def _root_of(path: Path, settings: Settings, known: Collection[Path]) -> Path | None:
    if is_manifest(path.name):
        return _root_of_manifest(path, settings, all, known) or _root_of_manifest(path, settings, any, known)
    for manifest in _manifests_of(path):
        try:
            root = _root_of_manifest(manifest, settings, all, known)
        except (ManifestError, SourceLimitError):
            continue
        if root and path.is_relative_to(root):
            return root
    return None


def _root_of_manifest(
    path: Path, settings: Settings, how_many: Callable[[Iterable[bool]], bool], known: Collection[Path]
) -> Path | None:
    """The nearest folder above a manifest below which all, or any, of the files that it names stand."""
    folder = LocalBucket(path.parent, settings)
    manifest = parse_manifest(folder.read_small(folder.head(path.name), settings.max_manifest_bytes), str(path))
    place = place_of(_as_key(path))
    if not manifest.file_keys:
        # An empty delivery has no key that could tell; its export's folder is the least that keeps its name.
        least = Path("/", place.export_path).parent if place else None
        return (_nearest(least, known) or least) if least else None
    for root in path.parents:
        if how_many((root / key.lstrip("/")).is_file() for key in manifest.file_keys):
            return root
    return None


def _manifests_of(path: Path) -> Iterator[Path]:
    """The manifests of the statement in whose layout a data file stands, the shallowest first."""
    place = place_of(_as_key(path))
    if place is None:
        return
    for folder in dict.fromkeys((place.manifest_folder, place.manifest_root)):
        found = [manifest for manifest in Path("/", folder).rglob("*.json") if is_manifest(manifest.name)]
        for manifest in sorted(found, key=lambda manifest: (len(manifest.parts), manifest)):
            other = place_of(_as_key(manifest))
            if other and other.statement == place.statement:
                yield manifest


def _as_key(path: Path) -> str:
    # To the grammar of keys the whole file system is one bucket.
    return path.as_posix().lstrip("/")
