"""Discounts that are no numbers, and bills whose basis changes."""

from __future__ import annotations

from decimal import Decimal

from billfold.bills.remap import remap
from billfold.errors import InvalidValueError
from tests.bills.landing import Landing
from tests.bills.line_items import PAYER, PLAN, RESERVATION, as_csv, line_item, write_bill, write_delivery
from tests.integration.bills.discounts.discounts_helpers import PLUS, PRICED, basis, is_proved, land, named, usage


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


def test_a_discount_that_is_not_a_number_is_a_finding(landing: Landing) -> None:
    # A word in the map, no JSON, no map, and a unit beside the number.
    wrong = [
        named(EdpDiscount="nine"),
        {"discount": "{EdpDiscount=-9.0}"},
        {"discount": "EdpDiscount"},
        {"discount_edp_discount": "-9 USD"},
    ]
    items = [usage(f"10{number}", **columns) for number, columns in enumerate(wrong)]

    outcome = land(landing, [*items, usage("50", discount_total_discount="-4.5")])

    assert outcome.findings == ("4 line items name a discount that is not a number: it counts as 0",)
    assert landing.query("SELECT billed_cost FROM billing_usage_fact ORDER BY 1") == [
        (Decimal(cost),) for cost in ("45.5", "100", "101", "102", "103")
    ]


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
        # The first two states are the last two.
        assert revision < 3 or is_proved(landing)

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
