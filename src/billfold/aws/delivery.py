"""The delivery that a manifest names: its files as they are in the bucket, all from one refresh."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from billfold.aws.bucket import Bucket, address, is_local
from billfold.aws.file_times import find_time_fault
from billfold.aws.layout import ROOT, file_name, find_places, folder_of, period_of
from billfold.aws.local_bucket import LocalBucket
from billfold.aws.local_copy import as_path, find_local_files, list_missing
from billfold.aws.manifest import Manifest, parse_manifest
from billfold.errors import ManifestError, SourceLimitError, SourceNotFoundError, TornDeliveryError
from billfold.log import Event
from billfold.model import Delivery, SourceObject

Listing = Mapping[str, SourceObject]

# AWS writes the manifest last, and refreshes of an export are hours apart. Replication does not keep the order of
# objects that were written together, so a difference of minutes means nothing.
NEWER_FILES_TOLERANCE = timedelta(minutes=15)
_SHOWN_KEYS = 3
_log = structlog.get_logger(__name__)


def read_manifest(bucket: Bucket, source: SourceObject) -> Manifest:
    """The manifest at the key that was just found; raises TornDeliveryError if it has gone or changed since."""
    return parse_manifest(read_content(bucket, source), source.key)


def read_content(bucket: Bucket, source: SourceObject) -> bytes:
    """The manifest's content; raises the errors of `read_manifest`, except those of parsing."""
    try:
        return bucket.read_small(source, bucket.settings.max_manifest_bytes)
    except SourceNotFoundError as error:
        raise TornDeliveryError(
            f"{address(bucket.name, source.key)} disappeared while it was being read",
            advice="the next attempt reads what is there then",
        ) from error
    except SourceLimitError as error:
        raise SourceLimitError(
            error.message, advice="raise BILLFOLD_MAX_MANIFEST_BYTES if the size is right"
        ) from error


def find_delivery(
    bucket: Bucket, source: SourceObject, manifest: Manifest, listed: Listing, *, tolerate_newer_files: bool
) -> Delivery:
    """The manifest's delivery; files that `listed` lacks are looked for in the bucket.

    Raises ManifestError if a file is missing and TornDeliveryError if one belongs to the next delivery.
    """
    places = find_places(source.key)
    export_path = places[0].export_path if places else folder_of(source.key).rstrip("/") or file_name(source.key)
    time_fault = find_time_fault(source)
    delivery = Delivery(
        bucket=bucket.name,
        export_path=export_path,
        export_name=manifest.export_name or _name_of(source, export_path),
        period=manifest.period,
        files=_find_files(bucket, manifest, listed),
        delivered_at=datetime.now(UTC) if time_fault else source.modified_at,
        time_fault=time_fault,
        manifest=source,
        execution_id=manifest.execution_id,
    )
    if not tolerate_newer_files:
        _refuse_newer_files(delivery, source)
    return delivery


def standalone(source: SourceObject) -> Delivery:
    """The delivery of a data file that no manifest names."""
    time_fault = find_time_fault(source)
    return Delivery(
        bucket=source.bucket,
        export_path=source.key,
        export_name=source.key,
        period=period_of(source.key),
        files=(source,),
        delivered_at=datetime.now(UTC) if time_fault else source.modified_at,
        time_fault=time_fault,
    )


def _name_of(source: SourceObject, export_path: str) -> str:
    """The name of an export whose manifest lacks one: its folder's, else the beginning of the manifest's name."""
    if export_path == ROOT:
        return file_name(source.key).removesuffix("-Manifest.json")
    return export_path.rpartition("/")[2]


def keys_in(bucket: Bucket, manifest: Manifest) -> tuple[str, ...]:
    """The keys that a manifest names, as this bucket spells them; files may be missing."""
    if not isinstance(bucket, LocalBucket):
        return manifest.file_keys
    found = find_local_files(manifest.key, manifest.file_keys, bucket.holds)
    return found.keys if found else tuple(map(as_path, manifest.file_keys))


def _find_files(bucket: Bucket, manifest: Manifest, listed: Listing) -> tuple[SourceObject, ...]:
    if isinstance(bucket, LocalBucket):
        return _find_local_files(bucket, manifest, listed)
    if manifest.bucket not in (None, bucket.name):
        # A bill that was replicated into a central bucket. Its files are only looked for here: a client's bill is
        # always read from the client's bucket, even if a manifest names another one.
        _log.info(Event.MANIFEST_OF_ANOTHER_BUCKET, key=manifest.key, names=manifest.bucket, bucket=bucket.name)
    keys = manifest.file_keys
    found = _find_all(bucket, keys, listed)
    _refuse_missing(bucket, manifest, [key for key in keys if key not in found])
    return tuple(found[key] for key in keys)


def _find_local_files(bucket: LocalBucket, manifest: Manifest, listed: Listing) -> tuple[SourceObject, ...]:
    local = find_local_files(manifest.key, manifest.file_keys, bucket.holds)
    if local is None:
        missing = list_missing(manifest.key, manifest.file_keys, bucket.holds)
        _refuse_missing(bucket, manifest, missing or manifest.file_keys)
    assert local is not None
    found = _find_all(bucket, local.keys, listed)
    # A listing leaves out hidden files and links that lead outside.
    _refuse_missing(bucket, manifest, [key for key in local.keys if key not in found])
    return tuple(found[key] for key in local.keys)


def _refuse_missing(bucket: Bucket, manifest: Manifest, missing: Sequence[str]) -> None:
    if not missing:
        return
    shown = ", ".join(missing[:_SHOWN_KEYS]) + (", …" if len(missing) > _SHOWN_KEYS else "")
    advice = "copy the folder of the export as a whole, or remove the manifest to ingest its files one by one"
    raise ManifestError(
        f"names {len(missing)} of {len(manifest.file_keys)} files that are not in {bucket.name}: {shown}",
        file=manifest.key,
        advice=advice if is_local(bucket.name) else "",
    )


def _find_all(bucket: Bucket, keys: Sequence[str], listed: Listing) -> Listing:
    return {**listed, **_look_up(bucket, [key for key in keys if key not in listed])}


def _look_up(bucket: Bucket, keys: Iterable[str]) -> dict[str, SourceObject]:
    """Those of these keys that the bucket holds: one listing for each folder, as narrow as their names allow."""
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        folders[folder_of(key)].append(key)
    # A prefix of keys consists of characters, not of path components.
    prefixes = [os.path.commonprefix(together) for together in folders.values()]  # noqa: RUF071
    return {source.key: source for prefix in prefixes for source in bucket.list_objects(prefix)}


def _refuse_newer_files(delivery: Delivery, manifest: SourceObject) -> None:
    """In AWS's overwrite layout, the next delivery's files replace this one's while its manifest is still there."""
    # A local copy does not keep AWS's times.
    if is_local(delivery.bucket) or not delivery.files:
        return
    newest = max(delivery.files, key=lambda file: file.modified_at)
    if newest.modified_at - manifest.modified_at > NEWER_FILES_TOLERANCE:
        raise TornDeliveryError(
            f"{address(delivery.bucket, newest.key)} was written at {newest.modified_at:%Y-%m-%d %H:%M:%S} UTC, after"
            f" its manifest of {manifest.modified_at:%Y-%m-%d %H:%M:%S} UTC: the next delivery is being written",
            advice="wait for its manifest; if the bucket is a copy whose files were written after the manifest, use"
            " --force",
        )
