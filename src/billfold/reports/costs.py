"""Costs: sums over the counted statements, now or as of an earlier moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.selection import DEFAULT_COST_LIMIT, SPLIT_COLUMNS, CostColumn, KeyColumn, Metric, Selection
from billfold.store.database import Database
from billfold.store.reports import costs, reading


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """The cost of one group: `group` has a value for each column that the report groups by, '' for none."""

    group: tuple[str, ...]
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """Costs of the counted statements, the most expensive first, and the total of each month and currency.

    The totals cover everything that was requested, even if `is_truncated` says that the rows do not. `as_of` is the
    moment of the costs, None for the present. If it `is_split`, workloads replace their parents.
    """

    metric: Metric
    is_split: bool = False
    as_of: datetime | None
    columns: tuple[CostColumn | KeyColumn, ...]
    rows: tuple[CostRow, ...]
    totals: tuple[CostRow, ...]
    is_truncated: bool


_EVERYTHING = Selection()


def sum_costs(
    database: Database,
    *,
    columns: Sequence[CostColumn | KeyColumn] = (CostColumn.SERVICE, CostColumn.MONTH),
    metric: Metric | None = None,
    client: str | None = None,
    export: str | None = None,
    month: BillingPeriod | None = None,
    since: BillingPeriod | None = None,
    until: BillingPeriod | None = None,
    selection: Selection = _EVERYTHING,
    as_of: datetime | None = None,
    split: bool = False,
    limit: int = DEFAULT_COST_LIMIT,
) -> CostReport:
    """Costs grouped by `columns` and currency. `month` is one billing period, `since` the first of several, `until`
    the last.

    As of an earlier moment the report equals the one of that time: of the statements counted then, as they were; only
    owners are the current ones. Raises UsageError for months that exclude each other, and StoreError if the answer
    needs charges of an earlier moment that are pruned.

    With `split`, which the SPLIT_COLUMNS imply, workloads replace their parents; groups that cost 0 are left out. The
    metric is then the effective cost, otherwise the billed cost by default; UsageError for any other one, and for split
    costs of invoices.
    """
    assert columns
    is_split = split or any(column in SPLIT_COLUMNS for column in [*columns, *selection.columns()])
    metric = choose_metric(metric, is_split=is_split)
    if is_split and CostColumn.INVOICE in columns:
        raise UsageError("split costs have no invoice: AWS bills instances, not what runs on them")
    first, last = _span(month, since, until)
    wanted = {"client": client, "export": export, "since": first, "until": last, "as_of": as_of, "limit": limit + 1}
    with reading.read(database) as connection:
        summed = costs.sum_costs(
            connection,
            [str(column) for column in columns],
            metric,
            {**wanted, **selection.parameters()},
            filtered_by=selection.columns(),
            is_split=is_split,
        )
    found = [_cost_row(row) for row in summed if row.level == 0]
    totals = [_cost_row(row) for row in summed if row.level == 1]
    return CostReport(
        metric=metric,
        is_split=is_split,
        as_of=as_of,
        columns=tuple(columns),
        rows=tuple(found[:limit]),
        totals=tuple(sorted(totals, key=lambda total: (total.group, total.currency))),
        is_truncated=len(found) > limit,
    )


def choose_metric(metric: Metric | None, *, is_split: bool) -> Metric:
    """The requested metric, or the default one; split costs are effective costs only."""
    if not is_split:
        return metric or Metric.BILLED
    if metric not in (None, Metric.EFFECTIVE):
        raise UsageError(
            f"split costs have no {metric} cost: AWS allocates effective cost",
            advice="use the effective cost, or leave out the split and its columns",
        )
    return Metric.EFFECTIVE


def _span(
    month: BillingPeriod | None, since: BillingPeriod | None, until: BillingPeriod | None
) -> tuple[date | None, date | None]:
    """The first and the last billing period that all three allow, None for no bound."""
    first = max((bound.starts_on for bound in (month, since) if bound), default=None)
    last = min((bound.starts_on for bound in (month, until) if bound), default=None)
    if first and last and first > last:
        raise UsageError(f"no month is from {first:%Y-%m} to {last:%Y-%m}")
    return first, last


def _cost_row(row: costs.SummedCost) -> CostRow:
    return CostRow(group=tuple(row.place), currency=row.currency, amount=row.amount)
