"""How fast the pages are with two years of charges: a part of `make bench`, or run `tests.benchmarks.pages`.

PostgreSQL makes 24 months of charges, rolls them up, restates them, and adds 96,000 deliveries of fifty other clients;
`billfold serve` shows them. Each page is asked for several times, warm: over HTTP, which is the server's time, and in
Chromium, which is the time until its charts stand there. Beside it stands the sum of all charges, in the same database
and the same minutes: what a page without the rollup would have to wait for at least.
"""

from __future__ import annotations

import http.client
import os
import statistics
from decimal import Decimal
from uuid import UUID

import psycopg
from playwright.sync_api import Page

from billfold.period import BillingPeriod
from billfold.quality import make_checks
from billfold.store.database import Database
from billfold.store.embedded import start_embedded
from billfold.store.reports.spending import ChargePlace
from billfold.web.forms.charge_cursor import format_charge_cursor
from tests.benchmarks.charges import fill_months, list_months, restate_months
from tests.benchmarks.workbench import fresh_database, parse_options, time_milliseconds, work_folder
from tests.bills.histories import fill_deliveries
from tests.browser import run_browser, sign_in
from tests.processes.web_server import WebServer
from tests.processes.worker_process import start_server

MONTHS = list_months(2025, 24)
# AWS writes a month anew up to three times a day, and for days after its end.
PUBLICATIONS = 60
# A page in the midst of the charges, whose costs are drawn from 0 to 10.
MIDDLE = ChargePlace(cost=Decimal(5), statement_id=0, row_hash=UUID(int=0), occurrence=0, part=0)
SERVER_AIM_MILLISECONDS = 200
SHOWN_AIM_MILLISECONDS = 1000
ASKED = 7
# Pages of deliveries and clients, which have nothing to do with charges.
LISTS = (
    "/deliveries",
    "/deliveries?state=failed",
    "/deliveries?client=client-7",
    "/deliveries?period=2026-05&day=2026-05-20",
    "/clients",
    "/clients/client-7",
)
# Charts say of themselves that they are drawn; a page without any is shown when it is loaded.
_DRAWN = "() => [...document.querySelectorAll('[data-chart]')].every(each => each.dataset.drawn === 'yes')"


def main() -> None:
    """Measure, print and leave nothing behind."""
    options = parse_options(__doc__ or "")
    if not options.charges:
        print("\nthe pages are left out", flush=True)
        return
    with work_folder() as folder:
        conninfo = start_embedded(folder / "home", postgres_version=options.postgres)
        with fresh_database(conninfo, "pages") as fresh:
            cells = fill_months(fresh, MONTHS, options.charges)
            restate_months(fresh, PUBLICATIONS)
            database = Database(conninfo=fresh, reader_conninfo=None, is_embedded=True)
            for number in range(1, len(MONTHS) + 1):
                make_checks(database, statement_id=number)
            baseline = _time_sum(fresh)
            print(
                f"\n{options.charges:,} charges of {len(MONTHS)} months, {cells:,} daily costs;"
                f" the sum over all charges takes {baseline:,.0f} ms"
            )
            with psycopg.connect(fresh) as connection:
                fill_deliveries(connection, client_count=50, month_count=len(MONTHS), deliveries_per_month=80)
            environment = {**os.environ, "DATABASE_URL": fresh, "BILLFOLD_REQUESTS_PER_MINUTE": "100000"}
            with start_server(environment) as (_, server), run_browser() as browser:
                assert server.token
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                sign_in(page.context, server.token)
                for path in [*list_pages(MONTHS), *LISTS]:
                    _print(path, _time_server(server, path), _time_browser(page, server.port, path), baseline)


def list_pages(months: list[BillingPeriod]) -> list[str]:
    """What somebody looks at, from the usual to the costly."""
    span = f"since={months[0]}&until={months[-1]}"
    newest = f"since={months[-1]}&until={months[-1]}"
    return [
        "/",
        f"/costs?{span}",
        f"/costs?{span}&group=account&metric=effective",
        f"/costs?{newest}&group=region&service=Service+3",
        f"/costs?{newest}&group=tag&tag_key=team",
        f"/costs?{span}&group=tag&tag_key=team",
        f"/costs?{span}&tag=team%3Dteam+3",
        f"/costs/charges?until={months[-1]}",
        f"/costs/charges?until={months[-1]}&after={format_charge_cursor(MIDDLE)}",
        "/changes",
        f"/changes?statement={len(months)}&from=1&to={PUBLICATIONS}&by=account",
        f"/changes?metric=effective&page={PUBLICATIONS}",
        "/checks",
    ]


def _time_sum(conninfo: str) -> float:
    with psycopg.connect(conninfo, autocommit=True) as connection:

        def add_up() -> None:
            connection.execute(
                "SELECT billing_currency, sum(billed_cost) FROM billing_usage_fact GROUP BY 1"
            ).fetchall()

        add_up()
        return statistics.median(time_milliseconds(add_up) for _ in range(3))


def _time_server(server: WebServer, path: str) -> float:
    """Milliseconds from the request to the whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)

    def ask() -> None:
        connection.request("GET", path, headers={"Authorization": f"Bearer {server.token}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, f"{path} is answered by {answer.status}"

    ask()
    times = [time_milliseconds(ask) for _ in range(ASKED)]
    connection.close()
    return statistics.median(times)


def _time_browser(page: Page, port: int, path: str) -> float:
    """Milliseconds from going there until everything is drawn; files come from the cache after the first time."""

    def show() -> None:
        page.goto(f"http://127.0.0.1:{port}{path}", wait_until="load")
        page.wait_for_function(_DRAWN)

    show()
    return statistics.median(time_milliseconds(show) for _ in range(ASKED))


def _print(path: str, server: float, shown: float, baseline: float) -> None:
    met = server < SERVER_AIM_MILLISECONDS and shown < SHOWN_AIM_MILLISECONDS
    print(f"  {path}")
    print(
        f"    {server:6.0f} ms on the server, {server / baseline:.3f} of the sum; {shown:6.0f} ms shown:",
        "met" if met else "missed",
        flush=True,
    )


if __name__ == "__main__":
    main()
