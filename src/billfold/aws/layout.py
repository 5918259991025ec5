"""The grammar of the keys that AWS writes: which export, period and execution a key belongs to.

Sources: "AWS Cost and Usage Report: report delivery" and "AWS Data Exports: delivery" in the AWS documentation.

    legacy    <prefix>/<name>/yyyymmdd-yyyymmdd/[<assemblyId>/]<name>-1.csv.gz, <name>-Manifest.json
    Athena    <prefix>/<name>/<name>/year=2023/month=11/<name>-00001.snappy.parquet, manifest as in legacy
    exports   <prefix>/<export>/data/BILLING_PERIOD=2023-11/[<timestamp>-<executionId>/]<export>-00001.csv.gz
              <prefix>/<export>/metadata/BILLING_PERIOD=2023-11/[<timestamp>-<executionId>/]<export>-Manifest.json
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote_plus

from billfold.period import BillingPeriod, parse_period

_DATA_EXPORT = re.compile(
    r"(?P<export>.+)/(?P<kind>(?i:data|metadata))/(?P<folder>(?i:billing_period)(?:=|%3[Dd])(?P<period>\d{4}-\d{2}))/"
    r"(?:(?P<execution>[^/]+)/)?.*",
    re.DOTALL,
)
_LEGACY = re.compile(
    r"(?P<export>.+)/(?P<folder>(?P<start>\d{8})-(?P<end>\d{8}))/(?:(?P<execution>[^/]+)/)?.*", re.DOTALL
)
_ATHENA = re.compile(
    r"(?P<export>(?:.+/)?(?P<name>[^/]+))/(?P=name)/year=(?P<year>\d{4})/month=(?P<month>\d{1,2})/.*", re.DOTALL
)
# Copies of an export's inner folders: without `data`, or the folder that an Athena report has in between, above them.
_BARE_DATA_EXPORT = re.compile(
    r"(?P<export>.+)/(?P<folder>(?i:billing_period)(?:=|%3[Dd])(?P<period>\d{4}-\d{2}))/(?:(?P<execution>[^/]+)/)?.*",
    re.DOTALL,
)
_BARE_ATHENA = re.compile(r"(?P<above>.+)/year=(?P<year>\d{4})/month=(?P<month>\d{1,2})/.*", re.DOTALL)
_ANY_PERIOD = re.compile(r"(?:^|/)(?i:billing_period)(?:=|%3[Dd])(?P<period>\d{4}-\d{2})(?:/|$)")
# The time at the beginning of an execution's folder name; a copy on Windows cannot keep its colons.
_EXECUTION_TIME = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d)[^\dZ]?(\d\d)[^\dZ]?(\d\d)(?:[.,](\d{1,9}))?\D")
_DATA_SUFFIXES = (".csv", ".gz", ".zip", ".parquet")
# AWS writes these beside the bill's own manifest, for Redshift and QuickSight.
_FOREIGN_MANIFESTS = ("redshiftmanifest.json", "quicksightmanifest.json")
# A one-row table that shows Athena whether a refresh is running.
_STATUS_FOLDER = "cost_and_usage_data_status"
# The path of an export whose folder is the bucket's root: a local copy may lack the prefix and the name.
ROOT = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of a key: its statement, its execution if the key shows it, and where the statement's manifests are.

    `manifest_folder` spells the period as the key does; `manifest_root` is the deepest folder that holds every
    spelling. `period_folder` is the period's folder that holds the key. All end with a slash.
    """

    export_path: str
    period: BillingPeriod
    execution: str | None
    manifest_folder: str
    manifest_root: str
    period_folder: str
    # Whether its period's folder is neither in `data` nor in `metadata`, as in a copy of the inner folders.
    is_bare: bool = False

    @property
    def export_name(self) -> str:
        """AWS's name of the export, as far as the key shows it."""
        return self.export_path.rpartition("/")[2]

    @property
    def statement(self) -> tuple[str, BillingPeriod]:
        """What identifies the statement inside its bucket."""
        return self.export_path, self.period


def place_of(key: str) -> Place | None:
    """The place of a data file or manifest in one of the layouts; None for a key outside all of them."""
    return _place_in_data_export(key) or _place_in_athena(key) or _place_in_legacy(key)


def work_of(bucket: str, key: str) -> str:
    """What no two workers may do at once for the key of a bucket: its statement, or else the key itself."""
    place = place_of(key)
    return f"{bucket} {place.export_path} {place.period}" if place else f"{bucket} {key}"


def find_places(key: str) -> tuple[Place, ...]:
    """The possible places of a key in a bucket, or in a copy of any folder above an export, best first.

    A copy may begin at the export's folder, whose path is then ROOT, or keep only the period's folder. If `place_of`
    knows a place, it is the first one.
    """
    # An invented folder above the root replaces the folders that the copy lacks.
    rooted = f"{ROOT}/{key}"
    places = [place_of(rooted), _place_in_bare_data_export(rooted)]
    if not is_manifest(key):
        places += _places_in_bare_athena(rooted)
    found: dict[tuple[str, BillingPeriod], Place] = {}
    for place in filter(None, places):
        found.setdefault(place.statement, place)
    return tuple(map(_unrooted, found.values()))


def period_of(key: str) -> BillingPeriod | None:
    """The billing period that a key shows, even if the rest of it matches no layout."""
    # A folder for a year alone shows when something was used, which may not be a billing period.
    if place := place_of(f"{ROOT}/{key}"):
        return place.period
    match = _ANY_PERIOD.search(key)
    return parse_period(match["period"]) if match else None


def time_of_execution(key: str) -> str | None:
    """The time at the beginning of the execution's folder name, for comparison with others; None without one."""
    places = find_places(key)
    match = _EXECUTION_TIME.match(places[0].execution or "") if places else None
    return "".join(match.group(1, 2, 3, 4, 5, 6)) + (match[7] or "") if match else None


def is_manifest(key: str) -> bool:
    """Whether the key's name is that of a bill's manifest, as `acme-Manifest.json` or `Manifest.json`."""
    name = file_name(key).lower()
    return name.endswith("manifest.json") and not name.endswith(_FOREIGN_MANIFESTS)


def is_data_file(key: str) -> bool:
    """Whether the key looks like a data file; only the content shows whether it is a bill."""
    name = file_name(key).lower()
    hidden = name.startswith((".", "_"))
    return name.endswith(_DATA_SUFFIXES) and not hidden and f"/{_STATUS_FOLDER}/" not in f"/{key}"


def file_name(key: str) -> str:
    """The part of a key after its last slash."""
    return key.rpartition("/")[2]


def folder_of(key: str) -> str:
    """The part of a key up to and including its last slash; empty at the bucket's root."""
    return key[: key.rfind("/") + 1]


def folders_above(key: str) -> Iterator[str]:
    """The folders that hold a key, the nearest first; the root's is empty. For a folder, its own key comes first."""
    folder = folder_of(key)
    while folder:
        yield folder
        folder = folder_of(folder[:-1])
    yield ""


def decode_event_key(key: str) -> str:
    """The key in an S3 event notification: it is form-encoded once, so a literal `%3D` arrives as `%253D`.

    EventBridge's "Object Created" events carry the key as it is and must not be decoded.
    """
    return unquote_plus(key)


def _place_in_data_export(key: str) -> Place | None:
    match = _DATA_EXPORT.fullmatch(key)
    period = parse_period(match["period"]) if match else None
    if match is None or period is None:
        return None
    root = f"{match['export']}/{_metadata_beside(match['kind'])}/"
    return Place(
        export_path=match["export"],
        period=period,
        execution=match["execution"],
        manifest_folder=f"{root}{match['folder']}/",
        manifest_root=root,
        period_folder=key[: match.end("folder") + 1],
    )


def _metadata_beside(kind: str) -> str:
    """The folder of the manifests beside `data`, in the same case: a copy may have changed it."""
    if kind.lower() == "metadata":
        return kind
    if kind.islower():
        return "metadata"
    return "METADATA" if kind.isupper() else "Metadata"


def _place_in_athena(key: str) -> Place | None:
    match = _ATHENA.fullmatch(key)
    period = parse_period(f"{match['year']}-{match['month']:0>2}") if match else None
    if match is None or period is None:
        return None
    return _athena_place(match["export"], period, key[: match.end("month") + 1])


def _place_in_legacy(key: str) -> Place | None:
    match = _LEGACY.fullmatch(key)
    period = parse_period(match["start"]) if match else None
    if match is None or period is None or match["end"] != f"{period.ends_on:%Y%m%d}":
        return None
    folder = f"{match['export']}/{match['folder']}/"
    return Place(
        export_path=match["export"],
        period=period,
        execution=match["execution"],
        manifest_folder=folder,
        manifest_root=folder,
        period_folder=folder,
    )


def _place_in_bare_data_export(key: str) -> Place | None:
    match = _BARE_DATA_EXPORT.fullmatch(key)
    period = parse_period(match["period"]) if match else None
    # Everything below `data` or `metadata` belongs to the folder above them.
    if match is None or period is None or match["export"].lower().endswith(("/data", "/metadata")):
        return None
    folder = key[: match.end("folder") + 1]
    return Place(
        export_path=match["export"],
        period=period,
        execution=match["execution"],
        manifest_folder=folder,
        manifest_root=folder,
        period_folder=folder,
        is_bare=True,
    )


def _places_in_bare_athena(key: str) -> Iterator[Place]:
    """The place in the export above the folder that holds the years, and in an export that begins at that folder."""
    match = _BARE_ATHENA.fullmatch(key)
    period = parse_period(f"{match['year']}-{match['month']:0>2}") if match else None
    if match is None or period is None:
        return
    folder = key[: match.end("month") + 1]
    if above := match["above"].rpartition("/")[0]:
        yield _athena_place(above, period, folder)
    yield _athena_place(match["above"], period, folder)


def _athena_place(export_path: str, period: BillingPeriod, period_folder: str) -> Place:
    folder = f"{export_path}/{period.starts_on:%Y%m%d}-{period.ends_on:%Y%m%d}/"
    return Place(
        export_path=export_path,
        period=period,
        execution=None,
        manifest_folder=folder,
        manifest_root=folder,
        period_folder=period_folder,
    )


def _unrooted(place: Place) -> Place:
    """The place without the invented folder above it."""
    rooted = f"{ROOT}/"
    return replace(
        place,
        export_path=place.export_path.removeprefix(rooted) or "/",
        manifest_folder=place.manifest_folder.removeprefix(rooted),
        manifest_root=place.manifest_root.removeprefix(rooted),
        period_folder=place.period_folder.removeprefix(rooted),
    )
