"""Messages that fail, wait or kill their worker: counted, suspected, and dead at last."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from billfold.aws import LocalAws
from billfold.bills import delivery as delivery_module
from billfold.jobs import attempts
from billfold.jobs.attempts import find_suspects, forget
from billfold.jobs.messages import find_full
from billfold.jobs.results import Cause, Dead, Done, Retry
from billfold.model import Client
from billfold.store.database import Database, connect
from billfold.store.deliveries import claims, records
from billfold.store.jobs.slots import open_slots, take_slot, take_turn
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.integration.jobs.messages.conftest import DATA, MANIFEST, WORKER, deliver, events, message, take
from tests.messages import S3_TEST_EVENT, eventbridge_event, request, s3_event, s3_record
from tests.processes.faulty_aws import Call, Fault, faulty_aws

NOWHERE = "host=127.0.0.1 port=1 dbname=nowhere user=nobody"


def test_a_message_waits_for_a_slot_and_for_another_of_its_statement_and_nothing_is_counted(
    fleet: Landing, aws: LocalAws
) -> None:
    deliver(fleet, aws, "1.25")

    with open_slots(fleet.database) as other:
        assert take_turn(other, fleet.client, f"{BUCKET} exports/acme 2026-05")
        busy = take(fleet, s3_event(BUCKET, MANIFEST), receive_count=99)
    with open_slots(fleet.database) as other:
        assert take_slot(other, fleet.client) == 1
        waiting = take(fleet, s3_event(BUCKET, MANIFEST), receive_count=100)
    after = take(fleet, s3_event(BUCKET, MANIFEST), receive_count=101)

    assert isinstance(busy, Retry)
    assert busy.cause is Cause.BUSY
    assert isinstance(waiting, Retry)
    assert waiting.cause is Cause.SLOT
    assert 1 <= waiting.delay_seconds <= 60
    assert isinstance(after, Done)
    assert fleet.query("SELECT attempts FROM billing_deliveries") == [(1,)]


def test_slots_are_counted_for_each_client_and_end_with_their_connection(fleet: Landing) -> None:
    acme, globex = replace(fleet.client, max_deliveries=2), Client(client_id="globex", max_deliveries=1)

    with open_slots(fleet.database) as first, open_slots(fleet.database) as second:
        assert take_slot(first, acme) == 1
        with open_slots(fleet.database) as third:
            assert take_slot(third, acme) == 2
            assert take_slot(second, acme) is None
            assert take_slot(second, globex) == 1
        with open_slots(fleet.database) as fourth:
            assert take_slot(fourth, acme) == 2
            assert take_slot(fourth, globex) is None


def test_a_database_that_is_away_is_waited_for(fleet: Landing) -> None:
    nowhere = Database(conninfo=NOWHERE, reader_conninfo=None, is_embedded=False)

    result = take(fleet, s3_event(BUCKET, MANIFEST), receive_count=10_000, database=nowhere)

    assert isinstance(result, Retry)
    assert result.cause is Cause.DATABASE


def test_a_defect_keeps_its_traceback_and_has_a_limit(
    fleet: Landing, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(fleet, aws, "1.25")
    # What nobody foresees: the name of a function leads to none.
    monkeypatch.setattr(delivery_module, "open_bill", None)
    limited = fleet.with_settings(message_attempts=2)

    with capture_logs() as logged:
        results = [take(limited, s3_event(BUCKET, MANIFEST), receive_count=count) for count in (1, 2)]

    assert [type(result) for result in results] == [Retry, Dead]
    assert isinstance(results[1], Dead)
    assert (results[1].error_code, results[1].reason[:15]) == ("internal", "failed 2 times,")
    assert [event["exc_info"] for event in logged if event["event"] == "internal_error"] == [True, True]
    assert fleet.query("SELECT state, attempts, error_code FROM billing_deliveries") == [("failed", 2, "internal")]


def leave_running(fleet: Landing, *message_ids: str) -> None:
    """As a worker leaves its delivery that is killed, with these messages in hand."""
    fleet.execute("UPDATE billing_deliveries SET state = 'running', finished_at = NULL, error_code = NULL")
    for message_id in message_ids:
        fleet.execute("INSERT INTO billing_message_attempts VALUES (%s, 'acme', gen_random_uuid(), now())", message_id)


def test_a_delivery_that_kills_its_workers_is_dead_at_last_and_may_be_tried_again(
    fleet: Landing, aws: LocalAws, tmp_path: Path
) -> None:
    deliver(fleet, aws, "1.25")
    (tmp_path / "spool").write_text("")
    take(fleet.with_settings(spool=tmp_path / "spool"), s3_event(BUCKET, MANIFEST))
    # Its first attempt has failed; the two that follow end with their worker.
    limited = fleet.with_settings(message_attempts=3)

    results = []
    for count in (2, 3):
        leave_running(fleet, "m-1")
        results.append(take(limited, s3_event(BUCKET, MANIFEST), receive_count=count))
    counted = fleet.query("SELECT failures FROM billing_message_failures")
    forget(message("{}"), fleet.database)
    redriven = take(fleet, s3_event(BUCKET, MANIFEST), message_id="m-2")

    assert counted == [(3,)]
    assert [type(result) for result in results] == [Retry, Dead]
    assert isinstance(results[1], Dead)
    assert (results[1].error_code, results[1].reason) == (
        "interrupted",
        "failed 3 times, at last: its worker ended before it did",
    )
    assert isinstance(redriven, Done)
    assert fleet.count("billing_message_failures") == 0
    assert fleet.billed() == {"USD": Decimal("1.25")}


def test_what_was_worked_on_beside_a_killer_waits_once_and_gets_through(
    fleet: Landing, aws: LocalAws, tmp_path: Path
) -> None:
    deliver(fleet, aws, "1.25")
    (tmp_path / "spool").write_text("")
    take(fleet.with_settings(spool=tmp_path / "spool"), s3_event(BUCKET, MANIFEST))
    leave_running(fleet, "m-1")

    results = [take(fleet, s3_event(BUCKET, MANIFEST), receive_count=count) for count in (2, 3)]

    assert [type(result) for result in results] == [Retry, Done]
    assert fleet.billed() == {"USD": Decimal("1.25")}
    assert fleet.query("SELECT * FROM billing_message_failures") == []
    assert fleet.query("SELECT * FROM billing_message_attempts") == []


def test_the_death_of_another_message_or_of_a_command_is_not_this_ones(fleet: Landing, aws: LocalAws) -> None:
    deliver(fleet, aws, "1.25")
    take(fleet.with_settings(min_free_bytes=10**18), s3_event(BUCKET, MANIFEST), message_id="m-2")
    leave_running(fleet, "m-2")

    result = take(fleet, s3_event(BUCKET, MANIFEST), receive_count=7)
    blamed = take(fleet, s3_event(BUCKET, MANIFEST), receive_count=2, message_id="m-2")

    assert (type(result), type(blamed)) == (Done, Retry)
    assert fleet.billed() == {"USD": Decimal("1.25")}
    assert fleet.query("SELECT message_id, client_id, failures, error_code FROM billing_message_failures") == [
        ("m-2", "acme", 2, "interrupted")
    ]


def test_a_message_is_not_blamed_while_its_statement_is_still_worked_on(fleet: Landing, aws: LocalAws) -> None:
    deliver(fleet, aws, "1.25")
    take(fleet.with_settings(min_free_bytes=10**18), s3_event(BUCKET, MANIFEST))
    leave_running(fleet, "m-1")

    with connect(fleet.database.conninfo) as other:
        delivery_id = fleet.value("SELECT delivery_id FROM billing_deliveries")
        claims.claim_stored(other, records.find_delivery(other, delivery_id), wait_seconds=1)
        result = take(fleet, s3_event(BUCKET, MANIFEST), receive_count=2)

    assert isinstance(result, Retry)
    assert result.cause is Cause.BUSY
    assert fleet.query("SELECT state FROM billing_deliveries") == [("running",)]
    assert fleet.count("billing_message_attempts") == 1


def test_whose_worker_could_only_not_tell_that_it_ended_is_not_blamed(
    fleet: Landing, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_MARK_WAIT_SECONDS", 60)
    deliver(fleet, aws, "1.25")
    take(fleet.with_settings(min_free_bytes=10**18), s3_event(BUCKET, MANIFEST), message_id="m-2")
    fleet.execute("DELETE FROM billing_message_failures")
    leave_running(fleet, "m-1")

    # PostgreSQL was away at the end, and another worker is the first to find it again.
    found_again = threading.Timer(0.3, fleet.execute, ["DELETE FROM billing_message_attempts"])
    found_again.start()
    result = take(fleet, s3_event(BUCKET, MANIFEST), receive_count=2)
    found_again.join()

    assert isinstance(result, Done)
    assert fleet.count("billing_message_failures") == 0
    assert fleet.billed() == {"USD": Decimal("1.25")}


def test_a_message_of_two_objects_that_comes_twice_is_not_blamed_while_one_of_them_is_worked_on(
    fleet: Landing, aws: LocalAws
) -> None:
    fleet.execute("UPDATE billing_clients SET max_deliveries = 9")
    for export in ("first", "second"):
        write_bill(fleet.root, described("1"), bucket=BUCKET, export_path=f"exports/{export}")
    aws.upload_folder(BUCKET, fleet.root)
    keys = [MANIFEST.replace("acme", export) for export in ("first", "second")]
    body = json.dumps({"Records": [s3_record(BUCKET, key) for key in keys]})
    reached, released = threading.Event(), threading.Event()

    def hold(call: Call) -> Fault:
        if call.is_download and call.path.endswith("first-00001.csv.gz"):
            reached.set()
            released.wait(60)
        return None

    with faulty_aws(aws.endpoint_url, hold) as faulty, ThreadPoolExecutor() as threads:
        held = fleet.with_settings(endpoint_url=faulty.endpoint_url)
        first = threads.submit(take, held, body, worker_id=uuid4())
        assert reached.wait(60)
        second = take(fleet, body, receive_count=2)
        released.set()

    assert isinstance(second, Retry)
    assert second.cause is Cause.BUSY
    assert isinstance(first.result(), Done)
    assert fleet.count("billing_message_failures") == fleet.count("billing_message_attempts") == 0
    assert fleet.billed() == {"USD": Decimal(2)}


def test_an_attempt_is_known_while_it_lasts_and_whoever_made_it_is_alive(fleet: Landing, aws: LocalAws) -> None:
    deliver(fleet, aws, "1.25")
    fleet.execute("CREATE TABLE seen (message_id text, worker_id uuid)")
    fleet.execute(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen SELECT message_id, worker_id FROM billing_message_attempts; RETURN NULL; END $$"
    )
    fleet.execute("CREATE TRIGGER see AFTER UPDATE ON billing_statements FOR EACH STATEMENT EXECUTE FUNCTION see()")
    # It could not tell the database that it had ended an attempt before.
    fleet.execute("INSERT INTO billing_message_attempts VALUES ('m-1', 'acme', %s, now())", WORKER)

    result = take(fleet, s3_event(BUCKET, MANIFEST), receive_count=2)

    assert isinstance(result, Done)
    assert fleet.query("SELECT DISTINCT message_id, worker_id FROM seen") == [("m-1", WORKER)]
    assert fleet.count("billing_message_attempts") == 0


def test_only_what_was_interrupted_the_last_time_is_suspect(fleet: Landing) -> None:
    fleet.execute(
        "INSERT INTO billing_message_failures VALUES ('killer', 1, 'interrupted', now()),"
        " ('throttled', 4, 'source_unavailable', now())"
    )
    messages = [message("{}", message_id=name, receive_count=3) for name in ("killer", "throttled", "innocent")]

    assert find_suspects(messages, fleet.database) == {"killer"}
    assert find_suspects([replace(each, receive_count=1) for each in messages], fleet.database) == set()


def test_failures_of_other_messages_are_none_of_this_one_and_old_ones_are_forgotten(
    fleet: Landing, aws: LocalAws
) -> None:
    deliver(fleet, aws, "1.25")
    # The queue has dropped the old one.
    fleet.execute(
        "INSERT INTO billing_message_failures VALUES ('old', 1, 'internal', now() - interval '15 days'),"
        " ('m-0', 9, 'source_unavailable', now() - interval '13 days')"
    )
    limited = fleet.with_settings(message_attempts=2, min_free_bytes=10**18)

    result = take(limited, s3_event(BUCKET, MANIFEST), receive_count=900)
    later = take(fleet, s3_event(BUCKET, MANIFEST), receive_count=901)

    assert isinstance(result, Retry)
    assert (result.cause, result.error_code) == (Cause.FAILURE, "spool_full")
    assert isinstance(later, Done)
    assert fleet.query("SELECT message_id FROM billing_message_failures") == [("m-0",)]


def test_a_data_file_that_no_manifest_names_waits_no_more_when_the_next_one_is_in(
    fleet: Landing, aws: LocalAws
) -> None:
    other = DATA.replace("2026-05", "2026-04")
    for key, etag in ((DATA, "an older version"), (DATA.replace("00001", "00007"), "surplus"), (other, "april")):
        take(fleet, s3_event(BUCKET, key, etag=etag))
    fleet.execute("UPDATE billing_ingestion_runs SET created_at = now() - interval '1 day'")
    deliver(fleet, aws, "1.25")
    take(fleet, s3_event(BUCKET, DATA.replace("00001", "00002"), etag="of the next refresh"))
    fleet.execute(
        "UPDATE billing_ingestion_runs SET created_at = now() + interval '1 day'"
        " WHERE source_etag = 'of the next refresh'"
    )

    take(fleet, s3_event(BUCKET, MANIFEST))

    assert dict(fleet.query("SELECT source_etag, status FROM billing_ingestion_runs WHERE delivery_id IS NULL")) == {
        "an older version": "skipped",
        "surplus": "skipped",
        "april": "pending",
        "of the next refresh": "pending",
    }


def test_a_delivery_is_published_even_where_the_files_that_it_does_not_name_cannot_be_told(
    fleet: Landing, aws: LocalAws
) -> None:
    take(fleet, s3_event(BUCKET, DATA, etag="surplus"))
    fleet.execute("UPDATE billing_ingestion_runs SET created_at = now() - interval '1 day'")
    fleet.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'injected'; END $$"
    )
    fleet.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON billing_ingestion_runs FOR EACH ROW WHEN (new.status = 'skipped')"
        " EXECUTE FUNCTION refuse()"
    )
    deliver(fleet, aws, "1.25")

    with capture_logs() as logged:
        result = take(fleet, s3_event(BUCKET, MANIFEST))

    assert isinstance(result, Done)
    assert result.state == "published"
    assert fleet.query("SELECT state, error_code, last_error_code FROM billing_deliveries") == [
        ("published", None, None)
    ]
    [warning] = [event for event in logged if event["event"] == "unnamed_not_skipped"]
    assert "injected" in warning["error"]
    assert "delivery_finished" in events(logged)


def test_repeated_and_reversed_events_leave_what_stands(fleet: Landing, aws: LocalAws) -> None:
    deliver(fleet, aws, "1.25", revision=1)
    old = s3_event(BUCKET, MANIFEST, etag="old", sequencer="01")
    take(fleet, old)
    deliver(fleet, aws, "1.25", "7", revision=2)
    new = s3_event(BUCKET, MANIFEST, etag="new", sequencer="02")

    results = [take(fleet, body) for body in (new, old, new, s3_event(BUCKET, DATA), old)]
    deliver(fleet, aws, "1", revision=3)
    held = take(fleet, s3_event(BUCKET, MANIFEST, etag="third", sequencer="03"))

    assert all(isinstance(result, Done) for result in results)
    # It waits for its release, and not in the queue.
    assert isinstance(held, Done)
    assert held.state == "held"
    assert fleet.billed() == {"USD": Decimal("8.25")}
    assert fleet.count("billing_publications") == 2
    assert fleet.broken_rules() == []


@pytest.mark.parametrize(
    ("body", "is_theirs"),
    [
        (s3_event(BUCKET, MANIFEST), True),
        (s3_event(BUCKET, "exports/a.csv"), True),
        (eventbridge_event(BUCKET, MANIFEST), True),
        (request("acme", "exports/a.csv"), True),
        (s3_event(BUCKET, DATA), False),
        (s3_event(BUCKET, "exports-evil/a.csv"), False),
        (s3_event("other", MANIFEST), False),
        (request("globex", "exports/a.csv"), False),
        (S3_TEST_EVENT, False),
        ("garbage", False),
    ],
)
def test_only_what_needs_a_slot_of_a_full_client_waits_for_it(body: str, is_theirs: bool) -> None:
    acme = Client(client_id="acme", bucket=BUCKET, prefix="exports/")

    assert find_full(message(body), [acme]) == (acme if is_theirs else None)
    assert find_full(message(body), []) is None
