"""Split cost allocation: what containers cost, beside the instances that the bill charges."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.landing import Landing
from tests.line_items import line_item, write_bill
from tests.split_bills import CLUSTER, INSTANCE, NAMESPACE, instance, pod

LEDGER = """
    SELECT allocation, coalesce(split_part(resource_id, '/', 4), ''), trim_scale(cost)
    FROM billing_split_cost LEFT JOIN dim_resource USING (resource_key) ORDER BY 1, 2, 3"""


def ledger(landing: Landing) -> list[tuple[Any, ...]]:
    """Allocation, pod and cost of each row."""
    return landing.query(LEDGER)


def test_pods_stand_in_for_the_instance_to_the_last_decimal(landing: Landing) -> None:
    items = [
        instance("1"),
        pod("web", "0.4", "0.1"),
        pod("jobs", "0.25", "0.2499"),
        line_item(cost="7", line_item_resource_id="vol-0123"),
    ]
    write_bill(landing.root, items)

    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert outcome.billed_cost == {"USD": Decimal(8)}
    assert ledger(landing) == [
        ("not allocated", "", Decimal("0.0001")),
        ("parent", "", Decimal(-1)),
        ("workload", "jobs", Decimal("0.4999")),
        ("workload", "web", Decimal("0.5")),
    ]
    assert landing.value("SELECT sum(cost) FROM billing_split_cost") == 0
    assert landing.query(
        'SELECT "x_Cluster", "x_Namespace", "x_Pod", "ResourceId", "EffectiveCost" FROM focus_split_cost'
        " WHERE \"x_Allocation\" = 'workload' ORDER BY 5"
    ) == [
        (CLUSTER, NAMESPACE, "jobs", INSTANCE, Decimal("0.4999")),
        (CLUSTER, NAMESPACE, "web", INSTANCE, Decimal("0.5")),
    ]
    assert landing.broken_rules() == []
