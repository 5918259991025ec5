"""`nan` and infinity: no value in columns that are not needed, refused in needed ones, never a number in PostgreSQL."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from billfold.errors import InvalidValueError
from billfold.model import CostBasis, ExportFormat
from billfold.settings import Settings
from billfold.transform.columns import needed_columns
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, RESERVATION, as_csv, line_item, write_delivery
from tests.bills.parsed import FOCUS_ROW, as_parquet, parsed

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


def assert_no_nan(landing: Landing) -> None:
    """No charge and no sum holds what PostgreSQL takes for a number and is none."""
    for table in ("billing_usage_fact", "billing_daily_cost"):
        text = landing.query(f"SELECT {table}::text FROM {table}")
        assert not any(word in row.lower() for (row,) in text for word in ("nan", "infinity"))
    assert landing.broken_rules() == []


def test_focus_numbers_that_are_not_needed_have_no_value(landing: Landing) -> None:
    words = [*WORDS, *INFINITIES]
    write_delivery(landing.root, as_csv([{**AWS_FOCUS, **dict.fromkeys(FOCUS_NUMBERS, word)} for word in words]))

    outcome = landing.ingest()

    charges = landing.charges()
    assert outcome.exit_error is None
    assert {(c["BilledCost"], c["EffectiveCost"], c["ConsumedQuantity"]) for c in charges} == {
        (Decimal("1.5"), Decimal("1.5"), None)
    }
    assert f"{len(words)} rows name no EffectiveCost: their BilledCost stands in" in outcome.findings
    assert any(
        finding.startswith(f"{len(words)} line items have no number in ListCost") for finding in outcome.findings
    )
    assert_no_nan(landing)


def test_cur_numbers_that_are_not_needed_have_no_value(landing: Landing) -> None:
    words = [*WORDS, *INFINITIES]
    write_delivery(landing.root, as_csv([line_item(**dict.fromkeys(CUR_NUMBERS, word)) for word in words]))

    outcome = landing.ingest()

    [finding] = outcome.findings
    assert outcome.exit_error is None
    assert outcome.billed_cost == {"USD": Decimal("1.25") * len(words)}
    assert finding.startswith(f"{len(words)} line items have no number in discount_total_discount")
    kept = landing.query("SELECT row_data ->> 'line_item_usage_amount' FROM raw_aws_billing_rows")
    assert sorted(word for (word,) in kept) == sorted(words)
    assert_no_nan(landing)


def test_cur_texts_that_are_nan_are_as_if_they_were_empty(landing: Landing) -> None:
    items = [
        line_item(kind, line_item_line_item_description=kind) for kind in ("Usage", "Refund", "Fee", "Tax", "Credit")
    ]
    write_delivery(
        landing.root, as_csv([{**item, **dict.fromkeys(CUR_TEXTS, word)} for item in items for word in WORDS])
    )
    empty = landing.root.parent / "empty"
    write_delivery(empty, as_csv([{**item, "bill_payer_account_id": ""} for item in items for _ in WORDS]))

    outcomes = [landing.ingest(), landing.with_client(client_id="empty").ingest(empty)]

    charges = [
        [{n: v for n, v in charge.items() if n not in ("x_ClientId", "x_StatementId")} for charge in group]
        for group in (
            landing.records(
                'SELECT * FROM focus_cost_and_usage WHERE "x_ClientId" = %s ORDER BY "ChargeDescription"', client
            )
            for client in ("acme", "empty")
        )
    ]
    assert [outcome.exit_error for outcome in outcomes] == [None, None]
    assert len(charges[0]) == len(items) * len(WORDS)
    assert charges[0] == charges[1]


def test_times_that_are_not_needed_may_be_missing(landing: Landing) -> None:
    write_delivery(
        landing.root,
        as_csv([line_item(line_item_usage_end_date="NaT", bill_billing_period_start_date="nan"), line_item("Usage")]),
    )

    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert outcome.billed_cost == {"USD": Decimal("2.5")}


@pytest.mark.parametrize("word", [*WORDS, *INFINITIES])
def test_a_needed_cost_that_is_no_number_is_refused(settings: Settings, word: str) -> None:
    column = "BilledCost" if word in INFINITIES else "line_item_unblended_cost"
    row = AWS_FOCUS if column == "BilledCost" else line_item()

    with pytest.raises(InvalidValueError) as refused, parsed(settings, as_csv([row, {**row, column: word}])):
        pass

    assert f"line 3, column {column}, value {word!r}: this cost is not a number" in str(refused.value)


@pytest.mark.parametrize("column", [*needed_columns(ExportFormat.CUR2), *needed_columns(ExportFormat.FOCUS)])
def test_nan_in_any_needed_column_is_refused(settings: Settings, column: str) -> None:
    row = AWS_FOCUS if column in AWS_FOCUS else line_item()

    with (
        pytest.raises(InvalidValueError, match=f"line 2, column {column}, value 'nan'"),
        parsed(settings, as_csv([{**row, column: "nan"}])),
    ):
        pass


def test_a_currency_that_is_nan_is_refused(settings: Settings) -> None:
    with (
        pytest.raises(InvalidValueError, match="column line_item_currency_code, value 'nan': this is not a currency"),
        parsed(settings, as_csv([line_item(line_item_currency_code="nan")])),
    ):
        pass


def test_nan_in_parquet_is_no_value_and_the_same_row_as_an_empty_one(landing: Landing) -> None:
    row = line_item()
    missing = pa.array([float("nan")])
    columns = [*CUR_NUMBERS, *CUR_TEXTS[1:], "resource_tags_user_team"]
    write_delivery(landing.root, as_parquet(row, **dict.fromkeys(columns, missing)), ending="snappy.parquet")
    first = landing.ingest()
    write_delivery(landing.root, as_csv([row], [*row, *columns]), revision=2, ending="csv")

    second = landing.ingest()

    [charge] = landing.charges()
    assert (first.exit_error, first.findings) == (None, ())
    assert (charge["Tags"], charge["ResourceId"]) == (None, None)
    assert (second.rows_added, second.rows_unchanged) == (0, 1)
    assert_no_nan(landing)


def test_infinity_in_parquet_is_no_value_where_it_is_not_needed(landing: Landing) -> None:
    infinities = pa.array([float("inf"), float("-inf")])
    columns = dict.fromkeys(["line_item_usage_amount", "pricing_public_on_demand_cost"], infinities)
    write_delivery(landing.root, as_parquet(line_item(), rows=2, **columns), ending="snappy.parquet")

    outcome = landing.ingest()

    assert (outcome.exit_error, outcome.billed_cost) == (None, {"USD": Decimal("2.5")})
    assert_no_nan(landing)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_needed_cost_in_parquet_is_refused(settings: Settings, number: str) -> None:
    content = as_parquet(line_item(), line_item_unblended_cost=pa.array([float(number)]))

    with (
        pytest.raises(InvalidValueError, match=f"value '{number}': row 1: this cost is not a number"),
        parsed(settings, content),
    ):
        pass


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


def test_nan_in_a_map_costs_no_line_item(landing: Landing) -> None:
    names = ["x_Discounts", "Tags", "SkuPriceDetails", "x_CostCategories"]
    row = {**AWS_FOCUS, "SkuId": "A", "SkuPriceId": "A.B"}
    write_delivery(landing.root, as_csv([{**row, **dict.fromkeys(names, text)} for text in MAPS]))

    outcome = landing.ingest()

    kept = landing.query("SELECT row_data ->> 'x_Discounts' FROM raw_aws_billing_rows")
    assert outcome.exit_error is None
    assert landing.billed() == {"USD": Decimal("1.5") * len(MAPS)}
    assert sorted(text for (text,) in kept) == sorted(MAPS)
    assert landing.broken_rules() == []


def findings(settings: Settings, *items: dict[str, str], basis: CostBasis) -> list[str]:
    headers = dict.fromkeys(name for item in items for name in item)
    with parsed(settings, as_csv(items, headers)) as bill:
        return list(bill.find_odd_values(basis=basis, currency="USD"))


def test_a_net_cost_that_is_nan_is_reported_where_net_costs_are_billed(settings: Settings) -> None:
    items = [line_item(line_item_net_unblended_cost=value) for value in ("1", "nan", "Infinity", "None", "")]

    assert findings(settings, *items, basis=CostBasis.GROSS) == []
    assert findings(settings, *items, basis=CostBasis.NET) == [
        "2 line items have no number in line_item_net_unblended_cost, but 'Infinity': it counts as missing"
    ]


def test_the_unused_part_of_a_fee_that_is_nan_is_reported(settings: Settings) -> None:
    used = {"savings_plan_used_commitment": "nan"}
    items = [
        line_item("Usage", **used),
        line_item("SavingsPlanRecurringFee", savings_plan_savings_plan_a_r_n=PLAN, **used),
        line_item("RIFee", reservation_reservation_a_r_n=RESERVATION, reservation_unused_recurring_fee="NaN"),
    ]

    assert findings(settings, *items, basis=CostBasis.GROSS) == [
        "1 line items have no number in savings_plan_used_commitment, but 'nan': it counts as missing",
        "1 line items have no number in reservation_unused_recurring_fee, but 'NaN': it counts as missing",
    ]


@pytest.mark.parametrize("text", ['{"edp":"nan"}', '{"edp": NaN, "a": 1}', '{"a":1,"edp":-inf}'])
def test_a_discount_that_is_nan_is_reported(settings: Settings, text: str) -> None:
    item = line_item(discount=text, discount_total_discount="-1.5")

    [finding] = findings(settings, item, line_item(discount='{"nan":"1"}'), basis=CostBasis.GROSS)

    assert finding == f"1 line items have no number in discount, but {text!r}: it counts as missing"


def test_columns_keep_their_type_where_some_values_are_nan(settings: Settings) -> None:
    items = [line_item(line_item_usage_amount=value) for value in ("1.5", "nan")]

    with parsed(settings, as_csv(items)) as bill:
        assert bill.describe_columns()["line_item_usage_amount"] == "number"
