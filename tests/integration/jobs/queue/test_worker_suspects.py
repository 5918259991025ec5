"""A job whose worker died is worked on alone, and clients share the worker's threads."""

from __future__ import annotations

import gzip
import threading
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from billfold import clients
from billfold.app import Billfold
from billfold.aws import LocalAws
from billfold.errors import AccessDeniedError
from billfold.jobs.receiver import MAX_REFUSALS
from billfold.model import TriggerSource
from billfold.store.database import connect
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import NewJob
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.integration.jobs.queue.conftest import LIMIT_SECONDS, deliver, drain, make_worker, wait_until, working
from tests.messages import ACCOUNT, Mailbox, s3_event
from tests.processes.faulty_aws import Call, Fault, faulty_aws

NAMES = ("first", "suspect", "last")


class Suspicion:
    """A suspect, which waits until it is let go, among two that are no bills.

    The download of each waits for its release.
    """

    def __init__(self, fleet: Landing, aws: LocalAws) -> None:
        self._fleet = fleet
        self.keys = {name: f"exports/{name}-00001.csv.gz" for name in NAMES}
        for key in self.keys.values():
            aws.put(BUCKET, key, gzip.compress(b"line_item_unblended_cost,line_item_usage_amount\n1.25\n"))
        self.keys["suspect"] = deliver(fleet, aws, "1", export="suspect")
        self.reached = {name: threading.Event() for name in NAMES}
        self.released = {name: threading.Event() for name in NAMES}
        self._job_id = self.add("suspect", due="1 day")
        fleet.execute("UPDATE billing_jobs SET is_suspect = true, failure_count = 1, error_code = 'interrupted'")

    def add(self, name: str, *, due: str = "0") -> int:
        key = self.keys[name]
        new = NewJob(client_id="acme", bucket=BUCKET, key=key, work=key, trigger=TriggerSource.SQS)
        with connect(self._fleet.database.conninfo) as connection, connection.transaction():
            job_id = jobs.add(connection, new)
            connection.execute(
                "UPDATE billing_jobs SET due_at = due_at + %s::interval WHERE job_id = %s", [due, job_id]
            )
        return job_id

    def hold(self, call: Call) -> Fault:
        for name, released in self.released.items():
            if call.is_download and call.path.endswith(f"{name}-00001.csv.gz"):
                self.reached[name].set()
                released.wait(LIMIT_SECONDS)
        return None

    def let_go(self) -> None:
        with connect(self._fleet.database.conninfo) as connection:
            assert jobs.retry(connection, self._job_id)

    def list_states(self) -> dict[str, tuple[Any, ...]]:
        """What waits, and what runs: whether each has begun, and is a suspect; and how often it failed."""
        rows = self._fleet.query(
            "SELECT key, state, began_at IS NOT NULL, is_suspect, failure_count FROM billing_jobs WHERE state <> 'dead'"
        )
        names = {key: name for name, key in self.keys.items()}
        return {names[key]: tuple(told) for key, *told in rows}


SUSPECT_WAITS_TO_BEGIN = ("running", False, True, 1)


def test_a_job_whose_worker_died_is_worked_on_alone(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    suspicion = Suspicion(fleet, aws)
    fleet.execute("UPDATE billing_clients SET max_deliveries = 9")

    with faulty_aws(aws.endpoint_url, suspicion.hold) as faulty, capture_logs() as logged:
        there = fleet.with_settings(endpoint_url=faulty.endpoint_url)
        with working(make_worker(there, mailbox, drain=False, concurrency=3)):
            suspicion.add("first")
            assert suspicion.reached["first"].wait(LIMIT_SECONDS)
            suspicion.let_go()
            wait_until(lambda: suspicion.list_states()["suspect"] == SUSPECT_WAITS_TO_BEGIN)
            suspicion.add("last")
            suspicion.released["first"].set()
            assert suspicion.reached["suspect"].wait(LIMIT_SECONDS)
            beside_the_suspect = suspicion.list_states()
            suspicion.released["suspect"].set()
            assert suspicion.reached["last"].wait(LIMIT_SECONDS)
            suspicion.released["last"].set()
            wait_until(lambda: suspicion.list_states() == {})

    assert beside_the_suspect == {"suspect": ("running", True, True, 1), "last": ("waiting", False, False, 0)}
    assert [event["event"] for event in logged].count("asked_alone") == 1
    assert fleet.billed() == {"USD": Decimal(1)}


def test_a_doctor_run_that_killed_its_workers_too_often_is_not_made_again_until_somebody_asks(
    fleet: Landing, mailbox: Mailbox
) -> None:
    requests = Billfold(fleet.settings, database=fleet.database).requests
    requests.doctor("acme")
    fleet.execute("UPDATE billing_jobs SET failure_count = %s", fleet.settings.message_attempts)

    with working(make_worker(fleet, mailbox, drain=False)):
        wait_until(lambda: fleet.query("SELECT state FROM billing_jobs") != [("waiting",)])
        wait_until(lambda: fleet.query("SELECT state FROM billing_jobs") != [("running",)])
    run = requests.find_doctor_run("acme")
    ended = fleet.query("SELECT state, failure_count FROM billing_jobs")
    requests.doctor("acme")

    told = f"failed {fleet.settings.message_attempts} times, at last: its worker ended before it did"
    assert run is not None
    assert (run.error, run.is_running, ended) == (told, False, [("dead", fleet.settings.message_attempts)])
    assert fleet.query("SELECT state, failure_count FROM billing_jobs") == [("waiting", 0)]


def test_what_is_given_back_at_the_end_has_not_failed_and_one_that_waits_to_be_alone_still_does(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    suspicion = Suspicion(fleet, aws)

    with faulty_aws(aws.endpoint_url, suspicion.hold) as faulty:
        hasty = fleet.with_settings(endpoint_url=faulty.endpoint_url, shutdown_seconds=0)
        with working(make_worker(hasty, mailbox, drain=False)) as reports:
            suspicion.add("first")
            assert suspicion.reached["first"].wait(LIMIT_SECONDS)
            suspicion.let_go()
            wait_until(lambda: suspicion.list_states()["suspect"] == SUSPECT_WAITS_TO_BEGIN)
        given_back = suspicion.list_states()
        suspicion.released["first"].set()

    assert [report.unfinished_count for report in reports] == [1]
    assert given_back == {"first": ("waiting", False, False, 0), "suspect": ("waiting", False, True, 1)}
    assert not suspicion.reached["suspect"].is_set()


def test_a_client_whose_slots_are_taken_keeps_nobody_waiting_and_its_jobs_are_not_touched(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    suspicion = Suspicion(fleet, aws)
    aws.create_bucket("globex-bills")
    aws.upload_folder("globex-bills", fleet.root)
    values = {"client_id": "globex", "bucket": "globex-bills", "account_id": ACCOUNT}
    clients.register(fleet.database, fleet.settings, values)
    fleet.execute("UPDATE billing_clients SET max_deliveries = 1")
    waiting = "SELECT key, take_count, xmin::text FROM billing_jobs WHERE state = 'waiting' ORDER BY key"

    with faulty_aws(aws.endpoint_url, suspicion.hold) as faulty:
        there = fleet.with_settings(endpoint_url=faulty.endpoint_url)
        with working(make_worker(there, mailbox, drain=False, concurrency=3)):
            suspicion.add("first")
            assert suspicion.reached["first"].wait(LIMIT_SECONDS)
            # The one that is to be alone has no slot either.
            suspicion.let_go()
            flood = [f"exports/{number}.csv.gz" for number in range(5)]
            mailbox.send(*(s3_event(BUCKET, key) for key in flood))
            wait_until(lambda: fleet.value("SELECT count(*) FROM billing_jobs WHERE state = 'waiting'") == 6)
            before = fleet.query(waiting)
            suspicion.released["suspect"].set()
            mailbox.send(s3_event("globex-bills", suspicion.keys["suspect"]))
            wait_until(lambda: fleet.count("billing_publications") == 1)
            untouched = fleet.query(waiting)
            published = fleet.query("SELECT client_id FROM billing_deliveries WHERE state = 'published'")
            suspicion.released["first"].set()

    assert published == [("globex",)]
    assert [take_count for _, take_count, _ in before] == [0] * 6
    assert untouched == before


def test_the_slots_of_a_client_hold_across_two_workers(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    keys = [deliver(fleet, aws, "1", export=f"e{number}") for number in range(2)]
    fleet.execute("UPDATE billing_clients SET max_deliveries = 1")
    fleet.execute("CREATE TABLE seen (working bigint)")
    fleet.execute(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen SELECT count(*) FROM billing_deliveries WHERE state = 'running'; RETURN NULL; END $$"
    )
    fleet.execute("CREATE TRIGGER see AFTER UPDATE ON billing_deliveries FOR EACH STATEMENT EXECUTE FUNCTION see()")
    mailbox.send(*(s3_event(BUCKET, key) for key in keys))

    workers = [make_worker(fleet, mailbox) for _ in range(2)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_SECONDS)

    assert fleet.billed() == {"USD": Decimal(2)}
    assert fleet.value("SELECT max(working) FROM seen") == 1
    assert mailbox.counts() == (0, 0)


def test_a_drain_waits_for_what_it_could_neither_delete_nor_hide(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    mailbox.send("{}")
    # boto3 itself tries three times.
    refusals = iter(range(3))

    def refuse(call: Call) -> Fault:
        if call.action == "ChangeMessageVisibility":
            return (403, "AccessDenied")
        return (500, "InternalError") if call.action == "DeleteMessage" and next(refusals, None) is not None else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        report = drain(fleet.with_settings(endpoint_url=faulty.endpoint_url, visibility_seconds=3), mailbox)

    assert mailbox.counts() == (0, 0)
    assert (report.received_count, report.done_count, report.later_count) == (2, 2, 0)


def test_a_queue_that_does_not_answer_is_asked_again(fleet: Landing, aws: LocalAws, mailbox: Mailbox) -> None:
    mailbox.send("{}")
    refusals = iter(range(6))

    def refuse(call: Call) -> Fault:
        return (500, "InternalError") if call.action == "ReceiveMessage" and next(refusals, None) is not None else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty, capture_logs() as logged:
        report = drain(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox)

    assert report.done_count == 1
    assert "receive_failed" in {event["event"] for event in logged}


def test_a_queue_that_refuses_what_it_allowed_before_is_asked_again(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    mailbox.send("{}")
    asked: list[int] = []

    def refuse(call: Call) -> Fault:
        if call.action != "ReceiveMessage":
            return None
        asked.append(1)
        return (403, "AccessDenied") if 1 < len(asked) < 2 + MAX_REFUSALS - 1 else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty, capture_logs() as logged:
        report = drain(fleet.with_settings(endpoint_url=faulty.endpoint_url), mailbox, concurrency=1)

    assert report.done_count == 1
    assert [event["error_code"] for event in logged if event["event"] == "receive_failed"] == ["access_denied"] * 4


@pytest.mark.parametrize(("allowed", "asked_count"), [(0, 1), (1, 1 + MAX_REFUSALS)])
def test_a_queue_that_refuses_for_good_ends_the_worker(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox, allowed: int, asked_count: int
) -> None:
    asked: list[int] = []

    def refuse(call: Call) -> Fault:
        if call.action != "ReceiveMessage":
            return None
        asked.append(1)
        return (403, "AccessDenied") if len(asked) > allowed else None

    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        refused = fleet.with_settings(endpoint_url=faulty.endpoint_url)
        mailbox.send("{}")
        with pytest.raises(AccessDeniedError, match="sqs:ReceiveMessage"):
            make_worker(refused, mailbox, drain=False).run()

    assert len(asked) == asked_count


@pytest.mark.parametrize(("concurrency", "client_count", "is_told"), [(2, 2, True), (3, 2, False), (2, 1, False)])
def test_a_worker_whose_threads_one_client_could_take_says_so(
    fleet: Landing, mailbox: Mailbox, concurrency: int, client_count: int, is_told: bool
) -> None:
    if client_count > 1:
        values = {"client_id": "globex", "bucket": "globex-bills", "account_id": ACCOUNT, "max_deliveries": 1}
        clients.register(fleet.database, fleet.settings, values)

    with capture_logs() as logged:
        drain(fleet, mailbox, concurrency=concurrency)

    told = [event["clients"] for event in logged if event["event"] == "worker_crowded"]
    assert told == [["acme"]] * is_told
