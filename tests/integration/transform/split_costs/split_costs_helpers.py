"""What the tests of split costs share: instances, pods and bills of them."""

from __future__ import annotations

from typing import Any

from billfold.model import DeliveryOutcome, DeliveryState
from billfold.verification import ProofState, verify
from tests.bills.landing import Landing
from tests.bills.line_items import PERIOD, write_bill

LEDGER = """
    SELECT allocation, coalesce(split_part(resource_id, '/', 4), ''), trim_scale(cost)
    FROM billing_split_cost LEFT JOIN dim_resource USING (resource_key)
    WHERE %s::text[] IS NULL OR parent_resource_id = ANY(%s::text[]) ORDER BY 1, 2, 3"""
OTHER = "i-0eeeeffff00001111"
NIGHT = {
    "line_item_usage_start_date": f"{PERIOD}-03T23:00:00.000Z",
    "line_item_usage_end_date": f"{PERIOD}-04T00:00:00.000Z",
}


def ledger(landing: Landing, parents: list[str] | None = None) -> list[tuple[Any, ...]]:
    """Allocation, pod and cost of each row, or of those of some parents."""
    return landing.query(LEDGER, parents, parents)


def bring_in(landing: Landing, *items: dict[str, str], revision: int = 1) -> DeliveryOutcome:
    write_bill(landing.root, items, revision=revision)
    outcome = landing.with_settings(hold_below_percent=0).ingest()
    assert outcome.exit_error is None
    assert outcome.state is DeliveryState.PUBLISHED
    assert landing.broken_rules() == []
    return outcome


def untrue(landing: Landing) -> dict[str, str]:
    """The checks of `billfold verify` that do not hold."""
    verdicts = verify(settings=landing.settings, database=landing.database, with_source=False)
    return {proof.name: proof.detail for each in verdicts for proof in each.proofs if proof.state is ProofState.DIFFERS}
