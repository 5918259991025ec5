"""Messages whose jobs fail or wait: counted, suspected, retried, and dead at last."""

from __future__ import annotations

from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from billfold.aws import LocalAws
from billfold.bills import delivery as delivery_module
from billfold.jobs.results import Cause, Dead, Done, Retry
from billfold.jobs.work import work_on
from billfold.store.database import connect
from billfold.store.deliveries import claims, records
from billfold.store.jobs import jobs
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.integration.jobs.messages.conftest import MANIFEST, NOWHERE, deliver, events
from tests.messages import eventbridge_event, request, s3_event
from tests.taken import WORKER, arrive, take, work_off

JOBS = "SELECT state, failure_count, is_suspect, error_code FROM billing_jobs"


def test_a_job_waits_for_its_statement_and_for_the_database_and_only_its_failures_make_it_dead(
    fleet: Landing, aws: LocalAws
) -> None:
    deliver(fleet, aws, "1.25")
    # Its first attempt fails on a full disk; the next one dies with its worker.
    failed = take(fleet.with_settings(min_free_bytes=10**18), eventbridge_event(BUCKET, MANIFEST))
    told = fleet.query("SELECT trigger_source, state FROM billing_deliveries")
    fleet.execute("UPDATE billing_deliveries SET state = 'running', finished_at = NULL, error_code = NULL")
    fleet.execute("UPDATE billing_jobs SET is_suspect = true, failure_count = 2, error_code = 'interrupted'")

    with connect(fleet.database.conninfo) as other:
        delivery_id = fleet.value("SELECT delivery_id FROM billing_deliveries")
        claims.claim_stored(other, records.find_delivery(other, delivery_id), wait_seconds=1)
        [busy] = work_off(fleet)
        left = fleet.query("SELECT state FROM billing_deliveries")
        fleet.execute("UPDATE billing_jobs SET due_at = now()")
        [job] = jobs.take(other, WORKER, limit=1, suspects=True)
        away = work_on(job, fleet.settings, NOWHERE)
        jobs.give_back(other, WORKER)
    waiting = fleet.query(JOBS)
    with capture_logs() as logged:
        [dead] = work_off(fleet.with_settings(message_attempts=2))
        given_up = fleet.query("SELECT state, error_code FROM billing_deliveries")
        # Its own message changes nothing any more; a dead letter that is sent again is another one.
        take(fleet, eventbridge_event(BUCKET, MANIFEST))
        done = take(fleet, request("acme", MANIFEST), message_id="m-2")

    assert isinstance(failed, Retry)
    assert (failed.cause, failed.error_code, told) == (Cause.FAILURE, "spool_full", [("eventbridge", "failed")])
    assert isinstance(busy, Retry)
    assert isinstance(away, Retry)
    assert (busy.cause, away.cause, left) == (Cause.BUSY, Cause.DATABASE, [("running",)])
    assert [row[:3] for row in waiting] == [("waiting", 2, True)]
    assert isinstance(dead, Dead)
    assert (dead.error_code, dead.reason) == (
        "interrupted",
        "failed 2 times, at last: its worker ended before it did",
    )
    assert given_up == [("failed", "interrupted")]
    assert isinstance(done, Done)
    assert done.state == "published"
    assert events(logged).count("message_alone") == 1
    assert fleet.count("billing_jobs") == 0
    assert fleet.billed() == {"USD": Decimal("1.25")}


def test_a_defect_keeps_its_traceback_and_has_a_limit(
    fleet: Landing, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(fleet, aws, "1.25")
    # What nobody foresees: the name of a function leads to none.
    monkeypatch.setattr(delivery_module, "open_bill", None)
    limited = fleet.with_settings(message_attempts=2)

    with capture_logs() as logged:
        results = [take(limited, s3_event(BUCKET, MANIFEST)), *work_off(limited)]

    assert [type(result) for result in results] == [Retry, Dead]
    assert isinstance(results[1], Dead)
    assert (results[1].error_code, results[1].reason[:15]) == ("internal", "failed 2 times,")
    assert [event["exc_info"] for event in logged if event["event"] == "internal_error"] == [True, True]
    assert fleet.query("SELECT state, attempts, error_code FROM billing_deliveries") == [("failed", 2, "internal")]
    assert fleet.query("SELECT state, error_code, reason FROM billing_jobs") == [
        ("dead", "internal", results[1].reason)
    ]


def test_failures_that_are_known_from_before_the_queue_go_over_to_the_job(fleet: Landing) -> None:
    fleet.execute(
        "INSERT INTO billing_message_failures VALUES ('killer', 1, 'interrupted', now()),"
        " ('throttled', 2, 'source_unavailable', now()), ('another', 9, 'internal', now())"
    )

    for name in ("killer", "throttled", "innocent"):
        arrive(fleet, s3_event(BUCKET, f"exports/{name}.csv"), message_id=name)

    assert fleet.query(
        "SELECT message_id, failure_count, is_suspect, error_code FROM billing_jobs ORDER BY job_id"
    ) == [
        ("killer", 1, True, "interrupted"),
        ("throttled", 2, False, "source_unavailable"),
        ("innocent", 0, False, None),
    ]
    assert fleet.query("SELECT message_id FROM billing_message_failures") == [("another",)]
