"""The money of commitments, on generated bills: what was used and what was not is what the commitment cost."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings

from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import PAYER, PERIOD, line_item, write_bill

# What a negotiated discount leaves of every cost.
NET_SHARE = Decimal("0.9")
# Net shares of what nobody used are quotients, which end somewhere.
TOLERANCE = Decimal("1e-12")


@dataclass(frozen=True, kw_only=True)
class Commitment:
    """A commitment in one month: hourly recurring and amortised upfront cost, and what of both was used each hour."""

    number: int
    is_plan: bool
    recurring: Decimal
    upfront: Decimal
    used_shares: tuple[Decimal, ...]
    is_bought_now: bool

    @property
    def arn(self) -> str:
        kind = "savingsplans::{}:savingsplan/p" if self.is_plan else "ec2:us-east-1:{}:reserved-instances/r"
        return f"arn:aws:{kind.format(PAYER)}-{self.number}"

    @property
    def cost(self) -> Decimal:
        """What the month of the commitment costs, amortised."""
        return (self.recurring + self.upfront) * len(self.used_shares)


MONEY = st.decimals("0.0001", "20", places=4)
SHARES = st.sampled_from([Decimal(0), Decimal("0.25"), Decimal("0.5"), Decimal(1)])


@st.composite
def commitments(draw: st.DrawFn) -> list[Commitment]:
    """Savings Plans and reservations, paid upfront in full, in part or not at all, used in full, in part or not."""
    drawn = []
    for number in range(draw(st.integers(3, 7))):
        payment = draw(st.sampled_from(["all upfront", "partial upfront", "no upfront"]))
        drawn.append(
            Commitment(
                number=number,
                is_plan=draw(st.booleans()),
                recurring=Decimal(0) if payment == "all upfront" else draw(MONEY),
                upfront=Decimal(0) if payment == "no upfront" else draw(MONEY),
                used_shares=tuple(draw(st.lists(SHARES, min_size=1, max_size=4))),
                is_bought_now=draw(st.booleans()),
            )
        )
    return drawn


def _priced(cost: Decimal, *, net: bool, name: str = "line_item_{}unblended_cost") -> dict[str, str]:
    """A cost under its column and, on net basis, under its net twin."""
    gross = {name.format(""): format(cost, "f")}
    return gross | ({name.format("net_"): format(cost * NET_SHARE, "f")} if net else {})


def _hour(hour: int) -> dict[str, str]:
    return {
        "line_item_usage_start_date": f"{PERIOD}-03T{hour:02}:00:00.000Z",
        "line_item_usage_end_date": f"{PERIOD}-03T{hour + 1:02}:00:00.000Z",
    }


def _plan_items(plan: Commitment, *, net: bool) -> list[dict[str, str]]:
    """Each hour the fee and, where something was used, covered usage at thrice its share, and the negation of that."""
    of_plan = {"savings_plan_savings_plan_a_r_n": plan.arn}
    commitment = plan.recurring + plan.upfront
    items = []
    for hour, share in enumerate(plan.used_shares):
        used = commitment * share
        of_hour = {**of_plan, **_hour(hour)}
        items.append(
            line_item(
                "SavingsPlanRecurringFee",
                **_priced(plan.recurring, net=net),
                **_priced(plan.recurring, net=net, name="savings_plan_{}recurring_commitment_for_billing_period"),
                **_priced(plan.upfront, net=net, name="savings_plan_{}amortized_upfront_commitment_for_billing_period"),
                savings_plan_total_commitment_to_date=format(commitment, "f"),
                savings_plan_used_commitment=format(used, "f"),
                **of_hour,
            )
        )
        if used:
            share_of_plan = _priced(used, net=net, name="savings_plan_{}savings_plan_effective_cost")
            items.append(line_item("SavingsPlanCoveredUsage", **_priced(3 * used, net=net), **share_of_plan, **of_hour))
            items.append(line_item("SavingsPlanNegation", **_priced(-3 * used, net=net), **of_hour))
    if plan.is_bought_now and plan.upfront:
        items.append(line_item("SavingsPlanUpfrontFee", **_priced(100 * plan.upfront, net=net), **of_plan))
    return items


def _reservation_items(reservation: Commitment, *, net: bool) -> list[dict[str, str]]:
    """One fee a month, which says what of both parts was not used, and the usage of each hour at its share."""
    of_reservation = {"reservation_reservation_a_r_n": reservation.arn}
    hours = len(reservation.used_shares)
    unused = sum((1 - share for share in reservation.used_shares), Decimal(0))
    whole = {
        **_priced(reservation.upfront * hours, net=net, name="reservation_{}amortized_upfront_fee_for_billing_period"),
        **_priced(
            reservation.upfront * unused, net=net, name="reservation_{}unused_amortized_upfront_fee_for_billing_period"
        ),
        **_priced(reservation.recurring * unused, net=net, name="reservation_{}unused_recurring_fee"),
    }
    items = [line_item("RIFee", **_priced(reservation.recurring * hours, net=net), **whole, **of_reservation)]
    for hour, share in enumerate(reservation.used_shares):
        used = (reservation.recurring + reservation.upfront) * share
        if used:
            effective = _priced(used, net=net, name="reservation_{}effective_cost")
            items.append(
                line_item(
                    "DiscountedUsage", **_priced(Decimal(0), net=net), **effective, **of_reservation, **_hour(hour)
                )
            )
    if reservation.is_bought_now and reservation.upfront:
        items.append(line_item("Fee", **_priced(100 * reservation.upfront, net=net), **of_reservation))
    return items


@pytest.mark.at_length
@hypothesis_settings(
    max_examples=rounds(1, in_soak=8),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# The simplest example, which comes first, has nothing used: it proves little.
@given(held=commitments().filter(lambda held: len({each.used_shares for each in held}) > 1), net=st.booleans())
def test_used_and_unused_make_up_what_commitments_cost(landing: Landing, held: list[Commitment], net: bool) -> None:
    items = [line_item(**_priced(Decimal("1.25"), net=net))]
    for commitment in held:
        items += (_plan_items if commitment.is_plan else _reservation_items)(commitment, net=net)
    client = f"client-{uuid4().hex}"
    manifest = write_bill(landing.root, items, export_path=f"exports/{client}")

    outcome = landing.with_client(client_id=client).ingest(manifest)

    assert outcome.exit_error is None
    share = NET_SHARE if net else Decimal(1)
    found = {
        row[0]: row[1:]
        for row in landing.query(
            'SELECT "CommitmentDiscountId", sum("EffectiveCost") FILTER (WHERE "CommitmentDiscountStatus" IS NOT NULL),'
            ' coalesce(sum("EffectiveCost") FILTER (WHERE "CommitmentDiscountStatus" = \'Used\'), 0),'
            ' coalesce(sum("EffectiveCost") FILTER (WHERE "ChargeCategory" = \'Purchase\'), 0),'
            ' coalesce(sum("BilledCost") FILTER (WHERE "ChargeCategory" = \'Usage\'), 0)'
            ' FROM focus_cost_and_usage WHERE "x_ClientId" = %s AND "CommitmentDiscountId" IS NOT NULL GROUP BY 1',
            client,
        )
    }
    assert set(found) == {commitment.arn for commitment in held}
    for commitment in held:
        amortised, used, of_purchases, of_usage = found[commitment.arn]
        assert abs(amortised - commitment.cost * share) < TOLERANCE, commitment
        per_hour = commitment.recurring + commitment.upfront
        assert used == sum((per_hour * part for part in commitment.used_shares), Decimal(0)) * share
        assert (of_purchases, of_usage) == (0, 0)
    cost = sum(Decimal(item["line_item_net_unblended_cost" if net else "line_item_unblended_cost"]) for item in items)
    assert outcome.billed_cost == {"USD": cost}
