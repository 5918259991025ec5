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
    write_delivery,
    write_object,
)

BILLED = 'SELECT coalesce(sum("BilledCost"), 0)::float8::text AS v FROM focus_cost_and_usage'
EFFECTIVE = 'SELECT coalesce(sum("EffectiveCost"), 0)::float8::text AS v FROM focus_cost_and_usage'
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


def tags_in_one_map(root: Path) -> Case:
    """CUR 2.0's `tags`, with one key in several places and a refund that has its account's tag alone."""
    everywhere = {
        "resourceTags/team": "red",
        "userAttribute/team": "blue",
        "accountTag/team": "green",
        "costCategory/team": "grey",
        "iamPrincipal/team": "gold",
    }
    items = [
        line_item(cost="7.5", tags=json.dumps(everywhere)),
        line_item("Refund", "-0.25", tags=json.dumps({"accountTag/team": "green"})),
    ]
    write_bill(root, items)
    tagged = "SELECT count(*)::text AS v FROM focus_cost_and_usage WHERE {}"
    return _case(
        "tags in one map",
        root,
        _check(BILLED, "7.25"),
        _check(tagged.format("\"Tags\"::jsonb ->> 'team' = 'red'"), "1"),
        _check(tagged.format("\"Tags\"::jsonb ->> 'accountTag/team' = 'green'"), "2"),
        _check(tagged.format("\"Tags\"::jsonb ->> 'userAttribute/team' = 'blue'"), "1"),
        _check(tagged.format("\"Tags\"::jsonb ->> 'iamPrincipal/team' = 'gold'"), "1"),
        _check(tagged.format("\"x_CostCategories\"::jsonb ->> 'team' = 'grey'"), "1"),
    )


def returned_savings_plans(root: Path) -> Case:
    """A SageMaker Savings Plan, bought and returned, beside one that stays and a refund of something else."""
    plan = f"arn:aws:savingsplans::{PAYER}:savingsplan/"
    name = {"line_item_product_code": "MachineLearningSavingsPlans"}
    items = [
        line_item("SavingsPlanUpfrontFee", "365", savings_plan_savings_plan_a_r_n=f"{plan}gone", **name),
        line_item(
            "Refund",
            "-365",
            line_item_line_item_description="Refund for one-time fee for Savings Plan ID: gone",
            **name,
        ),
        line_item("SavingsPlanUpfrontFee", "730", savings_plan_savings_plan_a_r_n=f"{plan}kept", **name),
        line_item("Refund", "-12.5", line_item_line_item_description="Refund for overcharged requests"),
        line_item(cost="50"),
    ]
    write_bill(root, items)
    return _case("returned Savings Plans", root, _check(BILLED, "767.5"), _check(EFFECTIVE, "37.5"))


def two_slashes_in_a_key(root: Path) -> Case:
    """The keys of a manifest have two slashes, the copy on disk one."""
    write_bill(root, described("2.5", "0.5"), export_path="reports/acme")
    [manifest] = root.rglob("*Manifest.json")
    manifest.write_text(manifest.read_text().replace("reports/", "reports//"))
    return _case("two slashes in a key", root, _check(BILLED, "3"))


def line_separator_in_a_tag_key(character: str) -> Callable[[Path], Case]:
    """A tag key with a character that ends a line for some readers, and for no reader of CSV."""

    def make(root: Path) -> Case:
        key = f"unit{character}cost"
        _write_report(root, [{"resourceTags/user:" + key: "9", "lineItem/UnblendedCost": "2.75"}])
        found = (
            f"SELECT count(*)::text AS v FROM focus_cost_and_usage WHERE \"Tags\"::jsonb ->> U&'{_escape(key)}' = '9'"
        )
        return _case("a line separator in a tag key", root, _check(BILLED, "2.75"), _check(found, "1"))

    return make


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


def damaged_account_id(spelling: str) -> Callable[[Path], Case]:
    """An account id that a spreadsheet has rounded."""

    def make(root: Path) -> Case:
        write_bill(root, [line_item(cost="4"), line_item(cost="5", line_item_usage_account_id=spelling)])
        return _case("a damaged account id", root, _check(CHARGES, "0"), exits=["not 0"], says=spelling)

    return make


def account_id_as_a_number(root: Path) -> Case:
    """Account ids that a Parquet file holds as integers, which have no leading zeros."""
    table = pyarrow.Table.from_pylist([dict(line_item(cost="3.5"))])
    at = table.schema.get_field_index("line_item_usage_account_id")
    table = table.set_column(at, "line_item_usage_account_id", pyarrow.array([12345678901], pyarrow.int64()))
    write_delivery(root, _parquet(table), ending="snappy.parquet")
    accounts = 'SELECT min("SubAccountId") AS v FROM focus_cost_and_usage'
    return _case("an account id as a number", root, _check(BILLED, "3.5"), _check(accounts, "012345678901"))


def typed_focus_tags(root: Path) -> Case:
    """FOCUS tags with values of JSON's other types."""
    tags = '{"spot":false,"none":null,"weight":0.5,"name":"true"}'
    write_delivery(root, gzip.compress(as_csv([{**_FOCUS, "BilledCost": "8", "Tags": tags}]), mtime=0))
    kept = f"SELECT (\"Tags\"::jsonb = '{tags}'::jsonb)::text AS v FROM focus_cost_and_usage"
    return _case("typed FOCUS tags", root, _check(BILLED, "8"), _check(kept, "true"))


def exports_of_different_rows(root: Path) -> Case:
    """Two exports of one account, each with the rows of other services; a third holds what the first does."""
    first, second = described("20", "21", "22"), described("300", "301", line_item_product_code="AmazonS3")
    write_bill(root, first, export_path="exports/one")
    write_bill(root, second, export_path="exports/two")
    write_bill(root, first, export_path="exports/one-again")
    return _case("exports of different rows", root, _check(BILLED, "664"))


def discounts_in_the_rows(root: Path) -> Case:
    """CUR 2.0 discounts without net columns; a row without one."""
    items = [
        line_item(cost="200", discount='{"EdpDiscount":-20.0}', discount_total_discount="-20.0"),
        line_item(cost="40", discount='{"EdpDiscount":-4.0,"x":-1.5}', discount_total_discount="-5.5"),
        line_item(cost="1"),
    ]
    write_bill(root, items)
    return _case("discounts in the rows", root, _check(BILLED, "215.5"), _check(EFFECTIVE, "215.5"))


def legacy_discounts_in_the_rows(root: Path) -> Case:
    """The same in a legacy report."""
    costs = {"lineItem/UnblendedCost": "80", "discount/EdpDiscount": "-8", "discount/TotalDiscount": "-8"}
    _write_report(root, [costs, {"lineItem/UnblendedCost": "2"}])
    return _case("legacy discounts in the rows", root, _check(BILLED, "74"))


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


def credit_for_most_of_the_bill(root: Path) -> Case:
    """Every row stays, and credits and a refund take nearly all of it back."""
    usage = described(*(str(cost) for cost in range(200, 210)))
    taken = [line_item("Credit", "-1800"), line_item("Refund", "-200")]
    write_bill(root / "first", usage)
    write_bill(root / "second", [*usage, *taken], headers=[*usage[0]])
    steps = [Step(tree=root / "first"), Step(tree=root / "second")]
    return Case(name="a credit for most of the bill", steps=steps, checks=[_check(BILLED, "45")])


def amounts_that_vanish(root: Path) -> Case:
    """Every row stays and costs nothing: that is held, and the bill before it stands."""
    write_bill(root / "first", described("60", "61", "62"))
    write_bill(root / "second", described("0", "0", "0"))
    steps = [Step(tree=root / "first"), Step(tree=root / "second", exits=["not 0"])]
    return Case(name="amounts that vanish", steps=steps, checks=[_check(BILLED, "183")])


def expired_data(root: Path) -> Case:
    """A lifecycle rule has removed the published files; their manifest is still there."""
    write_bill(root, described("5", "0.75"))
    steps = [Step(tree=root), Step(remove="*.csv.gz")]
    return Case(name="expired data", steps=steps, checks=[_check(BILLED, "5.75"), _check(FAILED, "0")])


KINDS: Mapping[str, Callable[[Path], Case]] = {
    "tags in one map": tags_in_one_map,
    "returned Savings Plans": returned_savings_plans,
    "two slashes in a key": two_slashes_in_a_key,
    "U+2028 in a tag key": line_separator_in_a_tag_key("\u2028"),
    "U+0085 in a tag key": line_separator_in_a_tag_key("\u0085"),
    "a form feed in a tag key": line_separator_in_a_tag_key("\f"),
    "other files beside a bill": other_files_beside_a_bill,
    "only other files": only_other_files,
    "an account id with an exponent": damaged_account_id("4.44456E+11"),
    "an account id with a fraction": damaged_account_id("444455556666.5"),
    "an account id as a number": account_id_as_a_number,
    "typed FOCUS tags": typed_focus_tags,
    "exports of different rows": exports_of_different_rows,
    "discounts in the rows": discounts_in_the_rows,
    "legacy discounts in the rows": legacy_discounts_in_the_rows,
    "a file without a period": file_without_a_period,
    "synced with a surplus chunk": synced_with_a_surplus_chunk,
    "a synced report of two assemblies": synced_report_of_two_assemblies,
    "FOCUS of another provider": focus_of_another_provider,
    "a credit for most of the bill": credit_for_most_of_the_bill,
    "amounts that vanish": amounts_that_vanish,
    "expired data": expired_data,
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


def _escape(text: str) -> str:
    """The text for PostgreSQL's U&'…', so that a test's name and a terminal never meet the character itself."""
    return "".join(letter if letter.isalnum() else f"\\{ord(letter):04X}" for letter in text)
