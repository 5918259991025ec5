"""Somebody who looks at the dashboard in a real browser: what they see, photograph, and could complain of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import ConsoleMessage, Error, Page, Request, ViewportSize, expect

SCREENSHOTS = Path(__file__).resolve().parents[2] / "screenshots"
PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 900}
_CHARTS_FIT = """[...document.querySelectorAll("[data-chart]")].every(
    (figure) => Number(figure.dataset.width) === figure.querySelector(".chart-area").clientWidth)"""
# A bar of tabs that scrolls hides the last of them.
_WIDTH = """[...document.querySelectorAll(".top nav")].reduce(
    (width, nav) => Math.max(width, innerWidth + nav.scrollWidth - nav.clientWidth),
    document.documentElement.scrollWidth)"""
_KEEP_FOCUSED = """window.focused = [];
    document.addEventListener("focusin", ({ target }) => focused.push(target.id || target.innerText.trim()))"""


# Playwright keeps notes on the object whose methods it calls, which slots would not let it.
@dataclass(kw_only=True)
class Visitor:
    """Somebody with a page; `complaints` holds its console's errors and requests to other hosts than `address`."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", self._catch)
        self.page.on("request", self._notice)

    def leave(self) -> None:
        """Leave the page to the next visitor."""
        self.page.remove_listener("console", self._hear)
        self.page.remove_listener("pageerror", self._catch)
        self.page.remove_listener("request", self._notice)

    def visit(self, path: str) -> Page:
        """The page of a path, with all of its charts."""
        self.page.goto(f"{self.address}{path}", wait_until="load")
        for chart in self.page.locator("[data-chart]").all():
            expect(chart).to_have_attribute("data-drawn", "yes")
        return self.page

    def query(self) -> dict[str, list[str]]:
        """The query of the address where the page is now."""
        return parse_qs(urlsplit(self.page.url).query)

    def shoot(self, name: str) -> None:
        """Photograph the whole page, with TESTS_SCREENSHOTS=1."""
        if os.environ.get("TESTS_SCREENSHOTS") == "1":
            SCREENSHOTS.mkdir(exist_ok=True)
            self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def find_faults(self, path: str, name: str) -> dict[str, object]:
        """What is wrong with any page: wider than a phone, or severe for axe in one of the themes; photographs all.

        The visitor stays on the page, at a desk and in the dark.
        """
        self.page.set_viewport_size(PHONE)
        page = self.visit(path)
        self.shoot(f"{name}-phone")
        width = page.evaluate(_WIDTH)
        page.set_viewport_size(DESK)
        page.wait_for_function(_CHARTS_FIT)
        self.shoot(f"{name}-light")
        light = find_severe(page)
        page.emulate_media(color_scheme="dark")
        self.shoot(f"{name}-dark")
        # All that a theme changes is colours.
        dark = find_severe(page, rules=("color-contrast", "link-in-text-block"))
        found = {"width": width if width != PHONE["width"] else None, "light": light, "dark": dark}
        return {what: fault for what, fault in found.items() if fault}

    def tab_through(self, count: int) -> list[str]:
        """The ids or texts of what gets the focus, one after the other, when the visitor presses Tab this often."""
        self.page.evaluate(_KEEP_FOCUSED)
        for _ in range(count):
            self.page.keyboard.press("Tab")
        focused: list[str] = self.page.evaluate("focused")
        return focused

    def _hear(self, told: ConsoleMessage) -> None:
        if told.type == "error":
            self.complaints.append(told.text)

    def _catch(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _notice(self, request: Request) -> None:
        # What the last visitor's page still loads is none of this one's.
        is_own = self.page.url.startswith(self.address)
        if is_own and not request.url.startswith((self.address, "data:")):
            self.complaints.append(request.url)


def find_severe(page: Page, rules: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """What axe finds serious or critical by all of its rules, or by these."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE_SCRIPT)
    # Without frames and media there is nothing to wait for; only violations are described.
    options = {
        "resultTypes": ["violations"],
        "iframes": False,
        "preload": False,
        **({"runOnly": rules} if rules else {}),
    }
    found = page.evaluate("async (options) => (await axe.run(options)).violations", options)
    severe = [each for each in found if each["impact"] in ("serious", "critical")]
    return [(each["id"], each["nodes"][0]["html"], each["nodes"][0]["failureSummary"]) for each in severe]
