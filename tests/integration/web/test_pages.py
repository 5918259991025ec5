"""What holds for every page: without data it says how to begin, and of a client that there is not all say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.bills.landing import Landing
from tests.processes.pages import Pages
from tests.processes.web_server import Answer, WebServer, run_web_server
from tests.services import NewDatabase

PAGES = ("/", "/changes", "/deliveries", "/jobs", "/checks", "/clients")


@pytest.fixture(scope="module")
def server(shared_landing: Landing) -> Iterator[WebServer]:
    """A server of an empty database."""
    with run_web_server(shared_landing.settings, shared_landing.database) as server:
        yield server


@pytest.fixture(scope="module")
def server_of_acme(shared_landing: Landing, new_database: NewDatabase) -> Iterator[WebServer]:
    """A server of one client without a bill."""
    landing = replace(shared_landing, database=new_database(16))
    landing.execute("INSERT INTO billing_clients (client_id) VALUES ('acme')")
    with run_web_server(landing.settings, landing.database) as server:
        yield server


def get(server: WebServer, path: str) -> Answer:
    """A page as a browser asks for it; redirects are followed."""
    answer = server.send("GET", path, headers={"Accept": "text/html"})
    return get(server, answer.headers["Location"]) if answer.status == 303 else answer


def titles(page: str) -> list[str]:
    """What the page says in place of what it has not got."""
    return re.findall('class="state-title">([^<]+)<', page)


@pytest.mark.parametrize(
    ("path", "title", "command"),
    [
        ("/", "No costs yet", "ingest"),
        ("/changes", "No bills yet", "ingest"),
        ("/deliveries", "No clients yet", "client add"),
        ("/checks", "No bills yet", "ingest"),
        ("/clients", "No clients yet", "client add"),
    ],
)
def test_an_empty_database_says_how_to_begin(server: WebServer, path: str, title: str, command: str) -> None:
    page = get(server, path).body.decode()

    assert titles(page) == [title]
    assert f"<code>billfold {command} " in page
    # Without a chart nobody waits for the library that draws them.
    assert "plotly" not in page


@pytest.mark.parametrize("path", ["/", "/changes", "/checks"])
def test_a_client_without_a_bill_sees_how_to_ingest_its_first(server_of_acme: WebServer, path: str) -> None:
    page = get(server_of_acme, f"{path}?client=acme").body.decode()

    assert "<code>billfold backfill --client acme</code>" in page
    assert '<a href="/clients/acme">' in page


@pytest.mark.parametrize("path", [*PAGES, "/costs/charges?until=2026-05", "/clients/nobody", "/clients/nobody/doctor"])
def test_an_unknown_client_gets_the_same_words_on_every_page(server: WebServer, path: str) -> None:
    answer = get(server, f"{path}{'&' if '?' in path else '?'}client=nobody")

    page = answer.body.decode()
    assert answer.status == 404
    assert "<h1>Page not found</h1>\n  <p>client nobody not found</p>" in page


@pytest.mark.parametrize("path", PAGES)
def test_an_invalid_client_gets_the_same_words_on_every_page(server: WebServer, path: str) -> None:
    answer = get(server, f"{path}?client=%00")

    assert answer.status == 400
    assert "client must be text of at most 300 characters" in answer.body.decode()


def test_files_are_kept_for_good(server: WebServer) -> None:
    [stylesheet] = re.findall('<link rel="stylesheet" href="([^"]+)"', get(server, "/").body.decode())

    first = server.send("GET", stylesheet)
    again = server.send("GET", stylesheet, headers={"If-None-Match": first.headers["ETag"]})

    assert "immutable" in first.headers["Cache-Control"]
    assert (first.status, again.status) == (200, 304)


def test_savings_include_tagged_usage(pages: Pages) -> None:
    assert "No matching charges" in pages.show("/costs?tag=env%3Dnothing-has-it")
    assert "Savings on usage in 2026-05, USD" in pages.show("/costs?tag=env%3Dweb&service=Service01&until=2026-05")
