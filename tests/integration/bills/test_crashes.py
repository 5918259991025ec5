"""Durable: an ingest that dies at any moment loses nothing and doubles nothing, and the next one finishes its work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from billfold.settings import Settings
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.processes.crash_worker import POINTS, Worker
from tests.services import CopyDatabase, NewDatabase
from tests.soak.bills import deliver, random_bill
from tests.soak.trials import Trial, measure_duration, run_trial

# At named points a bill need only bring new members; at random moments its mapping runs beside its landing.
NAMED_ITEMS = rounds(100, in_soak=2_000)
RANDOM_ITEMS = rounds(1_200, in_soak=2_000)
RANDOM_KILLS = rounds(2, in_soak=5)
SEED = 5
SEEDS = [2, 1][: rounds(1, in_soak=2)]
# Each ingest goes on where the one before it died; at length each point is one trial of its own.
KILLS = [
    ("after register", "after claim", "after start"),
    ("after fetch", "after new members", "after land"),
    ("after map", "after charge"),
    ("after roll-up", "before commit"),
    ("after commit",),
] + rounds(0, in_soak=1) * [(point,) for point in POINTS]
# What the restated delivery's state is right after the death of its worker.
STATES = {
    name: "published" if point.is_published else "running" if point.has_started else "pending"
    for name, point in POINTS.items()
}


@pytest.fixture(scope="module")
def landed_first(shared_landing: Landing) -> Landing:
    """The first bill of the trials of this seed; it stays so."""
    random = Random(SEED)
    deliver(random, shared_landing.root, random_bill(random, NAMED_ITEMS), revision=1)
    shared_landing.ingest()
    return shared_landing


@pytest.fixture
def first(landed_first: Landing, copy_database: CopyDatabase) -> Landing:
    return replace(landed_first, database=copy_database(landed_first.database))


def test_every_named_point_is_tried() -> None:
    assert {point for kills in KILLS for point in kills} == set(POINTS)


@pytest.mark.at_length
@pytest.mark.parametrize("kills", KILLS, ids=", ".join)
def test_ingests_killed_at_named_points_are_finished_by_the_next(first: Landing, kills: tuple[str, ...]) -> None:
    trial = Trial(seed=SEED, kills=kills, item_count=NAMED_ITEMS)

    report = run_trial(first, trial, duration_seconds=0)

    assert report.violations == ()
    assert report.met == tuple(STATES[point] for point in kills)


@pytest.mark.slow
@pytest.mark.at_length
@pytest.mark.parametrize("seed", SEEDS)
def test_ingests_killed_at_random_moments_are_finished_by_the_next(
    new_database: NewDatabase, settings: Settings, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    calm = Landing.make(new_database(16), settings, tmp_path / "calm")
    duration_seconds = measure_duration(calm, seed=seed, item_count=RANDOM_ITEMS)
    # One in each part of the duration, and there at any moment.
    moments = [(number + random.random()) / RANDOM_KILLS for number in range(RANDOM_KILLS)]
    trials = [
        Trial(seed=100 * seed + number, kills=(moment,), item_count=RANDOM_ITEMS)
        for number, moment in enumerate(moments)
    ]

    reports = {
        trial: run_trial(
            Landing.make(new_database(16), settings, tmp_path / f"bucket-{trial.seed}"),
            trial,
            duration_seconds=duration_seconds,
        )
        for trial in trials
    }

    assert {trial: report.violations for trial, report in reports.items() if report.violations} == {}
    assert any(report.met == ("running",) for report in reports.values())


def test_the_first_ingest_of_a_statement_may_die_too_and_the_next_clears_its_spool(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2"), described("3"))
    with Worker.start(
        landing.settings, conninfo=landing.database.conninfo, client_id="acme", dies_at="after land"
    ) as worker:
        worker.begin(landing.root)
        has_died = worker.dies_by_itself()
    left = list(landing.settings.spool.iterdir())
    held_then = landing.count("raw_aws_billing_rows"), landing.count("billing_usage_fact")

    outcome = landing.ingest()

    assert has_died
    assert held_then == (0, 0)
    assert len(left) == 1
    assert outcome.exit_error is None
    assert list(landing.settings.spool.iterdir()) == []
    assert (outcome.rows_added, landing.count("billing_publications")) == (3, 1)
    assert landing.broken_rules() == []
