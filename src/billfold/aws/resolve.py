"""From a key to deliveries: which statements stand there, and which files are their current bill.

The manifest decides, never the listing: it is written last, and files of earlier deliveries may stay beside the
current ones. A data file that belongs to no manifest's statement is a delivery of its own.
"""

from __future__ import annotations

import structlog

from billfold.aws.bucket import Bucket, is_local
from billfold.aws.claims import Claims, find_strays_above, refuse_mixed
from billfold.aws.current_manifest import OnRefused, find_refused_above, latest_of, manifests_of, read_stray
from billfold.aws.delivery import find_delivery, keys_in, read_manifest, standalone
from billfold.aws.folder import LeaveOut, find_in_folder, is_before
from billfold.aws.layout import Place, find_places, folder_of, is_manifest
from billfold.errors import AccessDeniedError, SourceNotFoundError
from billfold.log import Event
from billfold.model import Delivery, SourceObject
from billfold.period import BillingPeriod

_log = structlog.get_logger(__name__)


def resolve(
    bucket: Bucket,
    key: str,
    *,
    on_refused: OnRefused | None = None,
    since: BillingPeriod | None = None,
    max_deliveries: int | None = None,
    tolerate_newer_files: bool = False,
    leave_out: LeaveOut | None = None,
) -> list[Delivery]:
    """The deliveries at a key, the oldest period first.

    A manifest means its delivery; a data file the delivery of its statement's manifest, else itself; a folder (empty,
    or ending with a slash, or with keys below it) the current delivery of each statement in it.

    Statements of months before `since` are left out; their manifests are not read if their keys show the month. Files
    whose month only their content shows stay in. Files that `leave_out` returns are not bills. A statement that cannot
    be resolved is reported to `on_refused` with its manifest's key and the error; without `on_refused` it is raised.

    Raises SourceNotFoundError if there is no bill at the key; ManifestError; TornDeliveryError if the next delivery is
    being written over one (unless `tolerate_newer_files`); UsageError for a folder of more than `max_deliveries`,
    before their manifests are read; and the errors of the bucket.
    """
    if key and not key.endswith("/"):
        source = _object_at(bucket, key)
        if source is not None:
            places = find_places(key)
            if places and is_before(places[0].period, since):
                return []
            if leave_out and leave_out.takes_named and leave_out(bucket, [source]):
                return []
            find = _by_manifest if is_manifest(key) else _by_data_file
            delivery = find(bucket, source, tolerate_newer_files=tolerate_newer_files)
            return [] if is_before(delivery.period, since) else [delivery]
        key += "/"
    return find_in_folder(
        bucket, key, on_refused, since, max_deliveries, tolerate_newer_files=tolerate_newer_files, leave_out=leave_out
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
    if is_local(bucket.name) and (places := find_places(source.key)):
        refuse_mixed(bucket, [source, *manifests_of(bucket, places[0])])
    return find_delivery(bucket, source, manifest, {}, tolerate_newer_files=tolerate_newer_files)


def _by_data_file(bucket: Bucket, source: SourceObject, *, tolerate_newer_files: bool) -> Delivery:
    """The delivery that a data file belongs to; an error of its manifest's is never the file's leave to stand alone."""
    for place in find_places(source.key):
        if manifests := manifests_of(bucket, place):
            return _by_manifests(bucket, source, place, manifests, tolerate_newer_files=tolerate_newer_files)
    above = find_refused_above(bucket, folder_of(source.key), tolerate_newer_files=tolerate_newer_files)
    for _, error, claims in above:
        if claims.cover(source.key):
            raise error
    for stray in find_strays_above(bucket, source.key):
        if manifest := read_stray(bucket, stray):
            delivery = find_delivery(bucket, stray, manifest, {}, tolerate_newer_files=tolerate_newer_files)
            if Claims.of(delivery).cover(source.key):
                return delivery
    return standalone(source)


def _by_manifests(
    bucket: Bucket, source: SourceObject, place: Place, manifests: list[SourceObject], *, tolerate_newer_files: bool
) -> Delivery:
    refuse_mixed(bucket, manifests)
    current = latest_of(manifests)
    manifest = read_manifest(bucket, current)
    if source.key not in keys_in(bucket, manifest):
        for other in manifests:
            # In create-new mode an earlier execution keeps its own manifest in a folder of its name.
            own = find_places(other.key)
            if other != current and place.execution and own and own[0].execution == place.execution:
                # It does not stand in for a current one that lacks files.
                find_delivery(bucket, current, manifest, {}, tolerate_newer_files=True)
                return _by_manifest(bucket, other, tolerate_newer_files=tolerate_newer_files)
        _log.info(Event.FILE_NOT_IN_MANIFEST, key=source.key, manifest=current.key)
    return find_delivery(bucket, current, manifest, {}, tolerate_newer_files=tolerate_newer_files)
