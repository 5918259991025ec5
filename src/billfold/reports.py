"""What command line and dashboard show: runs, deliveries, statements and costs, each as of a single moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from billfold.period import BillingPeriod
from billfold.store import reading
from billfold.store.database import Database

DEFAULT_LIMIT = 50
DEFAULT_COST_LIMIT = 10_000
MAX_LIMIT = 100_000


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
class Filter:
    """Which rows a report shows; None lets everything through. `state` is a run's status or a delivery's state."""

    client: str | None = None
    export: str | None = None
    period: BillingPeriod | None = None
    state: str | None = None
    limit: int = DEFAULT_LIMIT

    def parameters(self) -> dict[str, Any]:
        """The filter as the queries bind it."""
        return {**asdict(self), "period": self.period.starts_on if self.period else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run. Rows are line items; `delivery_id` is None where the source could not be resolved to a delivery."""

    ingestion_run_id: UUID
    client_id: str
    delivery_id: UUID | None
    export_name: str | None
    billing_period: str | None
    source_bucket: str
    source_s3_key: str
    source_etag: str
    status: str
    trigger_source: str
    attempts: int
    size_bytes: int | None
    sha256: str | None
    rows_read: int
    rows_inserted: int
    rows_skipped: int
    error_code: str | None
    error_message: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """A delivery. `is_current` says whether its statement shows it now; money is exact text by currency."""

    delivery_id: UUID
    client_id: str
    statement_id: int | None
    export_name: str
    bucket: str
    export_path: str
    billing_period: str | None
    format: str | None
    state: str
    is_current: bool
    delivered_at: datetime
    manifest_key: str | None
    execution_id: str | None
    trigger_source: str
    attempts: int
    rows_read: int
    rows_added: int
    rows_removed: int
    rows_unchanged: int
    source_cost: Mapping[str, str]
    billed_cost: Mapping[str, str]
    findings: Sequence[str]
    error_code: str | None
    error_message: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRow:
    """A statement as it stands: its current delivery, rows, charges and money (exact text by currency)."""

    statement_id: int
    client_id: str
    export_name: str
    bucket: str
    export_path: str
    billing_period: str
    format: str | None
    counted: bool
    cost_basis: str | None
    row_count: int
    charge_count: int
    billed_cost: Mapping[str, str]
    current_delivery_id: UUID | None
    publication_number: int
    delivered_at: datetime | None
    published_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """The cost of one group: `group` holds a value for each column that the report groups by, '' for none."""

    group: tuple[str, ...]
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """Costs of the counted statements, the dearest first, and the total of each month and currency.

    The totals are of everything that was asked for, even where `is_truncated` says that the rows are not.
    """

    metric: Metric
    columns: tuple[CostColumn, ...]
    rows: tuple[CostRow, ...]
    totals: tuple[CostRow, ...]
    is_truncated: bool


def list_clients(database: Database) -> tuple[str, ...]:
    """The ids of all clients that were ever ingested."""
    with reading.read(database) as connection:
        return reading.list_clients(connection)


def list_runs(database: Database, wanted: Filter) -> tuple[RunRow, ...]:
    """The runs, the newest first."""
    with reading.read(database) as connection:
        return reading.fetch(connection, "list_runs", RunRow, wanted.parameters())


def list_deliveries(database: Database, wanted: Filter) -> tuple[DeliveryRow, ...]:
    """The deliveries, the newest first."""
    with reading.read(database) as connection:
        return reading.fetch(connection, "list_deliveries", DeliveryRow, wanted.parameters())


def list_statements(database: Database, wanted: Filter) -> tuple[StatementRow, ...]:
    """The statements, the newest month first."""
    with reading.read(database) as connection:
        return reading.fetch(connection, "list_statements", StatementRow, wanted.parameters())


def sum_costs(
    database: Database,
    *,
    columns: Sequence[CostColumn] = (CostColumn.SERVICE, CostColumn.MONTH),
    metric: Metric = Metric.BILLED,
    client: str | None = None,
    export: str | None = None,
    month: BillingPeriod | None = None,
    since: BillingPeriod | None = None,
    limit: int = DEFAULT_COST_LIMIT,
) -> CostReport:
    """Costs grouped by `columns` and currency. `month` is one billing period, `since` the first of several."""
    assert columns
    wanted: dict[str, str | date | None] = {
        "client": client,
        "export": export,
        "month": month.starts_on if month else None,
        "since": since.starts_on if since else None,
    }
    with reading.read(database) as connection:
        found = reading.sum_costs(connection, columns, metric, {**wanted, "limit": limit + 1})
        totals = reading.sum_costs(connection, [CostColumn.MONTH], metric, {**wanted, "limit": MAX_LIMIT})
    return CostReport(
        metric=metric,
        columns=tuple(columns),
        rows=_cost_rows(found[:limit]),
        totals=tuple(sorted(_cost_rows(totals), key=lambda total: (total.group, total.currency))),
        is_truncated=len(found) > limit,
    )


def _cost_rows(rows: Sequence[tuple[Any, ...]]) -> tuple[CostRow, ...]:
    return tuple(CostRow(group=tuple(row[:-2]), currency=row[-2], amount=row[-1]) for row in rows)
