"""The grammar of the keys that AWS writes: which export, period and execution a key belongs to.

Sources: "AWS Cost and Usage Report: report delivery" and "AWS Data Exports: delivery" in the AWS documentation.

    legacy    <prefix>/<name>/yyyymmdd-yyyymmdd/[<assemblyId>/]<name>-1.csv.gz, <name>-Manifest.json
    Athena    <prefix>/<name>/<name>/year=2023/month=11/<name>-00001.snappy.parquet, manifest as in legacy
    exports   <prefix>/<export>/data/BILLING_PERIOD=2023-11/[<timestamp>-<executionId>/]<export>-00001.csv.gz
              <prefix>/<export>/metadata/BILLING_PERIOD=2023-11/[<timestamp>-<executionId>/]<export>-Manifest.json
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_plus

from billfold.period import BillingPeriod, parse_period

_DATA_EXPORT = re.compile(
    r"(?P<export>.+)/(?:data|metadata)/(?P<folder>(?i:billing_period)(?:=|%3[Dd])(?P<period>\d{4}-\d{2}))/"
    r"(?:(?P<execution>[^/]+)/)?.*",
    re.DOTALL,
)
_LEGACY = re.compile(
    r"(?P<export>.+)/(?P<folder>(?P<start>\d{8})-(?P<end>\d{8}))/(?:(?P<execution>[^/]+)/)?.*", re.DOTALL
)
_ATHENA = re.compile(
    r"(?P<export>(?:.+/)?(?P<name>[^/]+))/(?P=name)/year=(?P<year>\d{4})/month=(?P<month>\d{1,2})/.*", re.DOTALL
)
_ANY_PERIOD = re.compile(r"(?:^|/)(?i:billing_period)(?:=|%3[Dd])(?P<period>\d{4}-\d{2})(?:/|$)")
_DATA_SUFFIXES = (".csv", ".gz", ".zip", ".parquet")
# AWS writes these beside the bill's own manifest, for Redshift and QuickSight.
_FOREIGN_MANIFESTS = ("redshiftmanifest.json", "quicksightmanifest.json")
# A one-row table by which Athena learns whether a refresh is under way.
_STATUS_FOLDER = "cost_and_usage_data_status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a key stands: its statement, its execution if the key tells it, and where the statement's manifests are.

    `manifest_folder` is spelled as the key spells its period; `manifest_root` is the least folder that holds
    every spelling. Both end with a slash.
    """

    export_path: str
    period: BillingPeriod
    execution: str | None
    manifest_folder: str
    manifest_root: str

    @property
    def export_name(self) -> str:
        """What AWS calls the export, as far as the key tells."""
        return self.export_path.rpartition("/")[2]

    @property
    def statement(self) -> tuple[str, BillingPeriod]:
        """What identifies the statement inside its bucket."""
        return self.export_path, self.period


def place_of(key: str) -> Place | None:
    """The place of a data file or manifest in one of the layouts; None for a key that stands in none of them."""
    return _place_in_data_export(key) or _place_in_athena(key) or _place_in_legacy(key)


def period_of(key: str) -> BillingPeriod | None:
    """The billing period that a key tells, even where the rest of it is in no layout."""
    if place := place_of(key):
        return place.period
    match = _ANY_PERIOD.search(key)
    return parse_period(match["period"]) if match else None


def is_manifest(key: str) -> bool:
    """Whether the key's name is that of a bill's manifest, as `acme-Manifest.json` or `Manifest.json`."""
    name = file_name(key).lower()
    return name.endswith("manifest.json") and not name.endswith(_FOREIGN_MANIFESTS)


def is_data_file(key: str) -> bool:
    """Whether the key looks like a bill's data; only the content can tell whether it is one."""
    name = file_name(key).lower()
    hidden = name.startswith((".", "_"))
    return name.endswith(_DATA_SUFFIXES) and not hidden and f"/{_STATUS_FOLDER}/" not in f"/{key}"


def file_name(key: str) -> str:
    """The part of a key after its last slash."""
    return key.rpartition("/")[2]


def folder_of(key: str) -> str:
    """The part of a key up to its last slash and with it; empty at the bucket's root."""
    return key[: key.rfind("/") + 1]


def decode_event_key(key: str) -> str:
    """The key that an S3 event notification means: it is form-encoded once, so a literal `%3D` comes as `%253D`.

    EventBridge's "Object Created" events carry the key as it is and must not be decoded.
    """
    return unquote_plus(key)


def _place_in_data_export(key: str) -> Place | None:
    match = _DATA_EXPORT.fullmatch(key)
    period = parse_period(match["period"]) if match else None
    if match is None or period is None:
        return None
    root = f"{match['export']}/metadata/"
    return Place(
        export_path=match["export"],
        period=period,
        execution=match["execution"],
        manifest_folder=f"{root}{match['folder']}/",
        manifest_root=root,
    )


def _place_in_athena(key: str) -> Place | None:
    match = _ATHENA.fullmatch(key)
    period = parse_period(f"{match['year']}-{match['month']:0>2}") if match else None
    if match is None or period is None:
        return None
    folder = f"{match['export']}/{period.starts_on:%Y%m%d}-{period.ends_on:%Y%m%d}/"
    return Place(
        export_path=match["export"], period=period, execution=None, manifest_folder=folder, manifest_root=folder
    )


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
    )
