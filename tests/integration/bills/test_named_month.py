"""A file that names no billing period: usage of one month tells it, else somebody names it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from billfold.bills.ingest import ingest
from billfold.bills.release import release
from billfold.bills.rollback import roll_back
from billfold.errors import InvalidValueError, UsageError
from billfold.model import DeliveryOutcome, DeliveryState
from billfold.period import BillingPeriod, parse_period
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, line_item, write_bill, write_object
from tests.services import Landed

PERIOD_COLUMN = "bill_billing_period_start_date"


def bill(*costs: str) -> bytes:
    """Usage of May with late usage of April and a refund of March, and no column that names the billing period."""
    late = line_item(cost="3.5", line_item_usage_start_date="2026-04-29T10:00:00Z")
    refund = line_item("Refund", "-2.25", line_item_usage_start_date="2026-03-01T00:00:00Z")
    items = [*described(*costs), late, refund]
    return as_csv([{name: value for name, value in item.items() if name != PERIOD_COLUMN} for item in items])


def month(text: str) -> BillingPeriod:
    period = parse_period(text)
    assert period is not None
    return period


def ingest_as(landing: Landing, source: Path, named: str) -> DeliveryOutcome:
    [outcome] = ingest(
        str(source),
        client=landing.client,
        settings=landing.settings,
        database=landing.database,
        month=month(named),
    )
    return outcome


def months(landing: Landing) -> list[str]:
    rows = landing.query("SELECT billing_period FROM billing_statements WHERE row_count > 0 ORDER BY 1")
    return [f"{period:%Y-%m}" for (period,) in rows]


def test_usage_of_several_months_is_refused_with_the_way_to_name_the_month(landing: Landing) -> None:
    path = write_object(landing.root, "may.csv", bill("10"))

    outcome = landing.ingest(path)

    assert isinstance(outcome.exit_error, InvalidValueError)
    assert "usage starts in 3 months (2026-03, 2026-04, 2026-05)" in str(outcome.exit_error)
    assert "billfold ingest FILE --month YYYY-MM" in str(outcome.exit_error)
    assert months(landing) == []


def name_may(landing: Landing) -> None:
    named = ingest_as(landing, write_object(landing.root, "may.csv", bill("10")), "2026-05")
    assert (named.state, named.billing_period) == (DeliveryState.PUBLISHED, "2026-05")


@pytest.fixture
def may(landed: Landed) -> Landing:
    """A file that came in as the bill of May."""
    return landed((name_may,))


def test_a_named_month_holds_for_this_version_and_no_other(may: Landing) -> None:
    path = may.root / "may.csv"

    again = may.ingest(path)
    forced = may.ingest(path, force=True)
    write_object(may.root, "may.csv", bill("10", "20"), revision=2)
    changed = may.ingest(path)
    renamed = ingest_as(may, path, "2026-05")

    assert (again.state, again.rows_added) == (DeliveryState.PUBLISHED, 0)
    assert (forced.state, forced.billing_period) == (DeliveryState.PUBLISHED, "2026-05")
    # It may be another month's bill by now: nobody guesses.
    assert isinstance(changed.exit_error, InvalidValueError)
    assert (renamed.state, renamed.rows_added) == (DeliveryState.PUBLISHED, 1)
    assert months(may) == ["2026-05"]
    assert may.billed() == {"USD": Decimal("31.25")}
    assert may.broken_rules() == []


def test_one_file_is_never_the_bill_of_two_months(may: Landing) -> None:
    path = may.root / "may.csv"
    wrong = may.value("SELECT delivery_id FROM billing_deliveries")

    refused = ingest_as(may, path, "2026-04")
    roll_back(wrong, settings=may.settings, database=may.database)
    right = ingest_as(may, path, "2026-04")

    assert isinstance(refused.exit_error, UsageError)
    assert f"billfold rollback {wrong}" in str(refused.exit_error)
    assert right.state is DeliveryState.PUBLISHED
    assert months(may) == ["2026-04"]


def test_a_held_file_of_a_named_month_can_be_released(may: Landing) -> None:
    path = write_object(may.root, "may.csv", bill(), revision=2)
    held = ingest_as(may, path, "2026-05")
    assert held.delivery_id is not None

    [released] = release(held.delivery_id, client=may.client, settings=may.settings, database=may.database)

    assert (held.state, released.state) == (DeliveryState.HELD, DeliveryState.PUBLISHED)
    assert released.delivery_id == held.delivery_id


def test_a_month_that_the_key_or_a_column_contradicts_is_refused(landing: Landing) -> None:
    by_column = write_object(landing.root, "a.csv", as_csv(described("1")))
    by_key = landing.root / "keys"
    write_object(by_key, "BILLING_PERIOD=2026-05/a.csv", as_csv(described("1")))

    with pytest.raises(UsageError, match="is of 2026-05, as its key says, not of 2026-04"):
        ingest_as(landing, by_key, "2026-04")
    outcome = ingest_as(landing, by_column, "2026-04")

    assert "belongs to another billing period than 2026-04" in str(outcome.exit_error)
    assert ingest_as(landing, by_key, "2026-05").state is DeliveryState.PUBLISHED


def test_a_month_is_of_one_delivery_and_must_be_its_manifests(landing: Landing) -> None:
    manifest = write_bill(landing.root, described("1"))
    write_object(landing.root, "alone.csv", bill("10"))

    with pytest.raises(UsageError, match="is of 2026-05, as its manifest says"):
        ingest_as(landing, manifest, "2026-04")
    with pytest.raises(UsageError, match="has 2 deliveries: name the file itself"):
        ingest_as(landing, landing.root, "2026-05")
