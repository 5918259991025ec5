"""What the tests of discounts share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from billfold.model import DeliveryOutcome
from billfold.verification import verify
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill

PLUS, MINUS = "gross plus discounts", "gross minus discounts"
PRICED = {"line_item_usage_amount": "4", "pricing_unit": "Hrs", "pricing_public_on_demand_rate": "25"}


def usage(cost: str, **columns: str) -> dict[str, str]:
    return line_item(cost=cost, line_item_line_item_description=f"usage of {cost}", **columns)


def named(**discounts: object) -> dict[str, str]:
    return {"discount": json.dumps(discounts)}


def land(landing: Landing, items: Sequence[Mapping[str, str]], *, revision: int = 1) -> DeliveryOutcome:
    write_bill(landing.root, items, revision=revision)
    outcome = landing.ingest()
    assert outcome.exit_error is None
    assert landing.broken_rules() == []
    return outcome


def is_proved(landing: Landing) -> bool:
    verdicts = verify(settings=landing.settings, database=landing.database)
    return all(verdict.is_true for verdict in verdicts)


def basis(landing: Landing) -> str:
    return str(landing.value("SELECT cost_basis FROM billing_statements"))
