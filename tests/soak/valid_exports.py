"""Small valid exports in every format that Billfold reads, from one sample bill, with manifests as AWS writes them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as parquet

from billfold.period import BillingPeriod
from billfold.transform.sample_bill import MINIMUM_LINE_ITEMS, SampleBill, write_sample_bill

BUCKET = "sample-bucket"
PERIOD = "2026-05"
ROW_COUNT = 12

# What every bill needs, and a column of each kind beside it; the sample has 130, which only takes time.
_CUR2_COLUMNS = (
    "bill_payer_account_id",
    "bill_billing_period_start_date",
    "identity_line_item_id",
    "line_item_currency_code",
    "line_item_line_item_description",
    "line_item_line_item_type",
    "line_item_product_code",
    "line_item_resource_id",
    "line_item_unblended_cost",
    "line_item_usage_account_id",
    "line_item_usage_amount",
    "line_item_usage_end_date",
    "line_item_usage_start_date",
    "line_item_usage_type",
    "pricing_public_on_demand_cost",
    "product_region_code",
    "product",
    "resource_tags",
    "discount",
    "savings_plan_savings_plan_a_r_n",
    "savings_plan_savings_plan_effective_cost",
)
_LEGACY_COLUMNS = {
    "bill_payer_account_id": "bill/PayerAccountId",
    "bill_billing_period_start_date": "bill/BillingPeriodStartDate",
    "identity_line_item_id": "identity/LineItemId",
    "line_item_currency_code": "lineItem/CurrencyCode",
    "line_item_line_item_description": "lineItem/LineItemDescription",
    "line_item_line_item_type": "lineItem/LineItemType",
    "line_item_product_code": "lineItem/ProductCode",
    "line_item_resource_id": "lineItem/ResourceId",
    "line_item_unblended_cost": "lineItem/UnblendedCost",
    "line_item_usage_account_id": "lineItem/UsageAccountId",
    "line_item_usage_amount": "lineItem/UsageAmount",
    "line_item_usage_end_date": "lineItem/UsageEndDate",
    "line_item_usage_start_date": "lineItem/UsageStartDate",
    "line_item_usage_type": "lineItem/UsageType",
    "pricing_public_on_demand_cost": "pricing/publicOnDemandCost",
    "product_region_code": "product/regionCode",
    "savings_plan_savings_plan_a_r_n": "savingsPlan/SavingsPlanARN",
    "savings_plan_savings_plan_effective_cost": "savingsPlan/SavingsPlanEffectiveCost",
}
_MAPS: Mapping[str, pa.DataType] = {
    "product": pa.map_(pa.string(), pa.string()),
    "resource_tags": pa.map_(pa.string(), pa.string()),
    "discount": pa.map_(pa.string(), pa.float64()),
}
_DOUBLES = frozenset(
    "line_item_unblended_cost line_item_usage_amount pricing_public_on_demand_cost"
    " savings_plan_savings_plan_effective_cost BilledCost EffectiveCost ListCost ContractedCost".split()
)
_TIMES = frozenset(
    "bill_billing_period_start_date line_item_usage_start_date line_item_usage_end_date"
    " BillingPeriodStart BillingPeriodEnd ChargePeriodStart ChargePeriodEnd".split()
)

Family = Literal["legacy", "cur2", "focus10", "focus12"]
Packing = Literal["csv.gz", "zip", "snappy.parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidExport:
    """One format: its columns and rows as CSV spells them, how AWS packs it, and what its money is called."""

    family: Family
    packing: Packing
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def label(self) -> str:
        return f"{self.family} {self.packing}"

    @property
    def cost(self) -> str:
        return {"legacy": "lineItem/UnblendedCost", "cur2": "line_item_unblended_cost"}.get(self.family, "BilledCost")

    @property
    def is_parquet(self) -> bool:
        return self.packing == "snappy.parquet"

    def table(self) -> pa.Table:
        """The rows as AWS types them in Parquet."""
        columns = zip(*self.rows, strict=True)
        return pa.table(
            {name: _typed(name, values) for name, values in zip(self.parquet_headers, columns, strict=True)}
        )

    @property
    def parquet_headers(self) -> tuple[str, ...]:
        """The columns' names in Parquet: those of legacy CUR are Athena's."""
        if self.family != "legacy":
            return self.headers
        athena = {legacy: cur2 for cur2, legacy in _LEGACY_COLUMNS.items()}
        return tuple(athena.get(name, name) for name in self.headers)

    def content(self) -> bytes:
        """The data file."""
        if self.is_parquet:
            stream = io.BytesIO()
            parquet.write_table(self.table(), stream, compression="snappy")
            return stream.getvalue()
        return pack(as_csv(self.headers, self.rows), self.packing)

    def data_key(self, name: str) -> str:
        """Where the data file of an export of this name stands."""
        if self.family != "legacy":
            return f"exports/{name}/data/BILLING_PERIOD={PERIOD}/{name}-00001.{self.packing.replace('zip', 'csv.zip')}"
        if self.is_parquet:
            return f"exports/{name}/{name}/year=2026/month=5/{name}-00001.snappy.parquet"
        return f"exports/{name}/20260501-20260601/{name}-1.{self.packing.replace('zip', 'csv.zip')}"

    def manifest_key(self, name: str) -> str:
        """Where its manifest stands."""
        folder = "20260501-20260601" if self.family == "legacy" else f"metadata/BILLING_PERIOD={PERIOD}"
        return f"exports/{name}/{folder}/{name}-Manifest.json"

    def manifest(self, name: str) -> dict[str, Any]:
        """The manifest, as AWS writes it for this format."""
        if self.family == "legacy":
            return {
                "assemblyId": "b81e0c1d-0000-4000-8000-000000000001",
                "account": "111122223333",
                "reportName": name,
                "bucket": BUCKET,
                "compression": "GZIP",
                "columns": [dict(zip(("category", "name"), each.split("/"), strict=True)) for each in self.headers],
                "billingPeriod": {"start": "20260501T000000.000Z", "end": "20260601T000000.000Z"},
                "reportKeys": [self.data_key(name)],
                "additionalArtifactKeys": [],
            }
        return {
            "exportArn": f"arn:aws:bcm-data-exports:us-east-1:111122223333:export/{name}",
            "exportName": name,
            "executionId": "0a1b2c3d-0000-4000-8000-000000000001",
            "columns": [{"name": each} for each in self.headers],
            "billingPeriod": {"start": f"{PERIOD}-01T00:00:00.000Z", "end": "2026-06-01T00:00:00.000Z"},
            "bucket": BUCKET,
            "dataFiles": [f"s3://{BUCKET}/{self.data_key(name)}"],
        }


def write(root: Path, key: str, content: bytes) -> Path:
    """Write one object of the bucket whose root is `root`."""
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_export(export: ValidExport, root: Path, name: str, content: bytes, manifest: bytes) -> None:
    """Write a delivery of an export of this name, its data before its manifest."""
    write(root, export.data_key(name), content)
    write(root, export.manifest_key(name), manifest)


def spell_manifest(manifest: Mapping[str, Any]) -> bytes:
    """A manifest's text."""
    return json.dumps(manifest, indent=2).encode()


def as_csv(headers: Sequence[str], rows: Sequence[Sequence[str]], *, quoting: Any = csv.QUOTE_MINIMAL) -> bytes:
    """Rows as plain CSV; what is not text in UTF-8 stays as it is."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=quoting)
    writer.writerow(headers)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def pack(content: bytes, packing: Packing) -> bytes:
    """Plain CSV as AWS packs it."""
    if packing == "zip":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bill-1.csv", content)
        return stream.getvalue()
    return gzip.compress(content, 1, mtime=0)


@cache
def valid_exports() -> tuple[ValidExport, ...]:
    """One export of every format."""
    items = _sample_items()
    cur2 = [tuple(item[name] for name in _CUR2_COLUMNS) for item in items]
    legacy_columns = [name for name in _CUR2_COLUMNS if name in _LEGACY_COLUMNS]
    legacy = [(*(item[name] for name in legacy_columns), f"team-{n % 3}") for n, item in enumerate(items)]
    legacy_headers = (*(_LEGACY_COLUMNS[name] for name in legacy_columns), "resourceTags/user:Team")
    found = [_export("legacy", packing, legacy_headers, legacy) for packing in ("csv.gz", "zip", "snappy.parquet")] + [
        _export("cur2", packing, _CUR2_COLUMNS, cur2) for packing in ("csv.gz", "snappy.parquet")
    ]
    for family, packings in (("focus10", ("csv.gz",)), ("focus12", ("csv.gz", "snappy.parquet"))):
        focus = [_focus_row(item, family) for item in items]
        headers = tuple(focus[0])
        rows = [tuple(row.values()) for row in focus]
        found += [_export(family, packing, headers, rows) for packing in packings]
    return tuple(found)


def _export(family: Any, packing: Any, headers: Sequence[str], rows: Sequence[tuple[str, ...]]) -> ValidExport:
    return ValidExport(family=family, packing=packing, headers=tuple(headers), rows=tuple(rows))


def _sample_items() -> list[dict[str, str]]:
    """Line items of as many types as fit, from the sample bill."""
    period = BillingPeriod(datetime.fromisoformat(f"{PERIOD}-01").date())
    bill = SampleBill(payer_account_id="111122223333", period=period, line_item_count=MINIMUM_LINE_ITEMS)
    with TemporaryDirectory() as folder:
        write_sample_bill(bill, Path(folder))
        [path] = Path(folder).rglob("*.csv.gz")
        text = gzip.decompress(path.read_bytes()).decode()
    items = list(csv.DictReader(io.StringIO(text, newline="")))
    first_of_each = {item["line_item_line_item_type"]: item for item in reversed(items)}
    return [*first_of_each.values(), *items][:ROW_COUNT]


def _focus_row(item: Mapping[str, str], family: str) -> dict[str, str]:
    cost = item["line_item_unblended_cost"]
    start = item["line_item_usage_start_date"]
    row = {
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ListCost": cost,
        "ContractedCost": cost,
        "BillingCurrency": "USD",
        "BillingAccountId": item["bill_payer_account_id"],
        "SubAccountId": item["line_item_usage_account_id"],
        "BillingPeriodStart": f"{PERIOD}-01T00:00:00Z",
        "BillingPeriodEnd": "2026-06-01T00:00:00Z",
        "ChargePeriodStart": start,
        "ChargePeriodEnd": item["line_item_usage_end_date"],
        "ChargeCategory": "Usage",
        "ChargeClass": "NULL",
        "ChargeDescription": item["line_item_line_item_description"],
        "ProviderName": "AWS",
        "PublisherName": "AWS",
        "InvoiceIssuerName": "AWS",
        "ServiceCategory": "Compute",
        "ServiceName": "Amazon Elastic Compute Cloud",
        "ResourceId": item["line_item_resource_id"],
        "Tags": '{"team": "a"}',
    }
    return {**row, "InvoiceId": "", "x_ServiceCode": "AmazonEC2"} if family == "focus12" else row


def _typed(name: str, values: Sequence[str]) -> pa.Array:
    if name in _DOUBLES:
        return pa.array([float(value) if value else None for value in values], pa.float64())
    if name in _TIMES:
        moments = [datetime.fromisoformat(value).replace(tzinfo=None) if value else None for value in values]
        return pa.array(moments, pa.timestamp("ms"))
    if name in _MAPS:
        return pa.array([list(json.loads(value or "{}").items()) for value in values], _MAPS[name])
    return pa.array([value or None for value in values], pa.string())
