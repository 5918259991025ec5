"""Asking over HTTP: who may, for what, and what each answer says; the work itself waits for the server's worker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
import structlog.testing
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from billfold import clients
from billfold.app import Billfold
from billfold.aws import LocalAws
from billfold.bills import requests as asking
from billfold.clients import tokens
from billfold.model import Client, Scope
from billfold.store.database import connect
from billfold.web import create_app
from billfold.web.access import Access
from billfold.web.pages.rendering import _environment
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.messages import eventbridge_event
from tests.processes.web_server import HOME_SECRET, STRANGER, Answer, WebServer, run_web_server
from tests.registry import ACCOUNT, Registry

# Of each delivery, and of the job by which it waits.
_WAITING = " FROM billing_deliveries AS delivery LEFT JOIN billing_jobs AS job USING (delivery_id)"
RELEASES = f"SELECT delivery.state, released_at IS NOT NULL, job.trigger_source{_WAITING}"
SECRET = "only-eventbridge-knows"
MANIFEST = "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"
STATES = (
    "SELECT delivery.client_id, delivery.state, delivery.trigger_source, job.trigger_source"
    f"{_WAITING} ORDER BY delivery.created_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A server of two clients, each with a delivery in its bucket."""

    registry: Registry
    server: WebServer
    acme: Client
    globex: Client

    def send(self, path: str, body: Any = None, token: str | None = None, **headers: str) -> Answer:
        sent: Mapping[str, str] = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **headers,
        }
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.server.send("POST", path, b"" if body is None else content, sent)

    def token(self, *scopes: Scope, client: str | None = None) -> str:
        name = f"token{uuid4().hex}"
        return tokens.make(self.registry.database, name, scopes=list(scopes), client_id=client).secret

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with connect(self.registry.database.conninfo) as connection:
            return connection.execute(sql.encode()).fetchall()

    def fail(self) -> str:
        """Make the only delivery a failed one that waits no more; its id."""
        self.query("DELETE FROM billing_jobs RETURNING 1")
        [[delivery_id]] = self.query(
            "UPDATE billing_deliveries SET state = 'failed', finished_at = now(), error_code = 'spool_full'"
            " RETURNING delivery_id"
        )
        return str(delivery_id)

    def hold(self) -> str:
        """Ask for acme's delivery, and make it a held one; its id."""
        self.send("/v1/ingestions", {"client": "acme", "key": MANIFEST}, self.token(Scope.INGEST))
        self.query("DELETE FROM billing_jobs RETURNING 1")
        [[delivery_id]] = self.query(
            "UPDATE billing_deliveries SET state = 'held', started_at = now(), finished_at = now(), rows_read = 1,"
            " source_cost = '{\"USD\": \"1.25\"}', reason = 'would leave 1 of 3 rows' RETURNING delivery_id"
        )
        return str(delivery_id)


@pytest.fixture(scope="module")
def shared_office(shared_landing: Landing, shared_aws: LocalAws) -> Iterator[Office]:
    registry = Registry.make(shared_aws, shared_landing.database, shared_landing.settings, shared_landing.root)
    acme, globex = registry.add("acme"), registry.add("globex")
    for client in (acme, globex):
        registry.deliver(client, "1.25")
    with run_web_server(registry.settings, registry.database) as server:
        yield Office(registry=registry, server=server, acme=acme, globex=globex)


@pytest.fixture
def office(shared_office: Office, shared_landing: Landing) -> Iterator[Office]:
    """The module's office, where nobody has asked for anything yet."""
    yield shared_office
    shared_landing.execute("TRUNCATE billing_deliveries, billing_ingestion_runs, billing_tokens CASCADE")


def test_an_ingestion_by_key_is_accepted_with_its_delivery(office: Office) -> None:
    answer = office.send("/v1/ingestions", {"client": "acme", "key": MANIFEST})

    [delivery] = answer.document["deliveries"]
    assert answer.status == 202
    assert answer.headers["Location"] == f"/v1/deliveries/{delivery['delivery_id']}"
    assert delivery.pop("delivery_id")
    assert delivery.pop("asked_at")
    assert delivery == {"client": "acme", "export": "acme", "billing_period": "2026-05", "state": "pending"}
    assert office.query(STATES) == [("acme", "pending", "api", "api")]
    shown = office.server.ask("GET", answer.headers["Location"])[1]
    assert (shown["state"], shown["trigger_source"], bool(shown["asked_at"])) == ("pending", "api", True)


def test_each_failure_has_its_status(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_REQUESTED", 1)
    clients.set_enabled(office.registry.database, "globex", enabled=False)
    office.registry.aws.client("s3").put_object(Bucket="acme-bills", Key="exports/x-Manifest.json", Body=b"[")
    wrong: dict[str, tuple[Any, tuple[int, str]]] = {
        "no key": ({"client": "acme"}, (422, "invalid_request")),
        "a key of too many bytes": (
            {"client": "acme", "key": "exports/" + "".join(chr(0x20000 + 7919 * n % 40_000) for n in range(1000))},
            (422, "invalid_request"),
        ),
        "an empty key": ({"client": "acme", "key": ""}, (422, "invalid_request")),
        "another field": ({"client": "acme", "key": MANIFEST, "force": True}, (422, "invalid_request")),
        "no JSON": (b"{", (422, "invalid_request")),
        "nobody": ({"client": "nobody", "key": MANIFEST}, (404, "http")),
        "a disabled client": ({"client": "globex", "key": MANIFEST}, (400, "usage")),
        "the settings' client, who has no bucket": ({"key": MANIFEST}, (400, "usage")),
        "a folder of too many": ({"client": "acme", "key": "exports/"}, (400, "usage")),
        "another folder": ({"client": "acme", "key": "other/a.csv"}, (403, "forbidden")),
        "a way out": ({"client": "acme", "key": "exports/../other/a.csv"}, (403, "forbidden")),
        "nothing there": ({"client": "acme", "key": "exports/none/"}, (404, "source_not_found")),
        "no manifest": ({"client": "acme", "key": "exports/x-Manifest.json"}, (422, "manifest")),
    }

    answers = {name: office.send("/v1/ingestions", body) for name, (body, _) in wrong.items()}
    clients.set_enabled(office.registry.database, "globex", enabled=True)
    office.registry.aws.client("s3").delete_object(Bucket="acme-bills", Key="exports/x-Manifest.json")

    assert {name: (answer.status, answer.error_code) for name, answer in answers.items()} == {
        name: expected for name, (_, expected) in wrong.items()
    }
    assert office.query("SELECT count(*) FROM billing_deliveries") == [(0,)]


def test_a_token_requests_within_its_scope_and_client(office: Office) -> None:
    reader = office.token(Scope.READ)
    theirs = office.token(Scope.INGEST, client="globex")
    anybodys = office.token(Scope.INGEST)
    asked = {"client": "acme", "key": MANIFEST}

    refused = [office.send("/v1/ingestions", asked, token) for token in (reader, theirs)]
    own = office.send("/v1/ingestions", {"key": MANIFEST}, theirs)
    taken = office.send("/v1/ingestions", asked, anybodys)
    [delivery] = taken.document["deliveries"]
    hidden = office.send(f"/v1/deliveries/{delivery['delivery_id']}/retry", token=theirs)

    assert [(answer.status, answer.error_code) for answer in refused] == [(403, "forbidden")] * 2
    assert office.send("/v1/ingestions", asked, "bf_wrong").status == 401
    assert own.document["deliveries"][0]["client"] == "globex"
    assert taken.status == 202
    assert (hidden.status, hidden.error_code) == (404, "http")
    # Who may not read learns nothing of money.
    assert set(delivery) == {"delivery_id", "client", "export", "billing_period", "state", "asked_at"}


def test_a_failed_delivery_is_tried_again_and_no_other(office: Office) -> None:
    office.send("/v1/ingestions", {"client": "acme", "key": MANIFEST})
    delivery_id = office.fail()

    answers = [office.send(f"/v1/deliveries/{delivery_id}/retry") for _ in range(2)]
    office.query("UPDATE billing_deliveries SET state = 'running' RETURNING 1")
    running = office.send(f"/v1/deliveries/{delivery_id}/retry")

    assert [(answer.status, answer.document["state"]) for answer in answers] == [(202, "pending")] * 2
    assert answers[0].headers["Location"] == f"/v1/deliveries/{delivery_id}"
    assert answers[0].document["asked_at"] == answers[1].document["asked_at"]
    assert (running.status, running.error_code) == (409, "http")
    assert "is running, not failed: wait until it ends" in running.document["error"]["message"]
    assert office.send(f"/v1/deliveries/{uuid4()}/retry").status == 404
    assert office.send("/v1/deliveries/none/retry").status == 422


def test_a_held_delivery_is_released_and_no_other(office: Office) -> None:
    delivery_id = office.hold()
    path = f"/v1/deliveries/{delivery_id}/release"
    secret, reading = office.token(Scope.INGEST, client="acme"), office.token(Scope.READ)
    theirs = office.token(Scope.INGEST, client="globex")

    refused = [
        office.send(path, **STRANGER),
        *(office.send(path, token=each) for each in ("bf_wrong", reading, theirs)),
    ]
    untouched = office.query(RELEASES)
    with structlog.testing.capture_logs() as events:
        answers = [office.send(path, token=secret) for _ in range(2)]
    waiting = office.query(RELEASES)
    office.query("UPDATE billing_deliveries SET state = 'running' RETURNING 1")
    running = office.send(path, token=secret)

    assert [(answer.status, answer.error_code) for answer in refused] == [
        (401, "unauthorized"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "http"),
    ]
    assert untouched == [("held", False, None)]
    assert [(answer.status, answer.document["state"]) for answer in answers] == [(202, "pending")] * 2
    assert answers[0].headers["Location"] == f"/v1/deliveries/{delivery_id}"
    assert answers[0].document == answers[1].document
    assert waiting == [("pending", True, "api")]
    assert (running.status, running.error_code) == (409, "http")
    assert "is running, not held: it would leave 1 of 3 rows" in running.document["error"]["message"]
    assert office.send(f"/v1/deliveries/{uuid4()}/release", token=secret).status == 404
    assert office.send("/v1/deliveries/none/release", token=secret).status == 422
    # Who released it is told once, by the token.
    [[token_id]] = office.query("SELECT token_id FROM billing_tokens WHERE client_id = 'acme'")
    told = [event for event in events if event["event"] == "delivery_released"]
    assert [(event["delivery_id"], event["token_id"]) for event in told] == [(delivery_id, token_id)]


def test_the_page_of_a_held_delivery_says_what_a_release_does(office: Office) -> None:
    delivery_id = office.hold()
    path = f"/deliveries/{delivery_id}"
    cookies = {
        scope: {"Accept": "text/html", "Cookie": f"billfold_token={office.token(Scope.READ, scope)}"}
        for scope in (Scope.READ, Scope.INGEST, Scope.ADMIN)
    }

    pages = {scope: office.server.send("GET", path, headers=sent).body.decode() for scope, sent in cookies.items()}

    form = f'<form method="post" action="{path}/release" data-confirm="'
    assert {scope: form in page for scope, page in pages.items()} == {
        Scope.READ: False,
        Scope.INGEST: True,
        Scope.ADMIN: True,
    }
    assert all("It would leave 1 of 3 rows." in page for page in pages.values())
    assert f"billfold release {delivery_id}" in pages[Scope.READ]
    said, _, _ = pages[Scope.INGEST].partition(form)
    assert "To publish it anyway, release it: acme 2026-05 then has 1 line item of " in said
    assert f"To undo the release, run <code>billfold rollback {delivery_id}</code>." in said


def test_the_release_button_leads_back_to_the_delivery(office: Office) -> None:
    delivery_id = office.hold()
    secret, reading, theirs = (
        f"billfold_token={token}"
        for token in (office.token(Scope.INGEST), office.token(Scope.READ), office.token(Scope.INGEST, client="globex"))
    )
    path = f"/deliveries/{delivery_id}/release"

    refused = [
        office.send(path, Cookie=secret, Origin="https://evil.example"),
        office.send(path, Cookie=secret, **{"Sec-Fetch-Site": "cross-site"}),
        office.send(path, Cookie=reading),
        office.send(path, Cookie=theirs),
    ]
    untouched = office.query(RELEASES)
    taken = office.send(path, Cookie=secret)

    assert [answer.status for answer in refused] == [403, 403, 403, 404]
    assert untouched == [("held", False, None)]
    assert (taken.status, taken.headers["Location"]) == (303, f"/deliveries/{delivery_id}")
    assert office.query(RELEASES) == [("pending", True, "api")]
    page = office.server.send("GET", f"/deliveries/{delivery_id}", headers={"Accept": "text/html", "Cookie": reading})
    assert "Released: it would leave 1 of 3 rows." in page.body.decode()


def test_the_pages_button_leads_back_to_the_delivery(office: Office) -> None:
    secret, reading = office.token(Scope.INGEST), office.token(Scope.READ)
    office.send("/v1/ingestions", {"client": "acme", "key": MANIFEST}, secret)
    delivery_id = office.fail()
    form = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": f"billfold_token={secret}"}
    path = f"/deliveries/{delivery_id}/retry"

    foreign = office.send(path, **form, Origin="https://evil.example")
    taken = office.send(path, **form)
    reader = office.send(path, Cookie=f"billfold_token={reading}")

    assert foreign.status == 403
    assert (taken.status, taken.headers["Location"]) == (303, f"/deliveries/{delivery_id}")
    assert reader.status == 403
    assert office.query(STATES) == [("acme", "pending", "api", "api")]


def test_the_button_is_for_who_may_and_for_what_failed() -> None:
    def show(state: str, *scopes: Scope, asked_at: datetime | None = None, hindrance: str | None = None) -> str:
        delivery = {"delivery_id": "d1", "state": state, "asked_at": asked_at, "not_before": later}
        request = SimpleNamespace(state=SimpleNamespace(access=Access(scopes=frozenset(scopes))))
        return (
            _environment()
            .get_template("retry.html")
            .render(delivery=delivery, request=request, is_moving=False, hindrance=hindrance)
            .strip()
        )

    asked, later = (datetime(2026, 5, 4, 10, minute, tzinfo=UTC) for minute in (0, 15))
    button = '<form method="post" action="/deliveries/d1/retry"><button type="submit">Try again</button></form>'
    assert [show("failed", scope) for scope in (Scope.INGEST, Scope.ADMIN)] == [button, button]
    assert [show("failed", Scope.READ), show("published", Scope.INGEST), show("held", Scope.ADMIN)] == ["", "", ""]
    assert ">2026-05-04 10:00 UTC<" in show("pending", Scope.INGEST, asked_at=asked)
    assert ">2026-05-04 10:15 UTC<" in show("failed", Scope.READ, asked_at=asked)
    assert button in show("failed", Scope.INGEST, asked_at=asked)
    assert show("failed", Scope.ADMIN, hindrance="its source is gone") == ""


@pytest.fixture
def eventful(office: Office) -> Iterator[Office]:
    """The same with a server that takes events, and has no queue."""
    changed = office.registry.settings.model_copy(update={"events_secret": SECRET, "queue_url": None})
    with run_web_server(changed, office.registry.database) as server:
        yield Office(registry=office.registry, server=server, acme=office.acme, globex=office.globex)


def test_without_a_queue_an_events_delivery_waits_for_the_server(eventful: Office) -> None:
    def tell(key: str, account: str = ACCOUNT) -> tuple[int, Any]:
        event = eventbridge_event("acme-bills", key, account=account).encode()
        answer = eventful.send("/v1/events/eventbridge", event, **{"X-Billfold-Secret": SECRET})
        return answer.status, answer.document

    data = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"

    assert tell(data) == (202, {"objects": 1, "accepted": 1})
    assert eventful.query("SELECT status, delivery_id FROM billing_ingestion_runs") == [("pending", None)]
    assert tell(MANIFEST, account="999900009999") == (202, {"objects": 1, "accepted": 0})
    assert tell("other/a.csv") == (202, {"objects": 1, "accepted": 0})
    assert tell("exports/acme/metadata/readme.txt") == (202, {"objects": 1, "accepted": 1})
    assert eventful.query(STATES) == []
    assert [tell(MANIFEST), tell(MANIFEST)] == [(202, {"objects": 1, "accepted": 1})] * 2
    assert eventful.query(STATES) == [("acme", "pending", "eventbridge", "eventbridge")]
    assert tell("exports/none/metadata/BILLING_PERIOD=2026-05/none-Manifest.json")[0] == 404


@pytest.mark.at_length
def test_the_openapi_document_is_true_of_requests(office: Office) -> None:
    office.send("/v1/ingestions", {"client": "acme", "key": MANIFEST})
    app = create_app(Billfold(office.registry.settings, database=office.registry.database))
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.config.base_url = f"http://127.0.0.1:{office.server.port}"
    wanted = schema.include(path_regex="/(ingestions|retry|release|cancel)$", method="POST").as_strategy()

    @settings(
        max_examples=rounds(10, in_soak=60),
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(case=wanted)
    def check(case: schemathesis.Case) -> None:
        # A client that does not exist and a key outside of its folder are documented, but no schema tells them.
        case.call_and_validate(
            headers={"Authorization": f"Bearer {HOME_SECRET}"}, excluded_checks=[positive_data_acceptance, ignored_auth]
        )

    check()
    for action in ("retry", "release"):
        of_action = app.openapi()["paths"][f"/v1/deliveries/{{delivery_id}}/{action}"]["post"]
        assert {"202", "409"} <= set(of_action["responses"])
