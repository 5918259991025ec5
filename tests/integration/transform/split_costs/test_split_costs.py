"""Split cost allocation: the costs of pods stand in for those of their instance, to the last decimal."""

from __future__ import annotations

import gzip
from collections import defaultdict
from decimal import Decimal

import pytest

from billfold.model import DeliveryOutcome
from tests.bills.landing import Landing
from tests.bills.line_items import PERIOD, PLAN, RESERVATION, as_csv, line_item, write_bill, write_object
from tests.bills.split_bills import CLUSTER, INSTANCE, NAMESPACE, instance, job, pod, task
from tests.integration.transform.split_costs.split_costs_helpers import NIGHT, OTHER, bring_in, ledger, untrue

DAY = {
    "line_item_usage_start_date": f"{PERIOD}-03T00:00:00.000Z",
    "line_item_usage_end_date": f"{PERIOD}-04T00:00:00.000Z",
}


# What the bill of most tests has beside INSTANCE's and OTHER's line items.
ELSEWHERE: dict[str, dict[str, str]] = {
    "data transfer": {
        "line_item_usage_type": "USE1-DataTransfer-Out-Bytes",
        "product_product_family": "Data Transfer",
    },
    "credits": {"line_item_usage_type": "USE1-CPUCredits:t3", "product_product_family": "CPU Credits"},
    "software": {
        "line_item_usage_type": "USE1-SoftwareUsage:m5.xlarge",
        "line_item_product_code": "8gcyo6zc49kfzzlfmrd2",
    },
    "tax": {"line_item_line_item_type": "Tax"},
    "another account": {"line_item_usage_account_id": "777788889999"},
    "another hour": NIGHT,
}

UNNAMED = dict.fromkeys(("line_item_usage_type", "line_item_operation"), "")
EURO, YUAN = {"line_item_currency_code": "EUR"}, {"line_item_currency_code": "CNY"}

# The parts of one bill, each with instances of its own in the place of INSTANCE and OTHER.
PARTS = {
    "unused": [
        instance("1"),
        pod("web", "0.4", "0.1"),
        pod("jobs", "0.25", "0.2499"),
        line_item(cost="7", line_item_resource_id="vol-0123"),
    ],
    "the view": [
        instance("1"),
        instance("2", resource_id=OTHER),
        pod("web", "0.5"),
        pod("old", "0.25", resource_tags='{"aws:eks:cluster-name":"named","aws:eks:namespace":"also"}'),
        task("api", "1", parent=OTHER),
        job("report", "0.5", parent=OTHER),
    ],
    "commitments": [
        instance(
            "2",
            "SavingsPlanCoveredUsage",
            savings_plan_savings_plan_a_r_n=PLAN,
            savings_plan_savings_plan_effective_cost="1.2",
        ),
        line_item("SavingsPlanNegation", "-2", savings_plan_savings_plan_a_r_n=PLAN),
        instance(
            "0",
            "DiscountedUsage",
            OTHER,
            reservation_reservation_a_r_n=RESERVATION,
            reservation_effective_cost="0.7",
        ),
        instance("0.3", line_item_usage_type="USE1-SpotUsage:m5.xlarge", pricing_term="Spot", **NIGHT),
        pod("web", "1.2"),
        pod("api", "0.7", parent=OTHER),
        pod("spot", "0.2", "0.1", **NIGHT),
    ],
    "half covered": [
        instance("0.4", line_item_usage_amount="0.5"),
        instance(
            "0.5",
            "SavingsPlanCoveredUsage",
            savings_plan_savings_plan_a_r_n=PLAN,
            savings_plan_savings_plan_effective_cost="0.3",
        ),
        line_item("SavingsPlanNegation", "-0.5", savings_plan_savings_plan_a_r_n=PLAN),
        pod("web", "0.6", "0.1"),
    ],
    **{name: [instance("1"), instance("5", **columns), pod("web", "1")] for name, columns in ELSEWHERE.items()},
    "days": [instance("24", **DAY), pod("web", "10", "14", split_line_item_split_usage_ratio="", **DAY)],
    "identical": [instance("1"), instance("1"), *[pod("web", "0.5")] * 3],
    "Fargate": [task("far", "0.3", line_item_operation="FargateTask", line_item_unblended_cost="0.5", parent="")],
    "a new kind": [instance("1"), pod("web", "1", line_item_operation="NewPod-EC2")],
    "a new kind with a cost": [
        instance("1"),
        pod("web", "1", line_item_operation="NewPod-EC2", line_item_unblended_cost="0.25"),
    ],
    "an unblended cost": [instance("1"), pod("web", "1", line_item_unblended_cost="0.125")],
    "no kinds of usage": [instance("1", product_product_family="", **UNNAMED), pod("web", "0.75", "0.25", **UNNAMED)],
    "currencies": [
        instance("1"),
        instance("2", **EURO),
        pod("web", "1"),
        pod("api", "1.5", **EURO),
        pod("cny", "3", **YUAN),
    ],
}
# Beside it, a bill whose discounts stand in columns.
DISCOUNTED = [
    instance("1", resource_id="i-discounted", discount_total_discount="-0.1"),
    pod(
        "web",
        "0.6",
        "0.4",
        parent="i-discounted",
        split_line_item_net_split_cost="0.5",
        split_line_item_net_unused_cost="0.4",
    ),
]


def hosts(part: str) -> list[str]:
    """The instances in the place of INSTANCE and OTHER."""
    return [f"i-{2 * list(PARTS).index(part) + number:017x}" for number in range(2)]


@pytest.fixture(scope="module")
def outcome(shared_landing: Landing) -> DeliveryOutcome:
    """All parts landed in one bill, which is proved, and so is the one with discounts."""
    items = [
        {name: own.get(value, value) for name, value in item.items()}
        for part, items in PARTS.items()
        for own in [dict(zip((INSTANCE, OTHER), hosts(part), strict=True))]
        for item in items
    ]
    outcome = bring_in(shared_landing, *items)
    manifest = write_bill(shared_landing.root, DISCOUNTED, export_path="exports/discounted")
    assert shared_landing.ingest(manifest).exit_error is None
    assert untrue(shared_landing) == {}
    return outcome


def test_the_view_names_what_a_workload_is(shared_landing: Landing, outcome: DeliveryOutcome) -> None:
    instances = hosts("the view")

    found = shared_landing.records(
        'SELECT * FROM focus_split_cost WHERE "ResourceId" = ANY(%s)'
        ' ORDER BY "x_Allocation" DESC, "AllocatedResourceName"',
        instances,
    )

    named = [
        "x_Cluster",
        "x_Namespace",
        "x_Pod",
        "x_Task",
        "x_Deployment",
        "x_EcsService",
        "x_BatchJobQueue",
        "AllocatedResourceName",
        "ResourceId",
    ]
    assert [[row[name] for name in named] for row in found[:4]] == [
        [CLUSTER, None, None, "api", None, "api-service", None, "api", instances[1]],
        ["named", "also", "old", None, None, None, None, "old", instances[0]],
        [CLUSTER, None, None, "report", None, None, "night", "report", instances[1]],
        [CLUSTER, NAMESPACE, "web", None, "web", None, None, "web", instances[0]],
    ]
    assert found[3]["AllocatedTags"]["app"] == "web"
    assert found[3]["AllocatedMethodDetails"] == {
        "Elements": [{"UsageUnit": "Units", "UsageQuantity": 0.5, "x_SplitUsageRatio": 0.125}]
    }
    assert {(row["x_Allocation"], row["AllocatedResourceId"], row["EffectiveCost"]) for row in found[4:]} == {
        ("not allocated", None, Decimal("0.25")),
        ("not allocated", None, Decimal("0.5")),
    }
    assert sum(row["EffectiveCost"] for row in found) == 3


ONE_WORKLOAD = [("parent", "", Decimal(-1)), ("workload", "web", Decimal(1))]
LEDGERS = {
    "unused": [
        ("not allocated", "", Decimal("0.0001")),
        ("parent", "", Decimal(-1)),
        ("workload", "jobs", Decimal("0.4999")),
        ("workload", "web", Decimal("0.5")),
    ],
    "commitments": [
        *(("parent", "", Decimal(cost)) for cost in ("-1.2", "-0.7", "-0.3")),
        ("workload", "api", Decimal("0.7")),
        ("workload", "spot", Decimal("0.3")),
        ("workload", "web", Decimal("1.2")),
    ],
    "half covered": [
        ("parent", "", Decimal("-0.4")),
        ("parent", "", Decimal("-0.3")),
        ("workload", "web", Decimal("0.7")),
    ],
    **dict.fromkeys(ELSEWHERE, ONE_WORKLOAD),
    "days": [("parent", "", Decimal(-24)), ("workload", "web", Decimal(24))],
    "identical": [
        ("not allocated", "", Decimal("0.5")),
        *[("parent", "", Decimal(-1))] * 2,
        *[("workload", "web", Decimal("0.5"))] * 3,
    ],
    **dict.fromkeys(("a new kind", "a new kind with a cost", "an unblended cost", "no kinds of usage"), ONE_WORKLOAD),
    "currencies": [
        ("not allocated", "", Decimal("0.5")),
        *(("parent", "", Decimal(cost)) for cost in (-2, -1)),
        ("workload", "api", Decimal("1.5")),
        ("workload", "cny", Decimal(0)),
        ("workload", "web", Decimal(1)),
    ],
}


@pytest.mark.parametrize("part", LEDGERS)
def test_an_instances_hour_is_split_by_its_workloads(
    shared_landing: Landing, outcome: DeliveryOutcome, part: str
) -> None:
    assert ledger(shared_landing, hosts(part)) == LEDGERS[part]


def test_a_fargate_row_is_a_charge_as_ever(shared_landing: Landing, outcome: DeliveryOutcome) -> None:
    charge = "FROM billing_usage_fact JOIN dim_resource USING (resource_key) WHERE resource_id LIKE '%/far'"

    found = shared_landing.query(f"SELECT billed_cost {charge}")

    assert found == [(Decimal("0.5"),)]
    assert "far" not in [pod for _, pod, _ in ledger(shared_landing)]
    # Beside the ledgers: the view's and those of discounts.
    assert shared_landing.count("billing_split_cost") == sum(len(rows) for rows in LEDGERS.values()) + 8 + 2


def test_a_workload_is_billed_only_if_it_is_of_a_new_kind_and_has_a_cost(outcome: DeliveryOutcome) -> None:
    known = ("EKSPod-EC2", "ECSTask-EC2")
    wanted: dict[str, Decimal] = defaultdict(Decimal)
    for item in (item for items in PARTS.values() for item in items):
        if item.get("line_item_operation") not in known:
            wanted[item["line_item_currency_code"]] += Decimal(item["line_item_unblended_cost"])

    assert outcome.billed_cost == wanted
    findings = " ".join(outcome.findings)
    assert (
        "1 rows name a parent resource as split cost rows do, and have an unblended cost: they are charged" in findings
    )
    assert (
        "have an unblended cost of 0.125 USD in all: it is left out, because the instance's charge holds it" in findings
    )


def test_each_currency_is_split_by_itself(shared_landing: Landing, outcome: DeliveryOutcome) -> None:
    assert shared_landing.query("SELECT billing_currency, sum(cost) FROM billing_split_cost GROUP BY 1 ORDER BY 1") == [
        ("CNY", 0),
        ("EUR", 0),
        ("USD", 0),
    ]
    assert {
        "1 split cost rows, 3 CNY in all, name a parent resource whose charge is not in the bill: their cost is not"
        " counted",
        "split cost allocation leaves 0.5 EUR of the parents' effective cost not allocated",
    } <= set(outcome.findings)


def test_a_bill_with_discounts_in_columns_is_split_by_its_net_columns(
    shared_landing: Landing, outcome: DeliveryOutcome
) -> None:
    bases = shared_landing.query("SELECT cost_basis FROM billing_statements ORDER BY statement_id")

    assert bases == [("gross",), ("gross plus discounts",)]
    assert ledger(shared_landing, ["i-discounted"]) == [
        ("parent", "", Decimal("-0.9")),
        ("workload", "web", Decimal("0.9")),
    ]


def test_a_bill_on_net_basis_is_split_by_its_net_columns(landing: Landing) -> None:
    bring_in(
        landing,
        instance("1", line_item_net_unblended_cost="0.9"),
        pod("web", "0.6", "0.4", split_line_item_net_split_cost="0.5", split_line_item_net_unused_cost="0.4"),
    )

    assert ledger(landing) == [("parent", "", Decimal("-0.9")), ("workload", "web", Decimal("0.9"))]


def test_legacy_columns_are_the_same(landing: Landing) -> None:
    names = {
        "bill_payer_account_id": "bill/PayerAccountId",
        "bill_billing_period_start_date": "bill/BillingPeriodStartDate",
        "line_item_line_item_type": "lineItem/LineItemType",
        "line_item_unblended_cost": "lineItem/UnblendedCost",
        "line_item_usage_start_date": "lineItem/UsageStartDate",
        "line_item_usage_end_date": "lineItem/UsageEndDate",
        "line_item_usage_account_id": "lineItem/UsageAccountId",
        "line_item_currency_code": "lineItem/CurrencyCode",
        "line_item_product_code": "lineItem/ProductCode",
        "line_item_resource_id": "lineItem/ResourceId",
        "line_item_operation": "lineItem/Operation",
        "line_item_usage_type": "lineItem/UsageType",
        "split_line_item_parent_resource_id": "splitLineItem/ParentResourceId",
        "split_line_item_split_cost": "splitLineItem/SplitCost",
        "split_line_item_unused_cost": "splitLineItem/UnusedCost",
        "split_line_item_public_on_demand_split_cost": "splitLineItem/PublicOnDemandSplitCost",
    }
    items = [
        {names[name]: value for name, value in item.items() if name in names}
        for item in (instance("1"), pod("web", "0.5", "0.25"))
    ]
    items[1]["resourceTags/aws:eks:cluster-name"] = "legacy"
    write_object(landing.root, f"{PERIOD}.csv.gz", gzip.compress(as_csv(items), mtime=0))

    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert ledger(landing) == [
        ("not allocated", "", Decimal("0.25")),
        ("parent", "", Decimal(-1)),
        ("workload", "web", Decimal("0.75")),
    ]
    assert landing.query(
        'SELECT "x_Cluster", "ListCost", "x_UnusedCost" FROM focus_split_cost WHERE "x_Allocation" = \'workload\''
    ) == [("legacy", None, Decimal("0.25"))]
    assert landing.broken_rules() == []
