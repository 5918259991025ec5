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
from billfold.store import costs, reading
from billfold.store.database import Database

DEFAULT_COST_LIMIT = 10_000


class CostColumn(StrEnum):
    """What costs can be grouped by; a month is a billing period, a day the UTC day on which a charge starts.

    The category is the charge's (Usage, Purchase, Tax), pricing its pricing category, commitment its commitment
    discount status. The IAM principal made the call that is charged, the user identifier is that of a workforce user.
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
    DAY = "day"
    MONTH = "month"


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
    the moment whose costs they are, None for the present.
    """

    metric: Metric
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
    metric: Metric = Metric.BILLED,
    client: str | None = None,
    export: str | None = None,
    month: BillingPeriod | None = None,
    since: BillingPeriod | None = None,
    until: BillingPeriod | None = None,
    selection: Selection = _EVERYTHING,
    as_of: datetime | None = None,
    limit: int = DEFAULT_COST_LIMIT,
) -> CostReport:
    """Costs grouped by `columns` and currency. `month` is one billing period, `since` the first of several, `until`
    the last.

    As of an earlier moment they are what this report said then: of the statements that counted then, as they stood;
    owners are today's. Raises UsageError for months that exclude each other and StoreError where what only the charges
    of an earlier moment could tell is pruned.
    """
    assert columns
    first, last = _span(month, since, until)
    wanted = {"client": client, "export": export, "since": first, "until": last, "as_of": as_of, "limit": limit + 1}
    with reading.read(database) as connection:
        summed = costs.sum_costs(
            connection,
            [str(column) for column in columns],
            metric,
            {**wanted, **selection.parameters()},
            filtered_by=selection.columns(),
        )
    found = [_cost_row(row) for row in summed if row.level == 0]
    totals = [_cost_row(row) for row in summed if row.level == 1]
    return CostReport(
        metric=metric,
        as_of=as_of,
        columns=tuple(columns),
        rows=tuple(found[:limit]),
        totals=tuple(sorted(totals, key=lambda total: (total.group, total.currency))),
        is_truncated=len(found) > limit,
    )


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
