"""How fast a year of costs is shown: a part of `make bench`, or run `tests.benchmarks.dashboard`.

Twelve months of charges are made by PostgreSQL itself and rolled up by the query that publications use. Each report is
asked for several times, warm, and its time is set beside that of the same sum over the charges themselves, in the same
database: what the rollups save.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psycopg

from billfold.reports.costs import sum_costs
from billfold.selection import CostColumn, KeyColumn, MapColumn
from billfold.store.database import Database
from billfold.store.embedded import start_embedded
from tests.benchmarks.charges import fill_months, list_months
from tests.benchmarks.workbench import fresh_database, parse_options, time_milliseconds, work_folder

MONTHS = list_months(2025, 12)
AIM_MILLISECONDS = 200
ASKED = 9

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
            cells = fill_months(fresh, MONTHS, options.charges)
            print(f"\n{options.charges:,} charges of {len(MONTHS)} months, {cells:,} daily costs")
            database = Database(conninfo=fresh, reader_conninfo=None, is_embedded=True)
            for name, (columns, baseline) in YEARLY.items():
                _print(_measure(fresh, name, partial(sum_costs, database, columns=columns), baseline))
            month = MONTHS[5]
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


def _measure(conninfo: str, name: str, report: Callable[[], object], baseline: str) -> Shown:
    """The medians, after one call of each that warms the server up; the baseline is too slow to be asked as often."""
    report()
    with psycopg.connect(conninfo, autocommit=True, options="-c TimeZone=UTC") as connection:
        return Shown(
            name=name,
            milliseconds=statistics.median(time_milliseconds(report) for _ in range(ASKED)),
            baseline_milliseconds=statistics.median(
                time_milliseconds(lambda: connection.execute(baseline.encode()).fetchall()) for _ in range(3)
            ),
        )


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
