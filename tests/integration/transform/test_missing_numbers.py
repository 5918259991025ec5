"""`nan` and infinity: no value in columns that are not needed, refused in needed ones, never a number in PostgreSQL."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from billfold.errors import InvalidValueError
from billfold.model import CostBasis, ExportFormat
from billfold.transform.columns import needed_columns
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, RESERVATION, as_csv, line_item, write_delivery
from tests.bills.parsed import FOCUS_ROW, Parse, as_parquet

WORDS = ["nan", "NaN", "NAN", "-nan", "+nan", " nan "]
INFINITIES = ["inf", "-inf", "Infinity", "-Infinity", "+inf"]
AWS_FOCUS = {**FOCUS_ROW, "ProviderName": "AWS"}
FOCUS_NUMBERS = [
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
    "ListUnitPrice",
    "ContractedUnitPrice",
    "PricingQuantity",
    "ConsumedQuantity",
    "CommitmentDiscountQuantity",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "PricingCurrencyContractedUnitPrice",
]
CUR_NUMBERS = [
    "line_item_net_unblended_cost",
    "line_item_net_unblended_rate",
    "line_item_unblended_rate",
    "line_item_usage_amount",
    "line_item_normalized_usage_amount",
    "pricing_public_on_demand_cost",
    "pricing_public_on_demand_rate",
    "discount_total_discount",
    "reservation_effective_cost",
    "reservation_unused_quantity",
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_savings_plan_rate",
    "savings_plan_used_commitment",
]
CUR_TEXTS = [
    "bill_payer_account_id",
    "bill_invoice_id",
    "line_item_tax_type",
    "line_item_resource_id",
    "pricing_term",
    "pricing_rate_id",
    "product_region_code",
    "product_sku",
    "reservation_reservation_a_r_n",
    "savings_plan_savings_plan_a_r_n",
    "line_item_availability_zone",
]
MAPS = [
    '{"edp": NaN}',
    '{"edp": -Infinity, "other": 1.5}',
    '{"edp": [1, NaN]}',
    '{"edp": {"deep": inf}}',
    '{"edp": "nan"}',
    '{"nan": "a \\" NaN"}',
    "NaN",
    "nan",
]


def assert_no_nan(landing: Landing) -> None:
    """No charge and no sum holds what PostgreSQL takes for a number and is none."""
    for table in ("billing_usage_fact", "billing_daily_cost"):
        # Maps keep what AWS wrote.
        text = landing.query(f"SELECT (to_jsonb({table}) - 'discounts')::text FROM {table}")
        assert not any(word in row.lower() for (row,) in text for word in ("nan", "infinity"))
    assert landing.broken_rules() == []


def test_focus_numbers_and_maps_that_are_not_needed_have_no_value(landing: Landing) -> None:
    words = [*WORDS, *INFINITIES]
    numbers = [{**AWS_FOCUS, **dict.fromkeys(FOCUS_NUMBERS, word)} for word in words]
    names = ["x_Discounts", "Tags", "SkuPriceDetails", "x_CostCategories"]
    maps = [{**AWS_FOCUS, "SkuId": "A", "SkuPriceId": "A.B", **dict.fromkeys(names, text)} for text in MAPS]
    write_delivery(landing.root, as_csv(numbers), as_csv(maps))

    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert {(c["BilledCost"], c["EffectiveCost"], c["ConsumedQuantity"]) for c in landing.charges()} == {
        (Decimal("1.5"), Decimal("1.5"), None)
    }
    assert landing.count("billing_usage_fact") == len(words) + len(MAPS)
    assert f"{len(words)} rows name no EffectiveCost: their BilledCost stands in" in outcome.findings
    assert any(
        finding.startswith(f"{len(words)} line items have no number in ListCost") for finding in outcome.findings
    )
    kept = "SELECT row_data ->> 'x_Discounts' FROM raw_aws_billing_rows WHERE row_data::jsonb ? 'x_Discounts'"
    assert sorted(text for (text,) in landing.query(kept)) == sorted(MAPS)
    assert_no_nan(landing)


def test_cur_values_that_are_not_needed_have_no_value(landing: Landing) -> None:
    words = [*WORDS, *INFINITIES]
    kinds = [line_item(kind) for kind in ("Usage", "Refund", "Fee", "Tax", "Credit")]
    items = {
        "numbers": [line_item(**dict.fromkeys(CUR_NUMBERS, word)) for word in words],
        "texts": [{**item, **dict.fromkeys(CUR_TEXTS, word)} for item in kinds for word in WORDS],
        "empty texts": [{**item, "bill_payer_account_id": ""} for item in kinds for _ in WORDS],
        "times": [line_item(line_item_usage_end_date="NaT", bill_billing_period_start_date="nan")],
    }
    write_delivery(
        landing.root,
        as_csv([{**item, "line_item_line_item_description": name} for name, items in items.items() for item in items]),
    )

    outcome = landing.ingest()

    [finding] = outcome.findings
    assert outcome.exit_error is None
    assert outcome.billed_cost == {"USD": Decimal("1.25") * sum(map(len, items.values()))}
    assert finding.startswith(f"{len(words)} line items have no number in discount_total_discount")
    kept = landing.query(
        "SELECT row_data ->> 'line_item_usage_amount' FROM raw_aws_billing_rows"
        " WHERE row_data ->> 'line_item_line_item_description' = 'numbers'"
    )
    assert sorted(word for (word,) in kept) == sorted(words)
    texts, empty_texts = (
        landing.query(
            "SELECT to_jsonb(charge) - 'ChargeDescription' FROM focus_cost_and_usage AS charge"
            ' WHERE "ChargeDescription" = %s ORDER BY 1',
            name,
        )
        for name in ("texts", "empty texts")
    )
    assert texts == empty_texts
    assert len(texts) == len(items["texts"])
    assert_no_nan(landing)


@pytest.mark.parametrize("word", [*WORDS, *INFINITIES])
def test_a_needed_cost_that_is_no_number_is_refused(parse: Parse, word: str) -> None:
    column = "BilledCost" if word in INFINITIES else "line_item_unblended_cost"
    row = AWS_FOCUS if column == "BilledCost" else line_item()

    with pytest.raises(InvalidValueError) as refused:
        parse(as_csv([row, {**row, column: word}]))

    assert f"line 3, column {column}, value {word!r}: this cost is not a number" in str(refused.value)


@pytest.mark.parametrize("column", [*needed_columns(ExportFormat.CUR2), *needed_columns(ExportFormat.FOCUS)])
def test_nan_in_any_needed_column_is_refused(parse: Parse, column: str) -> None:
    row = AWS_FOCUS if column in AWS_FOCUS else line_item()

    with pytest.raises(InvalidValueError, match=f"line 2, column {column}, value 'nan'"):
        parse(as_csv([{**row, column: "nan"}]))


def test_a_currency_that_is_nan_is_refused(parse: Parse) -> None:
    with pytest.raises(InvalidValueError, match="column line_item_currency_code, value 'nan': this is not a currency"):
        parse(as_csv([line_item(line_item_currency_code="nan")]))


def test_nan_and_infinity_in_parquet_are_no_value_and_nan_is_the_same_row_as_an_empty_one(landing: Landing) -> None:
    row = line_item()
    missing = [*CUR_NUMBERS, *CUR_TEXTS[1:], "resource_tags_user_team"]
    infinities = dict.fromkeys(
        ["line_item_usage_amount", "pricing_public_on_demand_cost"], pa.array([float("inf"), float("-inf")])
    )
    infinite = as_parquet(row, rows=2, **infinities)
    write_delivery(landing.root, as_parquet(row, **dict.fromkeys(missing, pa.array([float("nan")]))), infinite)
    first = landing.ingest()
    write_delivery(landing.root, as_csv([row], [*row, *missing]), infinite, revision=2)

    second = landing.ingest()

    assert (first.exit_error, first.findings) == (None, ())
    assert first.billed_cost == {"USD": Decimal("3.75")}
    assert {(charge["Tags"], charge["ResourceId"]) for charge in landing.charges()} == {(None, None)}
    assert (second.rows_added, second.rows_unchanged) == (0, 3)
    assert_no_nan(landing)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_needed_cost_in_parquet_is_refused(parse: Parse, number: str) -> None:
    content = as_parquet(line_item(), line_item_unblended_cost=pa.array([float(number)]))

    with pytest.raises(InvalidValueError, match=f"value '{number}': row 1: this cost is not a number"):
        parse(content)


def findings(parse: Parse, *items: dict[str, str], basis: CostBasis) -> list[str]:
    headers = dict.fromkeys(name for item in items for name in item)
    return list(parse(as_csv(items, headers)).find_odd_values(basis=basis, currency="USD"))


def test_a_net_cost_that_is_nan_is_reported_where_net_costs_are_billed(parse: Parse) -> None:
    items = [line_item(line_item_net_unblended_cost=value) for value in ("1", "nan", "Infinity", "None", "")]

    assert findings(parse, *items, basis=CostBasis.GROSS) == []
    assert findings(parse, *items, basis=CostBasis.NET) == [
        "2 line items have no number in line_item_net_unblended_cost, but 'Infinity': it counts as missing"
    ]


def test_the_unused_part_of_a_fee_that_is_nan_is_reported(parse: Parse) -> None:
    used = {"savings_plan_used_commitment": "nan"}
    items = [
        line_item("Usage", **used),
        line_item("SavingsPlanRecurringFee", savings_plan_savings_plan_a_r_n=PLAN, **used),
        line_item("RIFee", reservation_reservation_a_r_n=RESERVATION, reservation_unused_recurring_fee="NaN"),
    ]

    assert findings(parse, *items, basis=CostBasis.GROSS) == [
        "1 line items have no number in savings_plan_used_commitment, but 'nan': it counts as missing",
        "1 line items have no number in reservation_unused_recurring_fee, but 'NaN': it counts as missing",
    ]


@pytest.mark.parametrize("text", ['{"edp":"nan"}', '{"edp": NaN, "a": 1}', '{"a":1,"edp":-inf}'])
def test_a_discount_that_is_nan_is_reported(parse: Parse, text: str) -> None:
    item = line_item(discount=text, discount_total_discount="-1.5")

    [finding] = findings(parse, item, line_item(discount='{"nan":"1"}'), basis=CostBasis.GROSS)

    assert finding == f"1 line items have no number in discount, but {text!r}: it counts as missing"


def test_columns_keep_their_type_where_some_values_are_nan(parse: Parse) -> None:
    items = [line_item(line_item_usage_amount=value) for value in ("1.5", "nan")]

    assert parse(as_csv(items)).describe_columns()["line_item_usage_amount"] == "number"
