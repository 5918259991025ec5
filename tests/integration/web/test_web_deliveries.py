"""The pages of deliveries: who is late, what came when, what became of it, and whose it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from billfold.clients import tokens
from billfold.model import Scope
from tests.bills.histories import deliver_at, land_history
from tests.bills.landing import Landing
from tests.processes.web_server import WebServer, run_web_server
from tests.services import CopyDatabase, NewDatabase, copy_of, make_shared_landing


@pytest.fixture(scope="module")
def landed(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> tuple[Landing, dict[str, UUID]]:
    """What is landed once for all tests; those that change it work on a copy."""
    landing = make_shared_landing(new_database, tmp_path_factory)
    return landing, land_history(landing)


@pytest.fixture
def history(landed: tuple[Landing, dict[str, UUID]]) -> dict[str, UUID]:
    return landed[1]


@pytest.fixture
def copy(landed: tuple[Landing, dict[str, UUID]], copy_database: CopyDatabase) -> Landing:
    return replace(landed[0], database=copy_database(landed[0].database))


@pytest.fixture
def server(copy: Landing) -> Iterator[WebServer]:
    with run_web_server(copy.settings, copy.database) as server:
        yield server


@pytest.fixture(scope="module")
def looked_at(landed: tuple[Landing, dict[str, UUID]]) -> Landing:
    """The same for all tests that only look, with tokens of their own."""
    return replace(landed[0], database=copy_of(landed[0].database))


@pytest.fixture(scope="module")
def reading(looked_at: Landing) -> Iterator[WebServer]:
    with run_web_server(looked_at.settings, looked_at.database) as server:
        yield server


def get(server: WebServer, path: str, token: str | None = None, *, status: int = 200) -> str:
    """A page as a browser asks for it."""
    headers = {"Accept": "text/html", **({"Authorization": f"Bearer {token}"} if token else {})}
    answer = server.send("GET", path, headers=headers)
    assert answer.status == status, answer.body
    return answer.body.decode()


def shown(page: str) -> list[str]:
    """The ids of the deliveries that the list links to, in its order."""
    _, _, listed = page.partition('id="list"')
    return re.findall(r'href="/deliveries/([0-9a-f-]{36})"', listed)


def test_list_shows_what_the_filters_of_its_address_let_through(reading: WebServer, history: dict[str, UUID]) -> None:
    everything = [str(history[name]) for name in ("held", "failed", "restated", "first", "globex")]

    assert shown(get(reading, "/deliveries")) == everything
    assert shown(get(reading, "/deliveries?client=acme")) == everything[:4]
    assert shown(get(reading, "/deliveries?client=&export=&period=&state=failed&day=")) == [str(history["failed"])]
    assert shown(get(reading, "/deliveries?period=2026-05&export=acme&day=2026-05-28")) == everything[1:]
    assert shown(get(reading, "/deliveries?day=2026-05-29")) == everything[:1]
    assert shown(get(reading, "/deliveries?period=2026-04")) == []


@pytest.mark.parametrize(
    "query",
    [
        "state=lost",
        "day=yesterday",
        "day=0001-01-01",
        "until=2026-13-01",
        "until=9999-12-30",
        "period=2026",
        "cursor=x",
    ],
)
def test_an_invalid_query_of_the_list_is_an_error(reading: WebServer, query: str) -> None:
    page = get(reading, f"/deliveries?{query}", status=400)

    assert query.partition("=")[0] in page or "month" in page


def test_pages_of_the_list_hold_every_delivery_once(
    reading: WebServer, history: dict[str, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billfold.web.pages.deliveries.PAGE_SIZE", 2)

    found, path = [], "/deliveries?state="
    while path:
        page = get(reading, path)
        found += shown(page)
        older = re.search(r'href="([^"#]+)#list" rel="next"', page)
        path = older[1].replace("&amp;", "&") if older else ""

    assert len(found) == len(set(found)) == 5
    assert 'rel="prev">Newest' in page


def test_the_calendar_shows_the_most_severe_state_of_each_day(
    copy: Landing, server: WebServer, history: dict[str, UUID]
) -> None:
    for name, day in (("first", "2026-05-01"), ("restated", "2026-05-02"), ("failed", "2026-05-02")):
        deliver_at(copy, history[name], datetime.fromisoformat(f"{day}T23:59:59Z"))

    page = get(server, "/deliveries?until=2026-06-04")

    calendar = page.partition('id="calendar"')[2].partition('id="list"')[0]
    days = dict(re.findall(r'aria-label="(acme, [^"]+)"\s+href="([^"]+)"', calendar))
    assert set(days) == {
        "acme, 2026-05, 2026-05-01: 1 published",
        "acme, 2026-05, 2026-05-02: 1 failed, 1 published",
        "acme, 2026-05, 2026-05-29: 1 held",
    }
    assert days["acme, 2026-05, 2026-05-01: 1 published"] == f"/deliveries/{history['first']}"
    several = days["acme, 2026-05, 2026-05-02: 1 failed, 1 published"].replace("&amp;", "&")
    assert shown(get(server, several.partition("#")[0])) == [str(history["failed"]), str(history["restated"])]
    assert "No deliveries in these days" in get(server, "/deliveries?until=2026-04-30")


def test_late_clients_come_first_and_are_highlighted(
    copy: Landing, server: WebServer, history: dict[str, UUID]
) -> None:
    copy.execute(
        "UPDATE billing_clients SET is_registered = true, bucket = 'b', account_id = '111122223333',"
        " role_arn = 'arn:aws:iam::111122223333:role/r', external_id = 'between us' WHERE client_id = 'globex'"
    )
    now = datetime.now(UTC)
    for name in ("first", "restated", "held"):
        deliver_at(copy, history[name], now - timedelta(days=90))
    deliver_at(copy, history["globex"], now - timedelta(hours=37))

    page = get(server, "/deliveries")

    freshness = page.partition('id="freshness"')[2].partition('id="calendar"')[0]
    rows = re.findall(r"<tr(?: class=\"(\w*)\")?>\s*<th scope=\"row\"><a href=\"/deliveries\?client=(\w+)", freshness)
    assert rows == [("late", "globex"), ("", "acme")]
    # Nothing says where acme's bills would come from: it is not on time either, however long nothing came.
    assert re.findall(r'class="badge \w+">([\w ]+)</span></td>', freshness) == ["late", "no schedule"]
    assert freshness.count(">24 h<") == 1
    shown_of_acme = get(server, "/clients/acme")
    assert "no schedule" in shown_of_acme
    assert "expected every" not in shown_of_acme
    assert "late" not in re.findall(r'class="badge \w+"[^>]*>([\w ]+)<', shown_of_acme)
    assert "1 late" in page
    assert "between us" not in page


def test_a_failed_delivery_says_why_and_what_to_do(reading: WebServer, history: dict[str, UUID]) -> None:
    page = get(reading, f"/deliveries/{history['failed']}")

    assert "<code>unknown_format</code>" in page
    assert "is not an AWS billing export" in page
    assert "Check which export writes to this folder." in page
    assert "not published" in page


def test_a_held_delivery_says_to_who_may_only_read_how_it_is_let_through(
    looked_at: Landing, reading: WebServer, history: dict[str, UUID]
) -> None:
    token = tokens.make(looked_at.database, "reader-of-all", scopes=[Scope.READ]).secret

    page = get(reading, f"/deliveries/{history['held']}", token)

    assert "would leave 1 of 4 rows" in page
    assert f"billfold release {history['held']}" in page


def test_a_delivery_shows_its_runs_stages_and_latency(
    copy: Landing, server: WebServer, history: dict[str, UUID]
) -> None:
    published_at = copy.value("SELECT published_at FROM billing_publications WHERE delivery_id = %s", history["first"])
    deliver_at(copy, history["first"], published_at - timedelta(hours=2, minutes=5))

    page = get(server, f"/deliveries/{history['first']}")

    assert "2 h 5 min" in page
    assert len(re.findall(r"acme-0000\d\.csv\.gz</code>", page)) == 2
    stages = re.findall(r'<th scope="row">(\w+)</th><td>', page.partition('id="stages"')[2].partition("</table>")[0])
    assert stages == ["fetch", "parse", "identify", "compare", "land", "map", "charge", "reconcile"]
    assert "14.75 <span" in page
    assert "4 added, 0 removed, 0 unchanged" in page


def test_the_page_shows_attempts_and_earlier_failures(
    copy: Landing, server: WebServer, history: dict[str, UUID]
) -> None:
    copy.execute(
        "UPDATE billing_deliveries SET attempts = 3, last_error_code = 'source_unavailable',"
        " last_error_message = 'S3 is slow' WHERE delivery_id = %s",
        history["first"],
    )

    page = get(server, f"/deliveries/{history['first']}")

    assert "2 retries" in page
    assert "An earlier attempt failed: <code>source_unavailable</code>" in page
    assert "S3 is slow" in page


def test_a_token_of_one_client_sees_no_delivery_of_another(
    looked_at: Landing, reading: WebServer, history: dict[str, UUID]
) -> None:
    token = tokens.make(looked_at.database, "reader", scopes=[Scope.READ], client_id="globex").secret

    page = get(reading, "/deliveries", token)

    assert shown(page) == [str(history["globex"])]
    assert "acme</a>" not in page
    get(reading, f"/deliveries/{history['first']}", token, status=404)
    get(reading, f"/deliveries/{uuid4()}", token, status=404)
    get(reading, f"/deliveries/{history['globex']}", token)
    get(reading, "/deliveries?client=acme", token, status=403)
