"""Backfill: what is not current comes in, the oldest month first, and an interruption costs nothing."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from billfold.aws import LocalAws
from billfold.bills.backfill import BackfillReport, backfill
from billfold.errors import ConfigurationError
from billfold.model import Delivery, DeliveryState
from billfold.period import BillingPeriod, parse_period
from billfold.settings import Settings
from billfold.store.database import Database
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, line_item, write_bill, write_object

BUCKET = "acme-bills"


@pytest.fixture
def aws(aws: LocalAws) -> LocalAws:
    aws.create_bucket(BUCKET)
    return aws


@pytest.fixture
def there(database: Database, settings: Settings, tmp_path: Path, aws: LocalAws) -> Landing:
    """A client whose bucket is in S3; `root` is what `aws.upload_folder` puts there."""
    landing = Landing.make(database, settings, tmp_path / "bucket")
    return landing.with_client(bucket=BUCKET, prefix="exports/").with_settings(
        endpoint_url=aws.endpoint_url, region=aws.region, bucket=BUCKET, prefix="exports/"
    )


def items_of(month: str, *costs: str) -> list[dict[str, str]]:
    return [
        {
            **item,
            "bill_billing_period_start_date": f"{month}-01T00:00:00.000Z",
            "line_item_usage_start_date": f"{month}-03T04:00:00.000Z",
            "line_item_usage_end_date": f"{month}-03T05:00:00.000Z",
        }
        for item in described(*costs)
    ]


def write_month(root: Path, month: str, *costs: str, revision: int = 1, export_path: str = "exports/acme") -> None:
    write_bill(root, items_of(month, *costs), revision=revision, period=month, export_path=export_path)


def write_file(root: Path, month: str, *costs: str) -> None:
    """Write a data file whose month only its content tells."""
    write_object(root, "exports/loose.csv.gz", gzip.compress(as_csv(items_of(month, *costs)), mtime=0))


def month(text: str) -> BillingPeriod:
    period = parse_period(text)
    assert period is not None
    return period


def run(
    there: Landing, since: str | None = None, told: list[str] | None = None, interrupt_at: int = 0
) -> tuple[BackfillReport, list[str]]:
    """The report, and the deliveries in the order in which they were tried."""
    told = [] if told is None else told

    def tell(number: int, total: int, delivery: Delivery) -> None:
        told.append(f"{number}/{total} {delivery.export_name} {delivery.period}")
        if number == interrupt_at:
            raise KeyboardInterrupt

    report = backfill(
        client=there.client,
        settings=there.settings,
        database=there.database,
        since=month(since) if since else None,
        on_delivery=tell,
    )
    return report, told


def interrupt(there: Landing, *, at: int) -> list[str]:
    """What a backfill tries until it is interrupted at this number."""
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run(there, told=told, interrupt_at=at)
    return told


def test_the_oldest_comes_first_and_only_what_is_not_current_is_tried(there: Landing, aws: LocalAws) -> None:
    write_month(there.root, "2026-04", "5", export_path="exports/beta")
    write_bill(there.root, [line_item(cost="none")], period="2026-04")
    write_month(there.root, "2026-03", "1", "2")
    write_month(there.root, "2026-05", "1", export_path="other/acme")
    aws.upload_folder(BUCKET, there.root)

    tried = interrupt(there, at=3)
    goes_on, told = run(there)
    write_month(there.root, "2026-03", "1", "2", "3", revision=2)
    aws.upload_folder(BUCKET, there.root)
    restated, told_then = run(there)

    assert tried == ["1/3 acme 2026-03", "2/3 acme 2026-04", "3/3 beta 2026-04"]
    # A failed statement stops no other, and is tried again.
    assert told == ["1/2 acme 2026-04", "2/2 beta 2026-04"]
    assert [outcome.state for outcome in goes_on.outcomes] == [DeliveryState.FAILED, DeliveryState.PUBLISHED]
    assert (goes_on.statement_count, goes_on.counts) == (3, {"current": 1, "failed": 1, "published": 1})
    assert told_then == ["1/2 acme 2026-03", "2/2 acme 2026-04"]
    assert restated.counts == {"current": 1, "published": 1, "failed": 1}
    assert there.billed() == {"USD": Decimal(11)}


def test_a_file_that_only_its_content_dates_comes_in_its_turn_once_it_is_known(there: Landing, aws: LocalAws) -> None:
    for name in ("2026-03", "2026-05"):
        write_month(there.root, name, "1")
    write_file(there.root, "2024-07", "2")
    aws.upload_folder(BUCKET, there.root)

    first, told = run(there, since="2026-04")
    again, told_again = run(there, since="2026-04")
    billed = there.billed()
    later, told_later = run(there)
    waiting = there.value("SELECT count(*) FROM billing_deliveries WHERE reason IS NOT NULL")
    write_month(there.root, "2026-03", "2", revision=2)
    write_file(there.root, "2024-07", "3")
    aws.upload_folder(BUCKET, there.root)
    told_of_another = interrupt(there, at=1)
    write_file(there.root, "2026-04", "4")
    aws.upload_folder(BUCKET, there.root)
    of_a_later_month, _ = run(there, since="2026-04")

    # What is older than `since` is left out, and a file that turns out to be older stays pending.
    assert told == ["1/2 acme 2026-05", "2/2 exports/loose.csv.gz None"]
    assert (first.statement_count, first.counts) == (2, {"current": 0, "published": 1, "pending": 1})
    assert (first.outcomes[1].billing_period, first.outcomes[1].exit_error) == ("2024-07", None)
    assert first.outcomes[1].reason == "is of 2024-07, and nothing before 2026-04 was requested"
    assert (again.counts, told_again) == ({"current": 1}, [])
    assert billed == {"USD": Decimal(1)}
    assert told_later == ["1/2 exports/loose.csv.gz None", "2/2 acme 2026-03"]
    assert later.counts == {"current": 1, "published": 2}
    assert waiting == 0
    # A new version is ordered by the month of the one before it, which does not leave it out.
    assert told_of_another == ["1/2 exports/loose.csv.gz None"]
    assert [(each.state, each.billing_period) for each in of_a_later_month.outcomes] == [
        (DeliveryState.PUBLISHED, "2026-04")
    ]
    # The bill of the earlier month stays beside it.
    assert there.billed() == {"USD": Decimal(8)}


def test_a_bucket_is_needed(landing: Landing) -> None:
    with pytest.raises(ConfigurationError, match="AWS_BILLING_BUCKET is not set: backfill needs it"):
        backfill(client=landing.client, settings=landing.settings, database=landing.database)
