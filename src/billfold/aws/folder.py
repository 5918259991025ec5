"""All deliveries of a folder: its statements, manifests outside every layout, and data files without a manifest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from billfold.aws.bucket import Bucket, address
from billfold.aws.claims import Claims, Statement, find_strays_above, is_bill, is_stray, shared_folder
from billfold.aws.current_manifest import OnRefused, current_manifests, find_refused_above, read_stray, refusing
from billfold.aws.delivery import Listing, find_delivery, keys_in, read_manifest, standalone
from billfold.aws.layout import file_name, find_places, folder_of, is_manifest
from billfold.aws.manifest import Manifest
from billfold.errors import SourceNotFoundError, UsageError
from billfold.model import Delivery, SourceObject
from billfold.period import BillingPeriod

# A limit on a folder's deliveries also limits its listing, because a user waits for it: to this many keys for each.
KEYS_PER_DELIVERY = 200


class LeaveOut(Protocol):
    """Decides which files are not bills; `takes_named` is whether it also decides about a file named by its own key."""

    takes_named: bool

    def __call__(self, bucket: Bucket, sources: Sequence[SourceObject]) -> set[str]:
        """The keys of the files that are not bills."""


def find_in_folder(
    bucket: Bucket,
    prefix: str,
    on_refused: OnRefused | None,
    since: BillingPeriod | None,
    max_deliveries: int | None,
    *,
    tolerate_newer_files: bool,
    leave_out: LeaveOut | None,
) -> list[Delivery]:
    listed = {source.key: source for source in _list(bucket, prefix, max_deliveries) if is_bill(source.key)}
    strays = [source for source in listed.values() if is_stray(source.key)]
    left_out = leave_out(bucket, strays) if leave_out else set()
    listed = {key: source for key, source in listed.items() if key not in left_out}
    strays = [source for source in strays if source.key not in left_out]
    manifests = current_manifests(bucket, prefix, listed.values(), on_refused)
    _refuse_more(bucket, prefix, len(manifests) + len(strays), max_deliveries)
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
    deliveries = [delivery for delivery in map(standalone, alone) if not is_before(delivery.period, since)]
    deliveries += folder.deliveries
    _refuse_more(bucket, prefix, len(deliveries), max_deliveries)
    return sorted(deliveries, key=_order)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A folder's deliveries as they are found, and what belongs to their manifests or to refused manifests."""

    bucket: Bucket
    listed: Listing
    on_refused: OnRefused | None
    since: BillingPeriod | None
    tolerate_newer_files: bool
    claims: Claims
    deliveries: list[Delivery] = field(default_factory=list)

    def add_statements(self, manifests: Mapping[Statement, SourceObject | None]) -> None:
        for (_, period), source in manifests.items():
            if source is None or is_before(period, self.since):
                continue
            with refusing(source.key, self.on_refused), self._claiming(source) as named:
                manifest = read_manifest(self.bucket, source)
                named.extend(keys_in(self.bucket, manifest))
                self.claims.keys.update(named)
                self._add(self._find(source, manifest))

    def add_strays(self, strays: Iterable[SourceObject], originals: Collection[str]) -> None:
        """Add what manifests outside every layout name, unless they are copies of manifests inside a layout."""
        for source in strays:
            with refusing(source.key, self.on_refused), self.claims.unless_refused(source):
                if (manifest := read_stray(self.bucket, source)) is None:
                    continue
                # Even if it is left out or refused, its files are not deliveries of their own.
                keys = keys_in(self.bucket, manifest)
                self.claims.keys.update(keys)
                if source.etag in originals or any(map(self.claims.has_statement_of, keys)):
                    # Files that were copied with it are not another bill.
                    self.claims.keys.update(folder_of(source.key) + file_name(key) for key in keys)
                elif not is_before(manifest.period, self.since):
                    delivery = self._find(source, manifest)
                    self._refuse_shared(source, delivery)
                    self._add(delivery)

    def add_strays_above(self, prefix: str, alone: Sequence[SourceObject]) -> None:
        """Add the deliveries of manifests outside every layout, in the folders above, that name any of these files."""
        for source in find_strays_above(self.bucket, prefix):
            with refusing(source.key, self.on_refused), self.claims.unless_refused(source):
                if (manifest := read_stray(self.bucket, source)) is None:
                    continue
                delivery = self._find(source, manifest)
                claims = Claims.of(delivery)
                if not any(claims.cover(each.key) for each in alone):
                    continue
                if is_before(delivery.period, self.since):
                    self.claims.join(claims)
                else:
                    self._add(delivery)

    def refuse_above(self, prefix: str, alone: Sequence[SourceObject]) -> None:
        """Claim these files if they may belong to a refused manifest of an export above."""
        above = folder_of(prefix[:-1])
        for source, error, claims in find_refused_above(
            self.bucket, above, tolerate_newer_files=self.tolerate_newer_files
        ):
            if any(claims.cover(each.key) for each in alone):
                self.claims.join(claims)
                with refusing(source.key, self.on_refused):
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
        """If the manifest is refused, claim what may belong to it. Fill the list with the keys that it names."""
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


def _list(bucket: Bucket, prefix: str, max_deliveries: int | None) -> Iterator[SourceObject]:
    for number, source in enumerate(bucket.list_objects(prefix)):
        _refuse_more(bucket, prefix, 1 + number // KEYS_PER_DELIVERY, max_deliveries)
        yield source


def _refuse_more(bucket: Bucket, prefix: str, count: int, max_deliveries: int | None) -> None:
    if max_deliveries is not None and count > max_deliveries:
        raise UsageError(
            f"{address(bucket.name, prefix)} holds too much for one request: at most"
            f" {max_deliveries} deliveries and {max_deliveries * KEYS_PER_DELIVERY} keys",
            advice="name a folder inside it, or a manifest; `billfold ingest` and the schedule have no such limit",
        )


def is_before(period: BillingPeriod | None, since: BillingPeriod | None) -> bool:
    return period is not None and since is not None and period < since


def _order(delivery: Delivery) -> tuple[date, str]:
    # Files whose month only their content shows come last.
    return (delivery.period.starts_on if delivery.period else date.max, delivery.export_path)
