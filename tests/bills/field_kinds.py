"""Our own inputs of the kinds that public bug reports describe: each a case with its right answer."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

from tests.bills.field_cases import Case, Check, Step
from tests.bills.line_items import (
    ACCOUNT,
    PAYER,
    as_csv,
    described,
    line_item,
    write_bill,
    write_object,
)

BILLED = 'SELECT coalesce(sum("BilledCost"), 0)::float8::text AS v FROM focus_cost_and_usage'
FAILED = "SELECT count(*)::text AS v FROM billing_deliveries WHERE state = 'failed'"
CHARGES = "SELECT count(*)::text AS v FROM billing_usage_fact"

_LEGACY = {
    "bill/PayerAccountId": PAYER,
    "bill/BillingPeriodStartDate": "2026-05-01T00:00:00Z",
    "lineItem/LineItemType": "Usage",
    "lineItem/UnblendedCost": "1.25",
    "lineItem/UsageStartDate": "2026-05-03T04:00:00Z",
    "lineItem/UsageEndDate": "2026-05-03T05:00:00Z",
    "lineItem/UsageAccountId": ACCOUNT,
    "lineItem/CurrencyCode": "USD",
    "lineItem/ProductCode": "AmazonEC2",
}
_FOCUS = {
    "BilledCost": "1",
    "EffectiveCost": "1",
    "ListCost": "1",
    "ContractedCost": "1",
    "BillingCurrency": "USD",
    "BillingAccountId": PAYER,
    "BillingPeriodStart": "2026-05-01T00:00:00.000Z",
    "BillingPeriodEnd": "2026-06-01T00:00:00.000Z",
    "ChargePeriodStart": "2026-05-03T00:00:00.000Z",
    "ChargePeriodEnd": "2026-05-04T00:00:00.000Z",
    "ChargeCategory": "Usage",
    "ProviderName": "AWS",
    "PublisherName": "AWS",
    "InvoiceIssuerName": "Amazon Web Services, Inc.",
    "ServiceCategory": "Compute",
    "ServiceName": "Amazon Elastic Compute Cloud",
}


def two_slashes_in_a_key(root: Path) -> Case:
    """The keys of a manifest have two slashes, the copy on disk one."""
    write_bill(root, described("2.5", "0.5"), export_path="reports/acme")
    [manifest] = root.rglob("*Manifest.json")
    manifest.write_text(manifest.read_text().replace("reports/", "reports//"))
    return _case("two slashes in a key", root, _check(BILLED, "3"))


def other_files_beside_a_bill(root: Path) -> Case:
    """A bill beside an inventory, a query's result, recommendations and a text; looked at twice."""
    write_bill(root, described("6", "0.5"), export_path="cur2/acme")
    write_object(root, "inventory/acme/data/0b1c.csv.gz", gzip.compress(b'"bucket","a/key","123"\n', mtime=0))
    write_object(root, "results/9f3d.csv", b'"total"\n"6.5"\n')
    write_object(root, "results/9f3d.csv.metadata", b"\x08\x01")
    write_object(root, "README.txt", b"nothing to see\n")
    recommendations = pyarrow.table({"recommendation_id": ["r1"], "estimated_monthly_savings_before_discount": [3.5]})
    key = "coh/acme-coh/data/date=2026-05-03/acme-coh-00001.snappy.parquet"
    write_object(root, key, _parquet(recommendations))
    manifest = {"exportName": "acme-coh", "executionId": "e1", "dataFiles": [f"s3://acme-bills/{key}"]}
    write_object(root, "coh/acme-coh/metadata/date=2026-05-03/acme-coh-Manifest.json", json.dumps(manifest).encode())
    twice = [Step(tree=root), Step(tree=root)]
    return Case(name="other files beside a bill", steps=twice, checks=[_check(BILLED, "6.5"), _check(FAILED, "0")])


def only_other_files(root: Path) -> Case:
    """A folder in which nothing is a bill."""
    write_object(root, "results/9f3d.csv", b'"total"\n"6.5"\n')
    return _case("only other files", root, _check(CHARGES, "0"), exits=["not 0"])


def damaged_account_id(root: Path) -> Case:
    """An account id that a spreadsheet has rounded."""
    spelling = "4.44456E+11"
    write_bill(root, [line_item(cost="4"), line_item(cost="5", line_item_usage_account_id=spelling)])
    return _case("a damaged account id", root, _check(CHARGES, "0"), exits=["not 0"], says=spelling)


def file_without_a_period(root: Path) -> Case:
    """A month in one file that does not say which; the refusal names the option that does."""
    items = [
        line_item(cost="30", line_item_line_item_description="usage"),
        line_item(cost="-4", line_item_usage_start_date="2026-03-01T00:00:00Z"),
        line_item(cost="0.5", line_item_usage_start_date="2026-04-30T23:00:00Z"),
    ]
    for item in items:
        del item["bill_billing_period_start_date"]
    write_object(root, "month.csv", as_csv(items))
    named = Step(tree=root, options=["--month", "2026-05"])
    refused = Step(tree=root, exits=["not 0"], says="--month")
    return Case(name="a file without a period", steps=[refused, named], checks=[_check(BILLED, "26.5")])


def synced_with_a_surplus_chunk(root: Path) -> Case:
    """An export's folder without its keys' prefix, with a chunk of an earlier delivery."""
    written = root.with_name("written")
    write_bill(written, described("8", "1"), export_path="exports/acme")
    (written / "exports/acme").rename(root)
    surplus = gzip.compress(as_csv(described("0.125")), mtime=0)
    write_object(root, "data/BILLING_PERIOD=2026-05/acme-00002.csv.gz", surplus)
    return _case("synced with a surplus chunk", root, Check(sql=BILLED, answers=["9", "0"]), exits=[0, "not 0"])


def synced_report_of_two_assemblies(root: Path) -> Case:
    """A legacy report's folder without its keys' prefix; the later of two assemblies counts."""
    _write_report(root, [{"lineItem/UnblendedCost": "10"}], assembly="aa")
    _write_report(root, [{"lineItem/UnblendedCost": "10"}, {"lineItem/UnblendedCost": "15"}], assembly="bb")
    (root / "cur/acme").rename(root.with_name("synced"))
    answers = Check(sql=BILLED, answers=["25", "0"])
    return _case("a synced report of two assemblies", root.with_name("synced"), answers, exits=[0, "not 0"])


def focus_of_another_provider(root: Path) -> Case:
    """A FOCUS file whose provider stands in `Provider`, beside columns of its own."""
    names = {"ProviderName": "Provider", "PublisherName": "Publisher", "InvoiceIssuerName": "InvoiceIssuer"}
    row = {names.get(name, name): value for name, value in _FOCUS.items()}
    row |= {"Provider": "Microsoft", "Publisher": "Microsoft", "InvoiceIssuer": "Microsoft", "x_AccountId": "a1"}
    write_object(root, "costs/part_0_0001.csv", as_csv([row]))
    return _case("FOCUS of another provider", root, _check(CHARGES, "0"), exits=["not 0"])


KINDS: Mapping[str, Callable[[Path], Case]] = {
    "two slashes in a key": two_slashes_in_a_key,
    "other files beside a bill": other_files_beside_a_bill,
    "only other files": only_other_files,
    "an account id with an exponent": damaged_account_id,
    "a file without a period": file_without_a_period,
    "synced with a surplus chunk": synced_with_a_surplus_chunk,
    "a synced report of two assemblies": synced_report_of_two_assemblies,
    "FOCUS of another provider": focus_of_another_provider,
}


def _case(name: str, root: Path, *checks: Check, exits: Sequence[int | str] = (0,), says: str = "") -> Case:
    return Case(name=name, steps=[Step(tree=root, exits=exits, says=says)], checks=checks)


def _check(sql: str, answer: str) -> Check:
    return Check(sql=sql, answers=[answer])


def _write_report(root: Path, rows: Iterable[Mapping[str, str]], *, assembly: str = "a1") -> None:
    """Write one delivery of a legacy report; what a row does not say is as in every other."""
    whole = [_LEGACY | dict(row) | {"lineItem/LineItemDescription": f"item {n}"} for n, row in enumerate(rows, start=1)]
    headers = list(dict.fromkeys(name for row in whole for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, headers, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(whole)
    folder = "cur/acme/20260501-20260601"
    key = f"{folder}/{assembly}/acme-1.csv.gz"
    write_object(root, key, gzip.compress(text.getvalue().encode(), mtime=0))
    manifest = {
        "assemblyId": assembly,
        "reportName": "acme",
        "bucket": "acme-bills",
        "billingPeriod": {"start": "20260501T000000.000Z", "end": "20260601T000000.000Z"},
        "reportKeys": [key],
    }
    for place in (f"{folder}/{assembly}", folder):
        write_object(root, f"{place}/acme-Manifest.json", json.dumps(manifest).encode())


def _parquet(table: pyarrow.Table) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, compression="snappy")
    return file.getvalue()
