"""What the tests of parts share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from billfold.model import DeliveryOutcome
from tests.bills.landing import Landing
from tests.bills.line_items import LineItem, described, line_item, write_bill

EC2 = described("10", "11", "12")
S3 = described("500", "501", "502", line_item_product_code="AmazonS3")


def deliver(landing: Landing, export: str, items: Sequence[LineItem], *, revision: int = 1) -> DeliveryOutcome:
    """A delivery of one export, let through however little it leaves."""
    headers = dict.fromkeys(name for item in items or [line_item()] for name in item)
    manifest = write_bill(landing.root, items, headers=headers, export_path=f"exports/{export}", revision=revision)
    return landing.with_settings(hold_below_percent=0).ingest(manifest)


def viewed(landing: Landing, moment: datetime | None = None) -> Decimal:
    """What the costs are, now or at a moment."""
    if moment is not None:
        return sum((cost for _, cost in landing.as_of(moment).values()), Decimal(0))
    # Of two publications at once the first to begin need not be the first to end.
    now = landing.as_of(max(landing.published_at()))
    shown = Decimal(landing.value('SELECT coalesce(sum("BilledCost"), 0) FROM focus_cost_and_usage'))
    assert shown == sum((cost for _, cost in now.values()), Decimal(0))
    return shown


def counted(landing: Landing) -> set[str]:
    return {name for (name,) in landing.query("SELECT export_name FROM billing_statements WHERE counted")}
