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
from tests.restatement_model.machine import RestatementMachine
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
