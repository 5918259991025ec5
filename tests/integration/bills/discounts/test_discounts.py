"""Discounts that only the rows' columns name, on bills without net costs: once, exactly, and proved in money."""

from __future__ import annotations

import io
from collections.abc import Callable
from decimal import Decimal, localcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from billfold.settings import Settings
from billfold.store.database import Database
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


def costs(landing: Landing) -> dict[str, tuple[Decimal, ...]]:
    """Billed, effective, contracted and list cost of each charge by its description."""
    rows = landing.query(
        'SELECT "ChargeDescription", "BilledCost", "EffectiveCost", "ContractedCost", "ListCost"'
        " FROM focus_cost_and_usage"
    )
    return {row[0]: row[1:] for row in rows}


def test_the_sample_bill_is_billed_with_its_discounts(
    database: Database, settings: Settings, shared_samples: Path
) -> None:
    landing = Landing.make(database, settings, shared_samples / "field" / "discounts-no-net")

    outcome = landing.ingest()

    assert outcome.billed_cost == {"USD": Decimal("136.5")}
    assert outcome.findings == ()


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
    "a key that looks like JSON": ([{"discount": '{"a\\": -7, {": -9.0, "b":-4.5}'}, {}], "136.5"),
}


@pytest.fixture(scope="module")
def billed(shared_landing: Landing) -> dict[str, tuple[Decimal, ...]]:
    """The four costs of each charge of a bill that has all of these rows, each pair in a file with its own columns."""
    pairs = [
        [
            usage(cost, **held) | {"line_item_line_item_description": f"{name}: {cost}"}
            for cost, held in zip(("100", "50"), columns, strict=True)
        ]
        for name, (columns, _) in BILLS.items()
    ]
    write_delivery(shared_landing.root, *map(as_csv, pairs), ending="csv")
    outcome = shared_landing.ingest()
    assert (outcome.exit_error, outcome.findings) == (None, ())
    assert basis(shared_landing) == PLUS
    return costs(shared_landing)


@pytest.mark.parametrize("name", BILLS)
def test_discounts_without_net_costs_are_billed(billed: dict[str, tuple[Decimal, ...]], name: str) -> None:
    found = [billed[f"{name}: {cost}"][:3] for cost in ("100", "50")]

    assert all(billed == effective == contracted for billed, effective, contracted in found)
    with localcontext(prec=100):
        assert sum(billed for billed, _, _ in found) == Decimal(BILLS[name][1])


def test_a_bill_whose_columns_name_no_discount_stays_gross(landing: Landing) -> None:
    outcome = land(landing, [usage("100", discount="{}", discount_total_discount="0.0"), usage("50", discount="")])

    assert outcome.billed_cost == {"USD": Decimal(150)}
    assert outcome.findings == ()
    assert basis(landing) == "gross"
    assert all(billed == effective == contracted for billed, effective, contracted, _ in costs(landing).values())


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


def test_a_parquet_map_is_read_exactly_whatever_the_type_of_its_numbers(landing: Landing) -> None:
    items = [usage("100"), usage("50")]
    numbers = [["-9.1", "0.1"], ["-4.25", "-0.25"]]
    types: dict[str, tuple[pa.DataType, Callable[[str], object]]] = {
        "double": (pa.float64(), float),
        "decimal": (pa.decimal128(38, 20), Decimal),
        "string": (pa.string(), str),
    }
    for name, (number_type, read) in types.items():
        columns: dict[str, pa.Array] = {column: pa.array([item[column] for item in items]) for column in items[0]}
        columns["discount"] = pa.array(
            [list(zip(("EdpDiscount", "Other"), map(read, row), strict=True)) for row in numbers],
            pa.map_(pa.string(), number_type),
        )
        stream = io.BytesIO()
        parquet.write_table(pa.table(columns), stream)
        write_delivery(landing.root, stream.getvalue(), ending="snappy.parquet", export_path=f"exports/{name}")

    outcomes = landing.ingest_all()

    assert {outcome.export_name: outcome.billed_cost for outcome in outcomes} == {
        name: {"USD": Decimal("136.5")} for name in types
    }
    assert is_proved(landing)


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


def test_a_refund_gives_back_what_was_paid_after_its_discount(landing: Landing) -> None:
    outcome = land(
        landing,
        [
            usage("100", discount_total_discount="-9"),
            line_item("Refund", "-100", discount_total_discount="9", line_item_line_item_description="refund"),
        ],
    )

    assert outcome.billed_cost == {"USD": Decimal(0)}
    assert outcome.findings == ()
    assert costs(landing)["refund"][:3] == (-91, -91, -91)


def test_one_sign_holds_for_the_whole_bill_and_what_contradicts_it_is_a_finding(landing: Landing) -> None:
    outcome = land(
        landing,
        [
            usage("100", discount_total_discount="-9"),
            usage("50", discount_total_discount="-4.5"),
            usage("30", discount_total_discount="3"),
        ],
    )

    assert outcome.billed_cost == {"USD": Decimal("169.5")}
    assert outcome.findings == ("discounts of 3 USD raise the cost of their line items: check their sign",)
    assert landing.query("SELECT cost, state FROM billing_checks WHERE name = 'net_proof'") == [
        ({"USD": "3"}, "warned")
    ]


def test_a_bill_of_refunds_alone_follows_the_sign_of_aws(landing: Landing) -> None:
    outcome = land(landing, [line_item("Refund", "-100", discount_total_discount="9")])

    assert outcome.billed_cost == {"USD": Decimal(-91)}


def test_totals_that_are_not_the_sum_of_their_parts_are_a_finding(landing: Landing) -> None:
    outcome = land(landing, [usage("100", discount_total_discount="-9", **named(EdpDiscount=-8.5))])

    assert outcome.billed_cost == {"USD": Decimal(91)}
    assert outcome.findings == ("total discounts in USD are -0.5 off the sum of their parts: the totals were billed",)
    assert landing.query("SELECT cost FROM billing_checks WHERE name = 'net_proof'") == [({"USD": "0.5"},)]


@pytest.mark.parametrize("sign", ["-", ""])
def test_discounts_in_line_items_and_in_columns_count_once(landing: Landing, sign: str) -> None:
    outcome = land(
        landing,
        [
            usage("100", discount_total_discount=f"{sign}9"),
            usage("50", discount_total_discount=f"{sign}4.5"),
            line_item("EdpDiscount", "-13.5"),
        ],
    )

    assert basis(landing) == "gross"
    assert outcome.billed_cost == {"USD": Decimal("136.5")}
    assert outcome.findings == ()


def test_discounts_that_columns_name_beyond_the_line_items_are_a_finding(landing: Landing) -> None:
    outcome = land(landing, [usage("100", **named(EdpDiscount=-9)), line_item("RiVolumeDiscount", "-2"), usage("7")])

    assert outcome.billed_cost == {"USD": Decimal(105)}
    assert outcome.findings == (
        "the discount columns name -9 USD, the discount line items -2 USD: only the line items were billed, because"
        " the columns usually repeat them",
    )
    assert landing.query("SELECT cost FROM billing_checks WHERE name = 'net_proof'") == [({"USD": "7"},)]


def test_net_costs_are_billed_whatever_the_discounts_say(landing: Landing) -> None:
    outcome = land(
        landing,
        [
            usage("100", line_item_net_unblended_cost="91", discount_total_discount="-9"),
            usage("50", line_item_net_unblended_cost="45.5", discount_total_discount="-4.5"),
            line_item("EdpDiscount", "-13.5"),
        ],
    )

    assert basis(landing) == "net"
    assert outcome.billed_cost == {"USD": Decimal("136.5")}
    assert outcome.findings == ()


def test_currencies_are_proved_apart(landing: Landing) -> None:
    outcome = land(
        landing,
        [
            usage("100", discount_total_discount="-9"),
            usage("50", discount_total_discount="4.5", line_item_currency_code="EUR"),
            usage("60", discount_total_discount="-6", line_item_currency_code="EUR"),
        ],
    )

    assert outcome.billed_cost == {"USD": Decimal(91), "EUR": Decimal("108.5")}
    assert outcome.findings == ("discounts of 4.5 EUR raise the cost of their line items: check their sign",)


def test_list_cost_stays_before_discounts(landing: Landing) -> None:
    land(
        landing,
        [
            usage("100", discount_total_discount="-9", line_item_unblended_rate="25", **PRICED),
            line_item("Tax", "8", discount_total_discount="-1", line_item_line_item_description="tax"),
            line_item("Credit", "-5", discount_total_discount="0.5", line_item_line_item_description="credit"),
            line_item("Fee", "12", discount_total_discount="-2", line_item_line_item_description="fee"),
        ],
    )

    assert costs(landing) == {
        "usage of 100": (91, 91, 91, 100),
        "tax": (7, 7, 7, 7),
        "credit": (Decimal("-4.5"),) * 4,
        "fee": (10, 10, 10, 12),
    }
    assert landing.query(
        'SELECT "ListUnitPrice", "ContractedUnitPrice" FROM focus_cost_and_usage'
        " WHERE \"ChargeDescription\" = 'usage of 100'"
    ) == [(25, Decimal("22.75"))]
    assert landing.query("SELECT detail FROM billing_checks WHERE name = 'focus_rules' AND state = 'warned'") == []
