"""A real browser for tests of pages: one that the machine has, else Playwright's own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Error, sync_playwright

from billfold.web.gate import COOKIE
from tests.processes.web_server import HOME_SECRET

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A container has no sandbox and no graphics card, and a browser of a test asks nobody for updates.
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def run_browser() -> Iterator[Browser]:
    """A headless Chromium, closed with all its pages at the end."""
    with sync_playwright() as playwright:
        path = find_browser(playwright.chromium.executable_path)
        assert path, "no Chromium on this machine: `make .venv/.browser` brings one"
        browser = playwright.chromium.launch(executable_path=path, args=list(SWITCHES))
        try:
            yield browser
        finally:
            browser.close()


def sign_in(context: BrowserContext, secret: str = HOME_SECRET) -> None:
    """Let a browser visit servers of this machine as the user who owns the home, or with another token."""
    context.add_cookies([{"name": COOKIE, "value": secret, "domain": "127.0.0.1", "path": "/"}])


def find_browser(own: str) -> str | None:
    """The path of a browser, the machine's before Playwright's `own`."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return found or (own if Path(own).exists() else None)


def _is_there() -> bool:
    """Whether one starts: Playwright's own may lack libraries of the system."""
    try:
        with run_browser():
            return True
    except (AssertionError, Error):
        return False


if __name__ == "__main__":
    sys.exit(0 if _is_there() else 1)
