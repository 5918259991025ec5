"""Both families of manifests, in every spelling that has been seen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from billfold.aws.manifest import Manifest, is_foreign, parse_manifest
from billfold.errors import ManifestError

LEGACY_KEY = "cur/acme/20231101-20231201/acme-Manifest.json"
EXPORT_KEY = "exports/acme/metadata/BILLING_PERIOD=2023-11/acme-Manifest.json"


def parsed(key: str = EXPORT_KEY, **fields: Any) -> Manifest:
    return parse_manifest(json.dumps(fields).encode(), key)


def test_a_legacy_manifest_is_read() -> None:
    manifest = parsed(
        LEGACY_KEY,
        assemblyId="b81e",
        reportName="acme",
        bucket="bills",
        billingPeriod={"start": "20231101T000000.000Z", "end": "20231201T000000.000Z"},
        reportKeys=["cur/acme/20231101-20231201/b81e/acme-1.csv.gz", "cur/acme/20231101-20231201/b81e/acme-2.csv.gz"],
    )

    assert manifest.file_keys == (
        "cur/acme/20231101-20231201/b81e/acme-1.csv.gz",
        "cur/acme/20231101-20231201/b81e/acme-2.csv.gz",
    )
    assert (manifest.bucket, manifest.export_name, manifest.execution_id) == ("bills", "acme", "b81e")
    assert str(manifest.period) == "2023-11"


@pytest.mark.parametrize(
    "entry",
    [
        "s3://bills/exports/acme/data/a%3D1.csv.gz",
        "arn:aws:s3:::bills/exports/acme/data/a%3D1.csv.gz",
        {"key": "s3://bills/exports/acme/data/a%3D1.csv.gz"},
        {"s3Uri": "s3://bills/exports/acme/data/a%3D1.csv.gz", "size": 1},
        {"Path": "s3://bills/exports/acme/data/a%3D1.csv.gz"},
    ],
)
def test_a_data_file_may_be_spelled_in_many_ways(entry: object) -> None:
    manifest = parsed(exportName="acme", executionId="e1", dataFiles=[entry])

    assert manifest.file_keys == ("exports/acme/data/a%3D1.csv.gz",)
    assert manifest.bucket == "bills"
    assert manifest.execution_id == "e1"


def test_a_bare_key_names_no_bucket() -> None:
    manifest = parsed(dataFiles=["exports/acme/data/a.csv.gz"])

    assert manifest.file_keys == ("exports/acme/data/a.csv.gz",)
    assert manifest.bucket is None


def test_a_manifest_without_a_period_takes_that_of_its_key() -> None:
    assert str(parsed(dataFiles=[]).period) == "2023-11"


def test_a_manifest_without_any_period_leaves_it_to_the_content() -> None:
    assert parsed("acme-Manifest.json", dataFiles=[]).period is None


def test_an_empty_list_is_an_empty_delivery() -> None:
    assert parsed(dataFiles=[]).file_keys == ()
    assert parsed(LEGACY_KEY, reportKeys=[]).file_keys == ()


def test_a_byte_order_mark_is_no_obstacle() -> None:
    assert parse_manifest(b'\xef\xbb\xbf{"dataFiles": ["a.csv"]}', EXPORT_KEY).file_keys == ("a.csv",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON"),
        (b'{"dataFiles": [', "line 1: is not JSON"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[" * 100_000, "is nested too deeply|JSON is nested too deeply|is not JSON"),
        (b"[]", "holds no JSON object"),
        (b"{}", "neither reportKeys nor dataFiles"),
        (b'{"dataFiles": null}', "is not a list"),
        (b'{"dataFiles": "a.csv"}', "is not a list"),
        (b'{"dataFiles": [""]}', "names no file"),
        (b'{"dataFiles": [7]}', "names no file"),
        (b'{"dataFiles": [{"size": 7}]}', "names no file"),
        (b'{"dataFiles": ["s3://bills"]}', "names no file"),
        (b'{"dataFiles": ["a.csv", "b.csv", "a.csv"]}', "names a file twice"),
        (b'{"dataFiles": ["s3://one/a.csv", "s3://two/b.csv"]}', "several buckets"),
        (b'{"dataFiles": [], "billingPeriod": {"start": "soon"}}', "no billing period"),
        (b'{"dataFiles": [], "billingPeriod": {"start": "2023-12-01T00:00:00.000Z"}}', "names the period 2023-12"),
    ],
)
def test_a_manifest_that_cannot_tell_its_files_is_refused_in_one_line(content: bytes, problem: str) -> None:
    with pytest.raises(ManifestError, match=problem) as caught:
        parse_manifest(content, EXPORT_KEY)

    assert str(caught.value).startswith(EXPORT_KEY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"exportName": "a\0b", "dataFiles": []},
        {"executionId": "\ud800", "dataFiles": []},
        {"dataFiles": ["a\0b.csv"]},
        {"dataFiles": ["s3://bills/\udfff.csv"]},
    ],
)
def test_what_no_table_can_hold_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="cannot be stored"):
        parsed(**fields)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"icons": []}', True),
        (b"[]", True),
        (b'{"DataFiles": "all"}', False),
        (b'{"reportKeys": []}', False),
        (b"{", False),
        (b"\xff\xfe", False),
    ],
)
def test_only_readable_json_without_files_is_another_programs(content: bytes, expected: bool) -> None:
    assert is_foreign(content) is expected
