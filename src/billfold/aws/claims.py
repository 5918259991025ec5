"""What belongs to a manifest. Such a file is never a bill of its own, even if the manifest is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from billfold.aws.bucket import Bucket, address, is_local
from billfold.aws.delivery import read_manifest
from billfold.aws.layout import ROOT, Place, file_name, find_places, folder_of, folders_above, is_data_file, is_manifest
from billfold.errors import AccessDeniedError, InputError, ManifestError
from billfold.model import Delivery, SourceObject
from billfold.period import BillingPeriod

# What identifies a statement inside its bucket: the path of its export, and the month.
Statement = tuple[str, BillingPeriod]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The keys that manifests name, the places of their statements, and folders with all below them.

    A refused manifest also claims what is below the folder of its export (which ends with a slash, or is empty) and
    belongs to its month or has the name of one of its files: files may have been moved.
    """

    statements: set[Statement] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    refused_months: set[tuple[str, BillingPeriod]] = field(default_factory=set)
    refused_names: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Its files, and other files in the same period folders, where parts of earlier deliveries remain."""
        keys = {file.key for file in delivery.files}
        folders = {places[0].period_folder for key in keys if (places := find_places(key))}
        return cls(keys=keys, folders=folders)

    def __bool__(self) -> bool:
        return any((self.statements, self.keys, self.folders, self.refused_months, self.refused_names))

    def join(self, others: Claims) -> None:
        """Add the claims of the others."""
        self.statements.update(others.statements)
        self.keys.update(others.keys)
        self.folders.update(others.folders)
        self.refused_months.update(others.refused_months)
        self.refused_names.update(others.refused_names)

    def cover(self, key: str) -> bool:
        """Whether the file at a key belongs to one of the manifests."""
        if key in self.keys or self.has_statement_of(key):
            return True
        periods, name = {place.period for place in find_places(key)}, file_name(key)
        return any(
            folder in self.folders
            or (folder, name) in self.refused_names
            or any((folder, period) in self.refused_months for period in periods)
            for folder in folders_above(key)
        )

    def has_statement_of(self, key: str) -> bool:
        """Whether the key is in the place of one of the statements."""
        return any(place.statement in self.statements for place in find_places(key))

    def add_refused(self, place: Place, file_keys: Iterable[str]) -> None:
        """Claim what may belong to the refused manifest at a place; `file_keys` are those that could be read.

        If only its period's folder shows where it is, the folder above may be `metadata` under another name.
        """
        folder = "" if place.export_path == ROOT else f"{place.export_path}/"
        if place.is_bare and folder:
            folder = folder_of(folder[:-1])
        self.refused_months.add((folder, place.period))
        self.refused_names.update((folder, file_name(key)) for key in file_keys)

    @contextmanager
    def unless_refused(self, stray: SourceObject) -> Iterator[None]:
        """Claim the folder of a refused manifest outside every layout: its files can only be there."""
        try:
            yield
        except Exception:
            self.folders.add(folder_of(stray.key))
            raise


def is_bill(key: str) -> bool:
    """Whether the key is that of a manifest or a data file, and not hidden."""
    visible = not any(part.startswith(".") for part in key.split("/"))
    return visible and (is_manifest(key) or is_data_file(key))


def is_stray(key: str) -> bool:
    """Whether the key is that of a manifest outside every layout."""
    return key.endswith("-Manifest.json") and not find_places(key)


def find_strays_above(bucket: Bucket, key: str) -> Iterator[SourceObject]:
    """The manifests outside every layout in the folders above a key, the nearest first."""
    above = folder_of(key.removesuffix("/"))
    for folder in folders_above(above) if above or key else ():
        try:
            found = [source for source in bucket.list_folder(folder) if is_bill(source.key) and is_stray(source.key)]
        except AccessDeniedError:
            # The client's folder ends here, or listing is not allowed.
            return
        yield from found


def refuse_mixed(bucket: Bucket, manifests: Sequence[SourceObject]) -> None:
    """Raise ManifestError if copies of several exports share a folder: nothing shows which export a file belongs to."""
    if not is_local(bucket.name) or len({file_name(source.key) for source in manifests}) < 2:
        return
    names: dict[str, SourceObject] = {}
    for source in manifests:
        try:
            manifest = read_manifest(bucket, source)
        except InputError:
            continue
        if manifest.export_name:
            names.setdefault(manifest.export_name, source)
    if len(names) > 1:
        (_, one), (other_name, other), *_ = sorted(names.items())
        raise shared_folder(one, other, other_name)


def shared_folder(manifest: SourceObject, other: SourceObject, other_name: str) -> ManifestError:
    """The error for a manifest in another export's folder: the two would be one statement."""
    return ManifestError(
        f"shares its folder with the manifest of another export, {other_name}: {address(other.bucket, other.key)}",
        file=manifest.key,
        advice="copy each export into a folder of its own",
    )
