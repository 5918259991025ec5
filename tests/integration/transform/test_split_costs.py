"""Split cost allocation: what containers cost, beside the instances that the bill charges."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from billfold import clients
from billfold.bills.prune import prune
from billfold.bills.remap import remap
from billfold.bills.rollback import roll_back
from billfold.errors import StoreError
from billfold.model import DeliveryOutcome, DeliveryState
from billfold.quality import make_checks
from billfold.store.migrate import list_migrations
from billfold.verification import ProofState, verify
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import ACCOUNT, PERIOD, PLAN, RESERVATION, as_csv, line_item, write_bill, write_object
from tests.bills.split_bills import CLUSTER, INSTANCE, NAMESPACE, instance, job, pod, task
from tests.integration.transform.slow_split import SlowSplit, split_rows_of

LEDGER = """
    SELECT allocation, coalesce(split_part(resource_id, '/', 4), ''), trim_scale(cost)
    FROM billing_split_cost LEFT JOIN dim_resource USING (resource_key) ORDER BY 1, 2, 3"""
OTHER = "i-0eeeeffff00001111"
NIGHT = {
    "line_item_usage_start_date": f"{PERIOD}-03T23:00:00.000Z",
    "line_item_usage_end_date": f"{PERIOD}-04T00:00:00.000Z",
}
DAY = {
    "line_item_usage_start_date": f"{PERIOD}-03T00:00:00.000Z",
    "line_item_usage_end_date": f"{PERIOD}-04T00:00:00.000Z",
}


def ledger(landing: Landing) -> list[tuple[Any, ...]]:
    """Allocation, pod and cost of each row."""
    return landing.query(LEDGER)


def bring_in(landing: Landing, *items: dict[str, str], revision: int = 1) -> DeliveryOutcome:
    write_bill(landing.root, items, revision=revision)
    outcome = landing.with_settings(hold_below_percent=0).ingest()
    assert outcome.exit_error is None
    assert outcome.state is DeliveryState.PUBLISHED
    assert landing.broken_rules() == []
    return outcome


def delivered(outcome: DeliveryOutcome) -> UUID:
    assert outcome.delivery_id is not None
    return outcome.delivery_id


def untrue(landing: Landing) -> dict[str, str]:
    """The checks of `billfold verify` that do not hold."""
    verdicts = verify(settings=landing.settings, database=landing.database, with_source=False)
    return {proof.name: proof.detail for each in verdicts for proof in each.proofs if proof.state is ProofState.DIFFERS}


def test_pods_stand_in_for_the_instance_to_the_last_decimal(landing: Landing) -> None:
    outcome = bring_in(
        landing,
        instance("1"),
        pod("web", "0.4", "0.1"),
        pod("jobs", "0.25", "0.2499"),
        line_item(cost="7", line_item_resource_id="vol-0123"),
    )

    assert outcome.billed_cost == {"USD": Decimal(8)}
    assert ledger(landing) == [
        ("not allocated", "", Decimal("0.0001")),
        ("parent", "", Decimal(-1)),
        ("workload", "jobs", Decimal("0.4999")),
        ("workload", "web", Decimal("0.5")),
    ]
    assert landing.value("SELECT sum(cost) FROM billing_split_cost") == 0
    assert outcome.findings == ()
    assert untrue(landing) == {}


def test_the_view_names_what_a_workload_is(landing: Landing) -> None:
    bring_in(
        landing,
        instance("1"),
        instance("2", resource_id=OTHER),
        pod("web", "0.5"),
        pod("old", "0.25", resource_tags='{"aws:eks:cluster-name":"named","aws:eks:namespace":"also"}'),
        task("api", "1", parent=OTHER),
        job("report", "0.5", parent=OTHER),
    )

    found = landing.records('SELECT * FROM focus_split_cost ORDER BY "x_Allocation" DESC, "AllocatedResourceName"')

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
        [CLUSTER, None, None, "api", None, "api-service", None, "api", OTHER],
        ["named", "also", "old", None, None, None, None, "old", INSTANCE],
        [CLUSTER, None, None, "report", None, None, "night", "report", OTHER],
        [CLUSTER, NAMESPACE, "web", None, "web", None, None, "web", INSTANCE],
    ]
    assert found[3]["AllocatedTags"]["app"] == "web"
    assert found[3]["AllocatedMethodDetails"] == {
        "Elements": [{"UsageUnit": "Units", "UsageQuantity": 0.5, "x_SplitUsageRatio": 0.125}]
    }
    assert {(row["x_Allocation"], row["AllocatedResourceId"], row["EffectiveCost"]) for row in found[4:]} == {
        ("not allocated", None, Decimal("0.25")),
        ("not allocated", None, Decimal("0.5")),
    }
    assert landing.value('SELECT sum("EffectiveCost") FROM focus_split_cost') == 3


def test_what_a_commitment_covers_is_split_at_its_share(landing: Landing) -> None:
    bring_in(
        landing,
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
    )

    assert ledger(landing) == [
        *(("parent", "", Decimal(cost)) for cost in ("-1.2", "-0.7", "-0.3")),
        ("workload", "api", Decimal("0.7")),
        ("workload", "spot", Decimal("0.3")),
        ("workload", "web", Decimal("1.2")),
    ]


def test_an_hour_that_is_half_covered_has_two_parents(landing: Landing) -> None:
    bring_in(
        landing,
        instance("0.4", line_item_usage_amount="0.5"),
        instance(
            "0.5",
            "SavingsPlanCoveredUsage",
            savings_plan_savings_plan_a_r_n=PLAN,
            savings_plan_savings_plan_effective_cost="0.3",
        ),
        line_item("SavingsPlanNegation", "-0.5", savings_plan_savings_plan_a_r_n=PLAN),
        pod("web", "0.6", "0.1"),
    )

    assert ledger(landing) == [
        ("parent", "", Decimal("-0.4")),
        ("parent", "", Decimal("-0.3")),
        ("workload", "web", Decimal("0.7")),
    ]


@pytest.mark.parametrize(
    "columns",
    [
        {"line_item_usage_type": "USE1-DataTransfer-Out-Bytes", "product_product_family": "Data Transfer"},
        {"line_item_usage_type": "USE1-CPUCredits:t3", "product_product_family": "CPU Credits"},
        {"line_item_usage_type": "USE1-SoftwareUsage:m5.xlarge", "line_item_product_code": "8gcyo6zc49kfzzlfmrd2"},
        {"line_item_line_item_type": "Tax"},
        {"line_item_usage_account_id": "777788889999"},
        NIGHT,
    ],
)
def test_only_the_hours_of_the_instance_are_split(landing: Landing, columns: dict[str, str]) -> None:
    bring_in(landing, instance("1"), instance("5", **columns), pod("web", "1"))

    assert ledger(landing) == [("parent", "", Decimal(-1)), ("workload", "web", Decimal(1))]


def test_an_export_that_selects_no_kinds_of_usage_is_split_by_resource(landing: Landing) -> None:
    unselected = dict.fromkeys(("line_item_usage_type", "line_item_operation", "product_product_family"), "")
    bring_in(
        landing,
        instance("1", **unselected),
        pod("web", "0.75", "0.25", line_item_usage_type="", line_item_operation=""),
    )

    assert ledger(landing) == [("parent", "", Decimal(-1)), ("workload", "web", Decimal(1))]


def test_a_bill_on_net_basis_is_split_by_its_net_columns(landing: Landing) -> None:
    bring_in(
        landing,
        instance("1", line_item_net_unblended_cost="0.9"),
        pod("web", "0.6", "0.4", split_line_item_net_split_cost="0.5", split_line_item_net_unused_cost="0.4"),
    )

    assert ledger(landing) == [("parent", "", Decimal("-0.9")), ("workload", "web", Decimal("0.9"))]


def test_a_bill_with_discounts_in_columns_is_split_by_its_net_columns_too(landing: Landing) -> None:
    bring_in(
        landing,
        instance("1", discount_total_discount="-0.1"),
        pod("web", "0.6", "0.4", split_line_item_net_split_cost="0.5", split_line_item_net_unused_cost="0.4"),
    )

    assert landing.value("SELECT cost_basis FROM billing_statements") == "gross plus discounts"
    assert ledger(landing) == [("parent", "", Decimal("-0.9")), ("workload", "web", Decimal("0.9"))]
    assert untrue(landing) == {}


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


def test_a_daily_bill_is_split_by_days(landing: Landing) -> None:
    bring_in(landing, instance("24", **DAY), pod("web", "10", "14", split_line_item_split_usage_ratio="", **DAY))

    assert ledger(landing) == [("parent", "", Decimal(-24)), ("workload", "web", Decimal(24))]


def test_each_currency_is_split_by_itself(landing: Landing) -> None:
    outcome = bring_in(
        landing,
        instance("1"),
        instance("2", line_item_currency_code="EUR"),
        pod("web", "1"),
        pod("api", "1.5", line_item_currency_code="EUR"),
        pod("cny", "3", line_item_currency_code="CNY"),
    )

    assert landing.query("SELECT billing_currency, sum(cost) FROM billing_split_cost GROUP BY 1 ORDER BY 1") == [
        ("CNY", 0),
        ("EUR", 0),
        ("USD", 0),
    ]
    assert [finding for finding in outcome.findings if "split cost" in finding] == [
        "1 split cost rows, 3 CNY in all, name a parent resource whose charge is not in the bill: their cost is not"
        " counted",
        "split cost allocation leaves 0.5 EUR of the parents' effective cost not allocated",
    ]


def test_identical_rows_all_count(landing: Landing) -> None:
    bring_in(landing, instance("1"), instance("1"), *[pod("web", "0.5")] * 3)

    assert ledger(landing) == [
        ("not allocated", "", Decimal("0.5")),
        *[("parent", "", Decimal(-1))] * 2,
        *[("workload", "web", Decimal("0.5"))] * 3,
    ]


def test_the_share_of_a_parent_that_is_not_in_the_bill_does_not_count(landing: Landing) -> None:
    outcome = bring_in(landing, pod("web", "0.5", "0.25"), pod("lost", "0", parent=""), line_item(cost="3"))

    assert landing.query("SELECT has_parent, cost, split_cost FROM billing_split_cost ORDER BY split_cost") == [
        (False, 0, 0),
        (False, 0, Decimal("0.5")),
    ]
    assert outcome.findings == (
        "1 split cost rows, 0.75 USD in all, name a parent resource whose charge is not in the bill: their cost is not"
        " counted",
    )
    [[state, cost, detail]] = landing.query("SELECT state, cost, detail FROM billing_checks WHERE name = 'split_cost'")
    assert (state, cost) == ("warned", {"USD": "0.75"})
    assert detail.startswith(
        f"containers' costs differ from their instances' in hours such as {INSTANCE} 2026-05-03 04:00"
    )
    assert untrue(landing) == {}


def test_a_parent_that_comes_later_is_replaced_from_then_on(landing: Landing) -> None:
    web = pod("web", "0.5", "0.5")
    bring_in(landing, web, line_item(cost="3"))
    bring_in(landing, web, line_item(cost="3"), instance("1"), revision=2)

    assert ledger(landing) == [("parent", "", Decimal(-1)), ("workload", "web", Decimal(1))]
    first, second = landing.published_at()
    for moment, costs in ((first, [0]), (second, [-1, 1])):
        assert landing.query("SELECT cost FROM split_cost_as_of(%s) ORDER BY 1", moment) == [(cost,) for cost in costs]
        landing.as_of(moment)
    bring_in(landing, web, line_item(cost="3"), revision=3)
    assert ledger(landing) == [("workload", "web", Decimal(0))]
    assert untrue(landing) == {}


def test_a_restated_parent_moves_no_workload(landing: Landing) -> None:
    pods = [pod("web", "0.5"), pod("api", "0.5")]
    bring_in(landing, instance("1"), *pods)
    bring_in(landing, instance("1.25"), *pods, revision=2)

    assert ledger(landing) == [
        ("not allocated", "", Decimal("0.25")),
        ("parent", "", Decimal("-1.25")),
        ("workload", "api", Decimal("0.5")),
        ("workload", "web", Decimal("0.5")),
    ]
    assert landing.query("SELECT allocation FROM billing_split_cost_history") == [("parent",)]
    assert untrue(landing) == {}


def test_a_restated_workload_moves_no_parent(landing: Landing) -> None:
    bring_in(landing, instance("1"), pod("web", "0.5"), pod("api", "0.4"))
    bring_in(landing, instance("1"), pod("web", "0.6"), pod("api", "0.4"), revision=2)

    assert ledger(landing) == [
        ("parent", "", Decimal(-1)),
        ("workload", "api", Decimal("0.4")),
        ("workload", "web", Decimal("0.6")),
    ]
    assert landing.query("SELECT allocation FROM billing_split_cost_history ORDER BY 1") == [
        ("not allocated",),
        ("workload",),
    ]
    assert untrue(landing) == {}


def test_a_delivery_again_writes_nothing(landing: Landing) -> None:
    items = (instance("1"), pod("web", "0.5"))
    bring_in(landing, *items)
    before = landing.query("SELECT * FROM billing_split_cost ORDER BY row_hash")
    bring_in(landing, *items, line_item(cost="2"), revision=2)

    assert landing.query("SELECT * FROM billing_split_cost ORDER BY row_hash") == before
    assert landing.count("billing_split_cost_history") == 0


def test_rollback_and_undo_bring_the_very_split_costs_back(landing: Landing) -> None:
    bring_in(landing, instance("1"), pod("web", "0.5"), pod("gone", "0.4"))
    before = landing.snapshot()
    second = bring_in(landing, instance("2"), pod("web", "0.5"), pod("new", "0.9", parent=OTHER), revision=2)
    after = landing.snapshot()

    roll_back(delivered(second), settings=landing.settings, database=landing.database)
    assert landing.snapshot() == before
    assert landing.broken_rules() == []
    assert untrue(landing) == {}
    roll_back(delivered(second), settings=landing.settings, database=landing.database, undo=True)
    assert landing.snapshot() == after
    assert landing.broken_rules() == []
    assert untrue(landing) == {}


def test_a_rollback_of_the_first_delivery_leaves_nothing(landing: Landing) -> None:
    outcome = bring_in(landing, instance("1"), pod("web", "0.5"))

    roll_back(delivered(outcome), settings=landing.settings, database=landing.database)

    assert landing.count("billing_split_cost") == 0
    assert untrue(landing) == {}


def test_a_remap_gives_the_same_split_costs(landing: Landing) -> None:
    bring_in(landing, instance("1"), pod("web", "0.5"), *[pod("twin", "0.1")] * 2)
    before = landing.snapshot()

    [remapped] = remap(settings=landing.settings, database=landing.database, force=True)

    assert landing.snapshot() == before
    assert landing.query("SELECT allocation, count(*) FROM billing_split_cost_history GROUP BY 1") == [("workload", 3)]
    assert remapped.findings == ("split cost allocation leaves 0.3 USD of the parents' effective cost not allocated",)
    assert landing.broken_rules() == []
    assert untrue(landing) == {}


def test_a_remap_brings_what_an_older_version_left_out(landing: Landing) -> None:
    bring_in(landing, instance("1"), pod("web", "0.5"))
    before = landing.snapshot()
    landing.execute("DELETE FROM billing_split_cost")

    remap(settings=landing.settings, database=landing.database, force=True)

    assert landing.snapshot() == before


def test_a_file_that_a_manifest_takes_over_leaves_its_split_costs_there(landing: Landing) -> None:
    items = [instance("1"), pod("web", "0.5")]
    folder = f"exports/acme/data/BILLING_PERIOD={PERIOD}"
    write_object(landing.root, f"{folder}/acme-00001.csv.gz", gzip.compress(as_csv(items), mtime=0))
    landing.ingest()
    assert landing.count("billing_split_cost") == 3

    bring_in(landing, *items, revision=2)

    assert landing.query("SELECT DISTINCT statement_id FROM billing_split_cost") == [(2,)]
    assert landing.count("billing_split_cost") == landing.count("billing_split_cost_history") == 3
    assert untrue(landing) == {}


def test_prune_forgets_what_was_withdrawn(landing: Landing) -> None:
    for revision, cost in enumerate(("0.5", "0.6", "0.7"), start=1):
        bring_in(landing, instance("1"), pod("web", cost), revision=revision)
        landing.execute(
            "UPDATE billing_publications SET published_at = %s WHERE number = %s",
            datetime(2026, 6, 1, tzinfo=UTC) + timedelta(days=10 * revision),
            revision,
        )
    standing = landing.snapshot()

    prune(settings=landing.settings, database=landing.database, keep_days=5, now=datetime(2026, 6, 27, tzinfo=UTC))

    assert landing.snapshot() == standing
    assert landing.query("SELECT DISTINCT removed_by FROM billing_split_cost_history") == [(3,)]
    first, second = landing.published_at()[:2]
    assert landing.value("SELECT sum(cost) FROM split_cost_as_of(%s) WHERE allocation = 'workload'", second) == Decimal(
        "0.6"
    )
    with pytest.raises(StoreError, match="is pruned"):
        landing.query("SELECT * FROM split_cost_as_of(%s)", first)
    assert untrue(landing) == {}


def test_a_client_that_is_purged_leaves_none(landing: Landing) -> None:
    bring_in(landing, instance("1"), pod("web", "0.5"))
    bring_in(landing, instance("1"), pod("web", "0.6"), revision=2)

    clients.remove(landing.database, "acme", purge=True)

    assert landing.count("billing_split_cost") == landing.count("billing_split_cost_history") == 0


def test_a_fargate_row_is_a_charge_as_ever(landing: Landing) -> None:
    outcome = bring_in(
        landing,
        task("api", "0.3", "0.2", line_item_operation="FargateTask", line_item_unblended_cost="0.5", parent=""),
    )

    assert outcome.billed_cost == {"USD": Decimal("0.5")}
    assert landing.count("billing_split_cost") == 0


def test_a_new_kind_of_split_row_is_known_by_its_parent(landing: Landing) -> None:
    outcome = bring_in(landing, instance("1"), pod("web", "1", line_item_operation="NewPod-EC2"))

    assert outcome.billed_cost == {"USD": Decimal(1)}
    assert ledger(landing) == [("parent", "", Decimal(-1)), ("workload", "web", Decimal(1))]


def test_a_new_kind_of_split_row_with_a_cost_of_its_own_is_charged_too(landing: Landing) -> None:
    outcome = bring_in(
        landing, instance("1"), pod("web", "1", line_item_operation="NewPod-EC2", line_item_unblended_cost="0.25")
    )

    assert outcome.billed_cost == {"USD": Decimal("1.25")}
    assert ledger(landing) == [("parent", "", Decimal(-1)), ("workload", "web", Decimal(1))]
    assert outcome.findings == (
        "1 rows name a parent resource as split cost rows do, and have an unblended cost: they are charged too",
    )
    assert untrue(landing) == {}


def test_the_unblended_cost_of_a_split_row_is_left_out_and_reported(landing: Landing) -> None:
    outcome = bring_in(landing, instance("1"), pod("web", "1", line_item_unblended_cost="0.25"))

    assert outcome.billed_cost == {"USD": Decimal(1)}
    assert outcome.findings == (
        "1 split cost rows have an unblended cost, 0.25 USD in all: it is left out, because the instance's charge"
        " holds it",
    )
    assert untrue(landing) == {}


@pytest.mark.parametrize(
    ("costs", "state", "amounts"),
    [
        (("0.5", "0.5"), "passed", {}),
        (("0.5", "0.4999"), "passed", {"USD": Decimal("0.0001")}),
        (("0.5", "0.3"), "warned", {"USD": Decimal("0.2")}),
        (("0.5", "0.7"), "warned", {"USD": Decimal("0.2")}),
    ],
)
def test_a_check_tells_how_much_is_not_allocated(
    landing: Landing, costs: Sequence[str], state: str, amounts: dict[str, Decimal]
) -> None:
    bring_in(landing, instance("1"), pod("web", costs[0], costs[1]))

    checks = {check.name: check for check in make_checks(landing.database, statement_id=1)}

    assert (checks["split_cost"].state, dict(checks["split_cost"].cost)) == (state, amounts)


TAMPERED = {
    "a workload costs more": (
        "UPDATE billing_split_cost SET cost = cost {sign} 1 WHERE allocation = 'workload'",
        {"split_totals", "split_mapped", "split_history"},
    ),
    "a parent is not its charge": (
        "UPDATE billing_split_cost SET cost = cost {sign} (CASE allocation WHEN 'parent' THEN 1 ELSE -1 END)"
        " WHERE allocation <> 'workload'",
        {"split_totals", "split_mapped"},
    ),
    "a usage is another": (
        "UPDATE billing_split_cost SET split_usage = split_usage {sign} 1",
        {"split_mapped"},
    ),
    "a key is no member's": (
        "UPDATE billing_split_cost SET tag_set_key = tag_set_key {sign} 9999 WHERE allocation = 'workload'",
        {"split_totals", "split_mapped"},
    ),
    "a withdrawn parent cost more": (
        "UPDATE billing_split_cost_history SET cost = cost {sign} 1 WHERE allocation = 'parent'",
        {"split_history"},
    ),
    "a withdrawn workload used more": (
        "UPDATE billing_split_cost_history SET split_usage = split_usage {sign} 1 WHERE allocation = 'workload'",
        {"history_mapped"},
    ),
    "a row is nobody's publication's": (
        "UPDATE billing_split_cost SET added_by = added_by {sign} 9999 WHERE allocation = 'workload'",
        {"split_history"},
    ),
}


def test_verify_finds_what_is_tampered_with(landing: Landing) -> None:
    bring_in(landing, instance("1"), pod("web", "0.5", line_item_usage_amount="0.5"))
    bring_in(landing, instance("2"), pod("web", "0.6", line_item_usage_amount="0.5"), revision=2)

    found = {}
    for name, (statement, _) in TAMPERED.items():
        landing.execute(statement.format(sign="+"))
        found[name] = set(untrue(landing))
        landing.execute(statement.format(sign="-"))

    assert found == {name: checks for name, (_, checks) in TAMPERED.items()}
    assert untrue(landing) == {}


def test_the_migration_makes_room_in_months_that_are_there(landing: Landing) -> None:
    write_bill(landing.root, [line_item(cost="1")])
    landing.ingest()
    [migration] = [migration for migration in list_migrations() if migration.name == "split_costs"]
    landing.execute(
        "DROP VIEW focus_split_cost; DROP FUNCTION split_cost_as_of; DROP FUNCTION billfold_workload;"
        " DROP TABLE billing_split_cost, billing_split_cost_history"
    )

    landing.execute(migration.script)

    bring_in(landing, instance("1"), pod("web", "0.5"), revision=2)
    assert len(ledger(landing)) == 3


PLACES = {
    "line_item_usage_account_id": st.sampled_from([ACCOUNT, ACCOUNT, "777788889999"]),
    "line_item_currency_code": st.sampled_from(["USD", "USD", "EUR"]),
}
COSTS = st.decimals(0, 2, places=3).map(lambda number: format(number, "f"))
ANY_COSTS = st.one_of(COSTS, st.sampled_from(["", "1E-7", "0.30000000000000004", "None", "-0.1"]))
INSTANCES = st.sampled_from([INSTANCE, OTHER])
PERIODS = st.sampled_from([{}, {}, NIGHT])


@st.composite
def charges_of_instances(draw: st.DrawFn) -> dict[str, str]:
    net = {
        "line_item_net_unblended_cost": draw(st.sampled_from(["", "", draw(COSTS)])),
        "discount_total_discount": draw(st.sampled_from(["", "", "-0.125"])),
    }
    return instance(
        draw(COSTS),
        draw(st.sampled_from(["Usage", "Usage", "SavingsPlanCoveredUsage", "DiscountedUsage", "Tax"])),
        draw(INSTANCES),
        **{
            **{name: draw(values) for name, values in PLACES.items()},
            **draw(PERIODS),
            **net,
            "line_item_usage_type": draw(
                st.sampled_from(["USE1-BoxUsage:m5.xlarge", "BoxUsage", "USE1-DataTransfer-Out-Bytes", ""])
            ),
            "product_product_family": draw(st.sampled_from(["", "Compute Instance", "Data Transfer"])),
            "pricing_rate_code": draw(st.sampled_from(["", "X.Y.Z"])),
            "savings_plan_savings_plan_effective_cost": draw(ANY_COSTS),
            "savings_plan_net_savings_plan_effective_cost": draw(ANY_COSTS),
            "reservation_effective_cost": draw(ANY_COSTS),
            "reservation_net_effective_cost": draw(ANY_COSTS),
        },
    )


@st.composite
def workloads(draw: st.DrawFn) -> dict[str, str]:
    return draw(st.sampled_from([pod, task, job]))(
        draw(st.sampled_from(["web", "api"])),
        draw(ANY_COSTS),
        draw(ANY_COSTS),
        **{
            **{name: draw(values) for name, values in PLACES.items()},
            **draw(PERIODS),
            "split_line_item_parent_resource_id": draw(st.one_of(INSTANCES, st.sampled_from([INSTANCE, ""]))),
            "line_item_operation": draw(st.sampled_from(["EKSPod-EC2", "ECSTask-EC2", "NewPod-EC2"])),
            "line_item_unblended_cost": draw(st.sampled_from(["0", "0", "0.5"])),
            "split_line_item_net_split_cost": draw(ANY_COSTS),
            "split_line_item_net_unused_cost": draw(ANY_COSTS),
        },
    )


BILLS = st.lists(st.one_of(charges_of_instances(), workloads()), min_size=2, max_size=14)


@pytest.mark.at_length
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@hypothesis_settings(
    max_examples=rounds(2, in_soak=10),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(first=BILLS, second=BILLS, kept=st.integers(0, 14))
def test_split_costs_are_those_of_the_slow_twin_after_each_restatement(
    landing: Landing, first: list[dict[str, str]], second: list[dict[str, str]], kept: int
) -> None:
    here = landing.with_settings(hold_below_percent=0)
    export_path = f"exports/{uuid4().hex}"
    for revision, items in enumerate((first, [*first[:kept], *second], second), start=1):
        headers = dict.fromkeys(name for item in (*first, *second) for name in item)
        manifest = write_bill(landing.root, items, headers=headers, revision=revision, export_path=export_path)

        [outcome] = here.ingest_all(manifest)

        assert outcome.exit_error is None
        assert rows_of(landing, export_path) == split_rows_of(items)
        assert landing.broken_rules() == []


def rows_of(landing: Landing, export_path: str) -> list[SlowSplit]:
    def spell(moment: datetime) -> str:
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    rows = landing.query(
        "SELECT allocation, account_id, coalesce(parent_resource_id, ''), charge_period_start, charge_period_end,"
        " billing_currency, cost FROM billing_split_cost JOIN billing_statements USING (statement_id)"
        " JOIN dim_account ON account_key = sub_account_key WHERE export_path = %s",
        export_path,
    )
    return sorted(
        SlowSplit(allocation=row[0], place=(row[1], row[2], spell(row[3]), spell(row[4]), row[5]), cost=row[6])
        for row in rows
    )
