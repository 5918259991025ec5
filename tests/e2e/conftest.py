"""What tests of the whole may use: databases on a server of the session's own, and a real browser.

A visitor looks at the module's own fixture `address`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.browser import run_browser, sign_in
from tests.integration.conftest import new_database as new_database
from tests.processes.visitor import DESK, Visitor


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with run_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """The browser of the user who owns the home, for all tests of a module: it loads Plotly once."""
    context = browser.new_context(viewport=DESK)
    sign_in(context)
    yield context
    context.close()


@pytest.fixture
def visitor(context: BrowserContext, address: str) -> Iterator[Visitor]:
    """Somebody who has nothing to complain of in the end."""
    visitor = Visitor(page=context.new_page(), address=address)
    yield visitor
    visitor.page.close()
    assert visitor.complaints == []
