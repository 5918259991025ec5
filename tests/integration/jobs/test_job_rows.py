"""The rows of the queue: who takes which job, what a job leaves behind, and what a dead worker gives free."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from billfold import clients
from billfold.jobs import rescue
from billfold.jobs.rescue import Rescue, free_gone_now
from billfold.model import JobKind, TriggerSource
from billfold.store.database import Connection, connect
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import Job, JobMessage, NewJob
from tests.bills.landing import Landing

WORKER = uuid4()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescue, "GRACE_SECONDS", 0.2)


@pytest.fixture
def queue(landing: Landing) -> Iterator[Connection]:
    """The queue of two clients with two slots each."""
    for name in ("acme", "globex"):
        values = {"client_id": name, "bucket": f"{name}-bills", "account_id": "111122223333"}
        clients.register(landing.database, landing.settings, values)
    with connect(landing.database.conninfo) as connection:
        yield connection


def new(key: str, client_id: str = "acme", **values: Any) -> NewJob:
    defaults: dict[str, Any] = {"bucket": f"{client_id}-bills", "work": key, "trigger": TriggerSource.SQS}
    return NewJob(client_id=client_id, key=key, **{**defaults, **values})


def message(name: str) -> JobMessage:
    return JobMessage(message_id=name, queue_url="https://sqs/queue", body=f"body of {name}", attributes={})


def keys(taken: list[Job]) -> list[str]:
    return [job.key for job in taken]


def take(queue: Connection, limit: int = 9, worker_id: UUID = WORKER, **options: Any) -> list[Job]:
    return jobs.take(queue, worker_id, limit=limit, **options)


def rows(queue: Connection, columns: str) -> list[tuple[Any, ...]]:
    return queue.execute(f"SELECT {columns} FROM billing_jobs ORDER BY job_id".encode()).fetchall()


def gone(queue: Connection) -> list[UUID]:
    return jobs.look(queue, WORKER).gone


def wait_until_gone(queue: Connection) -> None:
    """PostgreSQL notices the end of a connection a moment later."""
    deadline = time.monotonic() + 10
    while not gone(queue):
        assert time.monotonic() < deadline


@contextmanager
def another_life(landing: Landing) -> Iterator[tuple[Connection, UUID]]:
    """Another worker that lives until the block ends."""
    worker_id = uuid4()
    with connect(landing.database.conninfo) as connection:
        jobs.live(connection, worker_id)
        yield connection, worker_id


def test_clients_take_turns_and_none_takes_more_than_its_slots(queue: Connection) -> None:
    for number in range(50):
        jobs.add(queue, new(f"flood-{number:02}"))
    jobs.add(queue, new("late", "globex"))

    first = take(queue, limit=2)
    others = take(queue)
    nothing = take(queue)
    jobs.finish(queue, first[0], WORKER)
    after = take(queue)

    assert keys(first) == ["flood-00", "late"]
    assert keys(others) == ["flood-01"]
    assert nothing == []
    assert keys(after) == ["flood-02"]
    # Who waits for a slot is not touched.
    assert queue.execute("SELECT max(take_count) FROM billing_jobs WHERE state = 'waiting'").fetchall() == [(0,)]


def test_nobody_does_the_work_that_another_one_does(queue: Connection) -> None:
    jobs.add(queue, new("a-Manifest.json", work="acme 2026-05"))
    jobs.add(queue, new("b-Manifest.json", work="acme 2026-05"))
    jobs.add(queue, new("b-Manifest.json", "globex", work="acme 2026-05"))

    taken = take(queue)
    jobs.finish(queue, taken[0], WORKER)

    assert [(job.client_id, job.key) for job in taken] == [("acme", "a-Manifest.json"), ("globex", "b-Manifest.json")]
    assert keys(take(queue)) == ["b-Manifest.json"]


def test_a_worker_that_is_stopped_while_it_takes_jobs_keeps_nobody_waiting_for_long(
    queue: Connection, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "TAKE_SECONDS", 0.2)
    jobs.add(queue, new("a"))
    with another_life(landing) as (stopped, _):
        stopped.execute("BEGIN")
        jobs.lock_takes(stopped)
        taken = take(queue)

    assert keys(taken) == ["a"]


def test_a_visit_takes_a_slot_and_a_doctor_run_needs_none(queue: Connection) -> None:
    for kind in JobKind:
        jobs.add(queue, new("a", kind=kind, work=kind))
    jobs.add(queue, new("b"))
    is_doctor_due = jobs.look(queue, WORKER).is_doctor_due

    assert [job.kind for job in take(queue)] == [JobKind.INGEST, JobKind.VISIT]
    assert [job.kind for job in jobs.take_doctor(queue, WORKER, limit=9)] == [JobKind.DOCTOR]
    assert (is_doctor_due, jobs.look(queue, WORKER).is_doctor_due) == (True, False)


def test_an_object_waits_once_and_is_read_once_more_if_it_comes_while_it_is_worked_on(queue: Connection) -> None:
    first = jobs.add(queue, new("a", message=message("m-1"), is_event=True))
    again = jobs.add(queue, new("a", message=message("m-2"), is_event=True))
    [taken] = take(queue)
    while_running = jobs.add(queue, new("a", trigger=TriggerSource.API))
    is_over = jobs.finish(queue, taken, WORKER)
    [once_more] = take(queue)
    ended = jobs.finish(queue, once_more, WORKER)

    assert first == again == while_running == once_more.job_id
    assert (taken.is_event, once_more.is_event) == (True, False)
    assert taken.message == once_more.message == message("m-2")
    assert (is_over, ended) == (False, True)
    assert rows(queue, "job_id") == []


def test_a_job_that_is_wanted_again_in_the_moment_of_its_end_waits_again(queue: Connection, landing: Landing) -> None:
    jobs.add(queue, new("a"))
    [taken] = take(queue)
    with ThreadPoolExecutor() as threads, connect(landing.database.conninfo) as another, another.transaction():
        jobs.add(another, new("a"))
        is_over = threads.submit(jobs.finish, queue, taken, WORKER)
        wait_until_blocked(another)

    assert not is_over.result()
    assert rows(queue, "state, is_wanted_again") == [("waiting", False)]


def test_a_job_that_is_wanted_again_in_the_moment_of_its_death_waits_again(queue: Connection, landing: Landing) -> None:
    jobs.add(queue, new("a", message=message("m-1")))
    [taken] = take(queue)
    with ThreadPoolExecutor() as threads, connect(landing.database.conninfo) as another, another.transaction():
        assert jobs.bury(another, taken, WORKER, error_code="manifest", reason="no JSON")
        wanted = threads.submit(jobs.add, queue, new("a", message=message("m-2")))
        wait_until_blocked(another)

    assert rows(queue, "job_id, state, failure_count") == [(wanted.result(), "waiting", 0)]


def wait_until_blocked(connection: Connection) -> None:
    """Until another session of this database waits for a lock."""
    deadline = time.monotonic() + 10
    while not connection.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchall():
        assert time.monotonic() < deadline


def test_a_failure_waits_and_is_counted_and_a_wait_is_not(queue: Connection) -> None:
    jobs.add(queue, new("a"))
    [job] = take(queue)
    jobs.postpone(queue, job, WORKER, seconds=0, is_failure=False, is_tried=False, reason="its statement is busy")
    [job] = take(queue)
    jobs.postpone(
        queue, job, WORKER, seconds=600, is_failure=True, is_tried=True, reason="S3 is slow", error_code="source"
    )

    assert rows(queue, "state, take_count, failure_count, reason, error_code, due_at > now() + '9 minutes'") == [
        ("waiting", 2, 1, "S3 is slow", "source", True)
    ]
    assert take(queue) == []
    assert 590 < (jobs.look(queue, WORKER).due_in_seconds or 0) <= 600
    # Who asks for it by hand does not wait.
    jobs.add(queue, new("a", trigger=TriggerSource.API))
    assert [job.failure_count for job in take(queue)] == [1]


def test_a_dead_job_stays_until_it_is_retried_or_its_object_comes_again(queue: Connection) -> None:
    jobs.add(queue, new("a", message=message("m-1")))
    [job] = take(queue)
    jobs.postpone(queue, job, WORKER, seconds=0, is_failure=True, is_tried=True, reason="x", error_code="x")
    [job] = take(queue)
    assert jobs.bury(queue, job, WORKER, error_code="missing_column", reason="no column")
    buried = rows(queue, "state, failure_count, error_code, reason")
    [shown] = jobs.list_jobs(queue)
    assert jobs.retry(queue, shown.job_id)
    [again] = take(queue)
    assert not jobs.retry(queue, again.job_id)
    assert not jobs.cancel(queue, again.job_id)
    jobs.bury(queue, again, WORKER, error_code="missing_column", reason="no column")
    newer = jobs.add(queue, new("a", message=message("m-2")))

    assert buried == [("dead", 2, "missing_column", "no column")]
    assert again.failure_count == 0
    assert rows(queue, "job_id, state, message_id, failure_count") == [(newer, "waiting", "m-2", 0)]
    assert newer != again.job_id
    assert jobs.cancel(queue, newer)
    assert rows(queue, "job_id") == []


def test_a_worker_says_nothing_about_a_job_that_it_lost_or_took_again(queue: Connection) -> None:
    jobs.add(queue, new("a"))
    [lost] = take(queue)
    jobs.free(queue, WORKER, seconds=0)
    [again] = take(queue, suspects=True)
    jobs.begin(queue, again, WORKER)
    taken = rows(queue, "state, failure_count, take_count, began_at")
    said = (
        jobs.begin(queue, lost, WORKER),
        jobs.finish(queue, lost, WORKER),
        jobs.bury(queue, lost, WORKER, error_code="x", reason="x"),
    )
    jobs.postpone(queue, lost, WORKER, seconds=0, is_failure=True, is_tried=True, reason="x")

    assert said == (False, False, False)
    assert rows(queue, "state, failure_count, take_count, began_at") == taken


def test_what_a_dead_worker_had_begun_fails_and_is_worked_on_alone(queue: Connection, landing: Landing) -> None:
    for key in ("a", "b"):
        jobs.add(queue, new(key))
    jobs.add(queue, new("c", "globex"))
    rescuer = Rescue(landing.settings.model_copy(update={"message_retry_seconds": 0}))
    with another_life(landing) as (connection, worker_id):
        taken = take(connection, worker_id=worker_id)
        connection.execute("UPDATE billing_jobs SET began_at = NULL WHERE key = 'b'")
        # It is wanted again meanwhile.
        jobs.add(connection, new("c", "globex"))
        alive = (gone(queue), take(queue))
    wait_until_gone(queue)
    wait_seconds = rescuer.free_gone(queue, gone(queue))
    in_grace = rows(queue, "state")
    time.sleep(0.3)
    nothing = rescuer.free_gone(queue, gone(queue))

    assert keys(taken) == ["a", "b", "c"]
    assert alive == ([], [])
    assert (wait_seconds is None, nothing) == (False, None)
    assert in_grace == [("running",)] * 3
    assert rows(queue, "key, state, is_suspect, failure_count, error_code") == [
        ("a", "waiting", True, 1, "interrupted"),
        ("b", "waiting", False, 0, None),
        ("c", "waiting", True, 1, "interrupted"),
    ]
    assert keys(take(queue)) == ["b"]
    # Of acme one runs already.
    assert keys(take(queue, limit=1, suspects=True)) == ["c"]
    assert rows(queue, "key, began_at IS NOT NULL") == [("a", False), ("b", True), ("c", False)]


def test_a_worker_whose_connection_comes_back_in_time_is_not_gone(queue: Connection, landing: Landing) -> None:
    jobs.add(queue, new("a"))
    with another_life(landing) as (connection, worker_id):
        take(connection, worker_id=worker_id)
    wait_until_gone(queue)
    rescuer = Rescue(landing.settings)
    rescuer.free_gone(queue, gone(queue))
    with connect(landing.database.conninfo) as back:
        jobs.live(back, worker_id)
        time.sleep(0.3)
        free_gone_now(queue, WORKER, landing.settings)
        rescuer.free_gone(queue, gone(queue))

        assert rows(queue, "state, failure_count") == [("running", 0)]


def test_a_worker_that_stops_gives_its_jobs_back_and_none_has_failed(queue: Connection) -> None:
    for key in ("a", "b"):
        jobs.add(queue, new(key))
    kept = take(queue)[1:]
    jobs.add(queue, new("a"))

    # What it does not know was taken when its connection was lost.
    assert jobs.give_back(queue, WORKER, kept=kept) == 1
    assert [(job.key, job.failure_count, job.is_suspect) for job in take(queue)] == [("a", 0, False)]
    assert jobs.give_back(queue, WORKER) == 2
