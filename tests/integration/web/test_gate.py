"""The gate of the server: what tokens open, for whom and for how long, and what stays closed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from urllib.parse import urlencode

import pytest
import structlog
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import HTTPConnection

from billfold import clients
from billfold.app import Billfold
from billfold.clients import tokens
from billfold.model import Scope
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.web import create_app
from billfold.web.access import AdminAccess, IngestAccess, ReadAccess
from billfold.web.gate import COOKIE, KEPT_SECONDS, OPEN_PATHS, STATIC_PREFIX, AccessFinder
from billfold.web.home_token import HomeToken
from billfold.web.sign_in import local_path
from tests.bills.landing import Landing
from tests.processes.web_server import HOME_SECRET, HOME_TOKEN, Answer, WebServer, run_app

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}
_SOURCES = count(1)


def make_app(settings: Settings, database: Database, *, home_token: HomeToken | None = None) -> FastAPI:
    """The application and a route for each scope, which tells whose data it would show."""
    app = create_app(Billfold(settings, database=database), home_token=home_token)

    @app.get("/test/read")
    def read(access: ReadAccess, client: str | None = None, limit: int = 1) -> dict[str, str | None]:
        return {"client": access.narrow(client)}

    @app.post("/test/ingest")
    def ingest(access: IngestAccess) -> dict[str, str | None]:
        return {"client": access.client_id}

    @app.post("/test/admin")
    def administer(access: AdminAccess) -> dict[str, str | None]:
        return {"client": access.client_id}

    return app


@pytest.fixture(scope="module")
def running(shared_landing: Landing) -> Iterator[WebServer]:
    """One server for all tests that only ask: making one takes longer than most of them."""
    app = make_app(shared_landing.settings, shared_landing.database, home_token=HOME_TOKEN)
    with run_app(app) as server:
        yield server


@pytest.fixture
def database(shared_landing: Landing) -> Iterator[Database]:
    """A database without tokens and clients."""
    yield shared_landing.database
    for table in ("billing_tokens", "billing_clients"):
        execute(shared_landing.database, f"DELETE FROM {table}")


@pytest.fixture
def server(running: WebServer, database: Database) -> WebServer:
    """The server as a test asks it that comes from an address of its own: failures are counted for each address."""
    return replace(running, source=f"127.0.1.{next(_SOURCES)}")


def make(database: Database, *scopes: Scope, client: str | None = None, name: str = "mine") -> str:
    return tokens.make(database, name, scopes or (Scope.READ,), client_id=client).secret


def execute(database: Database, statement: str) -> list[tuple[object, ...]]:
    with connect(database.conninfo) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def cookie(secret: str) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={secret}"}


def sign_in(server: WebServer, secret: str, headers: Mapping[str, str] | None = None, **fields: str) -> Answer:
    body = urlencode({"token": secret, **fields}).encode()
    return server.send("POST", "/sign-in", body, {**FORM, **(headers or {})})


ALLOWED = {
    Scope.READ: {"/test/read"},
    Scope.INGEST: {"/test/ingest"},
    Scope.ADMIN: {"/test/read", "/test/ingest", "/test/admin"},
}


def test_without_a_token_nobody_reads_whether_one_was_ever_made_or_not(server: WebServer, database: Database) -> None:
    for name in ("one", "two"):
        for method, path in (("GET", "/test/read"), ("POST", "/test/ingest"), ("POST", "/test/admin")):
            assert server.send(method, path).status == 401
        make(database, name=name)


def test_the_homes_token_may_do_everything_beside_tokens_that_were_made(server: WebServer, database: Database) -> None:
    for name in ("one", "two"):
        for method, path in (("GET", "/test/read"), ("POST", "/test/ingest"), ("POST", "/test/admin")):
            assert server.ask(method, path, headers=bearer(HOME_SECRET)) == (200, {"client": None})
        assert server.ask("GET", "/test/read", headers=cookie(HOME_SECRET)) == (200, {"client": None})
        make(database, name=name)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "Via"])
def test_the_homes_token_does_not_come_through_a_proxy(server: WebServer, header: str) -> None:
    headers = {**bearer(HOME_SECRET), header: "127.0.0.1"}

    assert server.send("GET", "/test/read", headers=headers).status == 401
    assert (
        server.send("GET", f"/costs?token={HOME_SECRET}", headers={header: "127.0.0.1"}).headers["Set-Cookie"] is None
    )


def test_the_homes_token_is_not_taken_under_another_name(settings: Settings, database: Database) -> None:
    ours = settings.model_copy(update={"allowed_hosts": "billfold.example"})

    with run_app(make_app(ours, database, home_token=HOME_TOKEN)) as server:
        named = {**bearer(HOME_SECRET), "Host": "billfold.example"}
        assert server.send("GET", "/test/read", headers=named).status == 401
        assert server.send("GET", "/test/read", headers=bearer(HOME_SECRET)).status == 200


def test_a_server_that_others_reach_does_not_know_the_homes_token(settings: Settings, database: Database) -> None:
    with run_app(make_app(settings, database)) as server:
        assert server.send("GET", "/test/read", headers=bearer(HOME_SECRET)).status == 401


@pytest.mark.parametrize(
    ("asked", "led_to"),
    [
        ("/?token={}", "/"),
        ("/costs?by=day&token={}&client=a%20b", "/costs?by=day&client=a+b"),
        ("/costs?token=old&token={}", "/costs"),
        ("/sign-in?token={}", "/"),
        ("//evil.example/?token={}", "/"),
        ("/%5Cevil.example/?token={}", "/%5Cevil.example/"),
    ],
)
def test_an_address_with_the_homes_token_becomes_a_cookie_and_an_address_without_it(
    server: WebServer, asked: str, led_to: str
) -> None:
    answer = server.send("GET", asked.format(HOME_SECRET), headers=PAGE)

    assert (answer.status, answer.headers["Location"]) == (303, led_to)
    assert answer.headers["Set-Cookie"].startswith(f"{COOKIE}={HOME_SECRET}; HttpOnly")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.body == b""


def test_an_address_with_a_wrong_token_leads_to_the_page_to_sign_in_without_it(
    server: WebServer, database: Database
) -> None:
    made = make(database)

    for secret in ("wrong", made, ""):
        answer = server.send("GET", f"/costs?by=day&token={secret}", headers=PAGE)
        assert (answer.status, answer.headers["Location"]) == (303, "/sign-in?next=%2Fcosts%3Fby%3Dday")
        assert answer.headers["Set-Cookie"] is None
    statuses = [server.send("GET", "/?token=wrong").status for _ in range(8)]
    assert statuses == [303] * 7 + [429]


@pytest.mark.parametrize("path", ["/v1/costs", "/metrics", "/static/billfold.css", "/healthz"])
def test_programs_send_no_token_in_an_address(server: WebServer, path: str) -> None:
    assert server.send("GET", f"{path}?token={HOME_SECRET}").headers["Set-Cookie"] is None


def test_no_log_event_holds_a_token(server: WebServer) -> None:
    with structlog.testing.capture_logs() as events:
        server.send("GET", f"/costs?token={HOME_SECRET}", headers=PAGE)
        server.send("GET", f"/?token={HOME_SECRET[:-1]}x", headers=PAGE)
        server.send("GET", "/test/read", headers=bearer(HOME_SECRET))
        server.send("GET", f"//x?token={HOME_SECRET}")

    assert events
    assert HOME_SECRET[:20] not in repr(events)


def test_every_route_but_the_named_ones_needs_a_token(settings: Settings, database: Database) -> None:
    make(database)
    app = create_app(Billfold(settings, database=database))
    routes = [
        (method, re.sub(r"\{[^}]*\}", "1", route.path))
        for route in iter_route_contexts(app.routes)
        for method in sorted(getattr(route, "methods", None) or {"GET"})
    ]
    asked = [(method, path) for method, path in routes if path not in OPEN_PATHS and not path.startswith(STATIC_PREFIX)]

    with run_app(app) as server:
        answers = {(method, path): server.send(method, path) for method, path in [*asked, ("GET", "/"), ("GET", "/no")]}
        opened = {(method, path): server.send(method, path).status for method, path in routes if path in OPEN_PATHS}

    assert ("GET", "/v1/openapi.json") in answers
    for route, answer in answers.items():
        assert answer.status == 401, route
        assert answer.headers["WWW-Authenticate"] == "Bearer", route
        assert route[0] == "HEAD" or answer.error_code == "unauthorized", route
    assert opened == {
        ("GET", "/healthz"): 200,
        ("GET", "/readyz"): 200,
        ("GET", "/sign-in"): 200,
        ("POST", "/sign-in"): 401,
        ("POST", "/sign-out"): 303,
        ("POST", "/v1/events/eventbridge"): 404,
    }


@pytest.mark.parametrize(
    "path", ["/healthz/", "//healthz", "/static/../test/read", "/sign-in/../test/read", "/Healthz"]
)
def test_what_only_looks_like_an_open_path_is_none(server: WebServer, database: Database, path: str) -> None:
    make(database)

    assert server.send("GET", path).status in (401, 404)
    assert b"client" not in server.send("GET", path).body


def test_the_header_and_the_cookie_open_alike(server: WebServer, database: Database) -> None:
    secret = make(database)

    assert server.ask("GET", "/test/read", headers=bearer(secret)) == (200, {"client": None})
    assert server.ask("GET", "/test/read", headers={"Authorization": f"bearer {secret}"})[0] == 200
    assert server.ask("GET", "/test/read", headers=cookie(secret)) == (200, {"client": None})


@pytest.mark.parametrize(
    "headers", [bearer("bf_" + "A" * 43), bearer("nothing"), cookie("bf_" + "A" * 43), {"Authorization": "Basic YTpi"}]
)
def test_a_token_that_is_none_opens_nothing(server: WebServer, database: Database, headers: dict[str, str]) -> None:
    make(database)

    answer = server.send("GET", "/test/read", headers=headers)

    assert (answer.status, answer.error_code) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_revoked_token_opens_nothing(settings: Settings, database: Database) -> None:
    secret = make(database)
    tokens.revoke(database, "mine")

    with run_app(make_app(settings, database)) as server:
        assert server.send("GET", "/test/read", headers=bearer(secret)).status == 401


def test_a_server_that_saw_a_token_forgets_it_within_seconds(settings: Settings, database: Database) -> None:
    now = 0.0
    finder = AccessFinder(Billfold(settings, database=database), clock=lambda: now)
    secret = make(database)
    asked = HTTPConnection(
        {"type": "http", "headers": [(b"host", b"localhost:8080"), (b"authorization", f"Bearer {secret}".encode())]}
    )
    assert finder.find(asked) is not None
    tokens.revoke(database, "mine")
    assert finder.find(asked) is not None
    now += KEPT_SECONDS

    assert finder.find(asked) is None


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_allows_what_it_names(server: WebServer, database: Database, scope: Scope) -> None:
    secret = make(database, scope)

    answers = {
        path: server.send(method, path, headers=bearer(secret))
        for method, path in (("GET", "/test/read"), ("POST", "/test/ingest"), ("POST", "/test/admin"))
    }

    assert {path for path, answer in answers.items() if answer.status == 200} == ALLOWED[scope]
    assert {answer.error_code for answer in answers.values() if answer.status == 403} <= {"forbidden"}
    assert {answer.status for answer in answers.values()} <= {200, 403}


def test_a_clients_token_sees_no_other_client(server: WebServer, database: Database, settings: Settings) -> None:
    clients.register(database, settings, {"client_id": "acme", "bucket": "acme-bills", "account_id": "111122223333"})
    secret = make(database, client="acme")

    def ask(path: str) -> Answer:
        return server.send("GET", path, headers=bearer(secret))

    assert ask("/test/read").document == {"client": "acme"}
    assert ask("/test/read?client=acme").document == {"client": "acme"}
    for other in ("globex", "", "ACME", "acme%20"):
        answer = ask(f"/test/read?client={other}")
        assert (answer.status, answer.error_code) == (403, "forbidden"), other


def test_a_browser_is_led_to_the_page_where_it_signs_in(server: WebServer, database: Database) -> None:
    make(database)

    led = server.send("GET", "/test/read?client=acme&by=day", headers=PAGE)
    told = server.send("POST", "/test/ingest", headers=PAGE)

    assert led.status == 303
    assert led.headers["Location"] == "/sign-in?next=%2Ftest%2Fread%3Fclient%3Dacme%26by%3Dday"
    assert told.status == 401


def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_do_not_get(
    server: WebServer, database: Database
) -> None:
    secret = make(database)

    answer = sign_in(server, f" {secret}\n", next="/test/read?by=day")
    secure = sign_in(server, secret, {"X-Forwarded-Proto": "https"})

    assert (answer.status, answer.headers["Location"]) == (303, "/test/read?by=day")
    value, *attributes = answer.headers["Set-Cookie"].split("; ")
    assert value == f"{COOKIE}={secret}"
    assert {"HttpOnly", "SameSite=strict", "Path=/"} < set(attributes)
    assert "Secure" not in attributes
    assert "Secure" in secure.headers["Set-Cookie"].split("; ")
    assert server.send("GET", "/sign-in?next=/test/read", headers=cookie(secret)).headers["Location"] == "/test/read"


def test_a_link_on_another_site_finds_who_is_signed_in(server: WebServer, database: Database) -> None:
    secret = make(database)

    arrived = server.send("GET", "/sign-in?next=/test/read", headers={"Sec-Fetch-Site": "cross-site"})
    delay, address = arrived.headers["Refresh"].split("; url=")
    back = server.send("GET", address, headers={**cookie(secret), "Sec-Fetch-Site": "same-origin"})
    stranger = server.send("GET", address, headers={"Sec-Fetch-Site": "cross-site"})

    assert (arrived.status, delay) == (200, "0")
    assert (back.status, back.headers["Location"]) == (303, "/test/read")
    assert (stranger.status, stranger.headers["Refresh"]) == (200, None)


def test_a_cookie_that_opens_nothing_is_taken_away(server: WebServer, database: Database) -> None:
    secret = make(database)

    stale = server.send("GET", "/test/read", headers={**cookie("bf_" + "A" * 43), **PAGE})
    wrong_header = server.send("GET", "/test/read", headers={**cookie(secret), **bearer("wrong")})

    assert stale.status == 303
    assert "Max-Age=0" in stale.headers["Set-Cookie"]
    assert (wrong_header.status, wrong_header.headers["Set-Cookie"]) == (401, None)


def test_a_token_that_is_none_signs_nobody_in(server: WebServer, database: Database) -> None:
    make(database)

    answer = sign_in(server, "bf_" + "A" * 43, next="/test/read")

    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers
    assert b"This token is not valid." in answer.body
    assert b'value="/test/read"' in answer.body
    assert b"bf_AAA" not in answer.body


def test_signing_out_takes_the_cookie_away(server: WebServer, database: Database) -> None:
    answer = server.send("POST", "/sign-out", headers=cookie(make(database)))

    assert (answer.status, answer.headers["Location"]) == (303, "/sign-in")
    assert f'{COOKIE}=""; ' in answer.headers["Set-Cookie"]
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "target", ["/", "/costs?by=day&client=a%20b", "/a//b", "/costs#top", "/a?next=https://x.example"]
)
def test_one_comes_back_to_a_path_of_this_server(target: str) -> None:
    assert local_path(target) == target


@pytest.mark.parametrize(
    "target",
    [
        *(
            "",
            "costs",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
        ),
        *(
            "/a\r\nSet-Cookie: a=b",
            "javascript:alert(1)",
            " /costs",
            "/a\\b",
            "/sign-in?next=/",
            "/sign-out",
            "/" * 2001,
        ),
        "/ä",
    ],
)
def test_one_never_comes_back_to_another_place(target: str) -> None:
    assert local_path(target) == "/"


def test_what_signs_in_is_not_shown_as_markup(server: WebServer, database: Database) -> None:
    make(database)

    page = server.send("GET", "/sign-in?" + urlencode({"next": '/"><script>alert(1)</script>'}))

    assert page.status == 200
    assert b"<script>alert" not in page.body
    assert b"next" in page.body


def test_too_many_tokens_that_are_none_are_told_to_wait_and_others_are_not(
    server: WebServer, database: Database
) -> None:
    secret = make(database)
    wrong = bearer("bf_" + "A" * 43)

    statuses = [server.send("GET", "/test/read", headers=wrong).status for _ in range(11)]
    last = sign_in(server, "wrong")

    assert statuses == [401] * 10 + [429]
    assert (last.status, last.error_code) == (429, "too_many_requests")
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    assert server.send("GET", "/test/read", headers=bearer(secret)).status == 200


def test_failures_fill_an_addresss_share_and_ask_postgresql_no_more(settings: Settings, database: Database) -> None:
    secret = make(database)
    fresh = make(database, name="fresh")
    few = settings.model_copy(update={"requests_per_minute": 12})

    with run_app(make_app(few, database, home_token=HOME_TOKEN)) as server:
        assert server.send("GET", "/test/read", headers=bearer(secret)).status == 200
        failed = [server.send("GET", "/test/read", headers=bearer(f"bf_{'A' * 43}")).status for _ in range(14)]
        unknown = server.send("GET", "/test/read", headers=bearer(fresh))
        bare = server.send("GET", "/test/read")
        known = [server.send("GET", "/test/read", headers=bearer(each)).status for each in (secret, HOME_SECRET)]

    assert failed == [401] * 10 + [429] * 4
    assert (unknown.status, bare.status) == (429, 429)
    assert 1 <= int(unknown.headers["Retry-After"]) <= 60
    assert known == [200, 200]
