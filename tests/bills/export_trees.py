"""Small exports as AWS lays them out, written below a folder that stands for a bucket."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

BUCKET = "example-billing-bucket"


def write(root: Path, key: str, content: bytes, *, age_minutes: int = 0) -> str:
    """Write one object, as old as asked, and return its key."""
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    written_at = 1_700_000_000 - 60 * age_minutes
    os.utime(path, (written_at, written_at))
    return key


def write_data(root: Path, *keys: str, cost: str = "0.1") -> list[str]:
    """Write a gzip CSV of one line item under each key."""
    content = gzip.compress(f"line_item_unblended_cost\n{cost}\n".encode(), mtime=0)
    return [write(root, key, content) for key in keys]


def write_export(
    root: Path,
    export_path: str = "exports/acme",
    period: str = "2023-11",
    *,
    chunks: int = 1,
    execution: str = "",
    latest: bool = True,
    bucket: str = BUCKET,
    age_minutes: int = 0,
) -> list[str]:
    """Write one delivery of a Data Export; with an execution in create-new mode, where `latest` adds the second
    manifest. Returns the data keys."""
    name = export_path.rpartition("/")[2]
    folder = f"BILLING_PERIOD={period}/"
    own = f"{folder}{execution}/" if execution else folder
    keys = [f"{export_path}/data/{own}{name}-{number:05d}.csv.gz" for number in range(1, chunks + 1)]
    write_data(root, *keys)
    manifest = {
        "exportName": name,
        "executionId": execution or "overwritten",
        "billingPeriod": {"start": f"{period}-01T00:00:00.000Z"},
        "dataFiles": [f"s3://{bucket}/{key}" for key in keys],
    }
    folders = {own, folder} if latest else {own}
    for place in folders:
        key = f"{export_path}/metadata/{place}{name}-Manifest.json"
        write(root, key, json.dumps(manifest).encode(), age_minutes=age_minutes)
    return keys


def write_report(
    root: Path,
    export_path: str = "cur/acme",
    folder: str = "20231101-20231201",
    *,
    assembly: str = "b81e",
    keys: list[str] | None = None,
    latest: bool = True,
) -> list[str]:
    """Write one delivery of a legacy report in create-new mode; returns the data keys."""
    name = export_path.rpartition("/")[2]
    if keys is None:
        keys = [f"{export_path}/{folder}/{assembly}/{name}-1.csv.gz"]
    write_data(root, *keys)
    manifest = {
        "assemblyId": assembly,
        "reportName": name,
        "bucket": BUCKET,
        "billingPeriod": {"start": f"{folder[:8]}T000000.000Z"},
        "reportKeys": keys,
    }
    write(root, f"{export_path}/{folder}/{assembly}/{name}-Manifest.json", json.dumps(manifest).encode())
    if latest:
        write(root, f"{export_path}/{folder}/{name}-Manifest.json", json.dumps(manifest).encode())
    return keys
