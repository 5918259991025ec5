"""Where the files of a manifest are in a local copy of its bucket, or of a folder above its export.

A manifest names files by their full keys. A copy of a folder, as `aws s3 sync` makes it, lacks the first parts of the
keys. So one folder of the copy, the base, replaces the missing parts: it holds a tail of every key, and all tails lack
the same number of parts. Either all files are found like this or none: a file of the same name elsewhere may belong to
another execution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from billfold.aws.layout import ROOT, find_places, folder_of, folders_above

# Where the manifests of an export are below its folder, as patterns of paths.
MANIFESTS_OF_EXPORT = tuple(
    f"{folder}/{name}"
    for folder in ("[Mm][Ee][Tt][Aa][Dd][Aa][Tt][Aa]/*", "[0-9]*-[0-9]*")
    for name in ("*-Manifest.json", "*/*-Manifest.json")
)

# Whether there is a file at a local key.
Holds = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFiles:
    """The local keys of a manifest's files, in its order, and how many leading parts of its keys they lack.

    `base` is the folder that replaces these parts: it ends with a slash, or is empty.
    """

    base: str
    dropped: int
    keys: tuple[str, ...]


def find_local_files(manifest_key: str, file_keys: Sequence[str], holds: Holds) -> LocalFiles | None:
    """The files of the manifest at a local key; None unless all of them are there.

    Full keys come first, then the longest tails, then the nearest of the folders above the manifest.
    """
    for candidate in _candidates(manifest_key, file_keys):
        if all(_belongs(manifest_key, full, key) and holds(key) for full, key in _pairs(file_keys, candidate)):
            return candidate
    return None


def list_missing(manifest_key: str, file_keys: Sequence[str], holds: Holds) -> list[str]:
    """The keys whose files are missing below the base that has most of the files."""
    fewest = list(file_keys)
    for candidate in _candidates(manifest_key, file_keys):
        missing = [
            full for full, key in _pairs(file_keys, candidate) if not (_belongs(manifest_key, full, key) and holds(key))
        ]
        fewest = min(fewest, missing, key=len)
    return fewest


def as_path(key: str) -> str:
    """The key as a path below a folder spells it: no empty parts, as in keys below a prefix that ends with a slash."""
    return "/".join(_parts(key))


def _candidates(manifest_key: str, file_keys: Sequence[str]) -> Iterator[LocalFiles]:
    keys = [_parts(key) for key in file_keys]
    in_layout = bool(find_places(manifest_key))
    for dropped in range(min(map(_most_dropped, keys), default=0) + 1):
        for base in folders_above(manifest_key):
            # A manifest outside every layout covers only what is below its own folder.
            if dropped and not in_layout and base != folder_of(manifest_key):
                continue
            found = tuple(base + "/".join(parts[dropped:]) for parts in keys)
            # Two keys that differ only in the missing parts would be one file.
            if len(set(found)) == len(found):
                yield LocalFiles(base=base, dropped=dropped, keys=found)


def _pairs(file_keys: Sequence[str], candidate: LocalFiles) -> Iterator[tuple[str, str]]:
    return zip(file_keys, candidate.keys, strict=True)


def _most_dropped(parts: Sequence[str]) -> int:
    """How many leading parts a tail may lack: it keeps the period's folder, and with it the execution's."""
    places = find_places("/".join(parts))
    if not places:
        return 0
    folder = _parts(places[0].period_folder)
    is_month = len(folder) > 1 and folder[-2].startswith("year=") and folder[-1].startswith("month=")
    return len(folder) - (2 if is_month else 1)


def _belongs(manifest_key: str, full_key: str, key: str) -> bool:
    """Whether a file at a local key is in the folder of the manifest's own export, if both match a layout.

    Another export beside it, or another copy of it, has files of the same names.
    """
    manifest_places, full_places = find_places(manifest_key), find_places(as_path(full_key))
    if not manifest_places or not full_places:
        return True
    export, parts = _location(manifest_places[0].export_path), _parts(key)
    own = len(_parts(full_key)) - len(_location(full_places[0].export_path))
    # A tail may begin below the export's folder; then its base replaces that folder.
    kept = len(parts) - len(export)
    return parts[: len(export)] == export and 0 < kept <= own and parts[-kept:] == _parts(full_key)[-kept:]


def _parts(key: str) -> list[str]:
    return [part for part in key.split("/") if part]


def _location(export_path: str) -> list[str]:
    return [] if export_path == ROOT else _parts(export_path)
