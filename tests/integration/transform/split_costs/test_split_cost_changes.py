"""Split costs through restatements, rollbacks, remaps and removals, as their slow twin has them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from billfold.model import DeliveryOutcome
from billfold.quality import make_checks
from billfold.store.migrate import list_migrations
from billfold.store.verification.charges import Difference, Snapshot, list_statements, open_snapshot
from billfold.store.verification.split_costs import SplitCosts
from billfold.verification.split import prove_split_history, prove_split_totals
from billfold.verification.verdict import Proofs, Subject
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import ACCOUNT, PERIOD, as_csv, line_item, write_bill, write_object
from tests.bills.split_bills import INSTANCE, instance, job, pod, task
from tests.bills.verified import differing
from tests.integration.transform.slow_split import SlowSplit, split_rows_of
from tests.integration.transform.split_costs.split_costs_helpers import NIGHT, OTHER, bring_in, ledger, untrue
from tests.services import CopyDatabase, NewDatabase, make_shared_landing

THIRD = "i-0fffffff00002222"
FOURTH = "i-0bbbbbbb00003333"
FIFTH = "i-0ccccccc00004444"
EURO, YUAN = {"line_item_currency_code": "EUR"}, {"line_item_currency_code": "CNY"}


def delivered(outcome: DeliveryOutcome) -> UUID:
    assert outcome.delivery_id is not None
    return outcome.delivery_id


def rows(landing: Landing, parent: str, table: str = "billing_split_cost") -> list[dict[str, Any]]:
    """The rows of a parent."""
    return landing.records(f"SELECT * FROM {table} WHERE parent_resource_id = %s ORDER BY row_hash", parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One bill delivered three times, and what stood after each delivery.

    The pod of THIRD comes before its parent, that of INSTANCE with a restated parent, that of OTHER is restated itself,
    nothing of FOURTH changes, and of FIFTH a pod goes.
    """

    landing: Landing
    last: UUID
    snapshots: list[dict[str, list[tuple[Any, ...]]]]
    first_rows_of_fourth: list[dict[str, Any]]


@pytest.fixture(scope="module")
def history(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> History:
    landing = make_shared_landing(new_database, tmp_path_factory)
    always = [
        line_item(cost="3"),
        pod("web", "0.5", "0.5", parent=THIRD),
        pod("web", "0.5"),
        pod("api", "0.5"),
        instance("1", resource_id=OTHER),
        pod("api", "0.4", parent=OTHER),
        instance("1", resource_id=FOURTH),
        pod("web", "0.5", parent=FOURTH),
        pod("web", "0.5", parent=FIFTH),
    ]
    going = [instance("1", resource_id=FIFTH), pod("gone", "0.4", parent=FIFTH)]
    revisions = [
        [*always, *going, instance("1"), pod("web", "0.5", parent=OTHER)],
        [*always, *going, instance("1.25"), pod("web", "0.6", parent=OTHER), instance("1", resource_id=THIRD)],
        [*always, instance("2", resource_id=FIFTH), instance("1.25"), pod("web", "0.6", parent=OTHER)],
    ]
    revisions[2].append(pod("new", "0.9", parent="i-0ddddddd00005555"))
    snapshots, fourth, outcomes = [], [], []
    for revision, items in enumerate(revisions, start=1):
        outcomes.append(bring_in(landing, *items, revision=revision))
        snapshots.append(landing.snapshot())
        fourth.append(rows(landing, FOURTH))
    return History(landing=landing, last=delivered(outcomes[2]), snapshots=snapshots, first_rows_of_fourth=fourth[0])


@pytest.fixture
def changed(history: History, copy_database: CopyDatabase) -> Landing:
    """A copy of the bill with its history."""
    return replace(history.landing, database=copy_database(history.landing.database))


@pytest.fixture(scope="module")
def first(shared_landing: Landing) -> tuple[Landing, UUID]:
    """A bill that was delivered once: too little of the parent in USD, too much in EUR, and none there is in CNY."""
    outcome = bring_in(
        shared_landing,
        *(instance("1"), pod("web", "0.5"), *[pod("twin", "0.1")] * 2),
        *(instance("1", **EURO), pod("web", "0.5", "0.7", **EURO)),
        *(pod("web", "0.5", "0.25", **YUAN), pod("lost", "0", parent="", **YUAN)),
    )
    return shared_landing, delivered(outcome)


@pytest.fixture
def once(first: tuple[Landing, UUID], copy_database: CopyDatabase) -> Landing:
    """A copy of it."""
    return replace(first[0], database=copy_database(first[0].database))


def of_splits(proofs: Proofs, snapshot: Snapshot, _: Subject) -> None:
    """All that a verification proves of split costs without mapping their rows."""
    split = SplitCosts(snapshot)
    prove_split_totals(proofs, split)
    prove_split_history(proofs, split, snapshot.list_publications())


def test_a_parent_that_comes_later_is_replaced_from_then_on(history: History) -> None:
    first, second, third = history.landing.published_at()

    for moment, costs in ((first, [0]), (second, [-1, 1]), (third, [0])):
        found = history.landing.query(
            "SELECT cost FROM split_cost_as_of(%s) WHERE parent_resource_id = %s ORDER BY 1", moment, THIRD
        )
        assert found == [(cost,) for cost in costs]
        history.landing.as_of(moment)
    assert ledger(history.landing, [THIRD]) == [("workload", "web", Decimal(0))]


def test_a_restated_parent_moves_no_workload(history: History) -> None:
    assert ledger(history.landing, [INSTANCE]) == [
        ("not allocated", "", Decimal("0.25")),
        ("parent", "", Decimal("-1.25")),
        ("workload", "api", Decimal("0.5")),
        ("workload", "web", Decimal("0.5")),
    ]
    assert [row["allocation"] for row in rows(history.landing, INSTANCE, "billing_split_cost_history")] == ["parent"]


def test_a_restated_workload_moves_no_parent(history: History) -> None:
    assert ledger(history.landing, [OTHER]) == [
        ("parent", "", Decimal(-1)),
        ("workload", "api", Decimal("0.4")),
        ("workload", "web", Decimal("0.6")),
    ]
    withdrawn = rows(history.landing, OTHER, "billing_split_cost_history")
    assert sorted(row["allocation"] for row in withdrawn) == ["not allocated", "workload"]


def test_a_delivery_again_writes_nothing(history: History) -> None:
    assert rows(history.landing, FOURTH) == history.first_rows_of_fourth
    assert rows(history.landing, FOURTH, "billing_split_cost_history") == []


def test_rollback_and_undo_bring_the_very_split_costs_back(history: History, changed: Landing) -> None:
    _, second, third = history.snapshots

    roll_back(history.last, settings=changed.settings, database=changed.database)
    assert changed.snapshot() == second
    assert changed.broken_rules() == []
    roll_back(history.last, settings=changed.settings, database=changed.database, undo=True)
    assert changed.snapshot() == third
    assert changed.broken_rules() == []
    assert differing(changed, of_splits) == {}


def test_a_remap_gives_the_same_split_costs_and_a_rollback_after_it_leaves_none(
    first: tuple[Landing, UUID], once: Landing
) -> None:
    before = once.snapshot()

    [remapped] = remap(settings=once.settings, database=once.database, force=True)

    assert once.snapshot() == before
    assert once.query("SELECT allocation, count(*) FROM billing_split_cost_history GROUP BY 1") == [("workload", 6)]
    assert "split cost allocation leaves 0.3 USD of the parents' effective cost not allocated" in remapped.findings
    assert once.broken_rules() == []

    roll_back(first[1], settings=once.settings, database=once.database)

    assert once.count("billing_split_cost") == 0
    assert differing(once, of_splits) == {}


def test_a_remap_brings_what_an_older_version_left_out(once: Landing) -> None:
    before = once.snapshot()
    once.execute("DELETE FROM billing_split_cost")

    remap(settings=once.settings, database=once.database, force=True)

    assert once.snapshot() == before


def test_a_file_that_a_manifest_takes_over_leaves_its_split_costs_there(landing: Landing) -> None:
    items = [instance("1"), pod("web", "0.5")]
    folder = f"exports/acme/data/BILLING_PERIOD={PERIOD}"
    write_object(landing.root, f"{folder}/acme-00001.csv.gz", gzip.compress(as_csv(items), mtime=0))
    landing.ingest()
    assert landing.count("billing_split_cost") == 3

    bring_in(landing, *items, revision=2)

    assert landing.query("SELECT DISTINCT statement_id FROM billing_split_cost") == [(2,)]
    assert landing.count("billing_split_cost") == landing.count("billing_split_cost_history") == 3


def test_prune_forgets_what_was_withdrawn(changed: Landing) -> None:
    for number in (1, 2, 3):
        changed.execute(
            "UPDATE billing_publications SET published_at = %s WHERE number = %s",
            datetime(2026, 6, 1, tzinfo=UTC) + timedelta(days=10 * number),
            number,
        )
    standing = changed.snapshot()

    prune(settings=changed.settings, database=changed.database, keep_days=5, now=datetime(2026, 6, 27, tzinfo=UTC))

    assert changed.snapshot() == standing
    assert changed.query("SELECT DISTINCT removed_by FROM billing_split_cost_history") == [(3,)]
    first, second = changed.published_at()[:2]
    then = "SELECT sum(cost) FROM split_cost_as_of(%s) WHERE allocation = 'workload' AND parent_resource_id = %s"
    assert changed.value(then, second, FIFTH) == Decimal("0.9")
    with pytest.raises(StoreError, match="is pruned"):
        changed.query("SELECT * FROM split_cost_as_of(%s)", first)
    assert differing(changed, of_splits) == {}


def test_a_client_that_is_purged_leaves_none(changed: Landing) -> None:
    clients.remove(changed.database, "acme", purge=True)

    assert changed.count("billing_split_cost") == changed.count("billing_split_cost_history") == 0


def test_a_check_tells_how_much_is_not_allocated(first: tuple[Landing, UUID], landing: Landing) -> None:
    outcome = bring_in(
        landing,
        *(instance("1"), pod("web", "0.5", "0.5")),
        *(instance("1", **EURO), pod("web", "0.5", "0.4999", **EURO)),
    )

    split, split_of_first = (
        next(check for check in make_checks(each.database, statement_id=1) if check.name == "split_cost")
        for each in (landing, first[0])
    )

    assert outcome.findings == ()
    assert (split.state, dict(split.cost)) == ("passed", {"EUR": Decimal("0.0001")})
    assert (split_of_first.state, dict(split_of_first.cost)) == (
        "warned",
        {"USD": Decimal("0.3"), "EUR": Decimal("0.2"), "CNY": Decimal("0.75")},
    )
    assert split_of_first.detail.startswith(
        f"containers' costs differ from their instances' in hours such as {INSTANCE} 2026-05-03 04:00"
    )


def test_the_share_of_a_parent_that_is_not_in_the_bill_does_not_count(first: tuple[Landing, UUID]) -> None:
    assert first[0].query(
        "SELECT has_parent, cost, split_cost FROM billing_split_cost WHERE billing_currency = 'CNY' ORDER BY split_cost"
    ) == [(False, 0, 0), (False, 0, Decimal("0.5"))]


# What is done to one bill, and the only check of `billfold verify` that looks there.
TAMPERED = {
    "split_mapped": "UPDATE billing_split_cost SET split_usage = split_usage + 1",
    "history_mapped": "UPDATE billing_split_cost_history SET split_usage = split_usage + 1"
    " WHERE allocation = 'workload'",
    "split_history": "UPDATE billing_split_cost SET added_by = added_by + 9999 WHERE allocation = 'workload'",
    "split_totals": "UPDATE billing_split_cost_history SET tag_set_key = 9999 WHERE allocation = 'parent'",
}


def test_verify_finds_what_is_tampered_with(changed: Landing) -> None:
    for statement in TAMPERED.values():
        changed.execute(statement)

    assert set(untrue(changed)) == set(TAMPERED)


# Costs and keys that several checks look at, and what finds each.
FALSE_COSTS: list[tuple[str, Callable[[SplitCosts], Difference | None]]] = [
    (
        "UPDATE billing_split_cost SET cost = cost + 1 WHERE allocation = 'workload' AND has_parent",
        SplitCosts.find_sum,
    ),
    (
        "UPDATE billing_split_cost SET cost = cost + (CASE allocation WHEN 'parent' THEN 1 ELSE -1 END)"
        " WHERE allocation <> 'workload'",
        SplitCosts.find_parent,
    ),
    (
        "UPDATE billing_split_cost_history SET cost = cost + 1 WHERE allocation = 'parent'",
        lambda split: split.find_move(after_publication_id=0),
    ),
    (
        "UPDATE billing_split_cost SET tag_set_key = tag_set_key + 9999 WHERE allocation = 'workload'",
        SplitCosts.find_unknown_key,
    ),
]


@pytest.mark.parametrize(("tampering", "find"), FALSE_COSTS)
def test_each_false_cost_is_found(
    changed: Landing, tampering: str, find: Callable[[SplitCosts], Difference | None]
) -> None:
    [statement] = list_statements(changed.database, client=None, export=None, period=None, statement_id=None)
    found = []
    for change in ("SELECT 1", tampering):
        changed.execute(change)
        with open_snapshot(changed.database, statement) as snapshot:
            found.append(find(SplitCosts(snapshot)))

    assert found[0] is None
    assert found[1] is not None


def test_the_migration_makes_room_in_months_that_are_there(landing: Landing) -> None:
    # The month's partitions are there, as in every new database of the tests.
    [migration] = [migration for migration in list_migrations() if migration.name == "split_costs"]
    landing.execute(
        "DROP VIEW focus_split_cost; DROP FUNCTION split_cost_as_of; DROP FUNCTION billfold_workload;"
        " DROP TABLE billing_split_cost, billing_split_cost_history"
    )

    landing.execute(migration.script)

    bring_in(landing, instance("1"), pod("web", "0.5"))
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


BILLS = st.lists(st.one_of(charges_of_instances(), workloads()), min_size=6, max_size=14)


@pytest.mark.at_length
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@hypothesis_settings(
    max_examples=rounds(1, in_soak=10),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
# The simplest example, which comes first, has equal rows only: it proves nothing.
@given(first=BILLS.filter(lambda items: items[0] != items[-1]), second=BILLS, kept=st.integers(0, 14))
def test_split_costs_are_those_of_the_slow_twin_after_each_restatement(
    landing: Landing, first: list[dict[str, str]], second: list[dict[str, str]], kept: int
) -> None:
    here = landing.with_settings(hold_below_percent=0)
    export_path = f"exports/{uuid4().hex}"
    for revision, items in enumerate((first, [*first[:kept], *second]), start=1):
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
