"""The button `Try again` of a failed delivery in a real browser: asked for, failed once more, mended, published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from billfold import clients, tokens
from billfold.asked import AskedWorker
from billfold.ingest import ingest
from billfold.model import Client, DeliveryState, Scope
from tests.e2e.test_dashboard import Visitor, browser, context, find_grave, shoot, visitor
from tests.integration.conftest import aws, database, local_aws, registry
from tests.registry import Registry
from tests.web_server import run_web_server

# Fixtures of other tests, which pytest finds by their names.
__all__ = ["aws", "browser", "context", "database", "local_aws", "registry", "visitor"]

# A delivery of two line items takes a second.
LIMIT_SECONDS = 60
DATA_FILE = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"


@pytest.fixture
def client(registry: Registry) -> Client:
    return registry.add("acme")


def fail(registry: Registry, client: Client) -> str:
    """Ingest what stands in the client's bucket; the page of its delivery, which fails."""
    [outcome] = ingest(
        f"s3://{client.bucket}/exports/", client=client, settings=registry.settings, database=registry.database
    )
    assert outcome.state is DeliveryState.FAILED
    return f"/deliveries/{outcome.delivery_id}"


@pytest.fixture
def path(registry: Registry, client: Client) -> str:
    """The page of a delivery that failed, because its file is damaged."""
    registry.deliver(client, "1.25", "7")
    assert client.bucket
    registry.aws.put(client.bucket, DATA_FILE, b"damaged")
    return fail(registry, client)


@pytest.fixture
def worker(registry: Registry) -> Iterator[AskedWorker]:
    """The server's worker, which a test starts when it has seen what waits for it."""
    worker = AskedWorker(settings=registry.settings, database=registry.database, concurrency=1)
    yield worker
    worker.finish(LIMIT_SECONDS)


@pytest.fixture
def address(registry: Registry) -> Iterator[str]:
    with run_web_server(registry.settings, registry.database) as server:
        yield f"http://127.0.0.1:{server.port}"


def state(page: Page) -> Any:
    return page.locator(".head .badge").first


def test_a_failed_delivery_comes_in_once_its_cause_is_gone(
    visitor: Visitor, registry: Registry, worker: AskedWorker
) -> None:
    client = registry.add("acme", max_file_bytes=10)
    registry.deliver(client, "1.25", "7")
    path = fail(registry, client)
    page = visitor.visit(path)
    expect(state(page)).to_have_text("failed")

    page.get_by_role("button", name="Try again").click()

    page.wait_for_url(f"**{path}")
    expect(state(page)).to_have_text("pending")
    expect(page.get_by_text(re.compile(r"Asked for 20\d\d-.* This page looks again by itself"))).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    shoot(visitor, "delivery-asked")
    assert find_grave(page) == []

    worker.start()
    # Nobody touches the page: it tells by itself what became of the attempt.
    expect(state(page)).to_have_text("failed", timeout=30_000)
    expect(page.get_by_text("tried again once")).to_be_visible()

    clients.change(registry.database, registry.settings, "acme", {"max_file_bytes": ""})
    page.get_by_role("button", name="Try again").click()
    expect(state(page)).to_have_text("published", timeout=30_000)
    page.get_by_role("link", name="What it moved").click()
    expect(page.get_by_role("heading", name="acme 2026-05")).to_be_visible()


def test_a_mended_file_comes_in_as_another_delivery(
    visitor: Visitor, registry: Registry, client: Client, worker: AskedWorker, path: str
) -> None:
    page = visitor.visit(path)
    registry.deliver(client, "1.25", "7")

    page.get_by_role("button", name="Try again").click()
    worker.start()

    expect(state(page)).to_have_text("superseded", timeout=30_000)
    expect(page.get_by_text("it was replaced at its key before it was read")).to_be_visible()
    page.get_by_role("link", name="All of this month").click()
    expect(page.locator("table.deliveries tbody .badge", has_text="published")).to_have_count(1)


def test_who_may_only_read_is_shown_no_button(visitor: Visitor, registry: Registry, path: str) -> None:
    reader = tokens.make(registry.database, "reader", [Scope.READ]).secret
    owner = tokens.make(registry.database, "owner", [Scope.READ, Scope.INGEST]).secret

    buttons = {}
    for name, secret in (("reader", reader), ("owner", owner)):
        page = visitor.visit(f"/sign-in?next={path}")
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"**{path}")
        buttons[name] = page.get_by_role("button", name="Try again").count()
        page.get_by_role("button", name="Sign out").click()

    assert buttons == {"reader": 0, "owner": 1}
