"""The buttons `Try again` and `Release` of a delivery in a real browser: what they say and what they do."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from billfold import clients
from billfold.bills.ingest import ingest
from billfold.jobs.pool import Pool
from billfold.model import Client, DeliveryState
from tests.processes.visitor import Visitor, find_severe
from tests.processes.web_server import run_web_server
from tests.registry import Registry

# A delivery of two line items takes a second.
LIMIT_SECONDS = 60


@pytest.fixture
def client(registry: Registry) -> Client:
    return registry.add("acme")


def bring_in(registry: Registry, client: Client, state: DeliveryState) -> str:
    """Ingest what is in the client's bucket; the page of its delivery, which ends in this state."""
    [outcome] = ingest(
        f"s3://{client.bucket}/exports/", client=client, settings=registry.settings, database=registry.database
    )
    assert outcome.state is state
    return f"/deliveries/{outcome.delivery_id}"


@pytest.fixture
def held_path(registry: Registry, client: Client) -> str:
    """The page of a delivery that is held, because it would leave one of three line items."""
    registry.deliver(client, "1.25", "7", "9")
    bring_in(registry, client, DeliveryState.PUBLISHED)
    registry.deliver(client, "1.25", revision=2)
    return bring_in(registry, client, DeliveryState.HELD)


@pytest.fixture
def pool(registry: Registry) -> Iterator[Pool]:
    """The server's pool, which a test starts when it has seen what waits for it."""
    pool = Pool(settings=registry.settings, database=registry.database, concurrency=1)
    yield pool
    pool.finish(LIMIT_SECONDS)


@pytest.fixture
def address(registry: Registry, listener: socket.socket) -> Iterator[str]:
    with run_web_server(registry.settings, registry.database, listener) as server:
        yield f"http://127.0.0.1:{server.port}"


def state(page: Page) -> Any:
    return page.locator(".head .badge").first


def test_a_failed_delivery_comes_in_once_its_cause_is_gone(visitor: Visitor, registry: Registry, pool: Pool) -> None:
    client = registry.add("acme", max_file_bytes=10)
    registry.deliver(client, "1.25", "7")
    path = bring_in(registry, client, DeliveryState.FAILED)
    page = visitor.visit(path)
    expect(state(page)).to_have_text("failed")

    page.get_by_role("button", name="Try again").click()

    page.wait_for_url(f"**{path}")
    expect(state(page)).to_have_text("pending")
    expect(page.get_by_text(re.compile(r"Requested 20\d\d-.* This page refreshes automatically"))).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    visitor.shoot("delivery-asked")
    assert find_severe(page) == []

    pool.start()
    # Nobody touches the page: it tells by itself what became of the attempt.
    expect(state(page)).to_have_text("failed", timeout=30_000)
    expect(page.get_by_text("1 retry")).to_be_visible()

    clients.change(registry.database, registry.settings, "acme", {"max_file_bytes": ""})
    page.get_by_role("button", name="Try again").click()
    expect(state(page)).to_have_text("published", timeout=30_000)
    page.get_by_role("link", name="See what changed").click()
    expect(page.get_by_role("heading", name="acme 2026-05")).to_be_visible()


def test_a_held_delivery_comes_in_once_somebody_has_read_what_is_lost(
    visitor: Visitor, pool: Pool, held_path: str
) -> None:
    page = visitor.visit(held_path)
    panel = page.get_by_role("region", name="Held")
    expect(panel).to_contain_text("It would leave 1 of 3 rows and 1.25 of 17.25 USD.")
    expect(panel).to_contain_text("acme 2026-05 then has 1 line item of 1.25 USD")
    visitor.shoot("delivery-held")

    said = []
    page.once("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.get_by_role("button", name="Release").click()
    expect(state(page)).to_have_text("held")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Release").click()

    assert said == ["Publish this delivery although it would leave 1 of 3 rows and 1.25 of 17.25 USD?"]
    page.wait_for_url(f"**{held_path}")
    expect(state(page)).to_have_text("pending")
    expect(page.get_by_text("Released: it would leave 1 of 3 rows")).to_be_visible()
    expect(page.get_by_role("button", name="Release")).to_have_count(0)
    visitor.shoot("delivery-released")

    pool.start()
    expect(state(page)).to_have_text("published", timeout=30_000)
    expect(page.get_by_text("published by release, although it would leave 1 of 3 rows")).to_be_visible()
    page.get_by_role("link", name="All deliveries of this month").click()
    expect(page.locator("table.deliveries tbody .badge").filter(has_text="published")).to_have_count(2)
