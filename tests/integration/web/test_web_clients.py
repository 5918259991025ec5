"""The pages of clients: the state of each, what it deploys, and what doctor finds."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest

from billfold import clients
from billfold.app import Billfold
from billfold.aws import LocalAws
from billfold.clients import tokens
from billfold.clients.onboarding import ExportContents, Onboarding, iam_documents, make_template
from billfold.jobs.pool import Pool
from billfold.model import Client, ExportTable, Scope, TimeGranularity
from billfold.settings import Settings
from billfold.store.database import Database
from tests.bills.landing import Landing
from tests.connections import ask
from tests.processes.faulty_aws import Call, Fault, faulty_aws
from tests.processes.web_server import Answer, WebServer, run_web_server
from tests.registry import OUR_ACCOUNT, Registry

# Nothing here takes nearly as long.
LIMIT_SECONDS = 60
BUS_ARN = f"arn:aws:events:us-east-1:{OUR_ACCOUNT}:event-bus/billfold"


@pytest.fixture
def acme(registry: Registry) -> Client:
    return registry.add("acme")


@contextmanager
def run_server(registry: Registry) -> Iterator[WebServer]:
    """The server of a registry that has acme already."""
    registry.add("globex", refresh_hours=6)
    settings = registry.settings.model_copy(update={"our_account_id": OUR_ACCOUNT, "region": "us-east-1"})
    with run_web_server(settings, registry.database) as server, run_pool(settings, registry.database):
        yield server


@contextmanager
def run_pool(settings: Settings, database: Database) -> Iterator[None]:
    """What `billfold serve` has beside the server, for doctor runs only."""
    pool = Pool(settings=settings, database=database, concurrency=0)
    pool.start()
    yield
    assert not pool.finish(LIMIT_SECONDS)


@pytest.fixture
def server(registry: Registry, acme: Client) -> Iterator[WebServer]:
    with run_server(registry) as server:
        yield server


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The pages of clients whom tests leave as they are, with tokens of their own; nothing of theirs is in AWS."""

    registry: Registry
    server: WebServer
    acme: Client
    initech: Client


@pytest.fixture(scope="module")
def shown(shared_landing: Landing, local_aws: LocalAws) -> Iterator[Shown]:
    registry = Registry.make(local_aws, shared_landing.database, shared_landing.settings, shared_landing.root)
    acme, initech = registry.add("acme"), registry.add("initech", region="us-east-1")
    with run_server(registry) as server:
        local_aws.reset()
        yield Shown(registry=registry, server=server, acme=acme, initech=initech)


def send(server: WebServer, path: str, token: str | None = None, *, method: str = "GET", **headers: str) -> Answer:
    """What a browser is answered."""
    signed = {"Authorization": f"Bearer {token}"} if token else {}
    return server.send(method, path, headers={"Accept": "text/html", **signed, **headers})


def get(server: WebServer, path: str, token: str | None = None) -> str:
    answer = send(server, path, token)
    assert answer.status == 200, answer.body
    return answer.body.decode()


def make_token(registry: Registry, *scopes: Scope, client: str | None = None) -> str:
    return tokens.make(registry.database, f"t{uuid4().hex}", scopes=scopes, client_id=client).secret


def finish_doctor_runs(database: Database) -> None:
    wait_until(database, "SELECT NOT EXISTS (SELECT FROM billing_jobs)")


def wait_until(database: Database, query: str) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while ask(database.conninfo, lambda connection: connection.execute(query.encode()).fetchone()) != (True,):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def tables(registry: Registry) -> Landing:
    return Landing.make(registry.database, registry.settings, registry.folder / "unused")


def test_clients_are_listed_with_their_states_and_without_their_secrets(
    registry: Registry, server: WebServer, acme: Client
) -> None:
    tables(registry).execute(
        "UPDATE billing_clients SET created_at = now() - interval '10 h' WHERE client_id = 'globex'"
    )
    clients.set_enabled(registry.database, "acme", enabled=False)

    page = get(server, "/clients")

    assert re.findall(r'href="/clients/(\w+)"', page) == ["globex", "acme"]
    assert re.findall(r'class="badge \w+">([\w ]+)<', page) == ["late", "disabled"]
    assert f"<code>{acme.role_arn}</code>" in page.replace("<wbr>", "")
    assert "s3://acme-bills/exports/" in page
    assert acme.external_id
    for path in ("/clients", "/clients/acme", "/clients/acme/onboarding", "/clients/acme/doctor"):
        assert acme.external_id not in get(server, path)


def test_a_client_shows_its_statements_and_what_comes_next(registry: Registry, server: WebServer, acme: Client) -> None:
    before = get(server, "/clients/acme")
    registry.deliver(acme, "1.25", "7")
    landing = tables(registry).with_client(**{name: getattr(acme, name) for name in acme.__dataclass_fields__})
    landing.ingest("exports/")

    after = get(server, "/clients/acme")

    assert steps(before) == ["to do", "unknown", "to do", "done"]
    assert "billfold backfill --client acme" in before
    assert "No statements yet" in before
    assert steps(after) == ["done", "unknown", "done", "done"]
    assert "8.25 <span" in after
    assert "/deliveries?client=acme&amp;export=acme&amp;period=2026-05#list" in after


def steps(page: str) -> list[str]:
    onboarding = page.partition('id="steps"')[2].partition("</ol>")[0]
    return re.findall(r'class="badge \w+">([\w ]+)<', onboarding)


def test_unknown_clients_are_not_there(shown: Shown) -> None:
    for path in ("/clients/nobody", "/clients/nobody/doctor", "/clients/nobody/onboarding/template.json"):
        assert send(shown.server, path).status == 404
    assert send(shown.server, "/clients/nobody/doctor", method="POST").status == 404
    assert send(shown.server, "/clients/%00").status == 422


def test_choosing_a_client_leads_to_its_page(shown: Shown) -> None:
    answer = send(shown.server, "/clients?client=globex")

    assert (answer.status, answer.headers["Location"]) == (303, "/clients/globex")


def test_a_token_of_one_client_sees_no_page_of_another(shown: Shown) -> None:
    token = make_token(shown.registry, Scope.ADMIN, client="globex")

    assert send(shown.server, "/clients", token).headers["Location"] == "/clients/globex"
    get(shown.server, "/clients/globex", token)
    for path in ("", "/doctor", "/onboarding", "/onboarding/template.json", "/onboarding/iam.json"):
        assert send(shown.server, f"/clients/acme{path}", token).status == 404, path
    assert send(shown.server, "/clients/acme/doctor", token, method="POST").status == 404


def test_what_the_client_deploys_is_what_onboard_writes(shown: Shown) -> None:
    query = f"notify=eventbridge&arn={BUS_ARN}&trail=yes"
    page = get(shown.server, f"/clients/acme/onboarding?{query}")

    files = {
        name: send(shown.server, f"/clients/acme/onboarding/{name}?notify=&arn=&export=&trail=")
        for name in ("template.json", "iam.json")
    }

    plan = Onboarding(our_account_id=OUR_ACCOUNT)
    assert files["template.json"].document == make_template(shown.acme, plan)
    assert files["iam.json"].document == iam_documents(shown.acme, plan)
    assert files["template.json"].headers["Content-Disposition"] == 'attachment; filename="acme.json"'
    assert {answer.headers["Cache-Control"] for answer in files.values()} == {"no-store"}
    assert "--stack-name billfold-acme --template-file acme.json" in page
    assert "aws s3api put-bucket-notification-configuration" in page
    linked = re.search(r'href="(/clients/acme/onboarding/template.json[^"]*)"', page)
    assert linked
    assert "AccessTrail" in json.dumps(send(shown.server, linked[1].replace("&amp;", "&")).document)


def test_the_page_leaves_out_of_an_export_what_its_address_says(shown: Shown) -> None:
    address = "/clients/initech/onboarding?export=cur2&split_cost_allocation_data=no&time_granularity=daily"

    page = get(shown.server, address)

    linked = re.search(r'href="(/clients/initech/onboarding/template.json[^"]*)"', page)
    assert linked
    plan = Onboarding(
        our_account_id=OUR_ACCOUNT,
        export=ExportTable.CUR2,
        contents=ExportContents(time_granularity=TimeGranularity.DAILY, split_cost_allocation_data=False),
    )
    assert send(shown.server, linked[1].replace("&amp;", "&")).document == make_template(shown.initech, plan)
    assert (
        '<option value="no" selected>'
        in page.partition('name="split_cost_allocation_data"')[2].partition("</select>")[0]
    )
    assert 'name="iam_principal_data"' in page
    assert 'name="iam_principal_data"' not in get(shown.server, "/clients/initech/onboarding?export=focus")


def test_only_who_may_see_secrets_is_given_what_holds_them(shown: Shown) -> None:
    token = make_token(shown.registry, Scope.READ, Scope.INGEST)

    page = get(shown.server, "/clients/acme/onboarding", token)

    assert "template.json" not in page
    assert "with a token that has the scope admin" in page
    for name in ("template.json", "iam.json"):
        answer = send(shown.server, f"/clients/acme/onboarding/{name}", token)
        assert (answer.status, b"ExternalId" in answer.body) == (403, False)


def test_an_invalid_option_is_explained_on_the_page(shown: Shown) -> None:
    for query, told in (
        ("notify=sqs&arn=nothing", "is not a destination of sqs"),
        ("notify=eventbridge&arn=arn:aws:events:us-east-1:111111111111:event-bus/theirs", "not in ours"),
        ("notify=pigeon", "notify or export has an unknown value"),
        ("export=everything", "notify or export has an unknown value"),
        ("tags=no", "no export is created"),
        ("export=cur2&tags=perhaps", "each content is empty or"),
        ("export=cur2&time_granularity=yearly", "hourly, daily or monthly"),
    ):
        assert told in get(shown.server, f"/clients/acme/onboarding?{query}"), query


def test_without_our_own_account_nothing_is_prepared(shown: Shown) -> None:
    with run_web_server(shown.registry.settings, shown.registry.database) as server:
        page = get(server, "/clients/acme/onboarding")

    assert "BILLFOLD_OUR_ACCOUNT_ID is not set" in page


def test_a_form_runs_doctor_and_the_page_shows_its_results(registry: Registry, server: WebServer, acme: Client) -> None:
    registry.deliver(acme, "1", "2")
    assert "Doctor has not run yet" in get(server, "/clients/acme/doctor")

    asked = send(server, "/clients/acme/doctor", method="POST")
    finish_doctor_runs(registry.database)

    assert (asked.status, asked.headers["Location"]) == (303, "/clients/acme/doctor")
    answer = send(server, "/clients/acme/doctor")
    page = answer.body.decode()
    assert answer.headers["Refresh"] is None
    assert re.search(r"took [\d.]+ m?s", page)
    assert "including the 4 required ones" in page
    # moto's roles let anybody in, which doctor must find; what is missing stands first.
    assert page.index(">failed<") < page.index(">ok<")
    assert acme.external_id
    assert acme.external_id not in page
    assert "See the results" in get(server, "/clients/acme")


def test_who_only_reads_does_not_send_doctor(shown: Shown) -> None:
    token = make_token(shown.registry, Scope.READ)

    assert "<button" not in get(shown.server, "/clients/acme/doctor", token).partition("<main")[2]
    assert send(shown.server, "/clients/acme/doctor", token, method="POST").status == 403
    foreign = send(shown.server, "/clients/acme/doctor", method="POST", Origin="https://elsewhere.example")
    assert foreign.status == 403


def test_a_token_of_one_client_learns_nothing_of_our_machine(registry: Registry, server: WebServer) -> None:
    token = make_token(registry, Scope.READ, Scope.INGEST, client="globex")

    send(server, "/clients/globex/doctor", token, method="POST")
    finish_doctor_runs(registry.database)

    page = get(server, "/clients/globex/doctor", token)
    assert ">role</th>" in page
    assert ">spool</th>" not in page
    assert str(registry.settings.spool) not in page


def test_a_token_of_a_client_that_is_not_registered_hears_of_no_other(registry: Registry, server: WebServer) -> None:
    tables(registry).execute("INSERT INTO billing_clients (client_id) VALUES ('left-over')")
    token = make_token(registry, Scope.ADMIN, client="left-over")

    send(server, "/clients/left-over/doctor", token, method="POST")
    finish_doctor_runs(registry.database)

    told = [send(server, f"/clients/left-over{path}", token) for path in ("/doctor", "/onboarding")]
    refused = send(server, "/clients/left-over/onboarding/template.json", token)
    assert [answer.status for answer in (*told, refused)] == [200, 200, 400]
    for answer in (*told, refused):
        assert b"acme" not in answer.body
        assert b"globex" not in answer.body
    assert b"is not registered" in refused.body


@contextmanager
def held_calls(settings: Settings) -> Iterator[tuple[Settings, threading.Event]]:
    """Settings with which each call to AWS waits until the event is set."""
    assert settings.endpoint_url
    released = threading.Event()

    def wait(_: Call) -> Fault:
        released.wait(LIMIT_SECONDS)
        return None

    with faulty_aws(settings.endpoint_url, wait) as aws:
        yield settings.model_copy(update={"endpoint_url": aws.endpoint_url}), released
        released.set()


STARTED = "SELECT count(*) = {} FROM billing_doctor_runs WHERE probes <> '[]' AND ended_at IS NULL"


def test_a_doctor_run_ends_at_its_limit_and_keeps_its_probes(
    registry: Registry, acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billfold.store.jobs.doctor_runs.LIMIT_SECONDS", 2)
    requests = Billfold(registry.settings, database=registry.database).requests

    with held_calls(registry.settings) as (settings, released), run_pool(settings, registry.database):
        requests.doctor("acme")
        wait_until(registry.database, STARTED.format(1))
        began = requests.find_doctor_run("acme")
        while (found := requests.find_doctor_run("acme")) and not found.is_over_limit:
            time.sleep(0.05)
        released.set()
        finish_doctor_runs(registry.database)
    ended = requests.find_doctor_run("acme")

    assert began
    assert found
    assert ended
    assert (began.is_running, found.is_running, found.ended_at) == (True, False, None)
    assert ended.is_cut_off
    assert "spool" in {probe.name for probe in ended.probes}
    assert not any(probe.client_id for probe in ended.probes)


def test_a_few_doctor_runs_go_on_at_a_time_and_one_of_each_client(registry: Registry, acme: Client) -> None:
    names = ("acme", "globex", "initech")
    for name in names[1:]:
        registry.add(name)
    requests = Billfold(registry.settings, database=registry.database).requests

    with held_calls(registry.settings) as (settings, released), run_web_server(settings, registry.database) as server:
        for name in (*names, "acme"):
            requests.doctor(name)
        waiting = send(server, "/clients/acme/doctor")
        with run_pool(settings, registry.database):
            wait_until(registry.database, STARTED.format(2))
            running = send(server, "/clients/acme/doctor")
            states = [run.started_at is not None for run in map(requests.find_doctor_run, names) if run]
            released.set()
            finish_doctor_runs(registry.database)
        ended = send(server, "/clients/acme/doctor")

    assert states == [True, True, False]
    assert b"Waiting for a worker" in waiting.body
    assert b"of at most 60 s" in running.body
    assert [page.headers["Refresh"] for page in (waiting, running, ended)] == ["2", "2", None]
    assert all(run.ended_at for run in map(requests.find_doctor_run, names) if run)


def test_a_doctor_run_that_is_canceled_says_so(registry: Registry, acme: Client) -> None:
    billfold = Billfold(registry.settings, database=registry.database)
    billfold.requests.doctor("acme")
    [job] = billfold.jobs()

    billfold.jobs.cancel(job.job_id)

    found = billfold.requests.find_doctor_run("acme")
    assert found
    assert (found.error, found.is_running) == ("it was canceled", False)


def test_a_defect_of_ours_ends_a_doctor_run_with_one_line(
    registry: Registry, acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Settings) -> None:
        raise RuntimeError("x")

    monkeypatch.setattr("billfold.doctor.run.probe_machine", fail)
    requests = Billfold(registry.settings, database=registry.database).requests

    with run_pool(registry.settings, registry.database):
        requests.doctor("acme")
        finish_doctor_runs(registry.database)

    found = requests.find_doctor_run("acme")
    assert found
    assert found.error == "internal error in Billfold: the log has the traceback"
    assert found.ended_at
