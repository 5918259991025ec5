"""The columns of a delivery, from its manifest or from a few bytes of a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from billfold.aws.file_header import HEADER_BYTES, read_headers, read_manifest_columns
from billfold.transform.columns import describe_columns, detect_format

TREES = ["legacy-cur", "cur2-csv", "cur2-parquet", "focus12", "focus10", "noid-duplicates"]


def headers_of(content: bytes) -> tuple[str, ...] | None:
    """The headers as they are read from S3: the beginning at once, other parts as they are asked for."""

    def read_part(part: str) -> bytes:
        return content[-int(part.removeprefix("bytes=-")) :]

    return read_headers(content[:HEADER_BYTES], len(content), read_part)


@pytest.mark.parametrize("tree", TREES)
def test_manifest_and_file_tell_the_same_columns_and_they_are_enough(shared_samples: Path, tree: str) -> None:
    root = shared_samples / tree
    manifest = next(path for path in sorted(root.rglob("*.json")) if path.name.endswith("anifest.json"))
    listed = read_manifest_columns(manifest.read_bytes())
    [data, *_] = sorted(path for path in root.rglob("*") if path.name.endswith((".gz", ".parquet")))

    headers = headers_of(data.read_bytes())

    assert headers
    assert headers == listed
    describe_columns(headers, detect_format(headers, file="x"), file="x")


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        pytest.param(b"\xef\xbb\xbfa,b\r\n1,2\r\n", ("a", "b"), id="plain, with a BOM"),
        pytest.param(gzip.compress(b'"a,b",c\n1,2\n', mtime=0), ("a,b", "c"), id="gzip, with quotes"),
        pytest.param(b"a,b", ("a", "b"), id="a header alone"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"PAR1 cut off", None, id="Parquet that is cut off"),
        pytest.param(b"PK\x03\x04 a zip", None, id="zip"),
        pytest.param(b"\x1f\x8b no gzip", None, id="no gzip"),
        pytest.param(b"\xff\xfe\n", None, id="no text"),
    ],
)
def test_what_tells_no_header_is_left(content: bytes, headers: tuple[str, ...] | None) -> None:
    assert headers_of(content) == headers


def test_a_header_that_is_longer_than_what_was_read_is_left() -> None:
    assert headers_of(b"a," * HEADER_BYTES + b"\n") is None


@pytest.mark.parametrize(
    "document", [{}, {"columns": []}, {"columns": "a"}, {"columns": [1]}, {"columns": [{"name": 1}]}, []]
)
def test_a_manifest_without_columns_tells_none(document: object) -> None:
    assert read_manifest_columns(json.dumps(document).encode()) is None
