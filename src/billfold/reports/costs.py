"""What was spent: sums over the counted statements, now or as of an earlier moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.store.database import Database
from billfold.store.reports import costs, reading

DEFAULT_COST_LIMIT = 10_000


class CostColumn(StrEnum):
    """What costs can be grouped by; a month is a billing period, a day the UTC day on which a charge starts.

    The category is the charge's (Usage, Purchase, Tax), pricing its pricing category, commitment its commitment
    discount status. The IAM principal made the call that is charged, the user identifier is that of a workforce user.

    Split cost allocation knows the parent, which is the instance, and the workloads on it. Cluster, namespace, workload
    and pod are those of EKS: a Deployment has its name rather than that of its ReplicaSet. For ECS they are cluster,
    none, service and task; for Batch compute environment, job queue, job definition and task. They are NOT_ALLOCATED
    for the rest of a parent's cost, and '' for what is not split.
    """

    SERVICE = "service"
    SERVICE_CATEGORY = "service-category"
    ACCOUNT = "account"
    OWNER = "owner"
    REGION = "region"
    CATEGORY = "category"
    PRICING = "pricing"
    COMMITMENT = "commitment"
    INVOICE = "invoice"
    IAM_PRINCIPAL = "iam-principal"
    USER_IDENTIFIER = "user-identifier"
    PARENT = "parent"
    CLUSTER = "cluster"
    NAMESPACE = "namespace"
    WORKLOAD = "workload"
    POD = "pod"
    DAY = "day"
    MONTH = "month"


# Only costs with workloads in place of their parents have these.
SPLIT_COLUMNS = (CostColumn.PARENT, CostColumn.CLUSTER, CostColumn.NAMESPACE, CostColumn.WORKLOAD, CostColumn.POD)
NOT_ALLOCATED = "not allocated"


class MapColumn(StrEnum):
    """What costs can be grouped by one key at a time."""

    TAG = "tag"
    COST_CATEGORY = "cost-category"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyColumn:
    """The value of one tag or one cost category; keys are case-sensitive."""

    column: MapColumn
    key: str

    def __str__(self) -> str:
        return f"{self.column}:{self.key}"


class Metric(StrEnum):
    """Which of FOCUS's costs is summed."""

    BILLED = "billed"
    EFFECTIVE = "effective"
    LIST = "list"
    CONTRACTED = "contracted"


class ChargeCategory(StrEnum):
    """FOCUS 1.2: the allowed values of ChargeCategory."""

    USAGE = "Usage"
    PURCHASE = "Purchase"
    TAX = "Tax"
    CREDIT = "Credit"
    ADJUSTMENT = "Adjustment"


class Preset(StrEnum):
    """What can be left out: taxes and credits by charge category; refunds by what the bill calls them.

    A refund is CUR's line item type Refund. FOCUS has no such mark: there all corrections of what was invoiced, other
    than credits, are left out (an inference).
    """

    TAX = "tax"
    CREDIT = "credit"
    REFUND = "refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which costs a report is of: of each field one of its values must hold; an empty field lets everything through.

    The value '' stands for none. A service is known by its name or by its code. Of every tag key and every cost
    category that is named, one of its values must hold.
    """

    services: Sequence[str] = ()
    accounts: Sequence[str] = ()
    regions: Sequence[str] = ()
    categories: Sequence[ChargeCategory] = ()
    owners: Sequence[str] = ()
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cost_categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    iam_principals: Sequence[str] = ()
    user_identifiers: Sequence[str] = ()
    parents: Sequence[str] = ()
    clusters: Sequence[str] = ()
    namespaces: Sequence[str] = ()
    workloads: Sequence[str] = ()
    pods: Sequence[str] = ()
    without: Sequence[Preset] = ()

    def columns(self) -> set[str]:
        """The columns that it looks at."""
        looked_at = {
            CostColumn.SERVICE: self.services,
            CostColumn.ACCOUNT: self.accounts,
            CostColumn.REGION: self.regions,
            CostColumn.CATEGORY: [*self.categories, *self.without],
            CostColumn.OWNER: self.owners,
            MapColumn.TAG: self.tags,
            MapColumn.COST_CATEGORY: self.cost_categories,
            CostColumn.IAM_PRINCIPAL: self.iam_principals,
            CostColumn.USER_IDENTIFIER: self.user_identifiers,
            CostColumn.PARENT: self.parents,
            CostColumn.CLUSTER: self.clusters,
            CostColumn.NAMESPACE: self.namespaces,
            CostColumn.WORKLOAD: self.workloads,
            CostColumn.POD: self.pods,
        }
        return {column for column, values in looked_at.items() if values}

    def parameters(self) -> dict[str, Any]:
        """The selection as the query binds it."""
        return {
            "services": list(self.services) or None,
            "accounts": list(self.accounts) or None,
            "regions": list(self.regions) or None,
            "categories": [str(category) for category in self.categories] or None,
            "owners": list(self.owners) or None,
            "tags": json.dumps(dict(self.tags)) if self.tags else None,
            "cost_categories": json.dumps(dict(self.cost_categories)) if self.cost_categories else None,
            "iam_principals": list(self.iam_principals) or None,
            "user_identifiers": list(self.user_identifiers) or None,
            "parents": list(self.parents) or None,
            "clusters": list(self.clusters) or None,
            "namespaces": list(self.namespaces) or None,
            "workloads": list(self.workloads) or None,
            "pods": list(self.pods) or None,
            "without": [str(preset) for preset in self.without],
        }


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
    the moment whose costs they are, None for the present. Where it
    `is_split`, workloads stand in for their parents.
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

    As of an earlier moment they are what this report said then: of the statements that counted then, as they stood;
    owners are today's. Raises UsageError for months that exclude each other and StoreError where what only the charges
    of an earlier moment could tell is pruned.

    With `split`, which the SPLIT_COLUMNS imply, workloads stand in for their parents; groups that cost 0 are left out.
    The metric is then the effective cost, otherwise the billed cost where none is named; UsageError for another one,
    and for split costs of invoices.
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
    """The metric that was asked for, or the one that goes without asking; split costs are effective costs alone."""
    if not is_split:
        return metric or Metric.BILLED
    if metric not in (None, Metric.EFFECTIVE):
        raise UsageError(
            f"split costs have no {metric} cost: AWS allocates effective cost",
            advice="ask for the effective cost, or leave out the split and its columns",
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
