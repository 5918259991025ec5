"""Files beside bills that are not bills: recommendations, carbon, inventories, query results, logs, old CSVs.

A file is left out only if it is known not to be a bill: by its key if AWS names such files by a fixed grammar, else by
a few bytes of its content. A file in a bill's layout, or with a column or line item type of a bill, is never left out:
if it is damaged, its ingest says so. Nor is a file that shows nothing: an empty, truncated or encrypted one.

Sources: the table dictionary and "Understanding export delivery" of AWS Data Exports, and the user guides of Compute
Optimizer, S3 Storage Lens, S3 Inventory, Athena, and Detailed Billing Reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from billfold.aws.bucket import Bucket
from billfold.aws.file_header import is_parquet, read_manifest_columns, read_parquet_headers, unpack_beginning
from billfold.aws.foreign_json import skim_json
from billfold.aws.layout import file_name, find_places, is_manifest, period_of
from billfold.errors import SourceError, SourceUnavailableError
from billfold.model import SourceObject

# The first columns show whether a file is a bill; more is not read, and only the footer of Parquet.
_BEGINNING_BYTES = 64 * 2**10
# A header, a sentence or a separator line that a program has put before it, and the first rows.
_LINES = 5

_RECOMMENDATIONS = "cost optimization recommendations"
_CARBON = "carbon emissions"
_STORAGE_LENS = "S3 Storage Lens metrics"
_INVENTORY = "S3 Inventory"
_OLD_BILLING_CSV = "billing CSV of the reports before CUR"
_QUERY_RESULT = "Athena query result"
_OTHER_EXPORT = "data export of another table"
_OTHER_MANIFEST = "manifest of something else"
_OTHER_TABLE = "table without a column of a bill"

_KINDS_BY_KEY = (
    (re.compile(r"(?:^|/)AWSLogs/(?:o-[a-z0-9]+/)?(?:aws-account-id=)?\d{12}/"), "logs of AWS services"),
    (
        re.compile(r"(?:^|/)\d{12}-aws-(?:billing|cost-allocation)[\w-]*-\d{4}-\d{2}\.csv(?:\.zip|\.gz)?$"),
        _OLD_BILLING_CSV,
    ),
    (re.compile(r"(?:^|/)StorageLens/[^/]+/[^/]+/V_\d+/(?:reports|manifests)/"), _STORAGE_LENS),
)
# The partitions of the tables of Data Exports that are not bills; those of CUR 2.0 and FOCUS are `BILLING_PERIOD=`.
_MANIFESTS_BY_KEY = (
    (re.compile(r"(?i)/metadata/date=\d{4}-\d{2}-\d{2}/"), _RECOMMENDATIONS),
    (re.compile(r"(?i)/metadata/(?:(?:carbon_)?model_version=[^/]+/)?usage_period=[^/]+/"), _CARBON),
)
# Columns that only one kind of file has, without case and punctuation. `^` begins a name.
_KINDS_BY_COLUMNS = (
    (_RECOMMENDATIONS, ("recommendationid", "actiontype")),
    ("Compute Optimizer recommendations", ("^recommendationoptions",)),
    ("Compute Optimizer recommendations", ("^recommendationscount",)),
    (_CARBON, ("^totalmbmemissions",)),
    (_CARBON, ("^totallbmemissions",)),
    (_STORAGE_LENS, ("versionnumber", "configurationid", "reportdate")),
)
_OLD_BILLING_COLUMNS = frozenset({"recordtype", "linkedaccountid"})

# Columns that only a bill has, for CUR also without their category, as a spreadsheet or a query leaves them.
_BILL_COLUMNS = frozenset(
    "unblendedcost netunblendedcost blendedcost lineitemtype identitylineitemid identitytimeinterval billbilltype"
    " billpayeraccountid billinvoiceid billbillingentity billbillingperiodstartdate billbillingperiodenddate"
    " billedcost effectivecost contractedcost chargecategory chargeclass chargeperiodstart chargeperiodend"
    " billingperiodstart billingperiodend".split()
)
_BILL_COLUMN_START = "lineitem"
_LEGACY_COLUMN = re.compile(
    r"(?:identity|bill|lineItem|pricing|reservation|savingsPlan|resourceTags|costCategory|splitLineItem)/\S"
)
# A bill whose header is missing or renamed is recognized by its rows: a line item type and an account.
_BILL_VALUES = frozenset(
    "Usage DiscountedUsage SavingsPlanCoveredUsage SavingsPlanNegation SavingsPlanRecurringFee SavingsPlanUpfrontFee"
    " RIFee Fee Tax Credit Refund EdpDiscount BundledDiscount PrivateRateDiscount Anniversary".split()
)
_ACCOUNT_ID = re.compile(r"\d{12}")
_BILL_MANIFEST_NAMES = frozenset(
    "reportkeys datafiles reportname reportid assemblyid exportname exportarn executionid billingperiod".split()
)
_BINARY_KINDS = ((0, b"ORC", "ORC file"), (0, b"Obj\x01", "Avro file"), (257, b"ustar", "tar archive"))


def find_kind(bucket: Bucket, source: SourceObject) -> str | None:
    """The kind of file, worded for messages, if it is known not to be a bill; None if it may be one.

    Raises SourceUnavailableError if S3 is busy. A file that cannot be read for another reason may be a bill.
    """
    if kind := kind_of_key(source.key):
        return kind
    if find_places(source.key) or period_of(source.key) is not None:
        return None
    try:
        if is_manifest(source.key):
            return _kind_of_manifest(bucket, source)
        return _kind_of_data(bucket, source)
    except SourceUnavailableError:
        raise
    except SourceError:
        return None


def has_no_text(bucket: Bucket, source: SourceObject) -> bool:
    """Whether a file outside every layout cannot begin a bill: it is empty, or binary."""
    if find_places(source.key) or period_of(source.key) is not None or is_manifest(source.key):
        return False
    beginning = bucket.read_part(source, f"bytes=0-{_BEGINNING_BYTES - 1}") if source.size_bytes else b""
    content = unpack_beginning(beginning)
    return not is_parquet(beginning) and content == beginning and (not content.strip() or b"\0" in content)


def kind_of_key(key: str) -> str | None:
    """The kind of file, if the key alone shows that it is not a bill."""
    if find_places(key):
        return None
    kinds = (*_KINDS_BY_KEY, *_MANIFESTS_BY_KEY) if is_manifest(key) else _KINDS_BY_KEY
    return next((kind for pattern, kind in kinds if pattern.search(key)), None)


def _kind_of_manifest(bucket: Bucket, source: SourceObject) -> str | None:
    """The kind of manifest, if it belongs to another service or to a data export whose table is not a bill."""
    content = bucket.read_small(source, bucket.settings.max_manifest_bytes)
    document = skim_json(content)
    if document is None:
        return None
    # Data Exports and CUR name theirs `<export>-Manifest.json`.
    is_of_export = file_name(source.key).endswith("-Manifest.json")
    names = {str(name).lower(): value for name, value in document.items()} if isinstance(document, dict) else {}
    if not _BILL_MANIFEST_NAMES.intersection(names):
        if "fileschema" in names:
            return _INVENTORY
        if "reportfiles" in names or "reportschema" in names:
            return _STORAGE_LENS
        return None if is_of_export else _OTHER_MANIFEST
    if names.get("billingperiod") or "reportkeys" in names:
        return None
    headers = read_manifest_columns(content)
    if headers is not None:
        return _kind_of_columns(headers, _OTHER_EXPORT)
    return _kind_of_first_file(bucket, names.get("datafiles"))


def _kind_of_first_file(bucket: Bucket, files: Any) -> str | None:
    """The kind of a manifest's first data file, if it is at its key in this bucket."""
    first = files[0] if isinstance(files, list) and files else None
    if not isinstance(first, str):
        return None
    key = re.sub(r"^s3a?://[^/]+/", "", first).lstrip("/")
    if find_places(key) or period_of(key) is not None:
        return None
    kind = _kind_of_data(bucket, bucket.head(key))
    return _OTHER_EXPORT if kind == _OTHER_TABLE else kind


def _kind_of_data(bucket: Bucket, source: SourceObject) -> str | None:
    beginning = bucket.read_part(source, f"bytes=0-{_BEGINNING_BYTES - 1}") if source.size_bytes else b""
    if is_parquet(beginning):
        headers = read_parquet_headers(source.size_bytes, lambda part: bucket.read_part(source, part))
        kind = _kind_of_columns(headers, _OTHER_TABLE) if headers else None
    else:
        content = unpack_beginning(beginning)
        kind = _kind_of_content(content, is_packed=content != beginning)
    if kind is None and source.key.endswith(".csv") and _has_metadata(bucket, source.key):
        # Athena writes `<query id>.csv.metadata` beside each result: a query of a bill has a bill's columns.
        return _QUERY_RESULT
    return kind


def _has_metadata(bucket: Bucket, key: str) -> bool:
    try:
        bucket.head(f"{key}.metadata")
    except SourceUnavailableError:
        raise
    except SourceError:
        return False
    return True


def _kind_of_content(content: bytes, *, is_packed: bool) -> str | None:
    for offset, magic, kind in _BINARY_KINDS:
        if content[offset : offset + len(magic)] == magic:
            return kind
    # The beginning may end within a character.
    text = content.decode("utf-8-sig", errors="ignore")
    if not text.strip() or "\0" in text or len(text.encode()) < len(content) - 8:
        return None
    if text.lstrip()[0] in "{[":
        return "JSON file"
    if is_packed and "\n" not in text:
        # The archive is cut off within its first line: nothing shows what it is.
        return None
    rows = [re.split(r'[,;\t|"]+', line) for line in re.split(r"\r?\n|\r", text)[:_LINES]]
    if any(_BILL_VALUES.intersection(row) and any(map(_ACCOUNT_ID.fullmatch, row)) for row in rows):
        columns = {_plain(cell) for row in rows for cell in row}
        return _OLD_BILLING_CSV if columns >= _OLD_BILLING_COLUMNS else None
    return _kind_of_columns([cell for row in rows for cell in row], _OTHER_TABLE)


def _kind_of_columns(headers: Iterable[str], other: str) -> str | None:
    """The kind of file that has these columns, `other` if it is unknown; None if a column may be a bill's."""
    headers = list(headers)
    columns = {_plain(header) for header in headers}
    if columns >= _OLD_BILLING_COLUMNS:
        # Its costs have the same names as CUR's.
        return _OLD_BILLING_CSV
    if columns & _BILL_COLUMNS or any(column.startswith(_BILL_COLUMN_START) for column in columns):
        return None
    if any(map(_LEGACY_COLUMN.match, headers)):
        return None
    for kind, marks in _KINDS_BY_COLUMNS:
        if all(_has(columns, mark) for mark in marks):
            return kind
    return other


def _has(columns: Iterable[str], mark: str) -> bool:
    if mark.startswith("^"):
        return any(column.startswith(mark[1:]) for column in columns)
    return mark in columns


def _plain(header: str) -> str:
    return re.sub(r"[^0-9a-z]+", "", header.lower())
