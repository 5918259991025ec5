"""Files that are refused, each with its error's code and the words of its line, and the helpers that make them."""

from __future__ import annotations

import gzip
import io
from decimal import Decimal
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as parquet

from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, line_item, write_bill

FILE = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"
SECOND_FILE = FILE.replace("00001", "00002")
GOOD = described("1.25", "2.5")
FOCUS_ROW = {
    "BilledCost": "1.5",
    "EffectiveCost": "1.5",
    "ListCost": "1.5",
    "BillingCurrency": "USD",
    "BillingAccountId": "111122223333",
    "BillingPeriodStart": "2026-05-01T00:00:00Z",
    "BillingPeriodEnd": "2026-06-01T00:00:00Z",
    "ChargePeriodStart": "2026-05-03T00:00:00Z",
    "ChargePeriodEnd": "2026-05-04T00:00:00Z",
    "ChargeCategory": "Usage",
    "ProviderName": "AWS",
    "ServiceCategory": "Compute",
    "ServiceName": "Amazon Elastic Compute Cloud",
}


def rows(*items: dict[str, str]) -> bytes:
    return gzip.compress(as_csv(items), mtime=0)


def lines(*texts: str) -> bytes:
    """A CUR 2.0 CSV of three columns beside the needed ones, in which the given lines follow a good one."""
    good = as_csv(GOOD[:1]).decode()
    return (good + "".join(f"{text}\n" for text in texts)).encode()


def good_line(**changes: str) -> str:
    return as_csv([{**GOOD[0], **changes}], GOOD[0]).decode().partition("\n")[2].removesuffix("\n")


def parquet_file(columns: dict[str, pa.Array]) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


def parquet_bill(costs: pa.Array) -> bytes:
    count = len(costs)
    return parquet_file(
        {
            name: costs if name == "line_item_unblended_cost" else pa.array([value] * count)
            for name, value in line_item().items()
        }
    )


def without(header: str) -> dict[str, str]:
    return {name: value for name, value in GOOD[0].items() if name != header}


class Refusal(NamedTuple):
    """A delivery's files, and the words of the line in which it is refused."""

    files: tuple[bytes, ...]
    error_code: str
    words: tuple[str, ...]


REFUSALS = {
    "a row with a cell too few": Refusal(
        (lines(good_line(), good_line().rpartition(",")[0]),),
        "malformed_file",
        (f"{FILE}, line 4:", "the header has 10 columns, this row has 9", "refused"),
    ),
    "a row with a cell too many": Refusal(
        (lines(good_line() + ",x"),),
        "malformed_file",
        (f"{FILE}, line 3:", "the header has 10 columns, this row has 11"),
    ),
    "a cell too many at the place of an empty one": Refusal(
        (lines(good_line(), good_line() + ","),),
        "malformed_file",
        (f"{FILE}, line 4:", "the header has 10 columns, this row has 11"),
    ),
    "a shifted row after a line break and a blank line": Refusal(
        (lines(good_line(line_item_line_item_description="two\nlines"), "", good_line() + ',""'),),
        "malformed_file",
        (f"{FILE}, line 6:", "this row has 11"),
    ),
    "a bad cost after a blank line": Refusal(
        (lines("", good_line(line_item_unblended_cost="x")),), "invalid_value", (f"{FILE}, line 4,",)
    ),
    "line ends of different kinds": Refusal(
        (as_csv(GOOD, line_end="\r\n") + as_csv(GOOD),), "malformed_file", (FILE, "it mixes kinds of line ends")
    ),
    "a text behind a quotation": Refusal(
        (lines(good_line(line_item_line_item_description="#").replace("#", '"a"b')),),
        "malformed_file",
        (f"{FILE}, line 3:", "quoted value"),
    ),
    "a ragged row after a quoted line break": Refusal(
        (lines(good_line(line_item_line_item_description="two\nlines"), good_line().rpartition(",")[0]),),
        "malformed_file",
        (f"{FILE}, line 5:", "this row has 9"),
    ),
    "a ragged row in the second file": Refusal(
        (rows(*GOOD), gzip.compress(lines("1,2,3"), mtime=0)),
        "malformed_file",
        (f"{SECOND_FILE}, line 3:", "this row has 3"),
    ),
    "a header glued together": Refusal(
        (as_csv(GOOD).replace(b"line_item_unblended_cost,line_item", b"line_item_unblended_costline_item", 1),),
        "missing_column",
        (f"{FILE}, line 1:", "line_item_unblended_cost", "line_item_usage_start_date", "header is damaged"),
    ),
    "a missing needed column": Refusal(
        (rows(without("line_item_unblended_cost")),),
        "missing_column",
        (f"{FILE}, line 1:", "line_item_unblended_cost", "choose these columns"),
    ),
    "two missing needed columns": Refusal(
        (as_csv([{n: v for n, v in GOOD[0].items() if "usage" not in n}]),),
        "missing_column",
        ("columns missing", "line_item_usage_start_date", "line_item_usage_account_id"),
    ),
    "a header that stands twice": Refusal(
        (as_csv(GOOD).replace(b"line_item_product_code", b"line_item_currency_code", 1),),
        "malformed_file",
        (f"{FILE}, line 1, column line_item_currency_code:", "is twice in the header"),
    ),
    "an empty header": Refusal(
        (as_csv(GOOD).replace(b"line_item_product_code", b"", 1),),
        "malformed_file",
        (f"{FILE}, line 1:", "header cell 9 is empty"),
    ),
    "zero bytes": Refusal((b"",), "malformed_file", (FILE, "is empty")),
    "a gzip of zero bytes": Refusal((gzip.compress(b"", mtime=0),), "malformed_file", (FILE, "is empty")),
    "a truncated gzip": Refusal((rows(*GOOD)[:-20],), "malformed_file", (FILE, "truncated gzip")),
    "a corrupt gzip": Refusal(
        (rows(*GOOD)[:40] + b"\xff\xff\xff\xff" + rows(*GOOD)[44:],), "malformed_file", (FILE, "corrupt gzip")
    ),
    "no billing export": Refusal(
        (b"date,temperature,place\n2026-05-01,21,Ulm\n",),
        "unknown_format",
        (FILE, "not an AWS billing export", "date, temperature, place", "expected"),
    ),
    "a web page": Refusal((b"<!DOCTYPE html>\n<p>Sign in</p>\n",), "malformed_file", (f"{FILE}, line 1:", "header")),
    "Microsoft's FOCUS": Refusal(
        (as_csv([{**FOCUS_ROW, "ProviderName": "Microsoft"}]),),
        "unknown_format",
        (f"{FILE}, line 2, column ProviderName, value 'Microsoft':", "another provider"),
    ),
    "a Parquet whose cost is no number": Refusal(
        (parquet_bill(pa.array(["1.5", "free"])),),
        "invalid_value",
        (FILE, "column line_item_unblended_cost, value 'free':", "row 2", "not a number"),
    ),
    "a Parquet whose cost is NaN": Refusal(
        (parquet_bill(pa.array([1.5, 2.5, float("nan")])),),
        "invalid_value",
        (FILE, "column line_item_unblended_cost, value 'nan':", "row 3", "not a number"),
    ),
    "a Parquet whose cost is infinite": Refusal(
        (parquet_bill(pa.array([float("-inf")])),), "invalid_value", ("value '-inf':", "row 1")
    ),
    "a Parquet whose cost is a map": Refusal(
        (parquet_bill(pa.array([[("a", 1.0)]], type=pa.map_(pa.string(), pa.float64()))),),
        "invalid_value",
        ("column line_item_unblended_cost", "not a number"),
    ),
    "a truncated Parquet": Refusal((parquet_bill(pa.array([1.5]))[:-9],), "malformed_file", (FILE, "Parquet")),
    "a Parquet with a damaged footer": Refusal(
        (parquet_bill(pa.array([1.5]))[:-8] + b"\xff\xff\xff\x7fPAR1",),
        "malformed_file",
        (FILE, "Parquet"),
    ),
    "a cost with a comma": Refusal(
        (rows(GOOD[0], line_item(cost="1,5")),),
        "invalid_value",
        (f"{FILE}, line 3, column line_item_unblended_cost, value '1,5':", "not a number", "refused"),
    ),
    "a cost in words": Refusal(
        (rows(GOOD[0], GOOD[1], line_item(cost="abc")),), "invalid_value", ("line 4", "value 'abc':")
    ),
    "a cost that is None": Refusal((rows(line_item(cost="None")),), "invalid_value", ("line 2", "value 'None':")),
    "a cost that is NaN": Refusal((rows(line_item(cost="NaN")),), "invalid_value", ("line 2", "value 'NaN':")),
    "a cost in hexadecimal": Refusal((rows(line_item(cost="0x1F")),), "invalid_value", ("value '0x1F':",)),
    "a cost with a currency sign": Refusal((rows(line_item(cost="$1.50")),), "invalid_value", ("value '$1.50':",)),
    "a cost with an absurd exponent": Refusal((rows(line_item(cost="1e9999")),), "invalid_value", ("value '1e9999':",)),
    "a missing cost": Refusal(
        (rows(GOOD[0], line_item(cost="")),),
        "invalid_value",
        (f"{FILE}, line 3, column line_item_unblended_cost", "a needed value is missing"),
    ),
    "a missing account": Refusal(
        (rows(line_item(line_item_usage_account_id="")),), "invalid_value", ("line 2", "line_item_usage_account_id")
    ),
    "a missing type": Refusal((rows(line_item("")),), "invalid_value", ("line 2", "line_item_line_item_type")),
    "a start that is no time": Refusal(
        (rows(line_item(line_item_usage_start_date="soon")),),
        "invalid_value",
        ("line 2, column line_item_usage_start_date, value 'soon':", "not a time"),
    ),
    "a start as a spreadsheet writes it": Refusal(
        (rows(GOOD[0], line_item(line_item_usage_start_date="5/3/26 4:00")),),
        "invalid_value",
        (f"{FILE}, line 3, column line_item_usage_start_date, value '5/3/26 4:00':", "not a time"),
    ),
    "a start at infinity": Refusal(
        (rows(GOOD[0], line_item(line_item_usage_start_date="infinity")),),
        "invalid_value",
        (f"{FILE}, line 3, column line_item_usage_start_date, value 'infinity':", "not a time"),
    ),
    "an end that is no time": Refusal(
        (rows(GOOD[0], line_item(line_item_usage_end_date="later")),),
        "invalid_value",
        (f"{FILE}, line 3, column line_item_usage_end_date, value 'later':", "not a time"),
    ),
    "a bad cost after a quoted line break": Refusal(
        (
            rows(
                line_item(line_item_line_item_description='a "quoted"\r\nline\nbreak'),
                {**GOOD[0], "line_item_unblended_cost": "x"},
            ),
        ),
        "invalid_value",
        (f"{FILE}, line 5,", "value 'x':"),
    ),
    "a bad cost in the second file": Refusal(
        (rows(*GOOD), rows(GOOD[0], line_item(cost="x", line_item_line_item_description="bad"))),
        "invalid_value",
        (f"{SECOND_FILE}, line 3, column line_item_unblended_cost, value 'x':",),
    ),
    "text that is no UTF-8": Refusal(
        (lines(good_line(line_item_line_item_description="caf\xe9")).decode().encode("latin-1"),),
        "malformed_file",
        (FILE, "not UTF-8"),
    ),
    "no UTF-8 far behind": Refusal(
        (gzip.compress(lines(*[good_line()] * 3000) + good_line(line_item_product_code="caf\xe9").encode("latin-1")),),
        "malformed_file",
        (f"{FILE}, line 3003:", "not UTF-8"),
    ),
    "an open quotation": Refusal((lines('"never closed'),), "malformed_file", (f"{FILE}, line 3:", "quoted value")),
    "two billing periods": Refusal(
        (rows(GOOD[0], line_item(bill_billing_period_start_date="2026-06-01T00:00:00.000Z")),),
        "invalid_value",
        (f"{FILE}, line 3, column bill_billing_period_start_date", "another billing period than 2026-05"),
    ),
    "two formats in one delivery": Refusal(
        (rows(*GOOD), rows(FOCUS_ROW)), "malformed_file", (SECOND_FILE, "is focus", "cur-2.0")
    ),
    "a FOCUS row without currency": Refusal(
        (rows({**FOCUS_ROW, "BillingCurrency": ""}),), "invalid_value", ("line 2, column BillingCurrency",)
    ),
    "a FOCUS cost that is no number": Refusal(
        (rows({**FOCUS_ROW, "BilledCost": "free"}),), "invalid_value", ("column BilledCost, value 'free':",)
    ),
    "a FOCUS EffectiveCost that is no number": Refusal(
        (rows(FOCUS_ROW, {**FOCUS_ROW, "EffectiveCost": "abc"}),),
        "invalid_value",
        (f"{FILE}, line 3, column EffectiveCost, value 'abc':", "not a number"),
    ),
    "a FOCUS without the end of its charges": Refusal(
        (rows({n: v for n, v in FOCUS_ROW.items() if n != "ChargePeriodEnd"}),),
        "missing_column",
        (f"{FILE}, line 1:", "ChargePeriodEnd"),
    ),
}


def assert_refused(landing: Landing, error_code: str, message: str, *, files: int = 1) -> None:
    runs = landing.query("SELECT status, error_code, error_message FROM billing_ingestion_runs")
    assert runs == [("failed", error_code, message)] * files
    assert_nothing_landed(landing)


def assert_nothing_landed(landing: Landing) -> None:
    assert landing.count("raw_aws_billing_rows") == 0
    assert landing.count("billing_usage_fact") == 0
    assert landing.count("billing_daily_cost") == 0
    assert landing.count("billing_publications") == 0


def assert_next_good_delivery_works(landing: Landing) -> None:
    write_bill(landing.root, GOOD, revision=2)

    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert outcome.billed_cost == {"USD": Decimal("3.75")}
    assert landing.billed() == {"USD": Decimal("3.75")}
