"""Line items as CUR 2.0 writes them, one by one, and deliveries made of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

LineItem = Mapping[str, str]

PAYER = "111122223333"
ACCOUNT = "444455556666"
PERIOD = "2026-05"
PLAN = f"arn:aws:savingsplans::{PAYER}:savingsplan/5f1d3c52"
RESERVATION = f"arn:aws:ec2:us-east-1:{PAYER}:reserved-instances/7c3a91d0"

_WRITTEN_AT = 1_780_000_000


def line_item(line_item_type: str = "Usage", cost: str = "1.25", **columns: str) -> dict[str, str]:
    """One line item; columns by their CUR 2.0 names replace or add to the few that every row has."""
    return {
        "bill_payer_account_id": PAYER,
        "bill_billing_period_start_date": f"{PERIOD}-01T00:00:00.000Z",
        "line_item_line_item_type": line_item_type,
        "line_item_unblended_cost": cost,
        "line_item_usage_start_date": f"{PERIOD}-03T04:00:00.000Z",
        "line_item_usage_end_date": f"{PERIOD}-03T05:00:00.000Z",
        "line_item_usage_account_id": ACCOUNT,
        "line_item_currency_code": "USD",
        "line_item_product_code": "AmazonEC2",
        **columns,
    }


def described(*costs: str, **columns: str) -> list[dict[str, str]]:
    """Usage line items of these costs, each told from the others by its description: item 1, item 2, …"""
    return [
        line_item(cost=cost, line_item_line_item_description=f"item {number}", **columns)
        for number, cost in enumerate(costs, start=1)
    ]


def as_csv(items: Sequence[LineItem], headers: Iterable[str] | None = None, *, line_end: str = "\n") -> bytes:
    """The line items as plain CSV; a column that an item lacks is empty."""
    names = list(headers) if headers is not None else list(dict.fromkeys(name for item in items for name in item))
    text = io.StringIO()
    # Python before 3.13 leaves a lone carriage return unquoted, which no reader could tell from a line's end.
    has_returns = any("\r" in value for item in items for value in item.values())
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL if has_returns else csv.QUOTE_MINIMAL)
    writer.writerow(names)
    writer.writerows([item.get(name, "") for name in names] for item in items)
    return text.getvalue().encode()


def write_delivery(
    root: Path,
    *contents: bytes,
    revision: int = 1,
    export_path: str = "exports/acme",
    period: str = PERIOD,
    ending: str = "csv.gz",
    bucket: str = "acme-bills",
) -> Path:
    """Write one delivery of a Data Export, a file for each content, and return its manifest's path.

    A higher revision was delivered later.
    """
    name = export_path.rpartition("/")[2]
    folder = f"BILLING_PERIOD={period}"
    keys = [f"{export_path}/data/{folder}/{name}-{number:05d}.{ending}" for number in range(1, len(contents) + 1)]
    for key, content in zip(keys, contents, strict=True):
        write_object(root, key, content, revision=revision)
    manifest = {
        "exportName": name,
        "executionId": f"execution-{revision}",
        "billingPeriod": {"start": f"{period}-01T00:00:00.000Z"},
        "dataFiles": [f"s3://{bucket}/{key}" for key in keys],
    }
    key = f"{export_path}/metadata/{folder}/{name}-Manifest.json"
    return write_object(root, key, json.dumps(manifest).encode(), revision=revision)


def write_object(root: Path, key: str, content: bytes, *, revision: int = 1) -> Path:
    """Write one object of a bucket, as late as its revision says."""
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    written_at = _WRITTEN_AT + 3600 * revision
    os.utime(path, (written_at, written_at))
    return path


def write_bill(
    root: Path, *files: Sequence[LineItem], headers: Iterable[str] | None = None, revision: int = 1, **options: str
) -> Path:
    """Write one delivery of line items as gzip CSV, one file for each sequence; all files have the same columns."""
    if headers is None:
        headers = dict.fromkeys(name for items in files for item in items for name in item)
    names = list(headers)
    contents = [gzip.compress(as_csv(items, names), mtime=0) for items in files]
    return write_delivery(root, *contents, revision=revision, **options)
