"""Which folder above a local path is treated as the bucket: the manifests at the path decide, then known folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from billfold.aws.claims import Statement, is_bill
from billfold.aws.keys import is_trick
from billfold.aws.layout import ROOT, Place, file_name, find_places, is_manifest
from billfold.aws.local_bucket import LocalBucket
from billfold.aws.local_copy import MANIFESTS_OF_EXPORT, find_local_files
from billfold.aws.manifest import Manifest, parse_manifest
from billfold.settings import Settings

# Below the folder of its manifest, a file is in a folder of its execution, or of a report's name, a year and a month.
_LEVELS_ABOVE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Home:
    """The folder that a manifest's delivery needs as its root; `is_whole` if its full keys are files below it."""

    folder: Path
    is_whole: bool


def root_of_folder(path: Path, settings: Settings, known: Collection[Path]) -> Path:
    """The folder itself or one above it: the root in which its manifests have their files, or a known folder."""
    homes = list(_homes_of_folder(path, settings))
    above = [home for home in homes if home.folder != path and path.is_relative_to(home.folder)]
    if above:
        # All of them hold the path, so the outermost holds the others too.
        root = min((home.folder for home in above), key=lambda folder: len(folder.parts))
        is_whole = any(home.is_whole for home in above)
        return root if is_whole else _nearest(root, known) or root
    nearest = _nearest(path, known)
    is_root = any(home.is_whole and home.folder == path for home in homes)
    return path if nearest is None or is_root else nearest


def root_of_file(path: Path, settings: Settings, known: Collection[Path]) -> Path:
    """The folder below which its manifest (or itself, as a manifest) has its files; else a known one, or its own."""
    if is_manifest(path.name):
        manifest, places = _parse(path, settings), find_places(_as_key(path))
        if manifest and not manifest.file_keys and places:
            # An empty delivery has no key to show it; the folder above its export's is the deepest that keeps its name.
            export = _as_path(places[0].export_path)
            return _nearest(export, known) or export.parent
        homes = [_home_of(path, settings)]
    else:
        homes = [home for home in _homes_of_data(path, settings) if path.is_relative_to(home.folder)]
    for home in homes:
        if home.is_whole:
            return home.folder
    least = homes[0].folder if homes else path.parent
    return _nearest(least, known) or least


def _homes_of_folder(path: Path, settings: Settings) -> Iterator[_Home]:
    manifests: set[Path] = set()
    statements: set[Statement] = set()
    names: set[str] = set()
    for key in _list_keys(path):
        if is_manifest(key):
            manifests.add(_as_path(key))
            continue
        names.add(file_name(key))
        for place in find_places(key):
            if place.statement not in statements:
                statements.add(place.statement)
                manifests.update(_manifests_of(place))
    for manifest in sorted(manifests):
        yield _home_of(manifest, settings)
    yield from _manifests_above(path.parent, names, settings)


def _homes_of_data(path: Path, settings: Settings) -> Iterator[_Home]:
    for place in find_places(_as_key(path)):
        for manifest in _manifests_of(place):
            yield _home_of(manifest, settings)
    yield from _manifests_above(path.parent.parent, {path.name}, settings)


def _home_of(path: Path, settings: Settings) -> _Home:
    manifest = _parse(path, settings)
    key = _as_key(path)
    if manifest and manifest.file_keys and not any(map(is_trick, manifest.file_keys)):
        found = find_local_files(key, manifest.file_keys, lambda each: _is_file(_as_path(each)))
        if found and not found.dropped:
            return _Home(folder=_as_path(found.base.rstrip("/")), is_whole=True)
    places = find_places(key)
    return _Home(folder=_as_path(places[0].export_path) if places else path.parent, is_whole=False)


def _manifests_above(folder: Path, names: AbstractSet[str], settings: Settings) -> Iterator[_Home]:
    """The manifests here or in a folder above that name a file with one of these names: it may have been moved."""
    for parent in (folder, *folder.parents)[:_LEVELS_ABOVE] if names else ():
        paths = (path for pattern in ("*-Manifest.json", *MANIFESTS_OF_EXPORT) for path in parent.glob(pattern))
        for path in _list_manifests(paths):
            manifest = _parse(path, settings)
            if manifest and not names.isdisjoint(map(file_name, manifest.file_keys)):
                yield _home_of(path, settings)


def _manifests_of(place: Place) -> Iterator[Path]:
    """The manifests of a place's statement, the shallowest first."""
    for folder in map(_as_path, dict.fromkeys((place.manifest_folder, place.manifest_root, place.period_folder))):
        yield from (path for path in _list_manifests(folder.rglob("*.json")) if _is_of(place, path))


def _is_of(place: Place, manifest: Path) -> bool:
    places = find_places(_as_key(manifest))
    return bool(places) and places[0].statement == place.statement


def _list_manifests(paths: Iterable[Path]) -> list[Path]:
    try:
        found = [path for path in paths if is_manifest(path.name)]
    except OSError:
        return []
    return sorted(found, key=lambda path: (len(path.parts), path))


def _list_keys(folder: Path) -> Iterator[str]:
    """What may be a bill below a folder, by its path."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if is_bill(name):
                yield _as_key(Path(parent, name))


def _parse(path: Path, settings: Settings) -> Manifest | None:
    folder = LocalBucket(path.parent, settings)
    try:
        return parse_manifest(folder.read_small(folder.head(path.name), settings.max_manifest_bytes), str(path))
    except Exception:
        # What is wrong with it is reported when it is resolved.
        return None


def _nearest(folder: Path, known: Collection[Path]) -> Path | None:
    """The folder itself or the nearest one above it that is known."""
    return next((root for root in (folder, *folder.parents) if root in known), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # The name is longer than this file system allows.
        return False


def _as_key(path: Path) -> str:
    # To the grammar of keys the whole file system is one bucket.
    return path.as_posix().lstrip("/")


def _as_path(key: str) -> Path:
    return Path("/") if key == ROOT else Path("/", key)
