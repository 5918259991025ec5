"""What the tests of held deliveries share."""

from __future__ import annotations

from uuid import UUID

from billfold.bills.release import release
from billfold.model import DeliveryOutcome
from tests.bills.landing import Landing

USD = "USD"


def let_through(landing: Landing, delivery_id: UUID | None) -> DeliveryOutcome:
    assert delivery_id is not None
    [outcome] = release(delivery_id, client=landing.client, settings=landing.settings, database=landing.database)
    return outcome


def states(landing: Landing) -> list[str]:
    """The states of all deliveries in the order in which they were first seen."""
    return [state for (state,) in landing.query("SELECT state FROM billing_deliveries ORDER BY created_at")]
