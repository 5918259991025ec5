"""What an address names must exist, is shown as what it is, and is offered only what can work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from billfold.bills.requests import find_hindrance, request_again
from billfold.cli.output.tables import show_deliveries, show_publications
from billfold.clients import tokens
from billfold.errors import UsageError
from billfold.model import Scope
from billfold.reports.lists import list_deliveries, list_publications
from billfold.selection import Filter
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill, write_delivery
from tests.processes.terminal import console_of
from tests.processes.web_server import Answer, WebServer, run_web_server


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A server of two clients. acme's May is there in two exports, of which one counts; its restatement failed."""

    landing: Landing
    server: WebServer
    token: str
    their_token: str
    counted: UUID
    uncounted: UUID
    failed: UUID
    theirs: UUID

    def get(self, path: str, token: str | None = None) -> Answer:
        headers = {"Accept": "text/html", "Authorization": f"Bearer {token or self.token}"}
        return self.server.send("GET", path, headers=headers)

    def page(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status == 200, answer.body
        return answer.body.decode()


@pytest.fixture(scope="module")
def world(shared_landing: Landing) -> Iterator[World]:
    landing = shared_landing
    counted = landing.ingest(write_bill(landing.root, described("12.25")))
    uncounted = landing.ingest(write_bill(landing.root, described("12.25"), export_path="exports/again"))
    failed = landing.ingest(write_delivery(landing.root, b"no,bill\n1,2\n", revision=2))
    other = replace(landing, root=landing.root.parent / "other").with_client(client_id="globex")
    theirs = other.ingest(write_bill(other.root, described("3"), export_path="exports/theirs"))
    ids = {"counted": counted, "uncounted": uncounted, "failed": failed, "theirs": theirs}
    made = [
        tokens.make(landing.database, name, scopes=[Scope.ADMIN], client_id=client, expires_days=None).secret
        for name, client in (("all", None), ("acme", "acme"))
    ]
    with run_web_server(landing.settings, landing.database) as server:
        known = {name: outcome.delivery_id for name, outcome in ids.items()}
        assert all(known.values())
        yield World(landing=landing, server=server, token=made[0], their_token=made[1], **known)  # type: ignore[arg-type]


NOBODY = UUID("00000000-0000-4000-8000-000000000000")
UNKNOWN = {
    "/changes?statement=9999": "statement 9999 not found",
    "/changes.csv?statement=9999": "statement 9999 not found",
    "/changes?statement=1&from=1&to=9": "statement 1 has no publication 9",
    "/changes?statement=1&from=7": "statement 1 has no publication 7",
    "/changes?client=globex&statement=1": "statement 1 not found",
    "/checks?statement=9999": None,
    "/?client=nobody": "client nobody not found",
    "/costs?client=nobody": "client nobody not found",
    "/costs.csv?client=nobody": "client nobody not found",
    "/costs/charges?client=nobody": "client nobody not found",
    "/changes.csv?client=nobody": "client nobody not found",
    "/checks.csv?client=nobody": "client nobody not found",
    "/deliveries?client=nobody": "client nobody not found",
    f"/deliveries/{NOBODY}": "delivery not found",
    "/clients/nobody": "client not found",
    "/clients/nobody/doctor": None,
    "/clients/nobody/onboarding": None,
    "/clients/nobody/onboarding/template.json": None,
    "/v1/clients/nobody": "client not found",
    "/v1/statements/9999": "statement not found",
    f"/v1/deliveries/{NOBODY}": "delivery not found",
    f"/v1/runs/{NOBODY}": "run not found",
    f"/v1/runs?delivery={NOBODY}": f"delivery {NOBODY} not found",
    "/v1/publications?statement=9999": "statement 9999 not found",
    "/v1/changes?statement=9999": "statement 9999 not found",
    "/v1/changes?statement=1&to_publication=9": "statement 1 has no publication 9",
    "/v1/checks?statement=9999": "statement 9999 not found",
    **{
        f"/v1/{name}?client=nobody": "client nobody not found"
        for name in (
            "statements", "deliveries", "runs", "publications", "checks", "owners", "owners/missing", "freshness",
            "costs", "changes",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_id_is_not_found_in_words_of_its_own(world: World, path: str) -> None:
    answer = world.get(path)
    text = answer.body.decode()

    assert answer.status == 404, text
    assert UNKNOWN[path] is None or UNKNOWN[path] in text
    assert "--" not in re.sub(r"<[^>]*>", "", text.partition("<main")[2])
    assert "billfold statements" not in text


@pytest.mark.parametrize("path", ["/v1/changes?statement=4", "/v1/publications?statement=4", "/changes?statement=4"])
def test_another_clients_statement_is_not_found_either(world: World, path: str) -> None:
    [theirs] = world.landing.query("SELECT statement_id FROM billing_statements WHERE client_id = 'globex'")[0]

    answer = world.get(path.replace("=4", f"={theirs}"), world.their_token)

    assert answer.status == 404
    assert world.get(path.replace("=4", f"={theirs}")).status == 200


def test_known_ids_are_found(world: World) -> None:
    for path in ("/changes?statement=1&from=0&to=1", "/v1/changes?statement=1", f"/v1/runs?delivery={world.counted}"):
        assert world.get(path).status == 200, path


def test_an_ingestion_for_an_unknown_client_is_not_found(world: World) -> None:
    answer = world.server.send(
        "POST",
        "/v1/ingestions",
        b'{"client": "nobody", "key": "exports/"}',
        {"Authorization": f"Bearer {world.token}", "Content-Type": "application/json"},
    )

    assert (answer.status, answer.document["error"]["message"]) == (404, "client not found")


def test_a_statement_that_is_not_counted_is_not_current(world: World) -> None:
    badge = re.compile(r'<span class="badge \w+"[^>]*>(current|not counted)</span>')
    [api] = world.get("/v1/deliveries?client=acme&export=again").document["deliveries"]
    [counted] = world.get("/v1/deliveries?client=acme&export=acme&state=published").document["deliveries"]

    assert badge.findall(world.page(f"/deliveries/{world.counted}")) == ["current"]
    assert badge.findall(world.page(f"/deliveries/{world.uncounted}")) == ["not counted"]
    assert sorted(badge.findall(world.page("/deliveries?client=acme"))) == ["current", "not counted"]
    assert (api["is_current"], api["is_standing"]) == (False, True)
    assert (counted["is_current"], counted["is_standing"]) == (True, True)
    publications = world.get("/v1/publications?client=acme").document["publications"]
    assert {row["export"]: row["is_current"] for row in publications} == {"again": False, "acme": True}
    assert "not counted" in world.page("/changes?client=acme")


def test_the_command_line_stars_counted_statements_alone(world: World) -> None:
    console, output = console_of(200)

    show_deliveries(console, list_deliveries(world.landing.database, Filter(client="acme")))
    show_publications(console, list_publications(world.landing.database, Filter(client="acme")))

    lines = [line.split() for line in output.getvalue().splitlines()]
    assert [line[1] for line in lines if "published*" in line] == ["acme"]
    assert [line for line in lines if "again" in line and "1*" in line] == []
    assert sum(line[-2:] == ["not", "counted"] or "(not" in line for line in lines) == 2


def test_choosing_another_client_on_a_deliverys_page_leads_to_its_deliveries(world: World) -> None:
    page = world.page(f"/deliveries/{world.counted}")

    [action] = re.findall(r'<form class="client" method="get" action="([^"]*)"', page)
    followed = world.page(f"{action}?client=globex")

    assert action == "/deliveries"
    assert f"/deliveries/{world.theirs}" in followed
    assert "<h1>Deliveries" in followed


def test_a_local_folders_delivery_is_not_offered_another_attempt(world: World) -> None:
    page = world.page(f"/deliveries/{world.failed}")
    answer = world.server.send(
        "POST", f"/v1/deliveries/{world.failed}/retry", b"", {"Authorization": f"Bearer {world.token}"}
    )

    assert "/retry" not in page
    assert "which the server does not read" in page
    assert answer.status == 409
    assert "which the server does not read" in answer.document["error"]["message"]


# What keeps another attempt from working, how to take it back, and what is said of it.
HINDRANCES = {
    "is disabled": ("UPDATE billing_clients SET enabled = false", "UPDATE billing_clients SET enabled = true"),
    "is in other-bills": (
        "UPDATE billing_deliveries SET bucket = 'other-bills'",
        "UPDATE billing_deliveries SET bucket = 'acme-bills'",
    ),
    "is gone": (
        "UPDATE billing_deliveries SET error_code = 'source_not_found' WHERE state = 'failed'",
        "UPDATE billing_deliveries SET error_code = 'unknown_format' WHERE state = 'failed'",
    ),
    "is older than the published delivery": (
        "UPDATE billing_deliveries SET delivered_at = '2026-07-01Z' WHERE state = 'published'",
        "UPDATE billing_deliveries SET delivered_at = '2026-05-01Z' WHERE state = 'published'",
    ),
    "is superseded, not failed": (
        "UPDATE billing_deliveries SET state = 'superseded', error_code = NULL, error_message = NULL, reason = 'x'"
        " WHERE state = 'failed'",
        "UPDATE billing_deliveries SET state = 'failed', error_code = 'unknown_format', error_message = 'x',"
        " reason = NULL WHERE state = 'superseded'",
    ),
    "is rolled back, not failed": (
        "UPDATE billing_deliveries SET state = 'rolled_back', error_code = NULL, error_message = NULL, reason = 'x'"
        " WHERE state = 'failed'",
        "UPDATE billing_deliveries SET state = 'failed', error_code = 'unknown_format', error_message = 'x',"
        " reason = NULL WHERE state = 'rolled_back'",
    ),
}


def test_another_attempt_is_refused_where_it_cannot_work(landing: Landing) -> None:
    published = landing.ingest(write_bill(landing.root, described("12.25"))).delivery_id
    failed = landing.ingest(write_delivery(landing.root, b"no,bill\n1,2\n", revision=2)).delivery_id
    assert published
    assert failed
    for table in ("billing_deliveries", "billing_statements"):
        landing.execute(f"UPDATE {table} SET bucket = 'acme-bills'")
    landing.execute(
        "UPDATE billing_clients SET bucket = 'acme-bills', account_id = '111122223333', is_registered = true,"
        " external_id = 'secret-of-acme', role_arn = 'arn:aws:iam::111122223333:role/r'"
    )

    def refusal(delivery_id: UUID) -> str:
        with pytest.raises(UsageError) as refused:
            request_again(delivery_id, settings=landing.settings, database=landing.database)
        return str(refused.value)

    assert "is published, not failed" in refusal(published)
    for complaint, (change, undo) in HINDRANCES.items():
        landing.execute(change)
        assert complaint in refusal(failed)
        assert complaint in str(find_hindrance(failed, settings=landing.settings, database=landing.database))
        landing.execute(undo)
    assert find_hindrance(failed, settings=landing.settings, database=landing.database) is None
    assert request_again(failed, settings=landing.settings, database=landing.database).state == "pending"
