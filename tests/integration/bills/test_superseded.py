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


def bring(landing: Landing, *costs: str, revision: int, **options: str) -> DeliveryOutcome:
    month = in_month(options["period"]) if "period" in options else {}
    return landing.ingest(write_bill(landing.root, described(*costs, **month), revision=revision, **options))


def find_successor(landing: Landing, delivery: UUID | None) -> UUID | None:
    """What took the place of a delivery, which has to be superseded by now."""
    [row] = list_deliveries(landing.database, Filter(delivery=delivery))
    assert row.state == DeliveryState.SUPERSEDED
    return row.superseded_by


def test_a_superseded_delivery_leads_to_what_took_its_place(landing: Landing) -> None:
    bring(landing, "1", "2", "3", revision=1)
    held = bring(landing, "1", revision=2)
    bad = bring(landing, "1", "2", "4", revision=3)
    assert bad.delivery_id
    roll_back(bad.delivery_id, settings=landing.settings, database=landing.database)
    # Neither what was rolled back nor another export's or month's delivery took its place.
    before = find_successor(landing, held.delivery_id)
    bring(landing, "1", "8", revision=8, export_path="exports/again")

    better = bring(landing, "1", "2", "5", revision=4)
    bring(landing, "1", "9", revision=9, period="2026-04")
    late = bring(landing, "1", "2", revision=0)
    bring(landing, "1", "2", "6", revision=6)
    with run_web_server(landing.settings, landing.database) as server:
        pages = [server.send("GET", f"/deliveries/{outcome.delivery_id}").body.decode() for outcome in (better, late)]

    assert (held.state, before) == (DeliveryState.HELD, None)
    assert find_successor(landing, held.delivery_id) == better.delivery_id
    assert late.reason == "is older than the published delivery of 2026-05-29 00:26:40 UTC"
    assert find_successor(landing, late.delivery_id) == better.delivery_id
    link = f'<a href="/deliveries/{better.delivery_id}">Its replacement</a>'
    assert [link in page for page in pages] == [False, True]


def test_a_file_without_a_manifest_leads_to_its_next_version_of_whatever_month(landing: Landing) -> None:
    def bring_file(*costs: str, revision: int, month: str = "2026-05") -> DeliveryOutcome:
        content = gzip.compress(as_csv(described(*costs, **in_month(month))))
        return landing.ingest(write_object(landing.root, "bill.csv.gz", content, revision=revision))

    bring_file("1", "2", "3", revision=1)
    held = bring_file("1", revision=2)

    following = bring_file("7", revision=3, month="2026-06")

    assert (held.state, following.state) == (DeliveryState.HELD, DeliveryState.PUBLISHED)
    assert find_successor(landing, held.delivery_id) == following.delivery_id
