"""From a key to deliveries: which statements stand there, and which files are their current bill.

The manifest decides, never the listing: it is written last, and files of earlier deliveries may stay beside the
current ones. A data file that belongs to no manifest's statement is a delivery of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Protocol

import structlog

from billfold.errors import AccessDeniedError, BillfoldError, ManifestError, SourceNotFoundError, UsageError
from billfold.exports.bucket import Bucket, address
from billfold.exports.delivery import Listing, find_delivery, keys_in, read_manifest, standalone
from billfold.exports.layout import Place, is_data_file, is_manifest, place_of
from billfold.exports.manifest import Manifest
from billfold.model import Delivery, SourceObject
from billfold.period import BillingPeriod

# Where a folder's deliveries are limited, somebody waits for its listing too: so many keys are looked through for each.
KEYS_PER_DELIVERY = 200

OnRefused = Callable[[str, BillfoldError], None]


class LeaveOut(Protocol):
    """Decides which files are not bills; `takes_named` is whether it does so for one that is named by itself."""

    takes_named: bool

    def __call__(self, bucket: Bucket, sources: Sequence[SourceObject]) -> set[str]:
        """The keys of those that are not."""


_Statement = tuple[str, BillingPeriod]
_log = structlog.get_logger(__name__)


def resolve(
    bucket: Bucket,
    key: str,
    *,
    on_refused: OnRefused | None = None,
    since: BillingPeriod | None = None,
    most: int | None = None,
    tolerate_newer_files: bool = False,
    leave_out: LeaveOut | None = None,
) -> list[Delivery]:
    """The deliveries that a key means, the oldest period first.

    A manifest means its delivery, a data file that of its statement's manifest or else itself, and a folder (empty,
    or ending with a slash, or with keys below it) the current delivery of every statement in it. Statements of months
    before `since` are left out, without reading their manifests where their keys tell the month; what only the content
    can date stays in. What `leave_out` knows not to be a bill is none. A statement that cannot be resolved fails all,
    unless `on_refused` takes its manifest's key and the error. Raises SourceNotFoundError where no bill stands at the
    key, ManifestError, TornDeliveryError where the next delivery is being written over one (unless
    `tolerate_newer_files`), UsageError for a folder of more than `most` deliveries, before it reads their manifests,
    and the errors of the bucket.
    """
    if key and not key.endswith("/"):
        source = _object_at(bucket, key)
        if source is not None:
            place = place_of(key)
            if place and _is_before(place.period, since):
                return []
            if leave_out and leave_out.takes_named and leave_out(bucket, [source]):
                return []
            find = _by_manifest if is_manifest(key) else _by_data_file
            delivery = find(bucket, source, tolerate_newer_files=tolerate_newer_files)
            return [] if _is_before(delivery.period, since) else [delivery]
        key += "/"
    return _by_folder(
        bucket, key, on_refused, since, most, tolerate_newer_files=tolerate_newer_files, leave_out=leave_out
    )


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


def _by_manifest(bucket: Bucket, source: SourceObject, *, tolerate_newer_files: bool) -> Delivery:
    manifest = read_manifest(bucket, source)
    return find_delivery(bucket, source, manifest, {}, tolerate_newer_files=tolerate_newer_files)


def _by_data_file(bucket: Bucket, source: SourceObject, *, tolerate_newer_files: bool) -> Delivery:
    place = place_of(source.key)
    manifests = _manifests_of(bucket, place) if place else []
    if place is None or not manifests:
        return standalone(source)
    current = _latest(manifests)
    manifest = read_manifest(bucket, current)
    if source.key not in keys_in(bucket, manifest):
        for other in manifests:
            # In create-new mode an earlier execution keeps its own manifest in a folder of its name.
            own = place_of(other.key)
            if other != current and place.execution and own and own.execution == place.execution:
                return _by_manifest(bucket, other, tolerate_newer_files=tolerate_newer_files)
        _log.info("file_not_in_manifest", key=source.key, manifest=current.key)
    return find_delivery(bucket, current, manifest, {}, tolerate_newer_files=tolerate_newer_files)


def _by_folder(
    bucket: Bucket,
    prefix: str,
    on_refused: OnRefused | None,
    since: BillingPeriod | None,
    most: int | None,
    *,
    tolerate_newer_files: bool,
    leave_out: LeaveOut | None,
) -> list[Delivery]:
    listed = {source.key: source for source in _list(bucket, prefix, most) if _is_bill(source.key)}
    left_out = leave_out(bucket, [each for each in listed.values() if _is_stray(each.key)]) if leave_out else set()
    listed = {key: source for key, source in listed.items() if key not in left_out}
    manifests = _current_manifests(bucket, prefix, listed.values())
    _refuse_more(bucket, prefix, len(manifests) + sum(map(_is_stray, listed)), most)
    deliveries: list[Delivery] = []
    named: set[str] = set()
    for (_, period), source in manifests.items():
        if _is_before(period, since):
            continue
        with _refusing(source.key, on_refused):
            manifest = read_manifest(bucket, source)
            named.update(keys_in(bucket, manifest))
            deliveries.append(
                find_delivery(bucket, source, manifest, listed, tolerate_newer_files=tolerate_newer_files)
            )
    strays = list(_strays(bucket, listed, manifests, on_refused))
    for source, manifest in strays:
        # Left out or refused, its files are no deliveries of their own.
        named.update(keys_in(bucket, manifest))
        if _is_before(manifest.period, since):
            continue
        with _refusing(source.key, on_refused):
            deliveries.append(
                find_delivery(bucket, source, manifest, listed, tolerate_newer_files=tolerate_newer_files)
            )
    alone = [
        standalone(source)
        for source in listed.values()
        if not is_manifest(source.key) and source.key not in named and _statement(source.key) not in manifests
    ]
    if leave_out and alone:
        others = leave_out(bucket, [delivery.files[0] for delivery in alone])
        left_out |= others
        alone = [delivery for delivery in alone if delivery.export_path not in others]
    if not (manifests or strays or alone):
        raise _nothing_there(bucket, prefix, sorted(left_out))
    deliveries += [delivery for delivery in alone if not _is_before(delivery.period, since)]
    _refuse_more(bucket, prefix, len(deliveries), most)
    return sorted(deliveries, key=_order)


def _nothing_there(bucket: Bucket, prefix: str, left_out: Sequence[str]) -> SourceNotFoundError:
    message = f"no billing export at {address(bucket.name, prefix)}"
    if not left_out:
        return SourceNotFoundError(message, advice="check the key or folder, and its case")
    return SourceNotFoundError(
        f"{message}: none of its {len(left_out)} data files and manifests is a bill (such as {left_out[0]})",
        advice="check the key or folder; to see what is wrong with one file, ingest it by its own key",
    )


def _list(bucket: Bucket, prefix: str, most: int | None) -> Iterator[SourceObject]:
    for number, source in enumerate(bucket.list_objects(prefix)):
        _refuse_more(bucket, prefix, 1 + number // KEYS_PER_DELIVERY, most)
        yield source


def _refuse_more(bucket: Bucket, prefix: str, count: int, most: int | None) -> None:
    if most is not None and count > most:
        raise UsageError(
            f"{address(bucket.name, prefix)} holds more than can be asked for at once:"
            f" {most} deliveries, among {most * KEYS_PER_DELIVERY} keys",
            advice="name a folder within it, or a manifest; `billfold ingest` and the schedule take all of it",
        )


@contextmanager
def _refusing(key: str, on_refused: OnRefused | None) -> Iterator[None]:
    """Hand an error of one statement over, so that the others go on; without a taker it goes up."""
    try:
        yield
    except BillfoldError as error:
        if on_refused is None:
            raise
        on_refused(key, error)


def _is_before(period: BillingPeriod | None, since: BillingPeriod | None) -> bool:
    return period is not None and since is not None and period < since


def _current_manifests(bucket: Bucket, prefix: str, listed: Iterable[SourceObject]) -> dict[_Statement, SourceObject]:
    """For each statement that has a file or a manifest below the prefix, the manifest that decides."""
    candidates: defaultdict[_Statement, list[SourceObject]] = defaultdict(list)
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
            if statement is not None and statement in statements:
                candidates[statement].append(source)
    return {statement: _latest(manifests) for statement, manifests in candidates.items()}


def _strays(
    bucket: Bucket, listed: Listing, manifests: Mapping[_Statement, SourceObject], on_refused: OnRefused | None
) -> Iterator[tuple[SourceObject, Manifest]]:
    """The manifests that stand outside of every layout, unless their statement has one inside."""
    for source in filter(lambda each: _is_stray(each.key), listed.values()):
        with _refusing(source.key, on_refused):
            try:
                manifest = read_manifest(bucket, source)
            except ManifestError as error:
                _log.warning("manifest_left_out", key=source.key, reason=error.message)
                continue
            if not any(_statement(key) in manifests for key in manifest.file_keys):
                yield source, manifest


def _is_stray(key: str) -> bool:
    return key.endswith("-Manifest.json") and place_of(key) is None


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


def _statement(key: str) -> _Statement | None:
    place = place_of(key)
    return place.statement if place else None


def _is_bill(key: str) -> bool:
    visible = not any(part.startswith(".") for part in key.split("/"))
    return visible and (is_manifest(key) or is_data_file(key))


def _order(delivery: Delivery) -> tuple[date, str]:
    # What only the content can date comes last.
    return (delivery.period.starts_on if delivery.period else date.max, delivery.export_path)
