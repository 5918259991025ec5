"""What every request passes: Host, Origin, size and rate; what every answer carries; and one event for each."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import structlog.testing
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel

from billfold.app import Billfold
from billfold.clients import tokens
from billfold.errors import ConfigurationError
from billfold.model import Scope
from billfold.settings import Settings, load_settings
from billfold.store.database import Database
from billfold.web import create_app
from billfold.web.access import ReadAccess
from billfold.web.server import serve
from billfold.web.throttle import Throttle, network_of
from tests.bills.landing import Landing
from tests.processes.web_server import HOME_SECRET, HOME_TOKEN, STRANGER, WebServer, run_app

LIMIT = 1000
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Wanted(BaseModel):
    key: str
    count: int = 1


def make_app(settings: Settings, database: Database, *, bound_host: str = "127.0.0.1") -> FastAPI:
    app = create_app(Billfold(settings, database=database), home_token=HOME_TOKEN, bound_host=bound_host)

    @app.get("/test/item/{item}")
    def read(_access: ReadAccess, item: str, limit: int = 1) -> dict[str, str]:
        return {"item": item}

    @app.post("/test/body")
    def write(_access: ReadAccess, wanted: Wanted) -> dict[str, str]:
        return {"key": wanted.key}

    @app.post("/test/raw")
    async def read_raw(_access: ReadAccess, request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    @app.get("/test/kept")
    def keep(_access: ReadAccess) -> PlainTextResponse:
        return PlainTextResponse("kept", headers={"Cache-Control": "public, max-age=31536000, immutable"})

    @app.get("/test/defect")
    def fail(_access: ReadAccess) -> None:
        raise RuntimeError("the secret of a client")

    @app.get("/test/cut")
    def cut(_access: ReadAccess) -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"beginning"
            raise RuntimeError("half-way")

        return StreamingResponse(parts(), headers={"Content-Length": "100"})

    return app


def limit(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_request_bytes": LIMIT, "allowed_hosts": "billfold.example, Other.example"})


@pytest.fixture
def limited(settings: Settings) -> Settings:
    return limit(settings)


@pytest.fixture(scope="module")
def server(shared_landing: Landing) -> Iterator[WebServer]:
    """One server for all tests that only ask: making one takes longer than most of them."""
    app = make_app(limit(shared_landing.settings), shared_landing.database, bound_host="192.0.2.7")
    with run_app(app, token=HOME_SECRET) as server:
        yield server


@pytest.fixture
def database(shared_landing: Landing) -> Iterator[Database]:
    """The module's database, from which a test's tokens go away."""
    yield shared_landing.database
    shared_landing.execute("DELETE FROM billing_tokens")


OUR_HOSTS = (
    *("localhost", "localhost:8080", "LOCALHOST", "localhost.", "127.0.0.1:8080", "127.8.9.1", "[::1]", "[::1]:8080"),
    *("billfold.example", "Billfold.Example:443", "other.example", "192.0.2.7:8080"),
)
FOREIGN_HOSTS = (
    *("evil.example", "billfold.example.evil.example", "evil-billfold.example", "localhost.evil.example", "", "a b"),
    *("192.0.2.8", "127.0.0.1.evil.example", "2130706433", "localhost:8080@evil.example", "[::2]", "localhost/x"),
)


def test_only_our_own_names_are_answered(server: WebServer) -> None:
    # Whoever asks by another name than this machine's needs a token, but is heard.
    ours = {host: server.send("GET", "/sign-in", headers={"Host": host}).status for host in OUR_HOSTS}
    refused = {
        (host, path): server.send("GET", path, headers={"Host": host})
        for host in FOREIGN_HOSTS
        for path in ("/test/item/1", "/sign-in")
    }

    assert {host for host, status in ours.items() if status not in (200, 303)} == set()
    for asked, answer in refused.items():
        assert (answer.status, answer.error_code) == (400, "host"), asked


def test_a_load_balancer_may_check_health_by_any_name(server: WebServer) -> None:
    for path in ("/healthz", "/readyz"):
        assert server.ask("GET", path, headers={"Host": "10.1.2.3:8080"}) == (200, {"status": "ok"})


def origins(port: int) -> list[dict[str, str]]:
    return [
        {},
        {"Origin": f"http://127.0.0.1:{port}"},
        {"Origin": "https://billfold.example", "Host": "billfold.example"},
        {"Origin": "https://billfold.example", "Host": "billfold.example:443"},
        {"Origin": "http://billfold.example:8080", "Host": "billfold.example:8080"},
        {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin"},
    ]


def test_a_form_of_our_own_pages_is_taken(server: WebServer) -> None:
    for headers in origins(server.port):
        assert server.send("POST", "/sign-out", b"", headers).status == 303, headers


FOREIGN_ORIGINS = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://localhost"},
    {"Origin": "http://billfold.example:8080", "Host": "billfold.example"},
    {"Origin": "https://sub.billfold.example", "Host": "billfold.example"},
    {"Origin": "file://"},
    {"Origin": "http://[::1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


def test_a_form_of_another_site_is_refused(server: WebServer) -> None:
    for headers in FOREIGN_ORIGINS:
        for method in ("POST", "DELETE"):
            answer = server.send(method, "/test/raw", b"", headers)
            assert (answer.status, answer.error_code) == (403, "origin"), headers


def test_a_page_of_another_site_is_refused_with_any_token(server: WebServer, database: Database) -> None:
    secret = tokens.make(database, "mine", (Scope.ADMIN,)).secret
    headers = {"Authorization": f"Bearer {secret}"}

    refused = server.send("POST", "/test/raw", b"", {**headers, "Origin": "https://evil.example"})
    taken = server.send("POST", "/test/raw", b"", headers)

    assert (refused.status, taken.status) == (403, 200)


def test_a_link_of_another_site_may_lead_here(server: WebServer) -> None:
    headers = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}

    assert server.send("GET", "/test/item/1", headers=headers).status == 200


def test_a_request_may_be_as_large_as_the_limit_and_no_larger(server: WebServer) -> None:
    def post(size: int, *, chunked: bool) -> tuple[int, Any]:
        body = b"x" * size
        answer = server.send("POST", "/test/raw", iter([body[:600], body[600:]]) if chunked else body)
        return answer.status, answer.document

    for chunked in (False, True):
        assert post(LIMIT, chunked=chunked) == (200, {"size": LIMIT})
        status, document = post(LIMIT + 1, chunked=chunked)
        assert (status, document["error"]["code"]) == (413, "too_large")


def test_a_document_or_a_form_that_is_too_large_is_refused_in_the_same_way(server: WebServer) -> None:
    document = [b'{"key": "', b"x" * LIMIT, b'"}']
    form = [b"token=", b"x" * LIMIT]

    answers = [
        server.send("POST", "/test/body", iter(document), JSON),
        server.send("POST", "/sign-in", iter(form), FORM),
    ]

    assert [(answer.status, answer.error_code) for answer in answers] == [(413, "too_large")] * 2


def test_every_answer_has_the_headers_that_keep_a_browser_in_bounds(server: WebServer) -> None:
    answers = {
        "page": server.send("GET", "/sign-in", headers={"Host": "billfold.example"}),
        "document": server.send("GET", "/test/item/1"),
        "nothing": server.send("GET", "/nothing"),
        "host": server.send("GET", "/", headers={"Host": "evil.example"}),
        "origin": server.send("POST", "/", headers={"Origin": "null"}),
        "token": server.send("GET", "/", headers={"Host": "billfold.example"}),
        "defect": server.send("GET", "/test/defect"),
    }

    for name, answer in answers.items():
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert (policy["default-src"], policy["script-src"]) == ("'none'", "'self'"), name
        assert (policy["frame-ancestors"], policy["form-action"]) == ("'none'", "'self'"), name
        assert answer.headers["X-Content-Type-Options"] == "nosniff", name
        assert answer.headers["Referrer-Policy"] == "same-origin", name
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin", name
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin", name
        assert answer.headers["Cache-Control"] == "no-store", name
        assert "Access-Control-Allow-Origin" not in answer.headers, name


def test_a_route_may_say_that_its_answer_can_be_kept(server: WebServer) -> None:
    answer = server.send("GET", "/test/kept")

    assert answer.headers.get_all("Cache-Control") == ["public, max-age=31536000, immutable"]


def test_too_many_requests_are_answered_with_the_time_to_wait(limited: Settings, database: Database) -> None:
    secrets = [tokens.make(database, name, (Scope.READ,)).secret for name in ("one", "two")]
    asked = [{"Authorization": f"Bearer {secret}"} for secret in secrets]

    with run_app(
        make_app(limited.model_copy(update={"requests_per_minute": 3}), database), token=HOME_SECRET
    ) as server:
        first = [server.send("GET", "/test/item/1", headers=asked[0]) for _ in range(4)]
        other = server.send("GET", "/test/item/1", headers=asked[1])
        health = [server.send("GET", "/healthz").status for _ in range(5)]
        strangers = [server.send("GET", "/sign-in", headers=STRANGER).status for _ in range(4)]

    assert [answer.status for answer in first] == [200, 200, 200, 429]
    assert first[-1].error_code == "too_many_requests"
    assert 1 <= int(first[-1].headers["Retry-After"]) <= 60
    assert other.status == 200
    assert set(health) == {200}
    assert strangers == [200, 200, 200, 429]


def test_without_a_limit_requests_are_unlimited() -> None:
    throttle = Throttle(0)

    assert {throttle.count_request("127.0.0.1") for _ in range(2000)} == {None}


def test_the_addresses_of_one_ipv6_host_are_counted_as_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff") != network_of("2001:db8:0:1::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("testclient") == "testclient"


def test_a_value_that_cannot_be_is_named_but_not_repeated(server: WebServer) -> None:
    answers = [
        server.send("GET", "/test/item/1?limit=hunter2"),
        server.send("POST", "/test/body", b'{"count": "hunter2"}', JSON),
        server.send("POST", "/test/body", b"{hunter2", JSON),
    ]

    assert [(answer.status, answer.error_code) for answer in answers] == [(422, "invalid_request")] * 3
    messages = [answer.document["error"]["message"] for answer in answers]
    assert messages[0].startswith("limit: ")
    assert "key: " in messages[1]
    assert "count: " in messages[1]
    assert not [message for message in messages if "hunter2" in message]


def test_what_no_route_takes_fails_in_the_same_shape(server: WebServer) -> None:
    missing = server.send("GET", "/nothing")
    wrong = server.send("DELETE", "/test/item/1")

    assert (missing.status, missing.error_code) == (404, "http")
    assert (wrong.status, wrong.error_code, wrong.headers["Allow"]) == (405, "http", "GET")


def test_head_gets_the_headers_of_get_without_content(server: WebServer) -> None:
    """Monitors and load balancers ask for health in this way, `curl -I` for anything."""
    for path in ("/healthz", "/test/item/1", "/sign-in", "/nothing", "/test/kept"):
        whole, head = (server.send(method, path) for method in ("GET", "HEAD"))
        assert (head.status, head.body) == (whole.status, b""), path
        assert head.headers["Content-Length"] == str(len(whole.body)), path
    assert server.send("HEAD", "/", headers={"Host": "evil.example"}).status == 400


def test_no_answer_waits_for_its_headers_to_be_acknowledged(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[int] = []

    def accept(_server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        with socket.create_connection(sockets[0].getsockname()), sockets[0].accept()[0] as accepted:
            options.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", accept)
    serve(Billfold(settings.model_copy(update={"serve_concurrency": 0}), database=database), host="127.0.0.1", port=0)

    assert options == [1]


def test_the_log_shows_head_as_head(limited: Settings, database: Database) -> None:
    with structlog.testing.capture_logs() as events, run_app(make_app(limited, database), token=HOME_SECRET) as server:
        server.send("HEAD", "/test/item/2")

    assert [(event["method"], event["path"]) for event in events if event["event"] == "request"] == [
        ("HEAD", "/test/item/{item}")
    ]


def test_a_body_that_is_not_a_document_is_an_error(server: WebServer) -> None:
    messages = [
        server.send("POST", "/test/body", body, headers).document["error"]["message"]
        for body, headers in ((b"{key", JSON), (b"[]", JSON), (b"key=a", FORM))
    ]

    assert messages == ["body: is not JSON", "body: is not a JSON object", "body: is not a JSON object"]


def test_an_unexpected_error_is_reported_without_its_details(server: WebServer) -> None:
    answer = server.send("GET", "/test/defect")

    assert (answer.status, answer.error_code) == (500, "internal")
    assert b"secret" not in answer.body


def test_each_request_is_one_event_without_its_query(limited: Settings, database: Database) -> None:
    made = tokens.make(database, "mine", (Scope.READ,))
    secret = made.secret
    headers = {"Authorization": f"Bearer {secret}", "Cookie": f"billfold_token={secret}"}

    # An event is logged after its answer: all are there when the server has ended, in the order of their ends.
    with structlog.testing.capture_logs() as events, run_app(make_app(limited, database), token=HOME_SECRET) as server:
        for path in (
            "/test/item/acme?limit=2&hidden=hunter2",
            "/nothing?hidden=hunter2",
            "/healthz",
            "/v1/statements/1",
        ):
            server.send("GET", path, headers=headers)
        server.send("POST", "/sign-in", f"token={secret}".encode(), FORM)
        server.send("GET", "/test/item/acme", headers={"Authorization": "Bearer hunter2"})
        server.send("POST", "/sign-in", b"token=hunter2", FORM)

    requests = [event for event in events if event["event"] == "request"]
    assert sorted(
        (event["method"], event["path"], event["status"], event["log_level"]) for event in requests
    ) == sorted(
        [
            ("GET", "/test/item/{item}", 200, "info"),
            ("GET", "/nothing", 404, "info"),
            ("GET", "/healthz", 200, "debug"),
            ("GET", "/v1/statements/{statement_id}", 404, "info"),
            ("POST", "/sign-in", 303, "info"),
            ("GET", "/test/item/acme", 401, "info"),
            ("POST", "/sign-in", 401, "info"),
        ]
    )
    assert {event["token_id"] for event in requests if event["path"] == "/test/item/{item}"} == {made.token.token_id}
    assert all(event["duration_seconds"] >= 0 for event in requests)
    assert {event["event"] for event in events} == {"request", "signed_in", "token_refused", "sign_in_refused"}
    assert secret not in str(events)
    assert "hunter2" not in str(events)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("BILLFOLD_ALLOWED_HOSTS", value)
            for value in ("a b", "https://a.example", "a.example,", "a:80", "10.0.0.0/8")
        ),
        *(("BILLFOLD_TRUSTED_PROXIES", value) for value in ("*", "proxy.example", "10.0.0.1,,10.0.0.2", "10.0.0.0/33")),
    ],
)
def test_hosts_and_proxies_that_cannot_be_are_refused_at_the_start(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name):
        load_settings()


def test_hosts_and_proxies_are_lists(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BILLFOLD_ALLOWED_HOSTS", "Billing.example, 192.0.2.7,::1")
    environment.setenv("BILLFOLD_TRUSTED_PROXIES", "10.0.0.0/8, ::1")

    assert load_settings().allowed_host_names == {"billing.example", "192.0.2.7", "::1"}
