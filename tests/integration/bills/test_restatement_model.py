"""Random restatements, rollbacks, remaps and crashes against a simple model, which every table must agree with."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from billfold.settings import Settings
from billfold.store.database import Database, connect
from tests.bills.landing import Landing
from tests.restatement_model.bills import Item
from tests.restatement_model.crashes import FETCH_CRASH, FINISH_CRASH, LAND_CRASH, RESTORE_CRASH, WITHDRAW_CRASH
from tests.restatement_model.edits import (
    Add,
    Clear,
    Discount,
    Edit,
    Launch,
    Layout,
    Recost,
    Rediscount,
    Remove,
    Reprice,
    Resplit,
    Retag,
    Terminate,
    share_instance,
)
from tests.restatement_model.machine import CLOSED, RestatementMachine
from tests.restatement_model.plan import plan_of


class _OnItsOwn(RestatementMachine):
    """A machine with a database and a bucket of its own, which go when it ends."""

    def __init__(self, database: Database, settings: Settings, root: Path, met: Counter[str]) -> None:
        super().__init__(Landing.make(database, settings, root), met)
        self._database = database
        self._root = root

    def teardown(self) -> None:
        name = conninfo_to_dict(self._database.conninfo)["dbname"]
        with connect(make_conninfo(self._database.conninfo, dbname="postgres")) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        shutil.rmtree(self._root)


# Refreshes that change one thing each, of what a row says beside its cost; the numbers count round the rows that are
# meant. The net costs in the end change the cost basis, there and back.
TEN_RESTATEMENTS: list[list[Edit]] = [
    [Rediscount(3, "-0.25")],
    [Retag(3, (("accountTag/team", "green"), ("costCategory/unit", "shop"), ("resourceTags/team", "red")))],
    [Resplit(0, "0.25", "0")],
    [Reprice(0, "1.5")],
    [Retag(6, (("resourceTags/team", "blue"),))],
    [Terminate(0)],
    [Launch(tuple(share_instance("1", 3, instance="i-1"))), Launch(tuple(share_instance("0.1", 1, instance="i-9")))],
    [Rediscount(3, "-1.25"), Rediscount(4, "0.5")],
    [Discount(1)],
    [Discount(0), Rediscount(3, "")],
]
# What a run must have come to, or it has proved little.
EVENTS = {
    "delivery published",
    "delivery held",
    "delivery superseded",
    "delivery rolled_back",
    "release published",
    "remap done",
    "rollback done",
    "undo done",
    "verified",
    "crash in fetch_delivery",
    "crash in land_rows",
    "crash in withdraw",
    "crash in restore_bill",
    "crash in finish_publication",
}


@pytest.mark.slow
def test_everything_agrees_with_a_simple_model_after_each_step(
    request: pytest.FixtureRequest, new_database: Callable[[int], Database], settings: Settings, tmp_path: Path
) -> None:
    plan = plan_of(request.config)

    @seed(plan.seed)
    def machine() -> RestatementMachine:
        # Contents are known by path and time: no two examples share a folder.
        return _OnItsOwn(new_database(plan.postgres), settings, tmp_path / uuid4().hex, plan.met)

    _go_through_everything(machine())
    run_state_machine_as_test(
        machine,
        settings=hypothesis_settings(
            max_examples=plan.examples,
            stateful_step_count=plan.steps,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert EVENTS - set(plan.met) == set()


@pytest.mark.slow
def test_a_bill_restated_ten_times_with_split_rows_tags_and_discounts_keeps_every_promise(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    met: Counter[str] = Counter()
    landing = Landing.make(database, settings, tmp_path / "bucket")
    machine = RestatementMachine(landing, met)
    machine.begin(items=[Item("7", name="b")], layout=Layout())

    # Everything is compared after each step, and as it stood after every step before.
    for edits in TEN_RESTATEMENTS:
        machine.deliver(period=CLOSED, edits=edits, layout=Layout(), is_late=False, force=False, crash=None)
    machine.prove()
    for _ in range(3):
        machine.roll_back(place=0, crash=None)
    # The one that was rolled back last, the third from the end.
    machine.undo(place=2, crash=None)
    # What is in the bucket was rolled back, and is not mapped again.
    last: list[Edit] = [Discount(0), Resplit(1, "0.125", "0.125")]
    machine.deliver(period=CLOSED, edits=last, layout=Layout(), is_late=False, force=False, crash=None)
    machine.remap(place=0)
    machine.prove()

    assert met == {
        "delivery published": 13,
        "rollback done": 3,
        "undo done": 1,
        "remap done": 1,
        "verified": 2,
    }
    for table in ("billing_split_cost", "billing_split_cost_history"):
        held = landing.query(f"SELECT DISTINCT allocation FROM {table} ORDER BY 1")
        assert held == [("not allocated",), ("parent",), ("workload",)]


def _go_through_everything(machine: RestatementMachine) -> None:
    """One example that is no chance: every event happens once, each crash in the middle of a restatement."""
    plain = Layout()
    try:
        machine.begin(items=[Item("7", name="b")], layout=plain)
        for cost, crash in (("10", FETCH_CRASH), ("20", LAND_CRASH), ("30", WITHDRAW_CRASH), ("40", FINISH_CRASH)):
            edits = [Recost(3, cost), Add(Item(cost, day=2))]
            machine.deliver(period=CLOSED, edits=edits, layout=plain, is_late=False, force=False, crash=crash)
        machine.deliver(period=CLOSED, edits=[Remove(0)], layout=plain, is_late=True, force=False, crash=None)
        machine.deliver(period=CLOSED, edits=[Discount(1)], layout=plain, is_late=False, force=False, crash=None)
        machine.remap(place=0)
        machine.prove()
        machine.roll_back(place=0, crash=RESTORE_CRASH)
        machine.look_at_the_bucket(force=False)
        machine.undo(place=0, crash=None)
        machine.deliver(period=CLOSED, edits=[Clear()], layout=plain, is_late=False, force=False, crash=None)
        machine.release(place=0)
        machine.prove()
    finally:
        machine.teardown()
