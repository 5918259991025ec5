"""Discounts that only the rows' columns name, on bills without net costs: once, exactly, and proved in money."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from billfold.bills.remap import remap
from billfold.errors import InvalidValueError
from billfold.model import DeliveryOutcome
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.verification import verify
from tests.bills.landing import Landing
from tests.bills.line_items import PAYER, PLAN, RESERVATION, as_csv, line_item, write_bill, write_delivery

PLUS, MINUS = "gross plus discounts", "gross minus discounts"
PRICED = {"line_item_usage_amount": "4", "pricing_unit": "Hrs", "pricing_public_on_demand_rate": "25"}


def usage(cost: str, **columns: str) -> dict[str, str]:
    return line_item(cost=cost, line_item_line_item_description=f"usage of {cost}", **columns)


def named(**discounts: object) -> dict[str, str]:
    return {"discount": json.dumps(discounts)}


def land(landing: Landing, items: Sequence[Mapping[str, str]], *, revision: int = 1) -> DeliveryOutcome:
    write_bill(landing.root, items, revision=revision)
    outcome = landing.ingest()
    assert outcome.exit_error is None
    assert landing.broken_rules() == []
    return outcome


def costs(landing: Landing) -> dict[str, tuple[Decimal, ...]]:
    """Billed, effective, contracted and list cost of each charge by its description."""
    rows = landing.query(
        'SELECT "ChargeDescription", "BilledCost", "EffectiveCost", "ContractedCost", "ListCost"'
        " FROM focus_cost_and_usage"
    )
    return {row[0]: row[1:] for row in rows}


def is_proved(landing: Landing) -> bool:
    verdicts = verify(settings=landing.settings, database=landing.database)
    return all(verdict.is_true for verdict in verdicts)


def basis(landing: Landing) -> str:
    return str(landing.value("SELECT cost_basis FROM billing_statements"))


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
    "no discount at all": ([{"discount": "{}", "discount_total_discount": "0.0"}, {"discount": ""}], "150"),
}


@pytest.mark.parametrize("name", BILLS)
def test_discounts_without_net_costs_are_billed(landing: Landing, name: str) -> None:
    columns, billed = BILLS[name]

    outcome = land(landing, [usage(cost, **held) for cost, held in zip(("100", "50"), columns, strict=True)])

    assert outcome.billed_cost == {"USD": Decimal(billed)}
    assert outcome.findings == ()
    assert basis(landing) == ("gross" if billed == "150" else PLUS)
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


@pytest.mark.parametrize("number_type", [pa.float64(), pa.decimal128(38, 20), pa.string()], ids=str)
def test_a_parquet_map_is_read_exactly(landing: Landing, number_type: pa.DataType) -> None:
    items = [usage("100"), usage("50")]
    numbers = [["-9.1", "0.1"], ["-4.25", "-0.25"]]
    if number_type == pa.float64():
        values = [[float(number) for number in row] for row in numbers]
    elif number_type == pa.string():
        values = numbers  # type: ignore[assignment]
    else:
        values = [[Decimal(number) for number in row] for row in numbers]  # type: ignore[misc]
    columns: dict[str, pa.Array] = {name: pa.array([item[name] for item in items]) for name in items[0]}
    columns["discount"] = pa.array(
        [list(zip(("EdpDiscount", "Other"), row, strict=True)) for row in values], pa.map_(pa.string(), number_type)
    )
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    write_delivery(landing.root, stream.getvalue(), ending="snappy.parquet")

    outcome = landing.ingest()

    assert outcome.billed_cost == {"USD": Decimal("136.5")}
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


def test_discounts_on_commitments_are_billed_and_told(landing: Landing) -> None:
    of_plan = {"savings_plan_savings_plan_a_r_n": PLAN}
    items = [
        line_item(
            "SavingsPlanRecurringFee",
            "10",
            discount_total_discount="-1",
            savings_plan_total_commitment_to_date="10",
            savings_plan_used_commitment="6",
            **of_plan,
        ),
        line_item(
            "SavingsPlanCoveredUsage",
            "20",
            discount_total_discount="-2",
            savings_plan_savings_plan_effective_cost="6",
            **of_plan,
        ),
        line_item("SavingsPlanNegation", "-20", discount_total_discount="2", **of_plan),
        line_item("DiscountedUsage", "0", reservation_reservation_a_r_n=RESERVATION, reservation_effective_cost="3"),
        # A fee row that costs nothing but names a discount is a charge: its money must not be lost.
        line_item("RIFee", "0", discount_total_discount="-0.25", reservation_reservation_a_r_n=RESERVATION),
    ]

    outcome = land(landing, items)

    assert outcome.billed_cost == {"USD": Decimal("8.75")}
    assert landing.value("SELECT sum(effective_cost) FROM billing_usage_fact") == 13
    assert outcome.findings == (
        "discounts of -1.25 USD are on commitments: they are in BilledCost, but not in EffectiveCost, because the"
        " export has no net effective costs",
    )
    assert is_proved(landing)


def test_a_discount_on_covered_usage_alone_is_left_over_and_billed(landing: Landing) -> None:
    of_plan = {"savings_plan_savings_plan_a_r_n": PLAN}
    outcome = land(
        landing,
        [
            line_item("SavingsPlanCoveredUsage", "20", discount_total_discount="-2", **of_plan),
            line_item("SavingsPlanNegation", "-20", **of_plan),
        ],
    )

    assert outcome.billed_cost == {"USD": Decimal(-2)}
    assert landing.query("SELECT billed_cost FROM billing_usage_fact WHERE occurrence = 0") == [(-2,)]
    assert (
        f"Savings Plan covered usage and negations of payer {PAYER} leave -2 USD over, charged as Adjustment"
        in outcome.findings
    )


@pytest.mark.parametrize(
    "columns",
    [
        named(EdpDiscount="nine"),
        {"discount": "{EdpDiscount=-9.0}"},
        {"discount": "EdpDiscount"},
        {"discount_edp_discount": "-9 USD"},
    ],
    ids=["a word in the map", "no JSON", "no map", "a unit beside the number"],
)
def test_a_discount_that_is_not_a_number_is_a_finding(landing: Landing, columns: dict[str, str]) -> None:
    outcome = land(landing, [usage("100", **columns), usage("50", discount_total_discount="-4.5")])

    assert outcome.billed_cost == {"USD": Decimal("145.5")}
    assert outcome.findings == ("1 line items name a discount that is not a number: it counts as 0",)


def test_a_total_discount_that_is_not_a_number_refuses_the_file(landing: Landing) -> None:
    write_bill(landing.root, [usage("100", discount_total_discount="-9"), usage("50", discount_total_discount="nine")])

    outcome = landing.ingest()

    assert isinstance(outcome.exit_error, InvalidValueError)
    assert "line 3, column discount_total_discount" in str(outcome.exit_error)
    assert landing.count("billing_usage_fact") == 0


def test_words_for_no_value_are_no_discount(landing: Landing) -> None:
    outcome = land(
        landing,
        [
            usage("100", discount_total_discount="None", **named(EdpDiscount=None, Other="n/a")),
            usage("50", discount_total_discount="-4.5"),
        ],
    )

    assert outcome.billed_cost == {"USD": Decimal("145.5")}
    assert outcome.findings == ()


def test_a_bill_changes_its_basis_as_a_whole_and_comes_back(landing: Landing) -> None:
    plain = [usage("100"), usage("50")]
    discounted = [usage("100", discount_total_discount="-9"), usage("50")]
    net = [{**item, "line_item_net_unblended_cost": "40"} for item in discounted]
    found = []

    for revision, items in enumerate((plain, discounted, net, discounted, plain), start=1):
        outcome = land(landing, items, revision=revision)
        found.append((basis(landing), outcome.billed_cost["USD"]))
        assert is_proved(landing)

    assert found == [("gross", 150), (PLUS, 141), ("net", 80), (PLUS, 141), ("gross", 150)]


def test_files_of_one_bill_may_name_discounts_in_other_columns(landing: Landing) -> None:
    write_delivery(
        landing.root,
        as_csv([usage("100", **named(EdpDiscount=-9))]),
        as_csv([usage("50", discount_edp_discount="-4.5")]),
        ending="csv",
    )

    outcome = landing.ingest()

    assert outcome.billed_cost == {"USD": Decimal("136.5")}
    assert is_proved(landing)


def test_a_month_of_the_mapping_before_becomes_what_a_new_ingest_gives(landing: Landing) -> None:
    items = [
        usage("100", discount_total_discount="-9", **PRICED),
        line_item("Refund", "-20", reservation_reservation_a_r_n=RESERVATION),
    ]
    land(landing, items)
    wanted = landing.snapshot()
    # As the version before made it: before discounts, on gross basis, the returned reservation at its cost.
    for table in ("billing_publications", "billing_statements"):
        landing.execute(f"UPDATE {table} SET mapping_version = 2, cost_basis = 'gross'")
    landing.execute("UPDATE billing_deliveries SET mapping_version = 2")
    landing.execute("UPDATE billing_usage_fact SET billed_cost = 100, effective_cost = 100 WHERE billed_cost = 91")
    landing.execute("UPDATE billing_usage_fact SET effective_cost = -20 WHERE billed_cost = -20")
    landing.execute('UPDATE billing_publications SET billed_cost_after = \'{"USD": "80"}\'')
    for table in ("billing_daily_cost", "billing_daily_tag_cost"):
        landing.execute(f"UPDATE {table} SET billed_cost = 100, effective_cost = 100 WHERE billed_cost = 91")
        landing.execute(f"UPDATE {table} SET effective_cost = -20 WHERE billed_cost = -20")
    assert landing.broken_rules() == []

    [remapped] = remap(settings=landing.settings, database=landing.database)

    assert (remapped.mapping_version_before, remapped.mapping_version) == (2, 3)
    assert remapped.billed_cost == {"USD": Decimal(71)}
    assert landing.snapshot() == wanted
    assert basis(landing) == PLUS
    assert landing.broken_rules() == []
    assert is_proved(landing)


def test_computed_numbers_end_at_18_decimals_and_those_of_aws_where_they_end(landing: Landing) -> None:
    exact = "0.1234567890123456789012345"
    land(
        landing,
        [
            usage(exact, discount_total_discount="-0.00000000000000000000001", line_item_usage_amount="3"),
            usage("1", line_item_usage_amount="7", pricing_public_on_demand_rate="0.3333333333333333335"),
            usage("-0.5", line_item_usage_amount="300000000"),
        ],
    )

    rows = {
        row[0]: row[1:]
        for row in landing.query(
            'SELECT "ChargeDescription", "BilledCost", "ListCost", "ListUnitPrice", "ContractedUnitPrice"'
            " FROM focus_cost_and_usage"
        )
    }

    assert rows == {
        f"usage of {exact}": (
            Decimal(exact) - Decimal("1e-23"),
            Decimal(exact),
            Decimal("0.041152263004115226"),
            Decimal("0.041152263004115226"),
        ),
        # 7 times the rate is 2.3333333333333333345: half goes away from zero, and the rate itself stays.
        "usage of 1": (
            1,
            Decimal("2.333333333333333335"),
            Decimal("0.3333333333333333335"),
            Decimal("0.142857142857142857"),
        ),
        "usage of -0.5": (
            Decimal("-0.5"),
            Decimal("-0.5"),
            Decimal("-0.000000001666666667"),
            Decimal("-0.000000001666666667"),
        ),
    }
