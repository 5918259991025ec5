"""What was spent: sums of the daily costs of the counted statements, now or as of an earlier moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from billfold.period import BillingPeriod
from billfold.reports.lists import MAX_LIMIT
from billfold.store import reading
from billfold.store.database import Database

DEFAULT_COST_LIMIT = 10_000


class CostColumn(StrEnum):
    """What costs can be grouped by; a month is a billing period, a day the UTC day on which a charge starts."""

    SERVICE = "service"
    ACCOUNT = "account"
    REGION = "region"
    CATEGORY = "category"
    DAY = "day"
    MONTH = "month"


class Metric(StrEnum):
    """Which of FOCUS's costs is summed."""

    BILLED = "billed"
    EFFECTIVE = "effective"
    LIST = "list"
    CONTRACTED = "contracted"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """The cost of one group: `group` holds a value for each column that the report groups by, '' for none."""

    group: tuple[str, ...]
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """Costs of the counted statements, the dearest first, and the total of each month and currency.

    The totals are of everything that was asked for, even where `is_truncated` says that the rows are not. `as_of` is
    the moment whose costs they are, None for the present.
    """

    metric: Metric
    as_of: datetime | None
    columns: tuple[CostColumn, ...]
    rows: tuple[CostRow, ...]
    totals: tuple[CostRow, ...]
    is_truncated: bool


def sum_costs(
    database: Database,
    *,
    columns: Sequence[CostColumn] = (CostColumn.SERVICE, CostColumn.MONTH),
    metric: Metric = Metric.BILLED,
    client: str | None = None,
    export: str | None = None,
    month: BillingPeriod | None = None,
    since: BillingPeriod | None = None,
    as_of: datetime | None = None,
    limit: int = DEFAULT_COST_LIMIT,
) -> CostReport:
    """Costs grouped by `columns` and currency. `month` is one billing period, `since` the first of several.

    As of an earlier moment they are what this report said then: of the statements that counted then, as they stood.
    """
    assert columns
    wanted: dict[str, str | date | datetime | None] = {
        "client": client,
        "export": export,
        "month": month.starts_on if month else None,
        "since": since.starts_on if since else None,
        "as_of": as_of,
    }
    with reading.read(database) as connection:
        found = reading.sum_costs(connection, columns, metric, {**wanted, "limit": limit + 1})
        totals = reading.sum_costs(connection, [CostColumn.MONTH], metric, {**wanted, "limit": MAX_LIMIT})
    return CostReport(
        metric=metric,
        as_of=as_of,
        columns=tuple(columns),
        rows=_cost_rows(found[:limit]),
        totals=tuple(sorted(_cost_rows(totals), key=lambda total: (total.group, total.currency))),
        is_truncated=len(found) > limit,
    )


def _cost_rows(rows: Sequence[tuple[Any, ...]]) -> tuple[CostRow, ...]:
    return tuple(CostRow(group=tuple(row[:-2]), currency=row[-2], amount=row[-1]) for row in rows)
