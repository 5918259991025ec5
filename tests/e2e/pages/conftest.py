"""A real browser for tests of pages; a visitor looks at the module's own fixture `address`."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import run_browser, sign_in
from tests.processes.visitor import DESK, Visitor


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with run_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def page(browser: Browser) -> Iterator[Page]:
    """The one page of the user who owns the home: each new page would start a process, which compiles Plotly again."""
    context = browser.new_context()
    sign_in(context)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def listener() -> Iterator[socket.socket]:
    """Where the servers of all modules listen in turn: on another port the browser would load Plotly again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def visitor(page: Page, address: str) -> Iterator[Visitor]:
    """Somebody at a desk, with the page as it was at first, who has nothing to complain of in the end."""
    page.set_viewport_size(DESK)
    page.emulate_media(media="screen", color_scheme="light")
    visitor = Visitor(page=page, address=address)
    yield visitor
    visitor.leave()
    assert visitor.complaints == []
