"""From a key to deliveries: which statements stand there, and which files are their current bill.

The manifest decides, never the listing: it is written last, and files of earlier deliveries may stay beside the
current ones. A data file that belongs to no manifest's statement is a delivery of its own.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date

import structlog

from billfold.errors import (
    AccessDeniedError,
    BillfoldError,
    ManifestError,
    SourceLimitError,
    SourceNotFoundError,
)
from billfold.exports.bucket import Bucket, address, is_local
from billfold.exports.layout import Place, file_name, folder_of, is_data_file, is_manifest, period_of, place_of
from billfold.exports.manifest import Manifest, parse_manifest
from billfold.model import Delivery, SourceObject
from billfold.period import BillingPeriod

OnRefused = Callable[[str, BillfoldError], None]

_Statement = tuple[str, BillingPeriod]
_Listing = Mapping[str, SourceObject]
_SHOWN_KEYS = 3
_log = structlog.get_logger(__name__)


def resolve(bucket: Bucket, key: str, *, on_refused: OnRefused | None = None) -> list[Delivery]:
    """The deliveries that a key means, the oldest period first.

    A manifest means its delivery, a data file that of its statement's manifest or else itself, and a folder (empty,
    or ending with a slash, or with keys below it) the current delivery of every statement in it. A statement that
    cannot be resolved fails all, unless `on_refused` takes its manifest's key and the error. Raises
    SourceNotFoundError where nothing stands at the key, ManifestError, and the errors of the bucket.
    """
    if key and not key.endswith("/"):
        source = _object_at(bucket, key)
        if source is not None:
            return [_by_manifest(bucket, source, {}) if is_manifest(key) else _by_data_file(bucket, source)]
        key += "/"
    return _by_folder(bucket, key, on_refused)


def _object_at(bucket: Bucket, key: str) -> SourceObject | None:
    try:
        return bucket.head(key)
    except SourceNotFoundError:
        return None
    except AccessDeniedError:
        # Where listing is allowed below a prefix only, S3 answers 403 for a missing key, and a folder has no key.
        if any(bucket.list_objects(f"{key}/")):
            return None
        raise


def _by_manifest(bucket: Bucket, source: SourceObject, listed: _Listing) -> Delivery:
    return _delivery(bucket, source, _read(bucket, source), listed)


def _by_data_file(bucket: Bucket, source: SourceObject) -> Delivery:
    place = place_of(source.key)
    manifests = _manifests_of(bucket, place) if place else []
    if place is None or not manifests:
        return _standalone(source)
    current = _latest(manifests)
    delivery = _by_manifest(bucket, current, {})
    if any(file.key == source.key for file in delivery.files):
        return delivery
    for manifest in manifests:
        # In create-new mode an earlier execution keeps its own manifest in a folder of its name.
        own = place_of(manifest.key)
        if manifest != current and place.execution and own and own.execution == place.execution:
            return _by_manifest(bucket, manifest, {})
    _log.info("file_not_in_manifest", key=source.key, manifest=current.key)
    return delivery


def _by_folder(bucket: Bucket, prefix: str, on_refused: OnRefused | None) -> list[Delivery]:
    listed = {source.key: source for source in bucket.list_objects(prefix) if _is_bill(source.key)}
    manifests = _current_manifests(bucket, prefix, listed.values())
    deliveries: list[Delivery] = []
    for manifest in manifests.values():
        try:
            deliveries.append(_by_manifest(bucket, manifest, listed))
        except BillfoldError as error:
            if on_refused is None:
                raise
            on_refused(manifest.key, error)
    deliveries += _strays(bucket, listed, manifests)
    named = {file.key for delivery in deliveries for file in delivery.files}
    deliveries += [
        _standalone(source)
        for source in listed.values()
        if not is_manifest(source.key) and source.key not in named and _statement(source.key) not in manifests
    ]
    if not deliveries and not manifests:
        place = address(bucket.name, prefix)
        raise SourceNotFoundError(f"no billing export at {place}", advice="check the key or folder, and its case")
    return sorted(deliveries, key=_order)


def _current_manifests(
    bucket: Bucket, prefix: str, listed: Iterable[SourceObject]
) -> dict[_Statement | None, SourceObject]:
    """For each statement that has a file or a manifest below the prefix, the manifest that decides."""
    candidates: defaultdict[_Statement | None, list[SourceObject]] = defaultdict(list)
    wanted: defaultdict[str, set[_Statement]] = defaultdict(set)
    for source in listed:
        if place := place_of(source.key):
            if is_manifest(source.key):
                candidates[place.statement].append(source)
            elif not place.manifest_folder.startswith(prefix):
                wanted[place.manifest_root].add(place.statement)
    # The prefix may be a folder of data alone, as `exports/acme/data/`: its manifests stand beside it.
    for root, statements in wanted.items():
        for source in _manifests_below(bucket, root):
            statement = _statement(source.key)
            if statement in statements:
                candidates[statement].append(source)
    return {statement: _latest(manifests) for statement, manifests in candidates.items()}


def _strays(
    bucket: Bucket, listed: _Listing, manifests: Mapping[_Statement | None, SourceObject]
) -> Iterator[Delivery]:
    """The deliveries of manifests that stand outside of every layout, unless their statement has one inside."""
    for source in listed.values():
        if not source.key.endswith("-Manifest.json") or place_of(source.key):
            continue
        try:
            manifest = _read(bucket, source)
        except ManifestError as error:
            _log.warning("manifest_left_out", key=source.key, reason=error.message)
            continue
        if not any(_statement(key) in manifests for key in manifest.file_keys):
            yield _delivery(bucket, source, manifest, listed)


def _latest(manifests: Iterable[SourceObject]) -> SourceObject:
    """The manifest that decides: executions may keep their own in folders, the shallowest is the latest one's."""
    return min(manifests, key=lambda source: (source.key.count("/"), -source.modified_at.timestamp(), source.key))


def _manifests_of(bucket: Bucket, place: Place) -> list[SourceObject]:
    for folder in dict.fromkeys((place.manifest_folder, place.manifest_root)):
        found = [source for source in _manifests_below(bucket, folder) if _statement(source.key) == place.statement]
        if found:
            return found
    return []


def _manifests_below(bucket: Bucket, folder: str) -> Iterator[SourceObject]:
    return (source for source in bucket.list_objects(folder) if _is_bill(source.key) and is_manifest(source.key))


def _read(bucket: Bucket, source: SourceObject) -> Manifest:
    try:
        content = bucket.read_small(source, bucket.settings.max_manifest_bytes)
    except SourceLimitError as error:
        raise SourceLimitError(error.message, advice="raise BILLFOLD_MAX_MANIFEST_BYTES if that is right") from error
    return parse_manifest(content, source.key)


def _delivery(bucket: Bucket, source: SourceObject, manifest: Manifest, listed: _Listing) -> Delivery:
    place = place_of(source.key)
    export_path = place.export_path if place else folder_of(source.key).rstrip("/") or file_name(source.key)
    return Delivery(
        bucket=bucket.name,
        export_path=export_path,
        export_name=manifest.export_name or export_path.rpartition("/")[2],
        period=manifest.period,
        files=_named_files(bucket, manifest, listed),
        delivered_at=source.modified_at,
        manifest=source,
        execution_id=manifest.execution_id,
    )


def _named_files(bucket: Bucket, manifest: Manifest, listed: _Listing) -> tuple[SourceObject, ...]:
    keys = manifest.file_keys
    if is_local(bucket.name):
        # A report without a prefix has keys that start with a slash; no path below a folder does.
        keys = tuple(key.lstrip("/") for key in keys)
    elif manifest.bucket not in (None, bucket.name):
        # A bill that was replicated into a central bucket. Its files are looked for here alone: whatever a manifest
        # names, a client's bill is read from the client's bucket.
        _log.info("manifest_of_another_bucket", key=manifest.key, names=manifest.bucket, bucket=bucket.name)
    found = {**listed, **_look_up(bucket, [key for key in keys if key not in listed])}
    missing = [key for key in keys if key not in found]
    if missing:
        shown = ", ".join(missing[:_SHOWN_KEYS]) + (", …" if len(missing) > _SHOWN_KEYS else "")
        raise ManifestError(
            f"names {len(missing)} of {len(keys)} files that are not in {bucket.name}: {shown}",
            file=manifest.key,
            advice="a local folder must be the root of the bucket" if is_local(bucket.name) else "",
        )
    return tuple(found[key] for key in keys)


def _look_up(bucket: Bucket, keys: Iterable[str]) -> dict[str, SourceObject]:
    """What the bucket has of these keys: one listing for each folder, as narrow as their names allow."""
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        folders[folder_of(key)].append(key)
    # A prefix of keys is one of characters, not of path components.
    prefixes = [os.path.commonprefix(together) for together in folders.values()]  # noqa: RUF071
    return {source.key: source for prefix in prefixes for source in bucket.list_objects(prefix)}


def _standalone(source: SourceObject) -> Delivery:
    return Delivery(
        bucket=source.bucket,
        export_path=source.key,
        export_name=source.key,
        period=period_of(source.key),
        files=(source,),
        delivered_at=source.modified_at,
    )


def _statement(key: str) -> _Statement | None:
    place = place_of(key)
    return place.statement if place else None


def _is_bill(key: str) -> bool:
    visible = not any(part.startswith(".") for part in key.split("/"))
    return visible and (is_manifest(key) or is_data_file(key))


def _order(delivery: Delivery) -> tuple[date, str]:
    # What only the content can date comes last.
    return (delivery.period.starts_on if delivery.period else date.max, delivery.export_path)
