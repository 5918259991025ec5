"""Discounts that are no numbers, and bills whose basis changes."""

from __future__ import annotations

from decimal import Decimal

from billfold.bills.remap import remap
from billfold.errors import InvalidValueError
from tests.bills.landing import Landing
from tests.bills.line_items import PAYER, PLAN, RESERVATION, line_item, write_bill
from tests.integration.bills.discounts.discounts_helpers import PLUS, PRICED, basis, is_proved, land, named, usage


def test_discounts_on_commitments_are_billed_or_left_over_and_told(landing: Landing) -> None:
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

    euros = {"line_item_currency_code": "EUR", **of_plan}
    left_over = [
        line_item("SavingsPlanCoveredUsage", "20", discount_total_discount="-2", **euros),
        line_item("SavingsPlanNegation", "-20", **euros),
    ]

    outcome = land(landing, [*items, *left_over])

    assert outcome.billed_cost == {"USD": Decimal("8.75"), "EUR": Decimal(-2)}
    assert landing.query(
        "SELECT billing_currency, sum(effective_cost), sum(billed_cost) FILTER (WHERE occurrence = 0)"
        " FROM billing_usage_fact GROUP BY 1 ORDER BY 1"
    ) == [("EUR", 0, -2), ("USD", 13, None)]
    assert set(outcome.findings) == {
        "discounts of -2 EUR are on commitments: they are in BilledCost, but not in EffectiveCost, because the"
        " export has no net effective costs",
        "1 line items covered by a commitment name no effective cost: theirs counts as 0",
        "discounts of -1.25 USD are on commitments: they are in BilledCost, but not in EffectiveCost, because the"
        " export has no net effective costs",
        f"Savings Plan covered usage and negations of payer {PAYER} leave -2 EUR over, charged as Adjustment",
    }
    assert is_proved(landing)


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


def test_a_bill_changes_its_basis_as_a_whole(landing: Landing) -> None:
    net = "line_item_net_unblended_cost"
    none = [usage("100", discount="{}", discount_total_discount="0.0"), usage("50", discount="")]
    by_columns = [usage("100", discount_total_discount="-9"), usage("50", discount_total_discount="-4.5")]
    by_rows = [*by_columns, line_item("EdpDiscount", "-13.5"), usage("7")]
    bills = (
        ("gross", none),
        (PLUS, by_columns),
        ("gross", by_rows),
        ("net", [{**by_rows[0], net: "91"}, {**by_rows[1], net: "45.5"}, *by_rows[2:]]),
    )
    found = []

    for revision, (_, items) in enumerate(bills, start=1):
        outcome = land(landing, [{"discount": "", net: "", **item} for item in items], revision=revision)
        found.append((basis(landing), outcome.billed_cost["USD"], outcome.findings))
        assert landing.billed() == outcome.billed_cost

    costs = ("150", "136.5", "143.5", "143.5")
    assert found == [(name, Decimal(cost), ()) for (name, _), cost in zip(bills, costs, strict=True)]
    assert (outcome.rows_added, outcome.rows_removed, outcome.rows_unchanged) == (2, 2, 2)
    # The discount's own row is unchanged, and no charge any more: the net costs hold it.
    [left_out] = landing.value("SELECT left_out FROM billing_publications WHERE number = 4")
    assert (left_out["rows"], left_out["cost"]) == (1, "-13.5")
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
