"""The reports: what they show of landed bills, in one moment and to the last decimal."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from billfold.documents import costs_document, dump, report_document
from billfold.errors import StoreError
from billfold.period import BillingPeriod
from billfold.reports.costs import CostRow, sum_costs
from billfold.reports.lists import list_deliveries, list_runs, list_statements
from billfold.selection import CostColumn, Filter, Metric
from billfold.store.database import READER_ROLE, Database, connect
from billfold.store.reports import reading
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill, write_object
from tests.services import CopyDatabase

MAY, JUNE = BillingPeriod(date(2026, 5, 1)), BillingPeriod(date(2026, 6, 1))


def in_june(**columns: str) -> dict[str, str]:
    return line_item(
        bill_billing_period_start_date="2026-06-01T00:00:00.000Z",
        line_item_usage_start_date="2026-06-07T00:00:00.000Z",
        line_item_usage_end_date="2026-06-07T01:00:00.000Z",
        **columns,
    )


@pytest.fixture(scope="module")
def two_months(shared_landing: Landing) -> Landing:
    """May: 1.10 USD of EC2, 2.000000000000000001 USD of S3, 5 EUR of EC2; June: 0.5 USD of EC2. It stays so."""
    s3 = {"line_item_product_code": "AmazonS3", "line_item_usage_account_id": "777788889999"}
    write_bill(
        shared_landing.root,
        [
            line_item(cost="1.10"),
            line_item(cost="2.000000000000000001", **s3),
            line_item(cost="5", line_item_currency_code="EUR"),
        ],
    )
    write_bill(shared_landing.root, [in_june(cost="0.5")], period="2026-06", revision=2)
    shared_landing.ingest_all()
    return shared_landing


@pytest.fixture
def own_months(two_months: Landing, copy_database: CopyDatabase) -> Landing:
    """The same for a test that changes it; its next bills are in the same bucket."""
    return replace(two_months, database=copy_database(two_months.database))


def test_costs_are_by_service_and_month_and_currency(two_months: Landing) -> None:
    report = sum_costs(two_months.database)

    assert {(row.group[1], row.currency, row.amount) for row in report.rows} == {
        ("2026-05", "EUR", Decimal(5)),
        ("2026-05", "USD", Decimal("1.10")),
        ("2026-05", "USD", Decimal("2.000000000000000001")),
        ("2026-06", "USD", Decimal("0.5")),
    }


def test_totals_never_add_two_currencies(two_months: Landing) -> None:
    report = sum_costs(two_months.database)

    assert report.totals == (
        CostRow(group=("2026-05",), currency="EUR", amount=Decimal(5)),
        CostRow(group=("2026-05",), currency="USD", amount=Decimal("3.100000000000000001")),
        CostRow(group=("2026-06",), currency="USD", amount=Decimal("0.5")),
    )


def test_rows_beyond_the_limit_are_missed_by_no_total(two_months: Landing) -> None:
    whole = sum_costs(two_months.database)
    report = sum_costs(two_months.database, limit=1)

    assert report.is_truncated
    assert not whole.is_truncated
    assert report.rows == (CostRow(group=report.rows[0].group, currency="EUR", amount=Decimal(5)),)
    assert report.totals == whole.totals


def test_every_column_groups_all_of_the_costs(two_months: Landing) -> None:
    for column in CostColumn:
        report = sum_costs(two_months.database, columns=[column])

        assert sum(row.amount for row in report.rows) == Decimal("8.600000000000000001"), column
        assert len(set(report.rows)) == len(report.rows), column


def test_every_metric_is_summed(two_months: Landing) -> None:
    for metric in Metric:
        report = sum_costs(two_months.database, metric=metric)

        assert sum(row.amount for row in report.rows) == Decimal("8.600000000000000001"), metric


def test_costs_of_one_month_or_from_one_on(two_months: Landing) -> None:
    may = sum_costs(two_months.database, columns=[CostColumn.DAY], month=MAY)
    later = sum_costs(two_months.database, columns=[CostColumn.MONTH], since=JUNE)

    assert {row.group for row in may.rows} == {("2026-05-03",)}
    assert {row.group for row in later.rows} == {("2026-06",)}


def test_costs_of_another_client_are_none(two_months: Landing) -> None:
    report = sum_costs(two_months.database, client="other")

    assert (report.rows, report.totals) == ((), ())


def test_what_is_not_counted_costs_nothing(own_months: Landing) -> None:
    own_months.execute("UPDATE billing_statements SET counted = false WHERE billing_period = '2026-05-01'")

    report = sum_costs(own_months.database)

    assert [total.group for total in report.totals] == [("2026-06",)]


def test_lists_are_filtered_and_limited(own_months: Landing, tmp_path: Path) -> None:
    write_object(tmp_path, "bad.csv", b"line_item_unblended_cost\n1,2\n")
    own_months.ingest(tmp_path / "bad.csv")
    database = own_months.database

    assert len(list_runs(database, Filter())) == 3
    assert [run.error_code for run in list_runs(database, Filter(state="failed"))] == ["malformed_file"]
    assert [run.billing_period for run in list_runs(database, Filter(period=MAY))] == ["2026-05"]
    assert list_runs(database, Filter(limit=1))[0].source_s3_key == "bad.csv"
    assert {row.export_name for row in list_deliveries(database, Filter(export="acme"))} == {"acme"}
    assert [row.state for row in list_deliveries(database, Filter(state="failed"))] == ["failed"]
    assert [row.billing_period for row in list_statements(database, Filter())] == ["2026-06", "2026-05"]
    assert list_statements(database, Filter(client="other")) == ()


def set_times(landing: Landing, *times: datetime) -> None:
    """The publications were made then, in their order."""
    ids = [row[0] for row in landing.query("SELECT publication_id FROM billing_publications ORDER BY publication_id")]
    for publication_id, published_at in zip(ids, times, strict=True):
        landing.execute(
            "UPDATE billing_publications SET published_at = %s WHERE publication_id = %s", published_at, publication_id
        )


def test_costs_as_of_a_moment_and_deliveries_tell_what_stood_from_what_is_current(
    own_months: Landing,
) -> None:
    write_bill(own_months.root, [in_june(cost="0.75"), in_june(cost="0.20")], period="2026-06", revision=3)
    own_months.ingest_all()
    rows = list_deliveries(own_months.database, Filter(period=JUNE))
    times = [datetime(2026, 7, day, 9, tzinfo=UTC) for day in (1, 2, 3)]
    set_times(own_months, *times)

    def june_total(moment: datetime | None) -> list[Decimal]:
        report = sum_costs(own_months.database, month=JUNE, as_of=moment)
        assert report.as_of == moment
        assert sum(row.amount for row in report.rows) == sum(total.amount for total in report.totals)
        return [total.amount for total in report.totals]

    assert [(row.is_current, row.billed_cost, row.rows_added, row.rows_removed) for row in rows] == [
        (True, {"USD": "0.95"}, 2, 1),
        (False, {"USD": "0.5"}, 1, 0),
    ]
    assert june_total(times[1] - timedelta(microseconds=1)) == []
    assert june_total(times[1]) == june_total(times[2] - timedelta(microseconds=1)) == [Decimal("0.5")]
    assert june_total(times[2]) == june_total(None) == [Decimal("0.95")]


def test_costs_as_of_a_moment_are_of_what_counted_then(own_months: Landing) -> None:
    moment = datetime(2026, 7, 1, tzinfo=UTC)
    set_times(own_months, moment, moment + timedelta(hours=1))
    own_months.execute("UPDATE billing_statements SET counted = false WHERE billing_period = '2026-05-01'")

    then = sum_costs(own_months.database, as_of=moment + timedelta(hours=2))
    now = sum_costs(own_months.database)

    assert [total.group[0] for total in then.totals] == ["2026-05", "2026-05", "2026-06"]
    assert [total.group[0] for total in now.totals] == ["2026-06"]


def test_costs_as_of_a_moment_say_so_in_the_document(two_months: Landing) -> None:
    moment = datetime(2099, 7, 1, tzinfo=UTC)

    then = json.loads(dump(costs_document(sum_costs(two_months.database, as_of=moment))))
    now = json.loads(dump(costs_document(sum_costs(two_months.database))))

    assert (then.pop("as_of"), now.pop("as_of")) == ("2099-07-01T00:00:00+00:00", None)
    assert then == now


def test_lists_tell_the_last_error_and_why_a_delivery_does_not_stand(own_months: Landing) -> None:
    own_months.execute("UPDATE billing_ingestion_runs SET last_error_code = 'torn', last_failed_at = '2026-07-01Z'")
    own_months.execute(
        """UPDATE billing_deliveries SET state = 'held', reason = 'too few rows', last_error_code = 'torn',
        last_error_message = 'it tore', columns = '{"a": "text"}', released_at = '2026-07-02Z'
        WHERE billing_period = '2026-05-01'"""
    )

    runs = report_document("runs", list_runs(own_months.database, Filter()))["runs"]
    [held] = report_document("deliveries", list_deliveries(own_months.database, Filter(period=MAY)))["deliveries"]

    assert {(run["last_error_code"], run["last_error_message"]) for run in runs} == {("torn", None)}
    assert {run["last_failed_at"] for run in runs} == {datetime(2026, 7, 1, tzinfo=UTC)}
    assert (held["reason"], held["last_error_code"], held["last_error_message"]) == ("too few rows", "torn", "it tore")
    assert (held["columns"], held["released_at"]) == ({"a": "text"}, datetime(2026, 7, 2, tzinfo=UTC))


def test_deliveries_and_statements_name_their_publication(own_months: Landing) -> None:
    own_months.execute(
        "UPDATE billing_statements SET remembered_since = '2026-07-01Z' WHERE billing_period = '2026-05-01'"
    )
    published = {row[0] for row in own_months.query("SELECT publication_id FROM billing_publications")}

    deliveries = list_deliveries(own_months.database, Filter())
    june, may = list_statements(own_months.database, Filter())

    assert {row.publication_id for row in deliveries} == published
    assert (may.publication_kind, may.remembered_since) == ("delivery", datetime(2026, 7, 1, tzinfo=UTC))
    assert june.remembered_since is None


def test_a_report_cannot_write(database: Database) -> None:
    owner = Database(conninfo=database.conninfo, reader_conninfo=None, is_embedded=False)

    with (
        pytest.raises(StoreError, match="read-only transaction"),
        reading.read(owner) as connection,
    ):
        connection.execute("DELETE FROM billing_clients")


def test_a_report_reads_as_the_reader_in_a_single_moment(database: Database) -> None:
    with reading.read(database) as connection, connect(database.conninfo) as writer:
        before = reading.list_clients(connection)
        writer.execute("INSERT INTO billing_clients (client_id) VALUES ('late')")

        assert connection.info.user == READER_ROLE
        assert reading.list_clients(connection) == before


def test_a_price_with_fifty_decimals_is_reported_whole(database: Database) -> None:
    with reading.read(database) as connection:
        [amount] = connection.execute("SELECT 1e-50::numeric").fetchone() or ()

    assert amount == Decimal("1e-50")
    assert isinstance(connection, psycopg.Connection)
