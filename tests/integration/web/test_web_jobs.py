"""The queue over HTTP: what its page and its routes show, to whom, and who may retry or cancel a job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from billfold.app import Billfold
from billfold.clients import tokens
from billfold.model import JobState, Scope
from billfold.store.database import Database
from billfold.web import create_app
from billfold.web.pages.formats import DASH
from tests.bills.landing import Landing
from tests.processes.web_server import STRANGER, Answer, WebServer, run_web_server
from tests.queued import ago, find_shown_secrets, put_job, put_message

FAILURE = {"error_code": "source_unavailable", "reason": "S3 does <not> answer"}
NEXT_TRY = ago() + timedelta(hours=1)
WAITING, RUNNING, DEAD = JobState.WAITING, JobState.RUNNING, JobState.DEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A server of two clients with a queue."""

    landing: Landing
    server: WebServer

    @property
    def database(self) -> Database:
        return self.landing.database

    def token(self, *scopes: Scope, client: str | None = None) -> str:
        return tokens.make(self.database, f"token{uuid4().hex}", scopes=list(scopes), client_id=client).secret

    def send(self, method: str, path: str, token: str | None = None, **headers: str) -> Answer:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        return self.server.send(method, path, headers={**given, **headers})

    def show(self, path: str = "/jobs", *scopes: Scope, client: str | None = None) -> str:
        """A page as a person with these scopes sees it."""
        cookie = f"billfold_token={self.token(*(scopes or (Scope.READ,)), client=client)}"
        answer = self.send("GET", path, Accept="text/html", Cookie=cookie)
        assert answer.status == 200
        return answer.body.decode()

    def states(self) -> dict[int, Any]:
        """The state of each job, and whether it is due."""
        rows = self.landing.query("SELECT job_id, state, due_at <= now() FROM billing_jobs")
        return {job_id: (state, is_due) for job_id, state, is_due in rows}


@pytest.fixture(scope="module")
def shared_office(shared_landing: Landing) -> Iterator[Office]:
    shared_landing.execute("INSERT INTO billing_clients (client_id) VALUES ('acme'), ('globex')")
    with run_web_server(shared_landing.settings, shared_landing.database) as server:
        yield Office(landing=shared_landing, server=server)


@pytest.fixture
def office(shared_office: Office) -> Iterator[Office]:
    """The module's office with an empty queue."""
    yield shared_office
    shared_office.landing.execute("TRUNCATE billing_jobs, billing_tokens")


def fill(office: Office) -> Mapping[str, int]:
    """Jobs of all states; their ids."""
    database = office.database
    return {
        "running": put_message(database, "exports/running.csv", RUNNING, began_at=ago(minutes=3)),
        "waiting": put_message(database, "exports/a.csv", due_at=NEXT_TRY, failure_count=2, **FAILURE),
        "visit": put_job(database, "exports/", kind="visit", trigger_source="schedule", created_at=ago(hours=5)),
        "doctor": put_job(database, "", kind="doctor"),
        "dead": put_message(database, "theirs.csv", DEAD, client_id="globex", ended_at=ago(days=9), **FAILURE),
    }


def rows_of(page: str) -> list[str]:
    """The text of each row of the table of jobs."""
    rows = re.findall("<tr>(.*?)</tr>", page.partition("<tbody>")[2].partition("</tbody>")[0], re.DOTALL)
    return [" ".join(re.sub("<[^>]+>", " ", row).split()).replace(DASH, "-") for row in rows]


def test_the_page_tells_what_waits_runs_and_failed_and_when_it_is_tried_again(office: Office) -> None:
    ids = fill(office)

    page = office.show()

    due = f"{NEXT_TRY:%Y-%m-%d %H:%M} UTC"
    assert [re.sub(r"\d+ ms|\d\.\d s", "now", row) for row in rows_of(page)] == [
        f"{ids['running']} in progress mars 42 acme exports/running.csv sqs 3 min - -",
        f"{ids['visit']} waiting acme visit of exports/ schedule 5 h when a worker is free -",
        f"{ids['doctor']} waiting acme doctor run api now when a worker is free -",
        f"{ids['waiting']} waiting acme exports/a.csv source_unavailable S3 does &lt;not&gt; answer sqs now {due} 2",
        f"{ids['dead']} dead globex theirs.csv source_unavailable S3 does &lt;not&gt; answer sqs 9 d - -",
    ]
    assert "3 waiting, 1 in progress, 1 dead. This page refreshes automatically." in " ".join(page.split())
    assert find_shown_secrets(page) == []


def test_a_page_of_what_only_waits_does_not_refresh_and_an_empty_one_says_so(office: Office) -> None:
    empty = office.send("GET", "/jobs", Accept="text/html")
    put_job(office.database, "a.csv", due_at=NEXT_TRY)
    waiting = office.send("GET", "/jobs", Accept="text/html")
    put_job(office.database, "b.csv")
    due = office.send("GET", "/jobs", Accept="text/html")

    assert '<p class="state-title">Nothing waits</p>' in empty.body.decode()
    assert [answer.headers["Refresh"] for answer in (empty, waiting, due)] == [None, None, "5"]


def test_a_token_of_one_client_sees_its_jobs_and_none_of_our_machines(office: Office) -> None:
    ids = fill(office)
    theirs = office.token(Scope.READ, client="globex")

    page = office.show(client="acme")
    document = office.send("GET", "/v1/jobs", office.token(Scope.READ, client="acme")).document

    assert [int(row.split()[0]) for row in rows_of(page)] == [job["job_id"] for job in document["jobs"]]
    assert {job["client"] for job in document["jobs"]} == {"acme"}
    assert "mars" not in page
    assert {job["worker"] for job in document["jobs"]} == {None}
    assert [job["job_id"] for job in office.send("GET", "/v1/jobs", theirs).document["jobs"]] == [ids["dead"]]
    assert office.send("GET", "/v1/jobs?client=acme", theirs).status == 403
    assert office.send("GET", "/jobs?client=acme", theirs).status == 403


def test_the_page_has_buttons_for_who_may_use_them_and_for_what_is_not_in_progress(office: Office) -> None:
    ids = fill(office)

    pages = {scope: office.show("/jobs?client=acme", Scope.READ, scope) for scope in Scope}

    forms = {
        scope: re.findall(r'<form method="post" action="/jobs/(\d+)/(\w+)\?client=acme"', page)
        for scope, page in pages.items()
    }
    changeable = [str(ids[name]) for name in ("visit", "doctor", "waiting")]
    assert forms[Scope.READ] == []
    assert forms[Scope.INGEST] == [(job, action) for job in changeable for action in ("retry", "cancel")]
    assert forms[Scope.ADMIN] == forms[Scope.INGEST]


@pytest.mark.parametrize("action", ["retry", "cancel"])
def test_a_button_changes_the_job_and_leads_back_and_no_page_of_another_site_does(office: Office, action: str) -> None:
    waiting = put_job(office.database, "a.csv", due_at=NEXT_TRY)
    cookie, reading, theirs = (
        f"billfold_token={token}"
        for token in (office.token(Scope.INGEST), office.token(Scope.READ), office.token(Scope.INGEST, client="globex"))
    )
    path = f"/jobs/{waiting}/{action}"

    refused = [
        office.send("POST", path, Cookie=cookie, Origin="https://evil.example"),
        office.send("POST", path, Cookie=cookie, **{"Sec-Fetch-Site": "cross-site"}),
        office.send("POST", path, Cookie=reading),
        office.send("POST", path, Cookie=theirs),
        office.send("POST", path, **STRANGER),
    ]
    untouched = office.states()
    done = office.send("POST", f"{path}?client=acme", Cookie=cookie)
    gone = office.send("POST", f"/jobs/{waiting + 99}/{action}", Cookie=cookie)

    assert [answer.status for answer in refused] == [403, 403, 403, 404, 401]
    assert untouched == {waiting: ("waiting", False)}
    assert (done.status, done.headers["Location"]) == (303, "/jobs?client=acme")
    assert office.states() == ({waiting: ("waiting", True)} if action == "retry" else {})
    assert gone.status == 404


def test_the_route_lists_jobs_by_client_and_state_and_shows_no_message(office: Office) -> None:
    ids = fill(office)

    def list_ids(query: str = "") -> list[int]:
        return [job["job_id"] for job in office.send("GET", f"/v1/jobs{query}").document["jobs"]]

    answer = office.send("GET", "/v1/jobs")
    waiting = next(job for job in answer.document["jobs"] if job["job_id"] == ids["waiting"])
    assert list_ids() == [ids[name] for name in ("running", "visit", "doctor", "waiting", "dead")]
    assert list_ids("?state=dead") == list_ids("?client=globex") == [ids["dead"]]
    assert list_ids("?limit=1") == [ids["running"]]
    assert {name: waiting[name] for name in ("client", "state", "key", "failure_count", *FAILURE)} == {
        "client": "acme",
        "state": "waiting",
        "key": "exports/a.csv",
        "failure_count": 2,
        **FAILURE,
    }
    assert find_shown_secrets(answer.body.decode()) == []
    assert [office.send("GET", f"/v1/jobs?{wrong}").status for wrong in ("state=done", "limit=0", "client=nobody")] == [
        422,
        422,
        404,
    ]


@pytest.mark.parametrize("action", ["retry", "cancel"])
def test_the_routes_change_what_the_token_may_and_what_is_not_in_progress(office: Office, action: str) -> None:
    waiting = put_job(office.database, "a.csv", due_at=NEXT_TRY)
    dead = put_job(office.database, "b.csv", DEAD)
    running = put_job(office.database, "c.csv", RUNNING)
    ours, reading = office.token(Scope.INGEST, client="acme"), office.token(Scope.READ)
    theirs = office.token(Scope.INGEST, client="globex")

    def change(job_id: object, token: str | None = None, **headers: str) -> Answer:
        return office.send("POST", f"/v1/jobs/{job_id}/{action}", token, **headers)

    refused = [change(waiting, **STRANGER), change(waiting, reading), change(waiting, theirs)]
    missing = [change(running + 99, ours), change(0, ours), change(2**63, ours), change("x", ours)]
    untouched = office.states()
    done = [change(job_id, ours) for job_id in (waiting, dead)]
    busy = change(running, ours)

    assert [(answer.status, answer.error_code) for answer in refused] == [
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "http"),
    ]
    assert [answer.status for answer in missing] == [404, 422, 422, 422]
    assert untouched == {waiting: ("waiting", False), dead: ("dead", None), running: ("running", None)}
    assert [(answer.status, answer.body) for answer in done] == [(204, b"")] * 2
    assert (busy.status, busy.error_code) == (409, "http")
    assert busy.document["error"]["message"] == f"job {running} is in progress: wait until it ends"
    left = {running: ("running", None)}
    assert office.states() == (
        {waiting: ("waiting", True), dead: ("waiting", True), **left} if action == "retry" else left
    )


def test_the_openapi_document_describes_the_routes(office: Office) -> None:
    fill(office)
    paths = create_app(Billfold(office.landing.settings, database=office.database)).openapi()["paths"]

    schema = paths["/v1/jobs"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    [first, *_] = office.send("GET", "/v1/jobs").document["jobs"]

    assert set(schema["properties"]["jobs"]["items"]["properties"]) == set(first)
    for action in ("retry", "cancel"):
        assert {"204", "404", "409"} <= set(paths[f"/v1/jobs/{{job_id}}/{action}"]["post"]["responses"])
