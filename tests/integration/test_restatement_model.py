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

from billfold.config import Settings
from billfold.store.database import Database, connect
from tests.landing import Landing
from tests.restatement_model.bills import Item
from tests.restatement_model.crashes import FETCH_CRASH, FINISH_CRASH, LAND_CRASH, RESTORE_CRASH, WITHDRAW_CRASH
from tests.restatement_model.edits import Add, Clear, Discount, Layout, Recost, Remove
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
