"""Discounts that only the rows' columns name, on bills without net costs: once, exactly, and proved in money."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, line_item, write_delivery
from tests.integration.bills.discounts.discounts_helpers import (
    MINUS,
    PLUS,
    PRICED,
    basis,
    is_proved,
    land,
    named,
    usage,
)
from tests.services import NewDatabase, make_shared_landing


def costs(landing: Landing) -> dict[str, tuple[Decimal, ...]]:
    """Billed, effective, contracted and list cost of each charge by its description."""
    rows = landing.query(
        'SELECT "ChargeDescription", "BilledCost", "EffectiveCost", "ContractedCost", "ListCost"'
        " FROM focus_cost_and_usage"
    )
    return {row[0]: row[1:] for row in rows}


# Two rows of usage, at 100 and 50, and what they are billed at.
BILLS: dict[str, tuple[list[dict[str, str]], str]] = {
    "the total discount": ([{"discount_total_discount": "-9.0"}, {"discount_total_discount": "-4.5"}], "136.5"),
    "the map of discounts": ([named(EdpDiscount=-9.0), named(EdpDiscount=-4, PrivateRateDiscount=-0.5)], "136.5"),
    "numbers as texts in the map": ([named(EdpDiscount="-9.0"), named(EdpDiscount="-4.5E0", note="")], "136.5"),
    "columns of legacy exports": (
        [
            {"discount_edp_discount": "-9", "discount_bundled_discount": "None"},
            {"discount_edp_discount": "-4", "discount_bundled_discount": "-0.5"},
        ],
        "136.5",
    ),
    "the bundled discount beside a map that does not name it": (
        [{**named(EdpDiscount=-8), "discount_bundled_discount": "-1"}, named(EdpDiscount=-4.5)],
        "136.5",
    ),
    "the bundled discount in the map and beside it": (
        [{**named(EdpDiscount=-8, BundledDiscount=-1), "discount_bundled_discount": "-1"}, named(EdpDiscount=-4.5)],
        "136.5",
    ),
    "the total before its parts": (
        [{**named(EdpDiscount=-9), "discount_total_discount": "-9"}, {**named(EdpDiscount=-4.5)}],
        "136.5",
    ),
    "the total in the map, beside its parts": (
        [
            named(EdpDiscount=-8, BundledDiscount=-1, TotalDiscount=-9.0),
            {**named(edp_discount=-4, discount_total_discount="-4.5"), "discount_bundled_discount": "-0.5"},
        ],
        "136.5",
    ),
    "a discount in one row only": ([{"discount_total_discount": "-13.5"}, {"discount_total_discount": "0"}], "136.5"),
    "more digits than a DECIMAL has": (
        [
            named(EdpDiscount="-0.1234567890123456789012345678901234567890", Other="-12345678901234567890123456789012"),
            {},
        ],
        "-12345678901234567890123456788862.1234567890123456789012345678901234567890",
    ),
    "a number that JSON would read inexactly": (
        [{"discount": '{"EdpDiscount": -0.12345678901234567890123, "Other":-1e-25}'}, {}],
        "149.8765432109876543210987699",
    ),
    "words for no value": (
        [
            {"discount_total_discount": "None", **named(EdpDiscount=None, Other="n/a")},
            {"discount_total_discount": "-4.5"},
        ],
        "145.5",
    ),
    "a key that looks like JSON": ([{"discount": '{"a\\": -7, {": -9.0, "b":-4.5}'}, {}], "136.5"),
}


# How a Parquet file may hold the numbers of its map, and how its texts become such numbers.
NUMBERS: dict[str, tuple[pa.DataType, Callable[[str], object]]] = {
    "a map of doubles": (pa.float64(), float),
    "a map of decimals": (pa.decimal128(38, 20), Decimal),
    "a map of strings": (pa.string(), str),
}
IN_MAPS = [["-9.1", "0.1"], ["-4.25", "-0.25"]]
WANTED = {**{name: wanted for name, (_, wanted) in BILLS.items()}, **dict.fromkeys(NUMBERS, "136.5")}


def pair(name: str, columns: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Usage at 100 and at 50 with these columns."""
    return [
        {**usage(cost, **held), "line_item_line_item_description": f"{name}: {cost}"}
        for cost, held in zip(("100", "50"), columns, strict=True)
    ]


def with_map(name: str, number_type: pa.DataType, read: Callable[[str], object]) -> bytes:
    items = pair(name, [{}, {}])
    columns: dict[str, pa.Array] = {column: pa.array([item[column] for item in items]) for column in items[0]}
    columns["discount"] = pa.array(
        [list(zip(("EdpDiscount", "Other"), map(read, row), strict=True)) for row in IN_MAPS],
        pa.map_(pa.string(), number_type),
    )
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


@pytest.fixture(scope="module")
def billed(shared_landing: Landing) -> dict[str, tuple[Decimal, ...]]:
    """The four costs of each charge of a bill that has all of these rows, each pair in a file with its own columns."""
    files = [as_csv(pair(name, columns)) for name, (columns, _) in BILLS.items()]
    files += [with_map(name, *kind) for name, kind in NUMBERS.items()]
    write_delivery(shared_landing.root, *files, ending="csv")
    outcome = shared_landing.ingest()
    assert (outcome.exit_error, outcome.findings) == (None, ())
    assert basis(shared_landing) == PLUS
    assert is_proved(shared_landing)
    return costs(shared_landing)


@pytest.mark.parametrize("name", WANTED)
def test_discounts_without_net_costs_are_billed(billed: dict[str, tuple[Decimal, ...]], name: str) -> None:
    found = [billed[f"{name}: {cost}"][:3] for cost in ("100", "50")]

    assert all(billed == effective == contracted for billed, effective, contracted in found)
    with localcontext(prec=100):
        assert sum(billed for billed, _, _ in found) == Decimal(WANTED[name])


def test_legacy_headers_name_the_same_discounts(landing: Landing) -> None:
    names = {
        "line_item_line_item_type": "lineItem/LineItemType",
        "line_item_unblended_cost": "lineItem/UnblendedCost",
        "line_item_usage_start_date": "lineItem/UsageStartDate",
        "line_item_usage_account_id": "lineItem/UsageAccountId",
        "line_item_currency_code": "lineItem/CurrencyCode",
        "bill_billing_period_start_date": "bill/BillingPeriodStartDate",
        "edp": "discount/EdpDiscount",
        "private": "discount/PrivateRateDiscount",
        "total": "discount/TotalDiscount",
    }
    items = [usage("100", edp="-8", private="-1", total="-9.0"), usage("50", edp="-4.5", private="", total="")]

    outcome = land(landing, [{names[name]: value for name, value in item.items() if name in names} for item in items])

    assert outcome.billed_cost == {"USD": Decimal("136.5")}


def test_discounts_above_zero_are_subtracted_on_the_whole_bill(landing: Landing) -> None:
    items = [
        usage("100", discount_total_discount="9.0"),
        usage("50", discount_total_discount="4.5"),
        usage("-20", discount_total_discount="-1.8"),
    ]

    outcome = land(landing, items)

    assert basis(landing) == MINUS
    assert outcome.billed_cost == {"USD": Decimal("118.3")}
    assert outcome.findings == ("the discount columns hold amounts above 0: 11.7 USD was subtracted",)


def test_doubtful_discounts_are_findings_of_their_currency(landing: Landing) -> None:
    outcome = land(
        landing,
        [
            usage("100", discount_total_discount="-9"),
            usage("50", discount_total_discount="-4.5"),
            # One sign holds for the whole bill.
            usage("30", discount_total_discount="3"),
            usage("51", discount_total_discount="4.5", line_item_currency_code="EUR"),
            usage("60", discount_total_discount="-6", line_item_currency_code="EUR"),
            usage("101", discount_total_discount="-9", **named(EdpDiscount=-8.5), line_item_currency_code="GBP"),
        ],
    )

    assert outcome.billed_cost == {"USD": Decimal("169.5"), "EUR": Decimal("109.5"), "GBP": Decimal(92)}
    assert sorted(outcome.findings) == [
        "discounts of 3 USD raise the cost of their line items: check their sign",
        "discounts of 4.5 EUR raise the cost of their line items: check their sign",
        "total discounts in GBP are -0.5 off the sum of their parts: the totals were billed",
    ]
    assert landing.query("SELECT cost, state FROM billing_checks WHERE name = 'net_proof'") == [
        ({"USD": "3", "EUR": "4.5", "GBP": "0.5"}, "warned")
    ]


def test_a_bill_of_refunds_alone_follows_the_sign_of_aws(landing: Landing) -> None:
    outcome = land(landing, [line_item("Refund", "-100", discount_total_discount="9")])

    assert outcome.billed_cost == {"USD": Decimal(-91)}


def test_discounts_in_line_items_and_in_columns_count_once(landing: Landing) -> None:
    euros = {"line_item_currency_code": "EUR"}
    outcome = land(
        landing,
        [
            usage("100", discount_total_discount="9", **euros),
            usage("50", discount_total_discount="4.5", **euros),
            line_item("EdpDiscount", "-13.5", **euros),
            usage("101", **named(EdpDiscount=-9)),
            line_item("RiVolumeDiscount", "-2"),
            usage("7"),
        ],
    )

    assert basis(landing) == "gross"
    assert outcome.billed_cost == {"EUR": Decimal("136.5"), "USD": Decimal(106)}
    assert outcome.findings == (
        "the discount columns name -9 USD, the discount line items -2 USD: only the line items were billed, because"
        " the columns usually repeat them",
    )
    assert landing.query("SELECT cost FROM billing_checks WHERE name = 'net_proof'") == [({"USD": "7"},)]


EXACT = "0.1234567890123456789012345"


@pytest.fixture(scope="module")
def priced(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """A bill with prices, and with numbers longer than those that are computed."""
    landing = make_shared_landing(new_database, tmp_path_factory)
    outcome = land(
        landing,
        [
            usage("100", discount_total_discount="-9", line_item_unblended_rate="25", **PRICED),
            line_item("Tax", "8", discount_total_discount="-1", line_item_line_item_description="tax"),
            line_item("Credit", "-5", discount_total_discount="0.5", line_item_line_item_description="credit"),
            line_item("Fee", "12", discount_total_discount="-2", line_item_line_item_description="fee"),
            line_item("Refund", "-101", discount_total_discount="9", line_item_line_item_description="refund"),
            usage(EXACT, discount_total_discount="-0.00000000000000000000001", line_item_usage_amount="3"),
            usage("1", line_item_usage_amount="7", pricing_public_on_demand_rate="0.3333333333333333335"),
            usage("-0.5", line_item_usage_amount="300000000"),
        ],
    )
    assert outcome.findings == ()
    return landing


def test_list_cost_stays_before_discounts_and_a_refund_gives_back_what_was_paid(priced: Landing) -> None:
    found = costs(priced)

    assert {name: found[name] for name in ("usage of 100", "tax", "credit", "fee")} == {
        "usage of 100": (91, 91, 91, 100),
        "tax": (7, 7, 7, 7),
        "credit": (Decimal("-4.5"),) * 4,
        "fee": (10, 10, 10, 12),
    }
    assert found["refund"][:3] == (-92, -92, -92)
    assert priced.query(
        'SELECT "ListUnitPrice", "ContractedUnitPrice" FROM focus_cost_and_usage'
        " WHERE \"ChargeDescription\" = 'usage of 100'"
    ) == [(25, Decimal("22.75"))]
    detail = priced.value("SELECT detail FROM billing_checks WHERE name = 'focus_rules' AND state = 'warned'")
    # The prices of the charge below zero.
    assert set(re.findall(r"(\w+)\(", detail.replace("-not-negative ", "below"))) == {
        f"{currency}{kind}UnitPricebelow" for currency in ("", "PricingCurrency") for kind in ("List", "Contracted")
    }


def test_computed_numbers_end_at_18_decimals_and_those_of_aws_where_they_end(priced: Landing) -> None:
    rows = {
        row[0]: row[1:]
        for row in priced.query(
            'SELECT "ChargeDescription", "BilledCost", "ListCost", "ListUnitPrice", "ContractedUnitPrice"'
            " FROM focus_cost_and_usage"
        )
    }

    assert rows[f"usage of {EXACT}"] == (
        Decimal(EXACT) - Decimal("1e-23"),
        Decimal(EXACT),
        Decimal("0.041152263004115226"),
        Decimal("0.041152263004115226"),
    )
    # 7 times the rate is 2.3333333333333333345: half goes away from zero, and the rate itself stays.
    assert rows["usage of 1"] == (
        1,
        Decimal("2.333333333333333335"),
        Decimal("0.3333333333333333335"),
        Decimal("0.142857142857142857"),
    )
    assert rows["usage of -0.5"] == (
        Decimal("-0.5"),
        Decimal("-0.5"),
        Decimal("-0.000000001666666667"),
        Decimal("-0.000000001666666667"),
    )
