"""The pages of deliveries and clients in a real browser: problems are highlighted, and every link leads somewhere."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from playwright.sync_api import expect

from billfold.jobs.pool import Pool
from billfold.model import JobState
from billfold.settings import load_settings
from tests.bills.histories import deliver_at, land_history
from tests.bills.landing import Landing
from tests.processes.visitor import Visitor
from tests.processes.web_server import run_web_server
from tests.queued import put_job, put_message
from tests.services import NewDatabase

OURS = "999988887777"
BUS_ARN = f"arn:aws:events:eu-central-1:{OURS}:event-bus/billfold"


@pytest.fixture(scope="module")
def landing(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landing]:
    """A database whose server finds no credentials of AWS's: doctor has to say so, and soon."""
    with pytest.MonkeyPatch.context() as variables:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            variables.delenv(name)
        variables.setenv("AWS_EC2_METADATA_DISABLED", "true")
        variables.setenv("HOME", str(tmp_path_factory.mktemp("empty")))
        variables.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
        variables.setenv("BILLFOLD_HOME", str(tmp_path_factory.mktemp("home")))
        variables.setenv("BILLFOLD_OUR_ACCOUNT_ID", OURS)
        yield Landing.make(new_database(16), load_settings(), tmp_path_factory.mktemp("history") / "bucket")


@pytest.fixture(scope="module")
def history(landing: Landing) -> dict[str, UUID]:
    """Deliveries of the last days; globex is registered, and late."""
    found = land_history(landing)
    landing.execute(
        "UPDATE billing_clients SET is_registered = true, bucket = 'globex-bills', region = 'eu-central-1',"
        " account_id = '111122223333', role_arn = 'arn:aws:iam::111122223333:role/billfold-globex',"
        " external_id = 'between-us' WHERE client_id = 'globex'"
    )
    now = datetime.now(UTC)
    for back, name in enumerate(("held", "failed", "restated", "first"), start=1):
        deliver_at(landing, found[name], now - timedelta(days=back // 2 * 2))
    # Their page does not refresh.
    failure = {"failure_count": 2, "error_code": "source_unavailable", "reason": "S3 does not answer"}
    put_message(landing.database, f"exports/{'a' * 90}/b.csv", due_at=now + timedelta(days=1), **failure)
    put_job(landing.database, "exports/", kind="visit", due_at=now + timedelta(days=1))
    put_message(landing.database, "exports/dead.csv", JobState.DEAD, client_id="globex", **failure)
    deliver_at(landing, found["globex"], now - timedelta(days=9))
    return found


@pytest.fixture(scope="module")
def address(landing: Landing, history: dict[str, UUID], listener: socket.socket) -> Iterator[str]:
    with run_web_server(landing.settings, landing.database, listener) as server:
        yield f"http://127.0.0.1:{server.port}"


def paths(history: dict[str, UUID]) -> dict[str, str]:
    return {
        "deliveries": "/deliveries",
        "delivery": f"/deliveries/{history['restated']}",
        "delivery-failed": f"/deliveries/{history['failed']}",
        "delivery-held": f"/deliveries/{history['held']}",
        "jobs": "/jobs",
        "clients": "/clients",
        "client": "/clients/globex",
        "onboarding": f"/clients/globex/onboarding?notify=eventbridge&arn={BUS_ARN}",
        "onboarding-refused": "/clients/acme/onboarding",
    }


NAMES = sorted(paths(dict.fromkeys(("restated", "failed", "held"), UUID(int=0))))


@pytest.mark.parametrize("name", NAMES)
def test_pages_fit_a_phone_and_are_accessible_in_both_themes(
    visitor: Visitor, history: dict[str, UUID], name: str
) -> None:
    assert visitor.find_faults(paths(history)[name], name) == {}


def test_a_day_of_the_calendar_leads_to_what_came(visitor: Visitor, history: dict[str, UUID]) -> None:
    page = visitor.visit("/deliveries?client=acme")
    day = page.get_by_role("link", name=re.compile("1 failed, 1 published"))
    expect(day).to_have_attribute("title", re.compile("1 failed, 1 published"))

    day.click()
    page.wait_for_url("**day=**")
    listed = page.locator("table.deliveries tbody tr")
    expect(listed).to_have_count(2)
    listed.filter(has_text="failed").get_by_role("link").click()
    page.wait_for_url(f"**/deliveries/{history['failed']}")
    expect(page.get_by_text("What to do:")).to_be_visible()

    # Another client has no such delivery.
    page.get_by_label("Client", exact=True).select_option("globex")
    page.wait_for_url("**/deliveries?client=globex")
    expect(listed).to_have_count(1)


def test_filters_of_the_list_stay_in_the_address(visitor: Visitor) -> None:
    page = visitor.visit("/deliveries")
    page.get_by_role("link", name="Skip the calendar").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "f-export"

    page.get_by_label("State", exact=True).select_option("held")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**state=held**")

    assert visitor.query() == {"state": ["held"]}
    expect(page.locator("table.deliveries tbody tr")).to_have_count(1)
    page.get_by_label("Client", exact=True).select_option("globex")
    page.wait_for_url("**client=globex**")
    assert visitor.query() == {"client": ["globex"], "state": ["held"]}
    expect(page.get_by_text("No matching deliveries")).to_be_visible()
    page.get_by_role("link", name="Remove the filter State held").click()
    expect(page.locator("table.deliveries tbody tr")).to_have_count(1)


def test_a_job_is_tried_at_once_or_canceled_once_somebody_is_sure(visitor: Visitor) -> None:
    page = visitor.visit("/jobs?client=globex")
    listed = page.locator("table.jobs tbody tr")
    expect(listed.locator(".badge")).to_have_text("dead")

    page.get_by_role("button", name=re.compile("Try job .* now")).click()
    expect(listed.locator(".badge")).to_have_text("waiting")
    expect(listed).to_contain_text("when a worker is free")
    assert visitor.query() == {"client": ["globex"]}

    said = []
    page.once("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.get_by_role("button", name="Cancel").click()
    expect(listed).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Nothing waits", exact=True)).to_be_visible()
    assert re.fullmatch(r"Cancel job \d+\? It can be requested or announced again\.", said[0])


def test_a_client_leads_to_what_it_deploys(visitor: Visitor) -> None:
    page = visitor.visit("/clients")

    page.get_by_role("link", name="globex").click()
    page.get_by_role("link", name="Template and commands").first.click()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="CloudFormation template").click()

    assert downloading.value.suggested_filename == "globex.json"
    assert "between-us" in downloading.value.path().read_text()
    assert "between-us" not in page.content()


@pytest.fixture
def _pool(landing: Landing) -> Iterator[None]:
    """A pool that works on the queue, as the server's does."""
    pool = Pool(settings=landing.settings, database=landing.database, concurrency=1)
    pool.start()
    yield
    pool.finish(60)


@pytest.mark.usefixtures("_pool")
def test_a_button_runs_doctor_and_the_page_shows_its_results(visitor: Visitor) -> None:
    page = visitor.visit("/clients/globex")

    page.get_by_role("button", name="Run doctor").click()
    page.wait_for_url("**/clients/globex/doctor")

    expect(page.get_by_text(re.compile(r"took [\d.]+ m?s"))).to_be_visible(timeout=60_000)
    expect(page.locator("table.probes tbody tr").first.locator(".badge")).to_have_text("failed")
    assert visitor.find_faults("/clients/globex/doctor", "doctor") == {}
