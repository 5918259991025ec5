"""Split costs through restatements, rollbacks, remaps and removals, as their slow twin has them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
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
from billfold.model import DeliveryOutcome
from billfold.quality import make_checks
from billfold.store.migrate import list_migrations
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import ACCOUNT, PERIOD, as_csv, line_item, write_bill, write_object
from tests.bills.split_bills import INSTANCE, instance, job, pod, task
from tests.integration.transform.slow_split import SlowSplit, split_rows_of
from tests.integration.transform.split_costs.split_costs_helpers import NIGHT, OTHER, bring_in, ledger, untrue


def delivered(outcome: DeliveryOutcome) -> UUID:
    assert outcome.delivery_id is not None
    return outcome.delivery_id


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


# What is done to one bill, each time in two places that different checks look at.
TAMPERED = {
    "a workload costs more, a withdrawn one used more": (
        "UPDATE billing_split_cost SET cost = cost {sign} 1 WHERE allocation = 'workload';"
        " UPDATE billing_split_cost_history SET split_usage = split_usage {sign} 1 WHERE allocation = 'workload'",
        {"split_totals", "split_mapped", "split_history", "history_mapped"},
    ),
    "a parent is not its charge, a withdrawn one cost more": (
        "UPDATE billing_split_cost SET cost = cost {sign} (CASE allocation WHEN 'parent' THEN 1 ELSE -1 END)"
        " WHERE allocation <> 'workload';"
        " UPDATE billing_split_cost_history SET cost = cost {sign} 1 WHERE allocation = 'parent'",
        {"split_totals", "split_mapped", "split_history"},
    ),
    "a usage is another, a row is nobody's publication's": (
        "UPDATE billing_split_cost SET split_usage = split_usage {sign} 1;"
        " UPDATE billing_split_cost SET added_by = added_by {sign} 9999 WHERE allocation = 'workload'",
        {"split_mapped", "split_history"},
    ),
    "a key is no member's": (
        "UPDATE billing_split_cost SET tag_set_key = tag_set_key {sign} 9999 WHERE allocation = 'workload'",
        {"split_totals", "split_mapped"},
    ),
}


def test_verify_finds_what_is_tampered_with(landing: Landing) -> None:
    bring_in(landing, instance("1"), pod("web", "0.5", line_item_usage_amount="0.5"))
    bring_in(landing, instance("2"), pod("web", "0.6", line_item_usage_amount="0.5"), revision=2)

    found = {}
    for name, (statements, _) in TAMPERED.items():
        landing.execute(statements.format(sign="+"))
        found[name] = set(untrue(landing))
        landing.execute(statements.format(sign="-"))

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
