"""Signing in with a real browser: what it sends along, what it keeps to itself, and what it may not do."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect

from billfold.clients import tokens
from billfold.model import Scope
from billfold.settings import load_settings
from billfold.web.gate import COOKIE
from tests.processes.visitor import find_severe
from tests.processes.web_server import run_web_server
from tests.services import NewDatabase


@contextmanager
def run_other_site(target: str) -> Iterator[str]:
    """A page of another site, at its address, with a link to the target and a form that signs out there."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = (
                f'<a href="{target}/costs?by=service">bill</a>'
                f'<form method="post" action="{target}/sign-out"><button>Win a prize</button></form>'
            )
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        # For a browser localhost is another site than 127.0.0.1.
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join(timeout=30)
        server.server_close()


@pytest.fixture(scope="module")
def strangers_page(browser: Browser) -> Iterator[Page]:
    """The page of a browser of nobody's: each further one would be a process that compiles everything again."""
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture
def page(strangers_page: Page) -> Page:
    strangers_page.context.clear_cookies()
    return strangers_page


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_a_person_signs_in_comes_back_and_signs_out(new_database: NewDatabase, page: Page) -> None:
    database = new_database(16)
    secret = tokens.make(database, "person", (Scope.READ,)).secret

    with run_web_server(load_settings(), database) as server:
        address = f"http://127.0.0.1:{server.port}"
        page.goto(f"{address}/costs?by=service")
        expect(page).to_have_title(re.compile("Sign in"))
        assert find_severe(page) == []

        page.get_by_label("Token").fill("bf_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("This token is not valid.")
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{address}/costs?by=service")
        assert page.evaluate("document.cookie") == ""
        [kept] = page.context.cookies()
        assert (kept["name"], kept["httpOnly"], kept["sameSite"]) == (COOKIE, True, "Strict")

        with run_other_site(address) as elsewhere:
            page.goto(elsewhere)
            page.get_by_role("link", name="bill").click()
            expect(page).to_have_url(f"{address}/costs?by=service")
            page.goto(elsewhere)
            page.get_by_role("button", name="Win a prize").click()
            expect(page.locator("body")).to_contain_text("another site")
        page.goto(f"{address}/costs")
        expect(page).to_have_url(f"{address}/costs")

        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{address}/sign-in")
        page.goto(f"{address}/costs")
        expect(page).to_have_title(re.compile("Sign in"))


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_the_owner_of_the_home_opens_the_printed_address_and_nothing_keeps_its_token(
    new_database: NewDatabase, page: Page
) -> None:
    with run_web_server(load_settings(), new_database(16)) as server:
        address = f"http://127.0.0.1:{server.port}"
        asked: list[str] = []
        page.on("request", lambda request: asked.append(f"{request.url} {request.headers.get('referer', '')}"))

        page.goto(f"{address}/changes?token={server.token}")
        expect(page).to_have_url(f"{address}/changes")
        expect(page).to_have_title(re.compile("Changes"))
        page.get_by_role("link", name="Clients").first.click()
        expect(page).to_have_url(f"{address}/clients")
        page.go_back()
        expect(page).to_have_url(f"{address}/changes")

        [kept] = page.context.cookies()
        assert (kept["value"], kept["httpOnly"], kept["sameSite"]) == (server.token, True, "Strict")
        assert [request.split("?")[0] for request in asked if str(server.token) in request] == [f"{address}/changes"]
        assert page.evaluate("performance.getEntriesByType('navigation').map((each) => each.name)") == [
            f"{address}/changes"
        ]

        page.goto(f"{address}/costs?token=bf_wrong")
        expect(page).to_have_url(f"{address}/costs")
        page.context.clear_cookies()
        page.goto(f"{address}/costs?token=bf_wrong")
        expect(page).to_have_url(f"{address}/sign-in?next=%2Fcosts")
