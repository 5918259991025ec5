"""One crash trial: an ingest of a restated bill is killed, perhaps more than once, and then run to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from billfold.model import DeliveryOutcome, DeliveryState
from billfold.store.database import connect
from tests.bills.landing import Landing
from tests.connections import forget
from tests.processes.crash_worker import POINTS, Worker
from tests.soak.bills import HeldBill, deliver, expect, random_bill, read_bill, read_withdrawn, restate, total

# The sessions of a dead worker end within about a second of its death.
_SESSIONS_END_WITHIN_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The seed of the bills, and where each kill comes: at a named point, or at this part of an ingest's duration."""

    seed: int
    kills: tuple[str | float, ...]
    item_count: int = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """Which promises were broken, in words, and what the delivery's state was right after each kill."""

    violations: tuple[str, ...]
    met: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Restatement:
    """The bill before and after, as the tables must hold it."""

    old: HeldBill
    new: HeldBill

    def name(self, bill: HeldBill) -> str | None:
        return "old" if bill == self.old else "new" if bill == self.new else None

    @property
    def withdrawn(self) -> Counter[Any]:
        return self.old.line_items - self.new.line_items


def measure_duration(landing: Landing, *, seed: int, item_count: int) -> float:
    """How many seconds an undisturbed ingest of a restated bill takes in a worker; the shorter of two."""
    random = Random(seed)
    items = random_bill(random, item_count)
    deliver(random, landing.root, items, revision=1)
    landing.ingest()
    durations = []
    for revision in (2, 3):
        items = _restate(random, items)
        deliver(random, landing.root, items, revision=revision)
        with _start(landing) as worker:
            worker.begin(landing.root)
            result = worker.finish()
        assert [outcome["state"] for outcome in result["outcomes"]] == [DeliveryState.PUBLISHED], result
        durations.append(float(result["seconds"]))
    return min(durations)


def run_trial(landing: Landing, trial: Trial, *, duration_seconds: float) -> TrialReport:
    """Land a bill, kill the ingest of its restatement as the trial says, run it again, and look at everything.

    The landing's database is empty before, or holds that bill. `duration_seconds` is that of an undisturbed ingest.
    """
    random = Random(trial.seed)
    violations: list[str] = []
    met: list[str] = []
    with ExitStack() as workers:
        killed = [
            (kill, workers.enter_context(_start(landing, dies_at=kill if isinstance(kill, str) else None)))
            for kill in trial.kills
        ]
        old_items = random_bill(random, trial.item_count)
        deliver(random, landing.root, old_items, revision=1)
        first = landing.ingest()
        new_items = _restate(random, old_items)
        deliver(random, landing.root, new_items, revision=2)
        restatement = _Restatement(old=expect(old_items), new=expect(new_items))
        violations += _judge_first(landing, first, restatement)
        last_seen = "old"
        for kill, worker in killed:
            worker.begin(landing.root)
            if isinstance(kill, float):
                worker.kill_after(kill * duration_seconds)
            elif not worker.dies_by_itself() and last_seen == "old":
                violations.append(f"the ingest never came to {kill!r}: {worker.read_log()}")
            last_seen, state = _look_at_once(landing, restatement, kill, last_seen, violations)
            met.append(state)
    # At once: sessions of the last dead worker may still hold the statement.
    again = landing.ingest()
    violations += _judge(landing, trial, again, restatement)
    return TrialReport(violations=tuple(violations), met=tuple(met))


def _start(landing: Landing, *, dies_at: str | None = None) -> Any:
    return Worker.start(
        landing.settings, conninfo=landing.database.conninfo, client_id=landing.client.client_id, dies_at=dies_at
    )


def _restate(random: Random, items: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    part = len(items) // 100
    return restate(random, items, changed=8 * part, removed=5 * part, added=8 * part, repeated=3 * part)


def _judge_first(landing: Landing, outcome: DeliveryOutcome, restatement: _Restatement) -> Iterator[str]:
    with connect(landing.database.conninfo) as connection:
        if outcome.state is not DeliveryState.PUBLISHED or read_bill(connection) != restatement.old:
            yield f"the first delivery is {outcome.state} and not in the tables: {outcome.exit_error}"


def _look_at_once(
    landing: Landing, restatement: _Restatement, kill: str | float, last_seen: str, violations: list[str]
) -> tuple[str, str]:
    """Which bill a reader sees right after the kill, and the state of the new delivery."""
    with connect(landing.database.conninfo) as connection:
        bill = read_bill(connection)
        row = connection.execute("SELECT state FROM billing_deliveries ORDER BY delivered_at OFFSET 1").fetchone()
    seen = restatement.name(bill)
    if seen is None:
        violations.append(f"after the kill at {kill} a reader sees neither bill: {_describe(bill, restatement)}")
    elif last_seen == "new" and seen == "old":
        violations.append(f"after the kill at {kill} a reader sees the old bill again")
    return seen or last_seen, row[0] if row else "unknown"


def _judge(landing: Landing, trial: Trial, outcome: DeliveryOutcome, restatement: _Restatement) -> Iterator[str]:
    """What is wrong after the ingest was run to its end; nothing where every promise was kept."""
    if outcome.state is not DeliveryState.PUBLISHED or outcome.exit_error is not None:
        yield f"the rerun ends {outcome.state}: {outcome.exit_error}"
    if outcome.billed_cost != {"USD": total(restatement.new)}:
        yield f"the rerun tells {outcome.billed_cost}, not {total(restatement.new)}"
    yield from _judge_tables(landing, restatement)
    yield from _judge_states(landing, trial)
    again = landing.ingest()
    if (again.state, again.rows_added, again.rows_removed) != (DeliveryState.PUBLISHED, 0, 0):
        yield f"another ingest is no repetition: {again}"
    if landing.count("billing_publications") != 2:
        yield "another ingest publishes again"


def _judge_tables(landing: Landing, restatement: _Restatement) -> Iterator[str]:
    with connect(landing.database.conninfo) as connection:
        bill = read_bill(connection)
        withdrawn, withdrawn_charges = read_withdrawn(connection)
        moved = connection.execute("SELECT coalesce(sum(billed_cost), 0) FROM billing_restatement").fetchone()
        before = connection.execute(
            "SELECT charge_date, sum(billed_cost), sum(charge_count)::bigint"
            " FROM daily_cost_as_of((SELECT published_at FROM billing_publications WHERE number = 1)) GROUP BY 1"
        ).fetchall()
    if bill != restatement.new:
        yield f"the tables do not hold the new bill: {_describe(bill, restatement)}"
    if withdrawn != restatement.withdrawn:
        yield f"history holds {withdrawn.total()} line items, not the {restatement.withdrawn.total()} withdrawn ones"
    if withdrawn_charges != restatement.withdrawn.total():
        yield f"history holds {withdrawn_charges} charges, not {restatement.withdrawn.total()}"
    if moved != (total(restatement.new) - total(restatement.old),):
        yield f"the restatement moves {moved}"
    if {day: (cost, count) for day, cost, count in before} != restatement.old.daily:
        yield "the daily costs of the old bill are not remembered"
    for rule in landing.broken_rules():
        yield f"broken: {rule}"


def _judge_states(landing: Landing, trial: Trial) -> Iterator[str]:
    deliveries = landing.query("SELECT state, attempts, last_error_code FROM billing_deliveries ORDER BY delivered_at")
    states = [state for state, _, _ in deliveries]
    if states != ["published", "published"]:
        yield f"the deliveries are {states}"
    runs = landing.query(
        "SELECT DISTINCT run.status, run.attempts FROM billing_ingestion_runs AS run"
        " JOIN billing_delivery_files AS file USING (ingestion_run_id) JOIN billing_deliveries AS delivery"
        " ON delivery.delivery_id = file.delivery_id ORDER BY 1, 2"
    )
    attempts, error_code = deliveries[-1][1:]
    if set(runs) != {("success", 1), ("success", attempts)}:
        yield f"the runs are {runs} in a delivery of {attempts} attempts"
    if not _is_possible(trial, attempts):
        yield f"{attempts} attempts are counted after kills at {trial.kills}"
    if (attempts > 1) != (error_code == "interrupted"):
        yield f"after {attempts} attempts the last error is {error_code}"
    published = landing.query("SELECT count(*) FROM billing_publications GROUP BY delivery_id")
    if published != [(1,), (1,)]:
        yield f"the deliveries have {published} publications"
    if sessions := _sessions_that_stay(landing):
        yield f"sessions stay: {sessions}"


def _is_possible(trial: Trial, attempts: int) -> bool:
    """Named points tell exactly how many attempts were begun; of a random moment nobody knows."""
    begun = 0
    for kill in trial.kills:
        if isinstance(kill, float):
            return 1 <= attempts <= len(trial.kills) + 1
        begun += POINTS[kill].has_started
        if POINTS[kill].is_published:
            return attempts == begun
    return attempts == begun + 1


def _sessions_that_stay(landing: Landing) -> list[tuple[Any, ...]]:
    """Sessions and advisory locks in this database that are there some seconds after everybody has gone.

    PostgreSQL itself waits between two questions.
    """
    found: list[tuple[Any, ...]] = []
    forget(landing.database.conninfo)
    with connect(landing.database.conninfo) as connection:
        for _ in range(_SESSIONS_END_WITHIN_SECONDS * 20):
            found = connection.execute(_OTHER_SESSIONS).fetchall()
            if not found:
                break
            connection.execute("SELECT pg_sleep(0.05)")
    return found


_OTHER_SESSIONS = """
    SELECT session.pid, session.state, session.query, lock.locktype
    FROM pg_stat_activity AS session
    LEFT JOIN pg_locks AS lock ON lock.pid = session.pid AND lock.locktype = 'advisory'
    WHERE session.datname = current_database() AND session.backend_type = 'client backend'
        AND session.pid <> pg_backend_pid()
"""


def _describe(bill: HeldBill, restatement: _Restatement) -> str:
    parts: dict[str, Callable[[HeldBill], Any]] = {
        "line items": lambda bill: bill.line_items.total(),
        "charges": lambda bill: bill.charges.total(),
        "charged": lambda bill: sum((entry[2] * count for entry, count in bill.charges.items()), Decimal()),
        "daily": total,
    }
    bills = {"seen": bill, "old": restatement.old, "new": restatement.new}
    return "; ".join(
        f"{name} " + ", ".join(f"{part} {measure(held)}" for part, measure in parts.items())
        for name, held in bills.items()
    )
