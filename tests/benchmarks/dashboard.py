"""How fast a year of costs is shown: a part of `make bench`, or run `tests.benchmarks.dashboard`.

Twelve months of charges are made by PostgreSQL itself and rolled up by the query that publications use. Each report is
asked for several times, warm, and its time is set beside that of the same sum over the charges themselves, in the same
database: what the rollup saves. Reports by tag read the charges, of one month.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psycopg

from billfold.period import BillingPeriod, parse_period
from billfold.reports import CostColumn, KeyColumn, MapColumn, sum_costs
from billfold.sql import read_queries
from billfold.store.database import Database
from billfold.store.embedded import start_embedded
from billfold.store.publish import partitions
from tests.benchmarks.workbench import fresh_database, parse_options, work_folder

MONTHS = 12
YEAR = 2025
AIM_MILLISECONDS = 200
ASKED = 9
ACCOUNTS, SERVICES, REGIONS, KINDS, TAG_SETS = 40, 20, 6, 6, 500

# What a dashboard asks for: columns of the report, and the same sum over the charges.
YEARLY = {
    "service,month": (
        [CostColumn.SERVICE, CostColumn.MONTH],
        "SELECT service_name, billing_period, billing_currency, sum(billed_cost) FROM billing_usage_fact"
        " JOIN dim_service USING (service_key) GROUP BY 1, 2, 3",
    ),
    "account,month": (
        [CostColumn.ACCOUNT, CostColumn.MONTH],
        "SELECT account_id, billing_period, billing_currency, sum(billed_cost) FROM billing_usage_fact"
        " JOIN dim_account ON account_key = sub_account_key GROUP BY 1, 2, 3",
    ),
    "day": (
        [CostColumn.DAY],
        "SELECT (charge_period_start AT TIME ZONE 'UTC')::date, billing_currency, sum(billed_cost)"
        " FROM billing_usage_fact GROUP BY 1, 2",
    ),
    "commitment,pricing": (
        [CostColumn.COMMITMENT, CostColumn.PRICING],
        "SELECT commitment_discount_status, pricing_category, billing_currency, sum(billed_cost)"
        " FROM billing_usage_fact JOIN dim_charge USING (charge_key) GROUP BY 1, 2, 3",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Milliseconds of a report and of its baseline, each the median of several."""

    name: str
    milliseconds: float
    baseline_milliseconds: float


def main() -> None:
    """Measure, print and leave nothing behind."""
    options = parse_options(__doc__ or "")
    if not options.charges:
        print("\nthe year of charges is left out", flush=True)
        return
    with work_folder() as folder:
        conninfo = start_embedded(folder / "home", postgres_version=options.postgres)
        with fresh_database(conninfo, "dashboard") as fresh:
            cells = _fill(fresh, options.charges)
            print(f"\n{options.charges:,} charges of {MONTHS} months, {cells:,} daily costs")
            database = Database(conninfo=fresh, reader_conninfo=None, is_embedded=True)
            for name, (columns, baseline) in YEARLY.items():
                _print(_measure(fresh, name, partial(sum_costs, database, columns=columns), baseline))
            month = parse_period(f"{YEAR}-06")
            assert isinstance(month, BillingPeriod)
            tag = KeyColumn(column=MapColumn.TAG, key="team")
            baseline = (
                "SELECT tags ->> 'team', billing_currency, sum(billed_cost) FROM billing_usage_fact"
                f" JOIN dim_tag_set USING (tag_set_key) WHERE billing_period = '{month}-01' GROUP BY 1, 2"
            )
            _print(
                _measure(
                    fresh, f"tag:team of {month}", lambda: sum_costs(database, columns=[tag], month=month), baseline
                )
            )


def _fill(conninfo: str, charge_count: int) -> int:
    """A year of one client: charges by the hour, then the rollup that publications keep. Returns its rows."""
    queries = read_queries("billfold.store", "charges")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("INSERT INTO billing_clients (client_id) VALUES ('acme')")
        for table, count, columns, values in (
            ("account", ACCOUNTS, "client_id, account_id", "'acme', lpad(n::text, 12, '0')"),
            (
                "service",
                SERVICES,
                "service_code, service_name, service_category",
                "'s' || n, 'Service ' || n, 'Compute'",
            ),
            ("region", REGIONS, "region_id", "'region-' || n"),
            (
                "charge",
                KINDS,
                "charge_category, pricing_category, commitment_discount_status",
                "'Usage', CASE WHEN n % 2 = 0 THEN 'Committed' ELSE 'Standard' END,"
                " CASE WHEN n % 2 = 0 THEN 'Used' END",
            ),
            ("tag_set", TAG_SETS, "client_id, tags", "'acme', jsonb_build_object('team', 'team ' || n % 25, 'n', n)"),
        ):
            connection.execute(
                f"INSERT INTO dim_{table} (member_hash, {columns})"
                f" SELECT gen_random_uuid(), {values} FROM generate_series(1, {count}) AS n".encode()
            )
        for month in range(1, MONTHS + 1):
            period = parse_period(f"{YEAR}-{month:02}")
            assert isinstance(period, BillingPeriod)
            _fill_month(connection, period, month, charge_count // MONTHS)
            with connection.transaction():
                connection.execute(queries["create_moved"].encode())
                names = partitions(period)
                moved = queries["sum_moved"].format(**names).replace("$1", str(month)).replace("$2", "1")
                connection.execute(moved.encode())
                connection.execute(queries["roll_up"].encode())
        connection.execute("VACUUM ANALYZE")
        row = connection.execute("SELECT count(*) FROM billing_daily_cost").fetchone()
        assert row is not None
        return int(row[0])


def _fill_month(connection: psycopg.Connection, period: BillingPeriod, number: int, charge_count: int) -> None:
    """Charges of one statement, by the hour as AWS bills usage: each hour one of every series, a resource's usage."""
    series_count = max(1, charge_count // (24 * (period.ends_on - period.starts_on).days))
    connection.execute("SELECT billfold_create_partitions(%s)", [period.starts_on])
    connection.execute(
        "INSERT INTO billing_statements (client_id, bucket, export_path, export_name, billing_period, hash_version,"
        " currency) VALUES ('acme', 'b', 'e', 'e', %s, 1, 'USD')",
        [period.starts_on],
    )
    connection.execute(
        f"""
        INSERT INTO {partitions(period)["fact"]} (statement_id, billing_period, row_hash, occurrence, part, added_by,
            charge_period_start, charge_period_end, billing_account_key, sub_account_key, service_key, region_key,
            resource_key, sku_key, charge_key, tag_set_key, billing_currency, billed_cost, effective_cost, list_cost,
            contracted_cost, pricing_quantity, consumed_quantity)
        SELECT {number}, '{period.starts_on}', lpad(to_hex(n), 32, '0')::uuid, 1, 0, 1, hour, hour + interval '1 hour',
            1, 1 + series % {ACCOUNTS}, 1 + series / {ACCOUNTS} % {SERVICES}, 1 + series % {REGIONS}, 1 + series % 5000,
            1 + series / {ACCOUNTS} % {SERVICES}, 1 + series / 7 % {KINDS}, 1 + series % {TAG_SETS}, 'USD', cost, cost,
            cost, cost, 1, 1
        FROM (
            SELECT n, n % {series_count} AS series, (random() * 10)::numeric(16, 10) AS cost,
                '{period.starts_on}'::timestamptz + n / {series_count} * interval '1 hour' AS hour
            FROM generate_series(0, {charge_count} - 1) AS n
        ) AS hourly
        """.encode()
    )


def _measure(conninfo: str, name: str, report: Callable[[], object], baseline: str) -> Shown:
    """The medians, after one call of each that warms the server up; the baseline is too slow to be asked as often."""
    report()
    with psycopg.connect(conninfo, autocommit=True, options="-c TimeZone=UTC") as connection:
        return Shown(
            name=name,
            milliseconds=statistics.median(_time(report) for _ in range(ASKED)),
            baseline_milliseconds=statistics.median(
                _time(lambda: connection.execute(baseline.encode()).fetchall()) for _ in range(3)
            ),
        )


def _time(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def _print(shown: Shown) -> None:
    share = shown.milliseconds / shown.baseline_milliseconds
    met = "met" if shown.milliseconds < AIM_MILLISECONDS else "missed"
    print(
        f"  {shown.name:22} {shown.milliseconds:7.0f} ms, {share:.3f} of the sum over the charges"
        f" ({shown.baseline_milliseconds:,.0f} ms); under {AIM_MILLISECONDS} ms: {met}",
        flush=True,
    )


if __name__ == "__main__":
    main()
