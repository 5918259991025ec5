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
from tests.restatement_model.crashes import (
    FETCH_CRASH,
    FINISH_CRASH,
    LAND_CRASH,
    RESTORE_CRASH,
    WITHDRAW_CRASH,
    CrashPoint,
)
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


# Refreshes of all that a row says, and where the first attempt of each breaks off; the numbers count round the rows
# that are meant. The net costs in the end change the cost basis, there and back.
RESTATEMENTS: list[tuple[list[Edit], CrashPoint | None]] = [
    (
        [
            Recost(3, "30"),
            Rediscount(3, "-0.25"),
            Retag(4, (("accountTag/team", "green"), ("costCategory/unit", "shop"), ("resourceTags/team", "red"))),
            Resplit(0, "0.25", "0"),
        ],
        FETCH_CRASH,
    ),
    ([Reprice(0, "1.5"), Retag(6, (("resourceTags/team", "blue"),))], LAND_CRASH),
    (
        [
            Add(Item("30", day=2)),
            Terminate(0),
            Launch(tuple(share_instance("1", 3, instance="i-1"))),
            Launch(tuple(share_instance("0.1", 1, instance="i-9"))),
        ],
        WITHDRAW_CRASH,
    ),
    ([Rediscount(3, "-1.25"), Rediscount(4, "0.5"), Discount(1)], FINISH_CRASH),
    ([Discount(0), Rediscount(3, "")], None),
]
# What the bill that goes through everything has to come to.
EVENTS = {
    "delivery published": 9,
    "delivery held": 1,
    "delivery superseded": 1,
    "delivery rolled_back": 1,
    "release published": 1,
    "remap done": 1,
    "rollback done": 3,
    "undo done": 1,
    "verified": 1,
    "crash in fetch_delivery": 1,
    "crash in land_rows": 1,
    "crash in withdraw": 1,
    "crash in restore_bill": 1,
    "crash in finish_publication": 1,
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

    assert plan.met


@pytest.mark.slow
def test_a_bill_that_goes_through_everything_keeps_every_promise(landing: Landing) -> None:
    """No chance: every event happens once, each crash in the middle of a restatement."""
    met: Counter[str] = Counter()
    machine, plain = RestatementMachine(landing, met), Layout()

    def deliver(edits: list[Edit], crash: CrashPoint | None = None, *, is_late: bool = False) -> None:
        # Everything is compared after each step, and as it stood after every step before.
        machine.deliver(period=CLOSED, edits=edits, layout=plain, is_late=is_late, force=False, crash=crash)

    machine.begin(items=[Item("7", name="b")], layout=plain)
    deliver([Remove(0)], is_late=True)
    for edits, crash in RESTATEMENTS:
        deliver(edits, crash)
    for crash in (RESTORE_CRASH, None, None):
        machine.roll_back(place=0, crash=crash)
    machine.look_at_the_bucket(force=False)
    # The one that was rolled back last, the third from the end.
    machine.undo(place=2, crash=None)
    # What is in the bucket was rolled back, and is not mapped again.
    deliver([Discount(0), Resplit(1, "0.125", "0.125")])
    machine.remap(place=0)
    machine.prove()
    kinds = [
        landing.query(f"SELECT DISTINCT allocation FROM {table} ORDER BY 1")
        for table in ("billing_split_cost", "billing_split_cost_history")
    ]
    deliver([Clear()])
    machine.release(place=0)

    assert met == EVENTS
    assert kinds == [[("not allocated",), ("parent",), ("workload",)]] * 2
