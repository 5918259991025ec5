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
MONTHS = ("2026-03", "2026-04", "2026-05")


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


def write_file(root: Path, month: str, *costs: str, name: str = "loose") -> None:
    """Write a data file whose month only its content tells."""
    write_object(root, f"exports/{name}.csv.gz", gzip.compress(as_csv(items_of(month, *costs)), mtime=0))


def month(text: str) -> BillingPeriod:
    period = parse_period(text)
    assert period is not None
    return period


def run(there: Landing, since: str | None = None) -> tuple[BackfillReport, list[str]]:
    """The report, and the deliveries in the order in which they were tried."""
    told = []

    def tell(number: int, total: int, delivery: Delivery) -> None:
        told.append(f"{number}/{total} {delivery.export_name} {delivery.period}")

    report = backfill(
        client=there.client,
        settings=there.settings,
        database=there.database,
        since=month(since) if since else None,
        on_delivery=tell,
    )
    return report, told


def test_every_statement_below_the_prefix_comes_in_the_oldest_first(there: Landing, aws: LocalAws) -> None:
    for name in reversed(MONTHS[:2]):
        write_month(there.root, name, "1", "2")
    write_month(there.root, "2026-04", "5", export_path="exports/beta")
    write_month(there.root, "2026-05", "1", export_path="other/acme")
    aws.upload_folder(BUCKET, there.root)

    report, told = run(there)

    assert told == ["1/3 acme 2026-03", "2/3 acme 2026-04", "3/3 beta 2026-04"]
    assert (report.statement_count, report.counts) == (3, {"current": 0, "published": 3})
    assert there.billed() == {"USD": Decimal(11)}


def test_only_what_is_not_current_is_tried(there: Landing, aws: LocalAws) -> None:
    for name in MONTHS[1:]:
        write_month(there.root, name, "1", "2")
    aws.upload_folder(BUCKET, there.root)
    run(there)
    write_month(there.root, "2026-04", "1", "2", "3", revision=2)
    aws.upload_folder(BUCKET, there.root)

    report, told = run(there)
    again, told_again = run(there)

    assert told == ["1/1 acme 2026-04"]
    assert report.counts == {"current": 1, "published": 1}
    assert (again.counts, told_again) == ({"current": 2}, [])
    assert there.billed() == {"USD": Decimal(9)}


def test_since_leaves_older_months_out(there: Landing, aws: LocalAws) -> None:
    for name in MONTHS:
        write_month(there.root, name, "1")
    aws.upload_folder(BUCKET, there.root)

    report, told = run(there, since="2026-04")

    assert told == ["1/2 acme 2026-04", "2/2 acme 2026-05"]
    assert report.statement_count == 2


def test_a_file_that_only_its_content_dates_comes_in_its_turn_once_it_is_known(there: Landing, aws: LocalAws) -> None:
    for revision in (1, 2):
        write_month(there.root, "2026-04", *("1", "2")[:revision], revision=revision)
        write_file(there.root, "2026-03", *("1", "2")[:revision])
        aws.upload_folder(BUCKET, there.root)
        _, told = run(there)
        if revision == 1:
            unknown = told

    assert unknown == ["1/2 acme 2026-04", "2/2 exports/loose.csv.gz None"]
    assert told == ["1/2 exports/loose.csv.gz None", "2/2 acme 2026-04"]


def test_since_leaves_a_file_that_only_its_content_dates_waiting(there: Landing, aws: LocalAws) -> None:
    write_month(there.root, "2026-05", "1")
    write_file(there.root, "2024-07", "2")
    aws.upload_folder(BUCKET, there.root)

    first, _ = run(there, since="2026-01")
    again, told_again = run(there, since="2026-01")
    billed = there.billed()
    later, _ = run(there, since="2024-07")

    assert first.counts == {"current": 0, "published": 1, "pending": 1}
    assert (first.outcomes[1].billing_period, first.outcomes[1].exit_error) == ("2024-07", None)
    assert first.outcomes[1].reason == "is of 2024-07, and nothing before 2026-01 was requested"
    assert (again.counts, told_again) == ({"current": 1}, [])
    assert billed == {"USD": Decimal(1)}
    assert later.counts == {"current": 1, "published": 1}
    assert there.billed() == {"USD": Decimal(3)}
    assert there.query("SELECT count(*) FROM billing_deliveries WHERE reason IS NOT NULL") == [(0,)]


def test_since_does_not_leave_out_a_file_that_is_of_a_later_month_now(there: Landing, aws: LocalAws) -> None:
    write_file(there.root, "2025-12", "1", name="latest")
    aws.upload_folder(BUCKET, there.root)
    run(there)
    write_file(there.root, "2026-01", "2", name="latest")
    aws.upload_folder(BUCKET, there.root)

    report, _ = run(there, since="2026-01")

    assert [(each.state, each.billing_period) for each in report.outcomes] == [(DeliveryState.PUBLISHED, "2026-01")]


def test_a_failed_statement_does_not_stop_the_others(there: Landing, aws: LocalAws) -> None:
    write_month(there.root, "2026-03", "1")
    write_bill(there.root, [line_item(cost="none")], period="2026-04")
    write_month(there.root, "2026-05", "2")
    aws.upload_folder(BUCKET, there.root)

    report, _ = run(there)

    assert [outcome.state for outcome in report.outcomes] == [
        DeliveryState.PUBLISHED,
        DeliveryState.FAILED,
        DeliveryState.PUBLISHED,
    ]
    assert report.counts == {"current": 0, "published": 2, "failed": 1}


def test_what_was_interrupted_goes_on(there: Landing, aws: LocalAws) -> None:
    for name in MONTHS[1:]:
        write_month(there.root, name, "1")
    aws.upload_folder(BUCKET, there.root)

    def interrupt(number: int, total: int, delivery: Delivery) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill(client=there.client, settings=there.settings, database=there.database, on_delivery=interrupt)
    report, told = run(there)

    assert told == ["1/1 acme 2026-05"]
    assert report.counts == {"current": 1, "published": 1}


def test_a_bucket_is_needed(landing: Landing) -> None:
    with pytest.raises(ConfigurationError, match="AWS_BILLING_BUCKET is not set: backfill needs it"):
        backfill(client=landing.client, settings=landing.settings, database=landing.database)
