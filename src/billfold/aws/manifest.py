"""The manifest of a delivery: which files AWS wrote, for which export, period and execution.

AWS writes two families: legacy reports (`reportKeys`, `assemblyId`) and Data Exports (`dataFiles`, `executionId`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from billfold.aws.foreign_json import UnreadableJsonError, read_json, skim_json
from billfold.aws.keys import MAX_KEY_BYTES, is_clean
from billfold.aws.layout import find_places, period_of
from billfold.errors import ManifestError
from billfold.period import BillingPeriod, parse_period

_FILE_LISTS = ("datafiles", "reportkeys")
# The names under which an object in `dataFiles` has been seen to hold its key, lower-cased.
_FILE_NAMES = ("key", "s3key", "s3uri", "uri", "path", "s3path", "location", "filename", "name")
_URI_SCHEMES = ("s3://", "s3a://", "arn:aws:s3:::")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest's content. `bucket` is the one it names, which may not be the one it is in; `file_keys` are unique."""

    key: str
    file_keys: tuple[str, ...]
    bucket: str | None
    export_name: str | None
    period: BillingPeriod | None
    execution_id: str | None


def parse_manifest(content: bytes, key: str) -> Manifest:
    """The manifest at `key`; raises ManifestError if it does not show which files are the delivery.

    An empty list of files is an empty delivery; a missing list is an error.
    """
    document = _document(content, key)
    locations = [_location(entry, key) for entry in _files(document, key)]
    file_keys = tuple(file_key for _, file_key in locations)
    texts = {name: _text(document, name) for name in ("exportname", "reportname", "executionid", "assemblyid")}
    unclean = [text for text in (*file_keys, *texts.values()) if text and not is_clean(text)]
    if unclean:
        raise ManifestError("holds characters that cannot be stored", file=key, value=unclean[0])
    long = [file_key for file_key in file_keys if len(file_key.encode()) > MAX_KEY_BYTES]
    if long:
        raise ManifestError(
            f"names a file whose key is longer than S3's {MAX_KEY_BYTES} bytes", file=key, value=long[0]
        )
    twice = [file_key for file_key, count in Counter(file_keys).items() if count > 1]
    if twice:
        raise ManifestError("names a file twice", file=key, value=twice[0])
    return Manifest(
        key=key,
        file_keys=file_keys,
        bucket=_bucket([bucket for bucket, _ in locations if bucket], document, key),
        export_name=texts["exportname"] or texts["reportname"],
        period=_period(document, key),
        execution_id=texts["executionid"] or texts["assemblyid"],
    )


def is_foreign(content: bytes) -> bool:
    """Whether this is readable JSON that lists no billing files: another program's manifest."""
    document = skim_json(content)
    if document is None:
        return False
    return not (isinstance(document, dict) and any(name.lower() in _FILE_LISTS for name in document))


def _document(content: bytes, key: str) -> Mapping[str, object]:
    try:
        document = read_json(content)
    except UnreadableJsonError as error:
        raise ManifestError(error.reason, file=key, line=error.line) from error
    if not isinstance(document, dict):
        raise ManifestError("is not a manifest: it holds no JSON object", file=key)
    names = Counter(name.lower() for name in document)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ManifestError("names a member twice, in different case", file=key, value=twice[0])
    return {name.lower(): value for name, value in document.items()}


def _files(document: Mapping[str, object], key: str) -> list[object]:
    present = [document[name] for name in _FILE_LISTS if name in document]
    if not present:
        raise ManifestError("names no files: it has neither reportKeys nor dataFiles", file=key)
    files = next((files for files in present if files), present[0])
    if not isinstance(files, list):
        raise ManifestError("names no files: reportKeys or dataFiles is not a list", file=key)
    return files


def _location(entry: object, key: str) -> tuple[str | None, str]:
    """The bucket, if the entry names it, and the key. The key is taken literally: a `%3D` in it stays."""
    if isinstance(entry, dict):
        fields = {str(name).lower(): value for name, value in entry.items()}
        entry = next((fields[name] for name in _FILE_NAMES if fields.get(name)), None)
    if not isinstance(entry, str) or not entry:
        raise ManifestError("holds an entry that names no file", file=key, value=str(entry))
    for scheme in _URI_SCHEMES:
        if entry.lower().startswith(scheme):
            bucket, _, file_key = entry[len(scheme) :].partition("/")
            if not bucket or not file_key:
                raise ManifestError("holds an entry that names no file", file=key, value=entry)
            return bucket, file_key
    return None, entry


def _bucket(named: list[str], document: Mapping[str, object], key: str) -> str | None:
    if len(set(named)) > 1:
        raise ManifestError("names files in several buckets", file=key, value=", ".join(sorted(set(named))))
    return named[0] if named else _text(document, "bucket")


def _period(document: Mapping[str, object], key: str) -> BillingPeriod | None:
    stated = document.get("billingperiod")
    if isinstance(stated, dict):
        stated = stated.get("start")
    of_key = period_of(key)
    if not stated:
        return of_key
    period = parse_period(str(stated))
    if period is None:
        raise ManifestError("names no billing period in a known format", file=key, value=str(stated))
    if of_key is not None and of_key != period and find_places(key):
        raise ManifestError(f"names the period {period}, but is in the folder of {of_key}", file=key)
    return period


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None
