"""Account ids: damaged ones are refused, whole numbers get their leading zeros back, other odd ones are a finding."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from billfold.errors import InvalidValueError
from billfold.model import CostBasis
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, line_item, write_delivery
from tests.bills.parsed import FOCUS_ROW, Parse, as_parquet

LEGACY = {
    "bill/PayerAccountId": "111122223333",
    "bill/BillingPeriodStartDate": "2026-05-01T00:00:00Z",
    "lineItem/UsageAccountId": "444455556666",
    "lineItem/LineItemType": "Usage",
    "lineItem/UsageStartDate": "2026-05-03T04:00:00Z",
    "lineItem/CurrencyCode": "USD",
    "lineItem/UnblendedCost": "10",
}
ACCOUNT_COLUMNS = [
    pytest.param(LEGACY, "bill/PayerAccountId", id="legacy payer"),
    pytest.param(LEGACY, "lineItem/UsageAccountId", id="legacy usage account"),
    pytest.param(line_item(), "bill_payer_account_id", id="CUR 2.0 payer"),
    pytest.param(line_item(), "line_item_usage_account_id", id="CUR 2.0 usage account"),
    pytest.param(FOCUS_ROW, "BillingAccountId", id="FOCUS billing account"),
    pytest.param(FOCUS_ROW, "SubAccountId", id="FOCUS sub account"),
]
DAMAGED = [
    "4.44456E+11",
    "4.44456e11",
    "4.44455556666E11",
    "4,44456E+11",
    " 4.44456E+11 ",
    "4E+11",
    "4e11",
    "'4.44456E+11",
    '="4.44456E+11"',
    "4.44456 E+11",
    "\u00a04.44456E+11",
    "444456E+06",
    "444.456E+9",
    "-4.44456E+11",
    "444455556666.0",
    "444455556666.",
    "444455556666,00",
    "444455556666.5",
]
ODD = [
    "51738928782",
    "1234567890123",
    "0",
    "sunbird",
    "acc-1",
    "12345678901a",
    "1234567890e3",
    "5e884898da28",
    "12345678e901",
    " 444455556666",
    "'444455556666",
    "444,455,556,666",
]


def odd_values(parse: Parse, *contents: bytes) -> list[str]:
    return list(parse(*contents).find_odd_values(basis=CostBasis.GROSS, currency="USD"))


def assert_refused(parse: Parse, row: dict[str, str], column: str, value: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        parse(as_csv([row, {**row, column: value}]))

    assert f"file-0, line 3, column {column}, value {value!r}:" in str(refused.value)
    assert "without opening and saving it in a spreadsheet" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("row", "column"), ACCOUNT_COLUMNS)
def test_a_damaged_id_is_refused_with_its_place_and_what_to_do(parse: Parse, row: dict[str, str], column: str) -> None:
    assert_refused(parse, row, column, "4.44456E+11")


@pytest.mark.parametrize("value", DAMAGED)
def test_every_spelling_of_a_damaged_id_is_refused(parse: Parse, value: str) -> None:
    assert_refused(parse, line_item(), "line_item_usage_account_id", value)


@pytest.mark.parametrize(("row", "column"), ACCOUNT_COLUMNS)
def test_an_odd_id_is_kept_and_reported(parse: Parse, row: dict[str, str], column: str) -> None:
    odd = {**row, column: "sunbird"}

    [finding] = odd_values(parse, as_csv([row, odd, odd]))

    cost = {"lineItem/UnblendedCost": "20", "line_item_unblended_cost": "2.5", "BilledCost": "3"}
    [total] = [shown for name, shown in cost.items() if name in row]
    assert finding == (
        f"2 line items ({total} USD) have an account id in {column} that is not 12 digits, such as 'sunbird'"
    )


def test_every_kind_of_odd_id_is_counted(parse: Parse) -> None:
    items = [line_item(cost="1", line_item_usage_account_id=value) for value in ODD]

    [finding] = odd_values(parse, as_csv([line_item(), *items]))

    assert finding.startswith(f"{len(ODD)} line items ({len(ODD)} USD) have an account id")
    assert finding.endswith("; shorter numbers may have lost leading zeros")


def test_ids_of_12_digits_and_missing_sub_accounts_are_not_reported(parse: Parse) -> None:
    focus = [FOCUS_ROW, {**FOCUS_ROW, "SubAccountId": ""}, {**FOCUS_ROW, "SubAccountId": "nan"}]

    assert odd_values(parse, as_csv(focus)) == []
    assert odd_values(parse, as_csv([line_item(line_item_usage_account_id="012345678901")])) == []


def test_odd_ids_are_added_up_over_files_and_by_currency(parse: Parse) -> None:
    odd = line_item(cost="1.10", bill_payer_account_id="12345678901")
    euro = {**odd, "line_item_currency_code": "EUR", "line_item_unblended_cost": "123456789012345678901234567890"}
    other_columns = {**odd, "line_item_currency_code": "", "line_item_resource_id": "i-1"}

    [finding] = odd_values(parse, as_csv([odd, euro]), as_csv([other_columns]))

    # No bill costs as much: such an amount is left out of the sentence.
    assert finding.startswith("3 line items (0 EUR, 2.2 USD) have an account id in bill_payer_account_id")


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.uint64(), pa.decimal128(13, 0), pa.decimal128(38, 0), pa.decimal256(45, 0)], ids=str
)
def test_whole_numbers_in_parquet_are_the_ids_that_the_csv_has(parse: Parse, kind: pa.DataType) -> None:
    row, column = FOCUS_ROW, "SubAccountId"
    ids = ["012345678901", "000000000012", "444455556666", "1234567890123"]
    numbers: Any = [int(value) for value in ids]
    if pa.types.is_decimal(kind):
        numbers = [Decimal(value) for value in numbers]
    content = as_parquet(row, rows=4, **{column: pa.array(numbers, kind)})

    pairs = []
    for each in (content, as_csv([{**row, column: value} for value in ids])):
        bill = parse(each)
        bill.identify()
        pairs.append(sorted(bill.read_pairs().read_all().to_pylist(), key=str))

    assert pairs[0] == pairs[1]


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        pytest.param(pa.array([12345678901.0]), "'12345678901.0'", id="double"),
        pytest.param(pa.array([444455556666.0], pa.float32()), "'444455550000.0'", id="float"),
        pytest.param(pa.array([Decimal("444455556666.00")], pa.decimal128(14, 2)), "'444455556666.00'", id="decimal"),
    ],
)
def test_an_id_in_a_parquet_column_of_fractions_is_refused(parse: Parse, numbers: pa.Array, shown: str) -> None:
    content = as_parquet(line_item(), line_item_usage_account_id=numbers)

    with pytest.raises(InvalidValueError) as refused:
        parse(content)

    assert f"file-0, column line_item_usage_account_id, value {shown}: row 1:" in str(refused.value)
    assert "in Parquet, store account ids as text or whole numbers" in str(refused.value)


def test_a_double_without_any_sub_account_is_no_sub_account(parse: Parse) -> None:
    content = as_parquet(FOCUS_ROW, SubAccountId=pa.array([float("nan")]))

    assert odd_values(parse, content) == []


def test_a_bill_lands_with_padded_and_odd_ids_and_an_equal_csv_changes_nothing(landing: Landing) -> None:
    row = line_item(bill_payer_account_id="000012345678", line_item_usage_account_id="012345678901")
    odd = as_csv([line_item(cost="2", line_item_usage_account_id="51738928782")])
    content = as_parquet(
        row,
        bill_payer_account_id=pa.array([12345678], pa.int32()),
        line_item_usage_account_id=pa.array([12345678901]),
    )
    write_delivery(landing.root, content, odd)
    first = landing.ingest()
    write_delivery(landing.root, as_csv([row]), odd, revision=2)

    second = landing.ingest()

    padded, odd_charge = landing.charges()
    assert first.exit_error is None
    assert first.findings == (
        "1 line items (2 USD) have an account id in line_item_usage_account_id that is not 12 digits, such as"
        " '51738928782'; shorter numbers may have lost leading zeros",
    )
    assert (padded["BillingAccountId"], padded["SubAccountId"]) == ("000012345678", "012345678901")
    assert odd_charge["SubAccountId"] == "51738928782"
    ids = landing.query("SELECT row_data ->> 'line_item_usage_account_id' FROM raw_aws_billing_rows ORDER BY 1")
    assert ids == [("012345678901",), ("51738928782",)]
    assert (second.rows_added, second.rows_removed, second.rows_unchanged) == (0, 0, 2)
    assert landing.broken_rules() == []
