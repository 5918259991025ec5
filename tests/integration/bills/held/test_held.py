"""No blank month by accident: what would leave too little of a bill is held, and by what it is judged."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings

from billfold.bills.rollback import roll_back
from billfold.model import DeliveryOutcome, DeliveryState
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, described, line_item, write_bill
from tests.integration.bills.held.held_helpers import USD, deliver
from tests.services import Landed


def reduction(line_item_type: str, cost: str, **columns: str) -> dict[str, str]:
    return line_item(line_item_type, cost, line_item_line_item_description=f"{line_item_type} of {cost}", **columns)


CREDIT = reduction("Credit", "-200")
COVERED = [
    line_item("SavingsPlanCoveredUsage", "100", savings_plan_savings_plan_a_r_n=PLAN),
    line_item("SavingsPlanNegation", "-100", savings_plan_savings_plan_a_r_n=PLAN),
]
LOWERED_BY = ["Credit", "Refund", "EdpDiscount", "BundledDiscount", "PrivateRateDiscount"]
# By currency: the case, what a bill holds, what it holds after a restatement, and the loss that is told.
JUDGED: dict[str, tuple[str, list[dict[str, str]], list[dict[str, str]], str | None]] = {
    "USD": ("little is left", described("10", "20.5"), described("10", "5.2"), "15.2 of 30.5 USD"),
    "AUD": ("half is enough", described("10", "10"), described("10"), None),
    "EUR": ("none of the currency is left", described("4"), [], "0 of 4 EUR"),
    "BRL": ("all amounts became nothing", described("100", "101"), described("0", "0"), "0 of 201 BRL"),
    "CAD": ("costs below zero are not judged", described("-10", "1"), described("-100", "1"), None),
    # Each reduction alone would leave too little.
    "CHF": (
        "what lowers a bill is added",
        described("100", "101"),
        [*described("100", "99"), *(reduction(kind, "-190") for kind in LOWERED_BY)],
        None,
    ),
    "CNY": ("credits vanish", [*described("100", "101"), CREDIT], described("100", "100"), None),
    "DKK": (
        "usage shrinks under a credit",
        [*described("100", "100", "1"), CREDIT],
        [*described("10", "0", "1"), reduction("Credit", "-1")],
        "11 of 201 DKK before credits, refunds and discounts",
    ),
    "GBP": ("a Savings Plan covers the usage", described("100", "1"), [*COVERED, *described("1")], None),
    # With these, the bill keeps exactly half of its rows.
    "JPY": ("what costs nothing is gone", described(*["0"] * 26), [], None),
}


def test_the_cost_of_each_currency_is_judged_without_what_lowers_it(landing: Landing) -> None:
    def of_all(which: int) -> list[dict[str, str]]:
        return [
            {**item, "line_item_currency_code": currency}
            for currency, case in JUDGED.items()
            for item in (case[1], case[2])[which]
        ]

    deliver(landing, of_all(0))
    before = landing.billed()

    outcome = deliver(landing, of_all(1), 2)

    assert outcome.state is DeliveryState.HELD
    told = [loss for *_, loss in (JUDGED[currency] for currency in sorted(JUDGED)) if loss]
    assert outcome.reason == f"would leave {' and '.join(told)}"
    assert landing.billed() == before


def test_net_and_discount_columns_that_appear_hold_a_bill_only_where_nothing_is_left(landed: Landed) -> None:
    landing = landed((deliver, described("100", "100")))

    def restate(revision: int, *costs: str, **columns: str) -> DeliveryOutcome:
        return deliver(landing, described(*costs, **columns), revision)

    all_discounted = restate(2, "100", "100", discount_total_discount="-100")
    net_of_nothing = restate(3, "100", "100", line_item_net_unblended_cost="0")
    discounted = restate(4, "100", "100", discount_total_discount="-85")
    with_net = restate(5, "100", "100", line_item_net_unblended_cost="15")
    lost = restate(6, "40", "30", line_item_net_unblended_cost="30")

    assert (all_discounted.state, net_of_nothing.state) == (DeliveryState.HELD, DeliveryState.HELD)
    assert (discounted.state, discounted.billed_cost) == (DeliveryState.PUBLISHED, {USD: Decimal(30)})
    assert (with_net.state, with_net.billed_cost) == (DeliveryState.PUBLISHED, {USD: Decimal(30)})
    assert lost.reason == "would leave 70 of 200 USD before credits, refunds and discounts"


def test_focus_is_judged_without_credits_and_corrections(landing: Landing) -> None:
    def charge(category: str, cost: str, charge_class: str = "") -> dict[str, str]:
        return {
            "BilledCost": cost,
            "EffectiveCost": cost,
            "BillingCurrency": "USD",
            "ChargeCategory": category,
            "ChargeClass": charge_class,
            "ChargeDescription": f"{category} of {cost}",
            "ChargePeriodStart": "2026-05-03T00:00:00Z",
            "ChargePeriodEnd": "2026-05-04T00:00:00Z",
            "BillingPeriodStart": "2026-05-01T00:00:00Z",
            "BillingPeriodEnd": "2026-06-01T00:00:00Z",
            "BillingAccountId": "111122223333",
        }

    deliver(landing, [charge("Usage", "100"), charge("Usage", "101"), charge("Credit", "-150")])

    held = deliver(
        landing,
        [charge("Usage", "10"), charge("Usage", "9"), charge("Credit", "-1"), charge("Usage", "-1", "Correction")],
        2,
    )

    assert held.reason == "would leave 19 of 201 USD before credits, refunds and discounts"


def deliver_and_take_back(landing: Landing) -> None:
    deliver(landing, [*described("100", "101"), reduction("Credit", "-190")])
    taken_back = deliver(landing, [*described("300", "301"), reduction("Credit", "-190")], 2)
    assert taken_back.delivery_id is not None
    roll_back(taken_back.delivery_id, settings=landing.settings, database=landing.database)


@pytest.mark.parametrize("is_known", [True, False])
def test_what_stands_is_judged_alike_after_a_rollback_and_by_its_charges_alone(landed: Landed, is_known: bool) -> None:
    landing = landed((deliver_and_take_back,))
    kept = landing.query("SELECT undiscounted_cost_after FROM billing_publications ORDER BY publication_id")
    if not is_known:
        landing.execute("UPDATE billing_publications SET undiscounted_cost_after = NULL")
    write_bill(landing.root, described("50", "49", "1"), revision=3)

    outcome = landing.ingest()

    assert kept == [({USD: "201"},), ({USD: "601"},), ({USD: "201"},)]
    assert outcome.reason == "would leave 100 of 201 USD before credits, refunds and discounts"


_KINDS = ["Usage", "Tax", "Fee", "Credit", "Refund", "EdpDiscount", "SavingsPlanCoveredUsage", "SavingsPlanNegation"]
_COSTS = st.decimals(-1000, 1000, places=6, allow_nan=False)
_ITEMS = st.builds(
    lambda kind, cost, net, currency: line_item(
        kind, format(cost, "f"), line_item_net_unblended_cost=net, line_item_currency_code=currency
    ),
    st.sampled_from(_KINDS),
    _COSTS,
    st.sampled_from(["", "0", "1.5", "-2"]),
    st.sampled_from(["USD", "EUR"]),
)


def slow_undiscounted(items: list[dict[str, str]]) -> dict[str, Decimal]:
    """What a loss is judged by, slowly and obviously."""
    has_net = any(item["line_item_net_unblended_cost"] for item in items)
    judged = [
        item
        for item in items
        if item["line_item_line_item_type"] not in ("Credit", "Refund", "EdpDiscount")
        and Decimal(item["line_item_unblended_cost"]) > 0
    ]
    total: dict[str, Decimal] = {}
    for currency in {item["line_item_currency_code"] for item in items}:
        of_currency = [item for item in judged if item["line_item_currency_code"] == currency]
        gross = sum((Decimal(item["line_item_unblended_cost"]) for item in of_currency), Decimal(0))
        net = sum(
            (Decimal(item["line_item_net_unblended_cost"] or item["line_item_unblended_cost"]) for item in of_currency),
            Decimal(0),
        )
        total[currency] = gross if (net if has_net else gross) > 0 else Decimal(0)
    return total


@pytest.mark.at_length
@hypothesis_settings(
    max_examples=rounds(2, in_soak=8),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(items=st.lists(_ITEMS, min_size=1, max_size=12))
def test_the_judged_cost_is_that_of_its_slow_twin(landing: Landing, items: list[dict[str, str]]) -> None:
    outcome = landing.ingest(write_bill(landing.root, items, export_path=f"exports/{uuid4().hex}"))

    [[kept]] = landing.query(
        "SELECT undiscounted_cost_after FROM billing_publications JOIN billing_deliveries USING (publication_id)"
        " WHERE billing_deliveries.delivery_id = %s",
        outcome.delivery_id,
    )

    assert {currency: Decimal(cost) for currency, cost in kept.items()} == slow_undiscounted(items)
