"""Interruptions: real signals to real commands, at each stage; each ends in time, and says how its work was left."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import billfold
from billfold import clients
from billfold.aws import LocalAws
from billfold.settings import load_settings
from billfold.store.database import connect
from tests.at_length import rounds
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.messages import ACCOUNT
from tests.processes.faulty_aws import Call, Fault, faulty_aws
from tests.processes.gateway import gateway
from tests.processes.held_command import IMPORTS, NOWHERE, Ended, held_command
from tests.processes.worker_process import LIMIT_SECONDS
from tests.soak.interrupts import MOMENTS_EACH, PROMISED_SECONDS, SLACK_SECONDS, run

STATES = (
    "SELECT delivery.state, run.status, run.error_code FROM billing_deliveries AS delivery"
    " JOIN billing_ingestion_runs AS run USING (delivery_id)"
)
PENDING = [("pending", "failed", "interrupted")]
PUBLISHED = [("published", "success", None)]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

# Where an ingest is held, one place after the other, and by what signal it is ended.
BEFORE_THE_COMMIT = [
    ("registering", signal.SIGTERM),
    ("the registered delivery", signal.SIGINT),
    ("the claim", signal.SIGINT),
    ("fetching", signal.SIGHUP),
    ("parsing", signal.SIGINT),
    ("identifying", signal.SIGTERM),
    ("mapping", signal.SIGTERM),
    ("new members", signal.SIGTERM),
    # The driver that lands rows takes SIGINT for itself.
    ("landing", signal.SIGINT),
    *[("landing", signal.SIGTERM)][: rounds(0, in_soak=1)],
    ("the commit", signal.SIGTERM),
]
AFTER_THE_COMMIT = [("the committed bill", signal.SIGINT), ("the checks", signal.SIGTERM), ("the end", signal.SIGHUP)]


def variables(landing: Landing, **changed: str) -> Mapping[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path(billfold.__file__).parents[1]),
        "DATABASE_URL": landing.database.conninfo,
        "BILLFOLD_HOME": str(landing.root.parent / "home"),
        "BILLFOLD_MIN_FREE_BYTES": "0",
        "BILLFOLD_CLIENT": "acme",
        **changed,
    }


def assert_ended(ended: Ended, number: signal.Signals) -> None:
    """In time, with the signal's code, and in one line."""
    assert (ended.code, "Traceback" in ended.err) == (CODES[number], False), ended
    assert ended.seconds < PROMISED_SECONDS + SLACK_SECONDS, ended
    assert ended.last_line.startswith(f"error: interrupted by {number.name}"), ended
    assert not {"retrying", "delivery_failed", "internal_error", "leaked"} & set(ended.err.replace('"', " ").split())


@pytest.mark.at_length
def test_a_signal_ends_an_ingest_at_any_stage_and_the_next_one_takes_it_up(landing: Landing) -> None:
    write_bill(landing.root, described("1.25", "0.1"))

    for place, number in BEFORE_THE_COMMIT:
        with held_command(place, variables(landing), "ingest", str(landing.root), "--json") as command:
            command.wait_until_held()
            ended = command.end(number)

        assert_ended(ended, number)
        is_registered = place != "registering"
        assert landing.query(STATES) == (PENDING if is_registered else []), place
        error = json.loads(ended.out)["error"]
        assert error["code"] == "interrupted", place
        assert error["message"].endswith("left pending, and the next ingest takes it up") == is_registered, place
        assert ("pending" in ended.last_line) == is_registered, place
    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert (landing.count("raw_aws_billing_rows"), landing.count("billing_usage_fact")) == (2, 2)
    assert landing.count("billing_publications") == 1
    assert landing.broken_rules() == []


def test_a_signal_after_the_commit_leaves_a_published_bill(landing: Landing) -> None:
    for revision, (place, number) in enumerate(AFTER_THE_COMMIT, start=1):
        write_bill(landing.root, described("1.25", f"0.{revision}"), revision=revision)
        with held_command(place, variables(landing), "ingest", str(landing.root)) as command:
            command.wait_until_held()
            ended = command.end(number)

        assert_ended(ended, number)
        assert landing.query(STATES) == PUBLISHED * revision, place
        assert "published" in ended.last_line, place
    outcome = landing.ingest()

    assert (outcome.exit_error, outcome.rows_added, outcome.rows_unchanged) == (None, 0, 2)
    assert landing.count("billing_publications") == len(AFTER_THE_COMMIT)
    assert landing.broken_rules() == []


def test_a_signal_during_the_imports_has_no_traceback(landing: Landing) -> None:
    with held_command(IMPORTS, variables(landing), "version") as command:
        command.wait_until_held()
        ended = command.end(signal.SIGINT)

    assert (ended.code, ended.err) == (130, "error: interrupted by SIGINT\n")


def test_a_signal_ends_what_works_on_landed_bills(landing: Landing) -> None:
    write_bill(landing.root, described("1.25", "0.1"))
    landing.ingest()
    before = landing.snapshot()

    for words, place, last in (
        (["remap", "--force"], "remapping", "acme 2026-05 is unchanged"),
        (["verify"], "verifying", "SIGTERM"),
    ):
        with held_command(place, variables(landing), *words, "--json") as command:
            command.wait_until_held()
            ended = command.end(signal.SIGTERM)

        assert_ended(ended, signal.SIGTERM)
        assert json.loads(ended.out)["error"]["code"] == "interrupted", place
        assert ended.last_line.endswith(last), place
        assert landing.snapshot() == before, place
        assert landing.count("billing_publications") == 1, place


def test_what_another_worker_holds_is_left_to_it(landing: Landing) -> None:
    write_bill(landing.root, described("1.25"))

    with held_command("identifying", variables(landing), "ingest", str(landing.root)) as other:
        other.wait_until_held()
        held = landing.query(STATES)
        with held_command(NOWHERE, variables(landing), "ingest", str(landing.root)) as command:
            with connect(landing.database.conninfo) as connection:
                while not connection.execute(
                    "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                ).rowcount:
                    connection.execute("SELECT pg_sleep(0.05)")
            ended = command.end(signal.SIGINT)
        left = landing.query(STATES)

    assert_ended(ended, signal.SIGINT)
    assert held == left == [("running", "running", None)]


def test_a_hangup_ends_nothing_where_it_is_ignored(landing: Landing) -> None:
    write_bill(landing.root, described("1.25"))

    with held_command("fetching", variables(landing), "ingest", str(landing.root), ignored=signal.SIGHUP) as command:
        command.wait_until_held()
        command.send(signal.SIGHUP)
        ended = command.end(signal.SIGTERM)

    assert_ended(ended, signal.SIGTERM)


def test_a_server_that_goes_right_after_the_commit_leaves_a_published_bill(landing: Landing) -> None:
    write_bill(landing.root, described("1.25"))

    with gateway(landing.database.conninfo) as way:
        there = variables(landing, DATABASE_URL=way.conninfo)
        with held_command("the committed bill", there, "ingest", str(landing.root)) as command:
            command.wait_until_held()
            way.close()
            ended = command.finish()

    assert (ended.code, "Traceback" in ended.err, "exc_type" in ended.err) == (0, False, False), ended
    assert landing.query(STATES) == PUBLISHED


def test_a_signal_ends_an_ingest_whose_server_is_gone(landing: Landing) -> None:
    write_bill(landing.root, described("1.25"))

    with gateway(landing.database.conninfo) as way:
        there = variables(landing, DATABASE_URL=way.conninfo)
        with held_command("identifying", there, "ingest", str(landing.root)) as command:
            command.wait_until_held()
            way.close()
            ended = command.end(signal.SIGTERM)
    left = landing.query(STATES)
    outcome = landing.ingest()

    assert_ended(ended, signal.SIGTERM)
    assert left == [("running", "running", None)]
    assert (outcome.exit_error, landing.query(STATES)) == (None, PUBLISHED)


@pytest.fixture
def fleet(aws: LocalAws, landing: Landing) -> Landing:
    aws.create_bucket(BUCKET)
    landing = landing.with_settings(endpoint_url=load_settings().endpoint_url)
    values = {"client_id": "acme", "bucket": BUCKET, "account_id": ACCOUNT, "prefix": "exports/"}
    landing = replace(landing, client=clients.register(landing.database, landing.settings, values))
    write_bill(landing.root, described("1.25"), bucket=BUCKET, export_path="exports/acme")
    aws.upload_folder(BUCKET, landing.root)
    return landing


@pytest.mark.parametrize(
    "words", [["backfill", "--client", "acme"], ["schedule", "--once"]], ids=["backfill", "schedule"]
)
def test_a_signal_ends_what_waits_for_s3(fleet: Landing, aws: LocalAws, words: list[str]) -> None:
    reached, released = threading.Event(), threading.Event()

    def hold(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz"):
            reached.set()
            released.wait(LIMIT_SECONDS)
        return None

    with faulty_aws(aws.endpoint_url, hold) as faulty:
        with held_command(NOWHERE, variables(fleet, AWS_ENDPOINT_URL=faulty.endpoint_url), *words) as command:
            assert reached.wait(LIMIT_SECONDS)
            ended = command.end(signal.SIGINT)
        released.set()

    assert_ended(ended, signal.SIGINT)
    assert fleet.query(STATES) == PENDING


def test_a_signal_ends_what_waits_to_try_again(fleet: Landing, aws: LocalAws) -> None:
    reached = threading.Event()

    def refuse(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz"):
            reached.set()
            return (503, "SlowDown")
        return None

    with faulty_aws(aws.endpoint_url, refuse) as faulty:
        there = variables(fleet, AWS_ENDPOINT_URL=faulty.endpoint_url, INGEST_RETRY_BASE_DELAY_MS="60000")
        with held_command(NOWHERE, there, "backfill", "--client", "acme") as command:
            assert reached.wait(LIMIT_SECONDS)
            while "retrying" not in command.read_line():
                pass
            ended = command.end(signal.SIGTERM)

    assert (ended.code, fleet.query("SELECT state FROM billing_deliveries")) == (143, [("failed",)])
    assert ended.seconds < PROMISED_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize("words", [["worker"], ["schedule"]], ids=["worker", "schedule"])
def test_a_second_signal_ends_a_service_that_lets_its_work_finish(
    fleet: Landing, aws: LocalAws, words: list[str]
) -> None:
    from tests.messages import Mailbox, s3_event

    mailbox = Mailbox(aws)
    reached, released = threading.Event(), threading.Event()

    def hold(call: Call) -> Fault:
        if call.is_download and call.path.endswith("gz"):
            reached.set()
            released.wait(LIMIT_SECONDS)
        return None

    manifest = next(fleet.root.rglob("*-Manifest.json")).relative_to(fleet.root).as_posix()
    mailbox.send(s3_event(BUCKET, manifest))
    with faulty_aws(aws.endpoint_url, hold) as faulty:
        there = variables(fleet, AWS_ENDPOINT_URL=faulty.endpoint_url, BILLFOLD_QUEUE_URL=mailbox.url)
        with held_command(NOWHERE, {**there, "BILLFOLD_SHUTDOWN_SECONDS": "3600"}, *words) as command:
            assert reached.wait(LIMIT_SECONDS)
            command.send(signal.SIGTERM)
            is_living = not command.ends_within(0.5)
            ended = command.end(signal.SIGTERM)
        released.set()

    assert (is_living, ended.code, "Traceback" in ended.err) == (True, 0, False)
    assert ended.seconds < PROMISED_SECONDS + SLACK_SECONDS


@pytest.mark.slow
@pytest.mark.at_length
@pytest.mark.parametrize("seed", [1])
def test_commands_interrupted_at_random_moments_lose_nothing(landing: Landing, aws: LocalAws, seed: int) -> None:
    assert run(seed, landing, aws, moment_count=rounds(1, in_soak=MOMENTS_EACH)) == []
