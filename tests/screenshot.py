"""Photograph the dashboard with the demo's bills, for the README: `make screenshot`."""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import Browser, ViewportSize

from billfold.demo import open_demo
from billfold.log import configure_logging
from billfold.settings import load_settings
from tests.browser import run_browser, sign_in
from tests.folders import short_folder
from tests.processes.web_server import run_web_server

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "costs.png"
VIEWPORT: ViewportSize = {"width": 1280, "height": 1200}
MARGIN = 32
LINE_ITEMS = 50_000
LIMIT_BYTES = 200_000


def main() -> None:
    """Run the demo in a home that is thrown away, and write the picture."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--line-items", type=int, default=LINE_ITEMS, help="of each of the demo's four bills")
    options.add_argument("--output", type=Path, default=PICTURE)
    given = options.parse_args()
    with short_folder() as home:
        settings = load_settings().model_copy(update={"home": home, "log_level": "error"})
        configure_logging(settings)
        with (
            open_demo(settings, line_items=given.line_items, on_step=print) as demo,
            run_web_server(demo.billfold.settings, demo.billfold.database) as server,
            run_browser() as browser,
        ):
            given.output.parent.mkdir(parents=True, exist_ok=True)
            given.output.write_bytes(photograph(browser, f"http://127.0.0.1:{server.port}/?metric=effective"))
    size = given.output.stat().st_size
    print(f"{given.output}: {size:,} bytes")
    assert size <= LIMIT_BYTES, "the picture is too large for a README"


def photograph(browser: Browser, address: str) -> bytes:
    """The page in light colours, down to its first chart, once that is drawn."""
    context = browser.new_context(viewport=VIEWPORT, color_scheme="light", reduced_motion="reduce", locale="en-GB")
    sign_in(context)
    page = context.new_page()
    page.goto(address, wait_until="networkidle")
    page.locator(".js-plotly-plot .bars").first.wait_for()
    chart = page.locator(".js-plotly-plot").first.bounding_box()
    assert chart
    height = chart["y"] + chart["height"] + MARGIN
    return page.screenshot(
        animations="disabled", clip={"x": 0, "y": 0, "width": VIEWPORT["width"], "height": height}, full_page=True
    )


if __name__ == "__main__":
    main()
