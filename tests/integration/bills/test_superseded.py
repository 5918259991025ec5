"""What took the place of a superseded delivery: the lists name it, and its page leads there."""

from __future__ import annotations

import gzip
from uuid import UUID

from billfold.bills.rollback import roll_back
from billfold.model import DeliveryOutcome, DeliveryState
from billfold.reports.lists import list_deliveries
from billfold.selection import Filter
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, write_bill, write_object
from tests.bills.page_bills import in_month
from tests.processes.web_server import run_web_server
from tests.services import Landed


def bring(landing: Landing, *costs: str, revision: int, **options: str) -> DeliveryOutcome:
    month = in_month(options["period"]) if "period" in options else {}
    return landing.ingest(write_bill(landing.root, described(*costs, **month), revision=revision, **options))


def hold(landing: Landing) -> None:
    """A bill, and a delivery that would leave a third of its rows."""
    bring(landing, "1", "2", "3", revision=1)
    assert bring(landing, "1", revision=2).state is DeliveryState.HELD


def find_held(landing: Landing) -> UUID:
    found: UUID = landing.value("SELECT delivery_id FROM billing_deliveries WHERE state = 'held'")
    return found


def find_successor(landing: Landing, delivery: UUID | None) -> UUID | None:
    """What took the place of a delivery, which has to be superseded by now."""
    [row] = list_deliveries(landing.database, Filter(delivery=delivery))
    assert row.state == DeliveryState.SUPERSEDED
    return row.superseded_by


def test_what_comes_too_late_leads_to_the_delivery_that_stood_then(landing: Landing) -> None:
    bring(landing, "1", "3", revision=3)
    stood = bring(landing, "1", "4", revision=4)
    bring(landing, "1", "8", revision=8, export_path="exports/again")
    bring(landing, "1", "9", revision=9, period="2026-04")

    late = bring(landing, "1", "2", revision=2)
    bring(landing, "1", "6", revision=6)

    assert late.reason == "is older than the published delivery of 2026-05-29 00:26:40 UTC"
    assert find_successor(landing, late.delivery_id) == stood.delivery_id


def test_what_was_held_leads_to_the_first_that_was_published_after_it(landed: Landed) -> None:
    landing = landed((hold,))
    held = [find_held(landing), bring(landing, "2", revision=3).delivery_id]

    better = bring(landing, "1", "2", "4", revision=4)
    bring(landing, "1", "2", "5", revision=5)

    assert [find_successor(landing, delivery) for delivery in held] == [better.delivery_id] * 2


def test_what_was_rolled_back_took_nobodys_place(landed: Landed) -> None:
    landing = landed((hold,))
    held = find_held(landing)
    bad = bring(landing, "1", "2", "4", revision=3)
    assert bad.delivery_id
    roll_back(bad.delivery_id, settings=landing.settings, database=landing.database)

    before = find_successor(landing, held)
    good = bring(landing, "1", "2", "5", revision=4)

    assert before is None
    assert find_successor(landing, held) == good.delivery_id


def test_a_file_without_a_manifest_leads_to_its_next_version_of_whatever_month(landing: Landing) -> None:
    def bring_file(*costs: str, revision: int, month: str = "2026-05") -> DeliveryOutcome:
        content = gzip.compress(as_csv(described(*costs, **in_month(month))))
        return landing.ingest(write_object(landing.root, "bill.csv.gz", content, revision=revision))

    bring_file("1", "2", "3", revision=1)
    held = bring_file("1", revision=2)

    following = bring_file("7", revision=3, month="2026-06")

    assert (held.state, following.state) == (DeliveryState.HELD, DeliveryState.PUBLISHED)
    assert find_successor(landing, held.delivery_id) == following.delivery_id


def test_the_page_of_a_superseded_delivery_leads_to_what_took_its_place(landing: Landing) -> None:
    stood = bring(landing, "1", "3", revision=3)
    late = bring(landing, "1", "2", revision=2)

    with run_web_server(landing.settings, landing.database) as server:
        pages = {
            outcome.state: server.send("GET", f"/deliveries/{outcome.delivery_id}").body.decode()
            for outcome in (stood, late)
        }

    link = f'<a href="/deliveries/{stood.delivery_id}">Its replacement</a>'
    assert {state: link in page for state, page in pages.items()} == {
        DeliveryState.PUBLISHED: False,
        DeliveryState.SUPERSEDED: True,
    }
