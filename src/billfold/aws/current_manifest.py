"""Which manifest decides: each statement's latest one, wherever its layout or a copy keeps it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import structlog

from billfold.aws.bucket import Bucket
from billfold.aws.claims import Claims, Statement, is_bill, refuse_mixed
from billfold.aws.delivery import find_delivery, read_content, read_manifest
from billfold.aws.file_times import find_time_fault
from billfold.aws.layout import Place, find_places, folders_above, is_manifest, time_of_execution
from billfold.aws.local_bucket import LocalBucket
from billfold.aws.local_copy import MANIFESTS_OF_EXPORT
from billfold.aws.manifest import Manifest, is_foreign, parse_manifest
from billfold.errors import BillfoldError, as_internal
from billfold.log import Event
from billfold.model import SourceObject

OnRefused = Callable[[str, BillfoldError], None]

_log = structlog.get_logger(__name__)


def current_manifests(
    bucket: Bucket, prefix: str, listed: Iterable[SourceObject], on_refused: OnRefused | None
) -> dict[Statement, SourceObject | None]:
    """For each statement below the prefix, the manifest that decides; None if several exports share its folder."""
    candidates: defaultdict[Statement, list[SourceObject]] = defaultdict(list)
    wanted: defaultdict[str, set[Statement]] = defaultdict(set)
    for source in listed:
        places = find_places(source.key)
        if is_manifest(source.key):
            for place in places[:1]:
                candidates[place.statement].append(source)
            continue
        for place in places:
            if not place.manifest_folder.startswith(prefix):
                wanted[place.manifest_root].add(place.statement)
    # The prefix may be a folder that holds only data, as `exports/acme/data/`: its manifests are beside it.
    for root, statements in wanted.items():
        for source in _manifests_below(bucket, root):
            statement = statement_of(source.key)
            if statement is not None and statement in statements:
                candidates[statement].append(source)
    current: dict[Statement, SourceObject | None] = {}
    for statement, manifests in candidates.items():
        current[statement] = None
        latest = latest_of(manifests)
        with refusing(latest.key, on_refused):
            refuse_mixed(bucket, manifests)
            current[statement] = latest
    return current


def latest_of(manifests: Iterable[SourceObject]) -> SourceObject:
    """The manifest that decides. Executions may keep manifests in their own folders; the shallowest is the latest.

    If the folders begin with the time of their execution, the latest wins: a copy may change the files' own times.
    """
    found = list(manifests)
    depth = min(source.key.count("/") for source in found)
    found = sorted((source for source in found if source.key.count("/") == depth), key=lambda source: source.key)
    times = {source.key: time_of_execution(source.key) for source in found}
    if all(times.values()):
        latest = max(filter(None, times.values()))
        found = [source for source in found if times[source.key] == latest]
    # An impossible time never wins; of equal times the first key wins.
    return max(found, key=lambda source: (find_time_fault(source) is None, source.modified_at))


def manifests_of(bucket: Bucket, place: Place) -> list[SourceObject]:
    # A copy may have merged the folders of data and manifests.
    for folder in dict.fromkeys((place.manifest_folder, place.manifest_root, place.period_folder)):
        found = [source for source in _manifests_below(bucket, folder) if statement_of(source.key) == place.statement]
        if found:
            return found
    return []


def _manifests_below(bucket: Bucket, folder: str) -> Iterator[SourceObject]:
    return (source for source in bucket.list_objects(folder) if is_bill(source.key) and is_manifest(source.key))


def statement_of(key: str) -> Statement | None:
    places = find_places(key)
    return places[0].statement if places else None


def read_stray(bucket: Bucket, source: SourceObject) -> Manifest | None:
    """The manifest outside every layout; None if it belongs to another program."""
    content = read_content(bucket, source)
    if is_foreign(content):
        _log.warning(Event.MANIFEST_LEFT_OUT, key=source.key, reason="it lists no billing files")
        return None
    return parse_manifest(content, source.key)


def find_refused_above(
    bucket: Bucket, folder: str, *, tolerate_newer_files: bool
) -> Iterator[tuple[SourceObject, BillfoldError, Claims]]:
    """The refused manifests of the exports above a local folder, each with its error and what may belong to it."""
    if not isinstance(bucket, LocalBucket):
        return
    found: defaultdict[Statement, list[SourceObject]] = defaultdict(list)
    for above in folders_above(folder):
        for key in bucket.find(above, MANIFESTS_OF_EXPORT):
            if (statement := statement_of(key)) and is_manifest(key):
                found[statement].append(bucket.head(key))
    for manifests in found.values():
        current, claims, named = latest_of(manifests), Claims(), list[str]()
        try:
            manifest = read_manifest(bucket, current)
            named.extend(manifest.file_keys)
            find_delivery(bucket, current, manifest, {}, tolerate_newer_files=tolerate_newer_files)
        except BillfoldError as error:
            claims.add_refused(find_places(current.key)[0], named)
            yield current, error, claims


@contextmanager
def refusing(key: str, on_refused: OnRefused | None) -> Iterator[None]:
    """Report any error of one statement to `on_refused`, so that the others go on; without it, raise the error."""
    try:
        yield
    except BillfoldError as error:
        if on_refused is None:
            raise
        on_refused(key, error)
    except Exception as error:
        if on_refused is None:
            raise
        _log.exception(Event.INTERNAL_ERROR, key=key)
        on_refused(key, as_internal(error))
