"""What the tests of held deliveries share."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from billfold.bills.release import release
from billfold.model import DeliveryOutcome
from tests.bills.landing import Landing
from tests.bills.line_items import LineItem, described, write_bill

USD = "USD"


def deliver(landing: Landing, items: Sequence[LineItem], revision: int = 1) -> DeliveryOutcome:
    write_bill(landing.root, items, revision=revision)
    return landing.ingest()


# Three rows, and a delivery that is held because it would leave one of them.
WHOLE = (deliver, described("1", "2", "3"))
CUT = (deliver, described("1"), 2)


def held_id(landing: Landing) -> UUID:
    found: UUID = landing.value("SELECT delivery_id FROM billing_deliveries WHERE state = 'held'")
    return found


def let_through(landing: Landing, delivery_id: UUID | None) -> DeliveryOutcome:
    assert delivery_id is not None
    [outcome] = release(delivery_id, client=landing.client, settings=landing.settings, database=landing.database)
    return outcome


def states(landing: Landing) -> list[str]:
    """The states of all deliveries in the order in which they were first seen."""
    return [state for (state,) in landing.query("SELECT state FROM billing_deliveries ORDER BY created_at")]
