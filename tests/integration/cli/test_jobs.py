"""`billfold jobs`: all that an operator must know of the queue, on a terminal of 80 columns too."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from billfold.model import JobState
from tests.bills.landing import Landing
from tests.processes.operator import Operator
from tests.processes.terminal import run_on_pty
from tests.queued import ago, find_shown_secrets, put_job, put_message

WORK = "acme-bills exports/acme 2026-05"
FAILURE = {"error_code": "source_unavailable", "reason": "S3 does not answer"}
NEXT_TRY = ago() + timedelta(hours=1)


@pytest.fixture
def queue(landing: Landing) -> Landing:
    """Two clients; the ids of jobs begin at 1 in each database."""
    landing.execute("INSERT INTO billing_clients (client_id) VALUES ('acme'), ('globex')")
    return landing


@pytest.fixture
def operator(queue: Landing, tmp_path: Path) -> Operator:
    return Operator(home=tmp_path / "home", folder=tmp_path).with_database(queue.database)


def fill(queue: Landing) -> None:
    """One job of each kind that there is."""
    running, waiting, dead = JobState.RUNNING, JobState.WAITING, JobState.DEAD
    put_message(queue.database, "exports/a-Manifest.json", running, work=WORK, began_at=ago(minutes=3))
    put_job(queue.database, "exports/suspect.csv", running, began_at=None, failure_count=1, created_at=ago(days=2))
    put_job(queue.database, "exports/may.csv", waiting, created_at=ago(seconds=40))
    put_message(queue.database, "exports/b.csv", waiting, due_at=NEXT_TRY, failure_count=2, **FAILURE)
    put_job(queue.database, "exports/", waiting, kind="visit", trigger_source="schedule", due_at=NEXT_TRY)
    put_job(queue.database, "", waiting, kind="doctor", created_at=ago(hours=5))
    put_message(queue.database, "x.csv", dead, client_id="globex", ended_at=ago(days=9), **FAILURE)


def test_a_terminal_of_80_columns_tells_what_waits_runs_and_failed_and_when_it_is_tried_again(
    queue: Landing, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("DATABASE_URL", queue.database.conninfo)
    environment.delenv("COLUMNS", raising=False)
    fill(queue)

    code, text = run_on_pty(80, "jobs")

    rows = [" ".join(line.split()) for line in text.splitlines()]
    again = f"again at {NEXT_TRY:%Y-%m-%d %H:%M} UTC"
    assert code == 0
    assert max(map(len, text.splitlines())) <= 80
    assert rows[0] == "Job State Client For What Next"
    assert find_rows(rows[2:]) == [
        "2 running acme 2 d exports/suspect.csv on mars (42), when it is alone, failed 1 time",
        "1 running acme 3 min exports/acme 2026-05 on mars (42)",
        "3 waiting acme 40 s exports/may.csv as soon as a worker is free",
        "6 waiting acme 5 h doctor run as soon as a worker is free",
        f"4 waiting acme 0 s exports/b.csv {again}: failed 2 times, S3 does not answer",
        f"5 waiting acme 0 s visit of exports/ {again}",
        "7 dead globex 9 d x.csv given up: S3 does not answer (source_unavailable)",
    ]
    assert find_shown_secrets(text) == []


def find_rows(lines: list[str]) -> list[str]:
    """The rows of a table whose last column is folded."""
    rows: list[str] = []
    for line in lines:
        rows = (
            [*rows, line]
            if line[:1].isdigit() and line.split()[1] in [*JobState]
            else [*rows[:-1], f"{rows[-1]} {line}"]
        )
    return rows


def test_the_document_has_every_job_or_those_of_one_client_or_state_and_no_message(
    queue: Landing, operator: Operator
) -> None:
    fill(queue)

    listed = operator.call("jobs", "--json")
    dead = operator.call("jobs", "--json", "--state", "dead")
    first = operator.call("jobs", "--json", "--client", "acme", "--limit", "1")

    jobs = {job["job_id"]: job for job in listed.document["jobs"]}
    assert (listed.code, sorted(jobs)) == (0, [1, 2, 3, 4, 5, 6, 7])
    assert [job["job_id"] for job in dead.document["jobs"]] == [7]
    assert [job["job_id"] for job in first.document["jobs"]] == [2]
    assert jobs[1]["worker"] == "mars 42"
    assert jobs[1]["key"] == "exports/a-Manifest.json"
    assert {name: jobs[4][name] for name in ("client", "state", "failure_count", *FAILURE)} == {
        "client": "acme",
        "state": "waiting",
        "failure_count": 2,
        **FAILURE,
    }
    assert jobs[4]["due_at"][:16] == f"{NEXT_TRY:%Y-%m-%dT%H:%M}"
    assert find_shown_secrets(listed.out) == []
    assert not {"body", "attributes", "queue_url"} & set(jobs[4])


def test_an_empty_queue_and_a_wrong_state_say_so(operator: Operator) -> None:
    wrong = operator.call("jobs", "--state", "done")

    assert operator.call("jobs").out == "nothing waits\n"
    assert operator.call("jobs", "--state", "dead").out == "there is no such job\n"
    assert operator.call("jobs", "--json").document == {"jobs": []}
    assert wrong.code == 2
    assert "'waiting', 'running', 'dead'" in wrong.err


def test_a_job_that_waits_or_is_dead_is_tried_at_once_and_no_other(queue: Landing, operator: Operator) -> None:
    waiting = put_job(queue.database, "a.csv", due_at=NEXT_TRY, failure_count=2)
    dead = put_message(queue.database, "b.csv", JobState.DEAD, failure_count=4, **FAILURE)
    running = put_job(queue.database, "c.csv", JobState.RUNNING)

    ended = [operator.call("jobs", "retry", str(job_id)) for job_id in (waiting, dead, running, 99)]

    assert [each.code for each in ended] == [0, 0, 2, 2]
    assert ended[0].out == f"job {waiting} is tried as soon as a worker is free\n"
    assert [each.error_lines for each in ended[2:]] == [
        [f"error: job {running} is in progress: wait until it ends"],
        ["error: job 99 is not in the queue: `billfold jobs` lists what is"],
    ]
    assert queue.query("SELECT state, due_at <= now(), failure_count FROM billing_jobs ORDER BY job_id") == [
        ("waiting", True, 2),
        ("waiting", True, 0),
        ("running", None, 0),
    ]


def test_a_job_that_waits_or_is_dead_is_canceled_and_no_other(queue: Landing, operator: Operator) -> None:
    states = (JobState.WAITING, JobState.DEAD, JobState.RUNNING)
    job_ids = [put_job(queue.database, f"{state}.csv", state) for state in states]

    ended = [operator.call("jobs", "cancel", str(job_id)) for job_id in (*job_ids, 99)]

    assert [each.code for each in ended] == [0, 0, 2, 2]
    assert ended[0].out == f"job {job_ids[0]} is canceled\n"
    assert ended[2].error_lines == [f"error: job {job_ids[2]} is in progress: wait until it ends"]
    assert queue.query("SELECT key FROM billing_jobs") == [("running.csv",)]


@pytest.mark.parametrize("job", ["x", "0", "-1", str(2**63)])
def test_what_is_no_number_of_a_job_is_refused(operator: Operator, job: str) -> None:
    ended = operator.call("jobs", "retry", "--", job)

    assert ended.code == 2
    assert "JOB" in ended.err
