"""The latest publications, each with what it moved: where a look at changes begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from billfold.reports.costs import Metric
from billfold.reports.lists import Filter
from billfold.store import reading
from billfold.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A publication and what it moved; money is exact text by currency.

    `difference` is of the metric that was asked for, and holds the currencies in which at least one account, service,
    region, day and charge category differs. A statement's first publication brings its bill and moves nothing.
    `closed_month_moved`: it moved although the billing period was over (UTC). The billed costs are all of the
    statement, whatever the metric is.
    """

    publication_id: int
    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    number: int
    kind: str
    published_at: datetime
    counted: bool
    is_current: bool
    billed_cost_before: Mapping[str, str]
    billed_cost_after: Mapping[str, str]
    difference: Mapping[str, str]
    has_moved: bool
    closed_month_moved: bool

    @property
    def is_first(self) -> bool:
        """Whether the statement had no bill ever before."""
        return self.number == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MovePage:
    """Publications, the newest first; `has_more` says whether older ones follow."""

    rows: tuple[Move, ...]
    has_more: bool


def list_moves(database: Database, wanted: Filter, *, metric: Metric = Metric.BILLED, offset: int = 0) -> MovePage:
    """What each publication moved, as `list_changes` tells it of that publication; at most `wanted.limit` of them."""
    parameters = {**wanted.parameters(), "metric": str(metric), "offset": offset, "limit": wanted.limit + 1}
    with reading.read(database) as connection:
        rows = reading.fetch(connection, "list_moves", Move, parameters)
    return MovePage(rows=rows[: wanted.limit], has_more=len(rows) > wanted.limit)
