"""The schedule: every client in its turn, whatever becomes of the others, and whose delivery is late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from billfold import Billfold, clients
from billfold.jobs.schedule import Visit, VisitState, finish_pass, keep_schedule, make_visit, report_late, visit_due
from billfold.model import Client, JobKind, TriggerSource
from billfold.reports.freshness import list_client_freshness, list_statement_freshness
from billfold.store.database import connect
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import NewJob
from billfold.store.reports import freshness
from tests.bills.landing import Landing
from tests.processes.faulty_aws import Call, Fault, faulty_aws
from tests.registry import Registry

# Nothing here takes nearly as long; who waits longer waits for a schedule that hangs.
LIMIT_SECONDS = 60


@pytest.fixture
def tables(registry: Registry, tmp_path: Path) -> Landing:
    """What can be asked of the registry's database."""
    return Landing.make(registry.database, registry.settings, tmp_path / "unused")


def visit(registry: Registry, concurrency: int = 2) -> dict[str, Visit]:
    visits = visit_due(Billfold(registry.settings, database=registry.database), concurrency=concurrency)
    return {each.client_id: each for each in visits}


@contextmanager
def busy_with(registry: Registry, client: Client, key: str, kind: JobKind = JobKind.INGEST) -> Iterator[None]:
    """Another worker has a job of the client."""
    assert client.bucket
    new = NewJob(
        kind=kind, client_id=client.client_id, bucket=client.bucket, key=key, work=key, trigger=TriggerSource.API
    )
    with connect(registry.database.conninfo) as other:
        worker_id = uuid4()
        jobs.live(other, worker_id)
        jobs.add(other, new)
        [_] = jobs.take(other, worker_id, limit=1)
        yield
        jobs.give_back(other, worker_id)
        assert all(jobs.cancel(other, row.job_id) for row in jobs.list_jobs(other, client_id=client.client_id))


@contextmanager
def beside(registry: Registry, fault: Callable[[Call], Fault]) -> Iterator[Registry]:
    """The registry of a schedule each of whose calls to AWS the test sees first."""
    with faulty_aws(registry.aws.endpoint_url, fault) as faulty:
        yield replace(registry, settings=registry.settings.model_copy(update={"endpoint_url": faulty.endpoint_url}))


def hold(bucket: str, released: threading.Event, reached: threading.Event | None = None) -> Callable[[Call], Fault]:
    """Downloads from the bucket wait until they are released."""

    def wait(call: Call) -> Fault:
        if call.is_download and bucket in call.path and call.path.endswith("gz"):
            if reached:
                reached.set()
            released.wait(LIMIT_SECONDS)
        return None

    return wait


def keep_in_thread(registry: Registry, stops: list[int], unfinished: list[int] | None = None) -> threading.Thread:
    """A schedule that passes every second until `stops` holds something; notes how many visits did not end."""

    def keep() -> None:
        billfold = Billfold(registry.settings, database=registry.database)
        count = keep_schedule(billfold, interval_seconds=1, count_stops=stops.__len__)
        if unfinished is not None:
            unfinished.append(count)

    thread = threading.Thread(target=keep)
    thread.start()
    return thread


def wait_until(is_so: Callable[[], bool]) -> None:
    """Look until it is so; a schedule that never gets there fails the test."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def states(visits: dict[str, Visit]) -> dict[str, str]:
    return {client_id: str(each.state) for client_id, each in visits.items()}


def test_every_client_that_is_due_is_looked_through_and_then_left_alone(registry: Registry, tables: Landing) -> None:
    for name in ("acme", "globex"):
        registry.deliver(registry.add(name), "1", "2")

    first = visit(registry)
    again = visit(registry)

    assert states(first) == {"acme": "done", "globex": "done"}
    assert first["acme"].counts == {"current": 0, "published": 1}
    assert again == {}
    assert tables.query("SELECT DISTINCT client_id, trigger_source FROM billing_deliveries ORDER BY 1") == [
        ("acme", "schedule"),
        ("globex", "schedule"),
    ]


def test_a_lost_event_is_made_up_for_once_the_interval_has_gone_by(registry: Registry, tables: Landing) -> None:
    client = registry.add("acme", refresh_hours=6)
    registry.deliver(client, "1")
    visit(registry)
    registry.deliver(client, "1", "5", revision=2)

    tables.execute("UPDATE billing_clients SET backfilled_at = backfilled_at - interval '5 hours 59 minutes'")
    early = visit(registry)
    tables.execute("UPDATE billing_clients SET backfilled_at = backfilled_at - interval '1 minute'")
    due = visit(registry)

    assert early == {}
    assert due["acme"].counts == {"current": 0, "published": 1}
    assert tables.billed()["USD"] == 6


def test_what_fails_stops_nobody_and_is_tried_again_only_where_that_may_help(registry: Registry) -> None:
    broken, zeta = registry.add("broken"), registry.add("zeta")
    registry.aws.client("s3").delete_bucket(Bucket=broken.bucket)
    registry.deliver(zeta, "1")
    registry.aws.put("zeta-bills", "exports/b/metadata/BILLING_PERIOD=2026-04/b-Manifest.json", b"no manifest")

    visits = visit(registry, concurrency=1)
    again = visit(registry)

    assert states(visits) == {"broken": "failed", "zeta": "failed"}
    assert [failure.error_code for failure in visits["broken"].failures] == ["source_not_found"]
    assert visits["zeta"].counts == {"current": 0, "failed": 1, "published": 1}
    # No later attempt can bring in what is no manifest.
    assert states(again) == {"broken": "failed"}
    # A schedule that keeps running waits before it asks again for what was refused.
    with connect(registry.database.conninfo) as connection:
        assert freshness.list_due(connection, default_client=None, patience_seconds=60) == []


def test_a_delivery_that_may_come_in_later_waits_in_the_queue_for_the_next_pass(
    registry: Registry, tables: Landing
) -> None:
    registry.deliver(registry.add("acme"), "1")

    def throttle(call: Call) -> Fault:
        return (503, "SlowDown") if call.is_download and call.path.endswith("gz") else None

    with beside(registry, throttle) as throttled:
        failed = visit(throttled)
    waiting = tables.query("SELECT kind, state, failure_count, error_code, due_at > now() FROM billing_jobs")
    early = visit(registry)
    tables.execute("UPDATE billing_jobs SET due_at = now()")
    later = visit(registry)

    assert failed["acme"].counts == {"current": 0, "failed": 1}
    assert [failure.error_code for failure in failed["acme"].failures] == ["source_unavailable"]
    assert waiting == [("ingest", "waiting", 1, "source_unavailable", True)]
    assert early == {}
    assert later["acme"].counts == {"current": 0, "published": 1}


def test_a_visit_that_killed_its_workers_too_often_is_not_made_again(registry: Registry, tables: Landing) -> None:
    client = registry.add("acme")
    registry.deliver(client, "1")
    with connect(registry.database.conninfo) as connection:
        jobs.add(connection, make_visit(client))
    deaths = registry.settings.message_attempts
    tables.execute("UPDATE billing_jobs SET is_suspect = true, failure_count = %s", deaths)

    visits = visit(registry)

    [failure] = visits["acme"].failures
    assert (failure.error_code, f"failed {deaths} times" in failure.message) == ("interrupted", True)
    assert tables.query("SELECT kind, state, failure_count FROM billing_jobs") == [("visit", "dead", deaths)]


def test_a_disabled_client_has_no_turn(registry: Registry) -> None:
    registry.add("acme")
    clients.set_enabled(registry.database, "acme", enabled=False)

    assert visit(registry) == {}


def test_the_client_of_the_settings_has_its_turn_too_and_one_for_each_folder(registry: Registry) -> None:
    registry.aws.create_bucket("own-bills")
    registry.deliver(Client(client_id="own", bucket="own-bills"), "1")
    described = {"client": "own", "bucket": "own-bills", "prefix": ""}
    here = replace(registry, settings=registry.settings.model_copy(update=described))
    moved = replace(registry, settings=registry.settings.model_copy(update={**described, "prefix": "exports/"}))

    turns = [states(visit(each)) for each in (here, here, moved)]

    assert turns == [{"own": "done"}, {}, {"own": "done"}]


def test_a_folder_that_another_worker_visits_and_a_client_without_a_free_slot_wait(registry: Registry) -> None:
    acme, globex = registry.add("acme"), registry.add("globex", max_deliveries=1)
    registry.add("initech")

    with busy_with(registry, acme, acme.prefix, JobKind.VISIT), busy_with(registry, globex, "exports/a-Manifest.json"):
        beside = visit(registry)
    after = visit(registry)

    # Whoever is visited fails, because the buckets are empty.
    assert states(beside) == {"acme": "busy", "globex": "busy", "initech": "failed"}
    assert states(after) == {"acme": "failed", "globex": "failed", "initech": "failed"}


def test_a_schedule_that_stops_begins_no_other_delivery_and_the_next_one_goes_on(
    registry: Registry, tables: Landing
) -> None:
    client = registry.add("acme", max_deliveries=1)
    registry.deliver(client, "1", export_path="exports/first")
    registry.deliver(client, "2", export_path="exports/second")
    reached, released = threading.Event(), threading.Event()
    stops: list[int] = []

    with beside(registry, hold("acme-bills", released, reached)) as watched:
        keeping = keep_in_thread(watched, stops)
        assert reached.wait(LIMIT_SECONDS)
        stops.append(1)
        released.set()
        keeping.join(LIMIT_SECONDS)
    stopped = tables.query("SELECT state, attempts FROM billing_deliveries ORDER BY export_name")
    resumed = visit(registry)

    assert stopped == [("published", 1), ("pending", 0)]
    assert resumed["acme"].counts == {"current": 0, "published": 1}
    assert tables.billed()["USD"] == 3


def test_a_client_that_takes_long_keeps_nobody_waiting(registry: Registry, tables: Landing) -> None:
    registry.deliver(registry.add("acme"), "1")
    registry.deliver(registry.add("globex"), "1")
    registry.add("late")
    tables.execute("UPDATE billing_clients SET created_at = now() - interval '9 days' WHERE client_id = 'late'")
    released = threading.Event()
    stops: list[int] = []

    with beside(registry, hold("acme-bills", released)) as watched, capture_logs() as events:
        keeping = keep_in_thread(watched, stops)
        wait_until(lambda: tables.count("billing_publications") == 1)
        wait_until(lambda: len([each for each in events if each.get("visiting") == 1]) == 2)
        told = [event for event in events if event["event"] in ("client_late", "schedule_finished")]
        begun = tables.query("SELECT client_id, attempts FROM billing_deliveries ORDER BY client_id")
        stops.append(1)
        released.set()
        keeping.join(LIMIT_SECONDS)

    assert begun == [("acme", 1), ("globex", 1)]
    # Once in each pass, though acme is visited all the while.
    assert [event["event"] for event in told][:4] == ["client_late", "schedule_finished"] * 2
    assert tables.query("SELECT count(*) FROM billing_publications") == [(2,)]


def test_a_delivery_that_does_not_end_in_time_does_not_keep_the_schedule(registry: Registry, tables: Landing) -> None:
    registry.deliver(registry.add("acme"), "1")
    reached, released = threading.Event(), threading.Event()
    hasty = replace(registry, settings=registry.settings.model_copy(update={"shutdown_seconds": 0}))
    stops: list[int] = []

    with beside(hasty, hold("acme-bills", released, reached)) as watched:
        unfinished: list[int] = []
        keeping = keep_in_thread(watched, stops, unfinished)
        assert reached.wait(LIMIT_SECONDS)
        stops.append(1)
        keeping.join(LIMIT_SECONDS)
        released.set()
        wait_until(lambda: not any(thread.name.startswith("job ") for thread in threading.enumerate()))

    assert unfinished == [1]


def test_a_schedule_that_was_told_to_stop_visits_nobody(registry: Registry, tables: Landing) -> None:
    registry.deliver(registry.add("acme"), "1")

    keep_schedule(Billfold(registry.settings, database=registry.database), interval_seconds=60, count_stops=lambda: 1)

    assert tables.count("billing_statements") == 0


def test_a_pass_says_that_it_is_over_whether_or_not_anybody_was_due(registry: Registry, tables: Landing) -> None:
    registry.add("acme")

    for visited in (1, 0):
        visits = visit(registry)
        with capture_logs() as events:
            finish_pass(Billfold(registry.settings, database=registry.database), visited=len(visits))
        tables.execute("UPDATE billing_clients SET backfilled_at = now()")

        told = [event for event in events if event["event"] == "schedule_finished"]
        assert [(event["clients"], event["visited"]) for event in told] == [(1, visited)]


def test_a_client_without_a_delivery_is_late_after_one_and_a_half_intervals(
    registry: Registry, tables: Landing
) -> None:
    client = registry.add("acme", refresh_hours=10)
    registry.deliver(client, "1")
    visit(registry)

    for hours, is_late in ((14, False), (16, True)):
        tables.execute("UPDATE billing_deliveries SET delivered_at = now() - make_interval(hours => %s)", hours)
        with capture_logs() as events:
            late = report_late(Billfold(registry.settings, database=registry.database))

        assert bool(late) == is_late
        assert [event["event"] for event in events] == ["client_late"] * is_late

    [row] = list_client_freshness(registry.database, "default", "acme")
    assert row.last_delivered_at
    assert row.late_since
    assert row.late_since - row.last_delivered_at == timedelta(hours=15)
    [statement] = list_statement_freshness(registry.database, None)
    assert statement.late_since == row.late_since

    # A delivery that failed is none, and nothing is expected of a disabled client.
    tables.execute("UPDATE billing_clients SET created_at = now() - interval '3 days'")
    tables.execute("UPDATE billing_deliveries SET state = 'failed', error_code = 'source'")
    [failed] = report_late(Billfold(registry.settings, database=registry.database))
    assert failed.last_delivered_at is None
    clients.set_enabled(registry.database, "acme", enabled=False)
    assert report_late(Billfold(registry.settings, database=registry.database)) == ()


def test_the_settings_client_is_late_only_while_the_settings_describe_it(registry: Registry, tables: Landing) -> None:
    tables.execute(
        "INSERT INTO billing_clients (client_id, bucket, created_at)"
        " VALUES ('own', 'own-bills', now() - interval '9 days')"
    )

    def late(**changes: str) -> list[str]:
        settings = registry.settings.model_copy(update={"client": "own", **changes})
        return [row.client_id for row in report_late(Billfold(settings, database=registry.database))]

    assert late(bucket="own-bills") == ["own"]
    assert late() == []


def test_a_client_that_registry_and_settings_both_describe_is_refused_alone(registry: Registry) -> None:
    registry.add("acme")
    here = registry.settings.model_copy(update={"client": "acme", "bucket": "acme-bills"})

    [refused] = visit_due(Billfold(here, database=registry.database))

    assert refused.state is VisitState.FAILED
    assert [failure.error_code for failure in refused.failures] == ["configuration"]
