"""Deliveries of every kind, for tests of pages: published, restated, failed and held, and those of another client."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from billfold.model import DeliveryOutcome
from tests.landing import Landing
from tests.line_items import described, write_bill, write_delivery


def land_history(landing: Landing) -> dict[str, UUID]:
    """A month of acme's in which everything happened, and one delivery of globex's; ids by what became of each."""
    found = {}
    other = replace(landing, root=landing.root.parent / "other").with_client(client_id="globex", prefix="globex/")
    write_bill(other.root, described("100"))
    found["globex"] = _id(other.ingest())
    write_bill(landing.root, described("1.25", "7"), described("2.5", "4"))
    found["first"] = _id(landing.ingest())
    write_bill(landing.root, described("1.25", "8.5"), described("2.5", "4"), revision=2)
    found["restated"] = _id(landing.ingest())
    write_delivery(landing.root, b"no,bill\n1,2\n", revision=3)
    found["failed"] = _id(landing.ingest())
    write_bill(landing.root, described("1.25"), revision=4)
    found["held"] = _id(landing.ingest())
    return found


def deliver_at(landing: Landing, delivery_id: UUID, delivered_at: datetime) -> None:
    """Let a delivery be one that AWS wrote at another time."""
    landing.execute("UPDATE billing_deliveries SET delivered_at = %s WHERE delivery_id = %s", delivered_at, delivery_id)


def _id(outcome: DeliveryOutcome) -> UUID:
    assert outcome.delivery_id
    return outcome.delivery_id
