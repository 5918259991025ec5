"""From a key to deliveries: which statements stand there, and which files are their current bill.

The manifest decides, never the listing: it is written last, and files of earlier deliveries may stay beside the
current ones. A data file that belongs to no manifest's statement is a delivery of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import structlog

from billfold.aws.bucket import Bucket, address, is_local
from billfold.aws.claims import Claims, Statement, find_strays_above, is_bill, is_stray, refuse_mixed, shared_folder
from billfold.aws.delivery import Listing, find_delivery, keys_in, read_content, read_manifest, standalone
from billfold.aws.file_times import find_time_fault
from billfold.aws.layout import Place, file_name, find_places, folder_of, folders_above, is_manifest, time_of_execution
from billfold.aws.local_bucket import LocalBucket
from billfold.aws.local_copy import MANIFESTS_OF_EXPORT
from billfold.aws.manifest import Manifest, is_foreign, parse_manifest
from billfold.errors import AccessDeniedError, BillfoldError, SourceNotFoundError, UsageError, as_internal
from billfold.log import Event
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
            places = find_places(key)
            if places and _is_before(places[0].period, since):
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
    if is_local(bucket.name) and (places := find_places(source.key)):
        refuse_mixed(bucket, [source, *_manifests_of(bucket, places[0])])
    return find_delivery(bucket, source, manifest, {}, tolerate_newer_files=tolerate_newer_files)


def _by_data_file(bucket: Bucket, source: SourceObject, *, tolerate_newer_files: bool) -> Delivery:
    """The delivery that a data file belongs to; an error of its manifest's is never the file's leave to stand alone."""
    for place in find_places(source.key):
        if manifests := _manifests_of(bucket, place):
            return _by_manifests(bucket, source, place, manifests, tolerate_newer_files=tolerate_newer_files)
    above = _find_refused_above(bucket, folder_of(source.key), tolerate_newer_files=tolerate_newer_files)
    for _, error, claims in above:
        if claims.cover(source.key):
            raise error
    for stray in find_strays_above(bucket, source.key):
        if manifest := _read_stray(bucket, stray):
            delivery = find_delivery(bucket, stray, manifest, {}, tolerate_newer_files=tolerate_newer_files)
            if Claims.of(delivery).cover(source.key):
                return delivery
    return standalone(source)


def _find_refused_above(
    bucket: Bucket, folder: str, *, tolerate_newer_files: bool
) -> Iterator[tuple[SourceObject, BillfoldError, Claims]]:
    """The refused manifests of exports that a local folder is below of, with what may be theirs."""
    if not isinstance(bucket, LocalBucket):
        return
    found: defaultdict[Statement, list[SourceObject]] = defaultdict(list)
    for above in folders_above(folder):
        for key in bucket.find(above, MANIFESTS_OF_EXPORT):
            if (statement := _statement(key)) and is_manifest(key):
                found[statement].append(bucket.head(key))
    for manifests in found.values():
        current, claims, named = _latest(manifests), Claims(), list[str]()
        try:
            manifest = read_manifest(bucket, current)
            named.extend(manifest.file_keys)
            find_delivery(bucket, current, manifest, {}, tolerate_newer_files=tolerate_newer_files)
        except BillfoldError as error:
            claims.add_refused(find_places(current.key)[0], named)
            yield current, error, claims


def _by_manifests(
    bucket: Bucket, source: SourceObject, place: Place, manifests: list[SourceObject], *, tolerate_newer_files: bool
) -> Delivery:
    refuse_mixed(bucket, manifests)
    current = _latest(manifests)
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
    listed = {source.key: source for source in _list(bucket, prefix, most) if is_bill(source.key)}
    strays = [source for source in listed.values() if is_stray(source.key)]
    left_out = leave_out(bucket, strays) if leave_out else set()
    listed = {key: source for key, source in listed.items() if key not in left_out}
    strays = [source for source in strays if source.key not in left_out]
    manifests = _current_manifests(bucket, prefix, listed.values(), on_refused)
    _refuse_more(bucket, prefix, len(manifests) + len(strays), most)
    folder = _Folder(
        bucket=bucket,
        listed=listed,
        on_refused=on_refused,
        since=since,
        tolerate_newer_files=tolerate_newer_files,
        claims=Claims(statements=set(manifests)),
    )
    folder.add_statements(manifests)
    folder.add_strays(strays, originals={source.etag for source in manifests.values() if source})
    if prefix and (alone := folder.list_alone()):
        folder.add_strays_above(prefix, alone)
        folder.refuse_above(prefix, alone)
    alone = folder.list_alone()
    if leave_out and alone:
        others = leave_out(bucket, alone)
        left_out |= others
        alone = [source for source in alone if source.key not in others]
    if not (folder.claims or alone):
        raise _nothing_there(bucket, prefix, sorted(left_out))
    deliveries = [delivery for delivery in map(standalone, alone) if not _is_before(delivery.period, since)]
    deliveries += folder.deliveries
    _refuse_more(bucket, prefix, len(deliveries), most)
    return sorted(deliveries, key=_order)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A folder's deliveries as they are found, and what belongs to their manifests or to refused ones."""

    bucket: Bucket
    listed: Listing
    on_refused: OnRefused | None
    since: BillingPeriod | None
    tolerate_newer_files: bool
    claims: Claims
    deliveries: list[Delivery] = field(default_factory=list)

    def add_statements(self, manifests: Mapping[Statement, SourceObject | None]) -> None:
        for (_, period), source in manifests.items():
            if source is None or _is_before(period, self.since):
                continue
            with _refusing(source.key, self.on_refused), self._claiming(source) as named:
                manifest = read_manifest(self.bucket, source)
                named.extend(keys_in(self.bucket, manifest))
                self.claims.keys.update(named)
                self._add(self._find(source, manifest))

    def add_strays(self, strays: Iterable[SourceObject], originals: Collection[str]) -> None:
        """Add what manifests outside of every layout name, unless they are copies of manifests inside."""
        for source in strays:
            with _refusing(source.key, self.on_refused), self.claims.unless_refused(source):
                if (manifest := _read_stray(self.bucket, source)) is None:
                    continue
                # Left out or refused, its files are no deliveries of their own.
                keys = keys_in(self.bucket, manifest)
                self.claims.keys.update(keys)
                if source.etag in originals or any(map(self.claims.has_statement_of, keys)):
                    # What was copied with it is no other bill.
                    self.claims.keys.update(folder_of(source.key) + file_name(key) for key in keys)
                elif not _is_before(manifest.period, self.since):
                    delivery = self._find(source, manifest)
                    self._refuse_shared(source, delivery)
                    self._add(delivery)

    def add_strays_above(self, prefix: str, alone: Sequence[SourceObject]) -> None:
        """Add what manifests outside of every layout, in the folders above, name of these files."""
        for source in find_strays_above(self.bucket, prefix):
            with _refusing(source.key, self.on_refused), self.claims.unless_refused(source):
                if (manifest := _read_stray(self.bucket, source)) is None:
                    continue
                delivery = self._find(source, manifest)
                claims = Claims.of(delivery)
                if not any(claims.cover(each.key) for each in alone):
                    continue
                if _is_before(delivery.period, self.since):
                    self.claims.join(claims)
                else:
                    self._add(delivery)

    def refuse_above(self, prefix: str, alone: Sequence[SourceObject]) -> None:
        """Claim these files where they may be of a refused manifest of an export above."""
        above = folder_of(prefix[:-1])
        for source, error, claims in _find_refused_above(
            self.bucket, above, tolerate_newer_files=self.tolerate_newer_files
        ):
            if any(claims.cover(each.key) for each in alone):
                self.claims.join(claims)
                with _refusing(source.key, self.on_refused):
                    raise error

    def list_alone(self) -> list[SourceObject]:
        """The data files that belong to no manifest."""
        return [
            source
            for source in self.listed.values()
            if not is_manifest(source.key) and not self.claims.cover(source.key)
        ]

    @contextmanager
    def _claiming(self, source: SourceObject) -> Iterator[list[str]]:
        """Claim what may be of the manifest if it is refused; takes the keys that it names."""
        named: list[str] = []
        try:
            yield named
        except Exception:
            for place in find_places(source.key)[:1]:
                self.claims.add_refused(place, named)
            raise

    def _find(self, source: SourceObject, manifest: Manifest) -> Delivery:
        return find_delivery(self.bucket, source, manifest, self.listed, tolerate_newer_files=self.tolerate_newer_files)

    def _refuse_shared(self, source: SourceObject, delivery: Delivery) -> None:
        for other in self.deliveries:
            if other.manifest and (other.export_path, other.period) == (delivery.export_path, delivery.period):
                raise shared_folder(source, other.manifest, other.export_name)

    def _add(self, delivery: Delivery) -> None:
        self.claims.join(Claims.of(delivery))
        self.deliveries.append(delivery)


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
    """Hand an error of one statement over, foreseen or not, so that the others go on; without a taker it is raised."""
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


def _is_before(period: BillingPeriod | None, since: BillingPeriod | None) -> bool:
    return period is not None and since is not None and period < since


def _current_manifests(
    bucket: Bucket, prefix: str, listed: Iterable[SourceObject], on_refused: OnRefused | None
) -> dict[Statement, SourceObject | None]:
    """For each statement below the prefix the manifest that decides; None where several exports share its folder."""
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
    # The prefix may be a folder of data alone, as `exports/acme/data/`: its manifests stand beside it.
    for root, statements in wanted.items():
        for source in _manifests_below(bucket, root):
            statement = _statement(source.key)
            if statement is not None and statement in statements:
                candidates[statement].append(source)
    current: dict[Statement, SourceObject | None] = {}
    for statement, manifests in candidates.items():
        current[statement] = None
        latest = _latest(manifests)
        with _refusing(latest.key, on_refused):
            refuse_mixed(bucket, manifests)
            current[statement] = latest
    return current


def _read_stray(bucket: Bucket, source: SourceObject) -> Manifest | None:
    """The manifest outside of every layout; None for another program's."""
    content = read_content(bucket, source)
    if is_foreign(content):
        _log.warning(Event.MANIFEST_LEFT_OUT, key=source.key, reason="it lists no files of a bill")
        return None
    return parse_manifest(content, source.key)


def _latest(manifests: Iterable[SourceObject]) -> SourceObject:
    """The manifest that decides: executions may keep their own in folders, the shallowest is the latest one's.

    Of folders that begin with the time of their execution the latest counts: a copy may change the files' own times.
    """
    found = list(manifests)
    depth = min(source.key.count("/") for source in found)
    found = sorted((source for source in found if source.key.count("/") == depth), key=lambda source: source.key)
    times = {source.key: time_of_execution(source.key) for source in found}
    if all(times.values()):
        latest = max(filter(None, times.values()))
        found = [source for source in found if times[source.key] == latest]
    # A time that cannot be true comes after no other; of equal times the first key counts.
    return max(found, key=lambda source: (find_time_fault(source) is None, source.modified_at))


def _manifests_of(bucket: Bucket, place: Place) -> list[SourceObject]:
    # A copy may have merged the folders of data and manifests.
    for folder in dict.fromkeys((place.manifest_folder, place.manifest_root, place.period_folder)):
        found = [source for source in _manifests_below(bucket, folder) if _statement(source.key) == place.statement]
        if found:
            return found
    return []


def _manifests_below(bucket: Bucket, folder: str) -> Iterator[SourceObject]:
    return (source for source in bucket.list_objects(folder) if is_bill(source.key) and is_manifest(source.key))


def _statement(key: str) -> Statement | None:
    places = find_places(key)
    return places[0].statement if places else None


def _order(delivery: Delivery) -> tuple[date, str]:
    # What only the content can date comes last.
    return (delivery.period.starts_on if delivery.period else date.max, delivery.export_path)
