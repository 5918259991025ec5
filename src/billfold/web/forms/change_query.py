"""The query of the changes page, such as `?period=2026-05&by=account&statement=3&from=2&to=5`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Query

from billfold.app.values import ComparedRange
from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.selection import ChangeColumn, Filter, Metric
from billfold.web.forms.fields import choose, read_month, read_number, read_text

if TYPE_CHECKING:
    from billfold.reports.moves import Move

MAX_PAGE = 2_000

# The page groups changes by one of these columns.
GROUPS = (
    ChangeColumn.SERVICE,
    ChangeColumn.ACCOUNT,
    ChangeColumn.REGION,
    ChangeColumn.CATEGORY,
    ChangeColumn.DAY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeQuery:
    """Which publications to list, and which statement to compare between two of them.

    Without `statement` the page chooses. `start` is by default the publication before `end`, and `end` is the last.
    """

    client: str | None
    export: str | None
    period: BillingPeriod | None
    metric: Metric
    by: ChangeColumn
    statement: int | None
    start: int | None
    end: int | None
    page: int

    def listed(self, client: str | None, *, limit: int) -> Filter:
        """The publications to list, within what the token may see."""
        return Filter(client=client, export=self.export, period=self.period, limit=limit)

    @property
    def comparison(self) -> ComparedRange | None:
        """The comparison; None if the page chooses."""
        return ComparedRange(statement=self.statement, start=self.start, end=self.end) if self.statement else None

    def with_comparison(self, chosen: ComparedRange | None) -> ChangeQuery:
        """This query with that comparison, on the same page of the list."""
        if chosen is None:
            return self
        return replace(self, statement=chosen.statement, start=chosen.start, end=chosen.end)

    def step(self, move: Move) -> dict[str, Any]:
        """The parameters that show what a publication changed."""
        chosen = ComparedRange(statement=move.statement_id, start=move.number - 1, end=move.number)
        return self.with_comparison(chosen).parameters()

    def parameters(self) -> dict[str, Any]:
        """The query as parameters, without the defaults."""
        return {
            "client": self.client,
            "export": self.export,
            "period": self.period,
            "metric": None if self.metric is Metric.BILLED else self.metric,
            "by": None if self.by is GROUPS[0] else self.by,
            "statement": self.statement,
            "from": self.start,
            "to": self.end,
            "page": None if self.page == 1 else self.page,
        }


def read_change_query(
    client: str = "",
    export: str = "",
    period: str = "",
    metric: str = "",
    by: str = "",
    statement: str = "",
    start: Annotated[str, Query(alias="from")] = "",
    end: Annotated[str, Query(alias="to")] = "",
    page: str = "",
) -> ChangeQuery:
    """Read the query. Raises UsageError for an invalid value; the message names its field."""
    query = ChangeQuery(
        client=read_text("client", client),
        export=read_text("export", export),
        period=read_month("period", period),
        metric=Metric(choose("metric", metric or Metric.BILLED, tuple(Metric))),
        by=ChangeColumn(choose("by", by or GROUPS[0], GROUPS)),
        statement=read_number("statement", statement),
        start=read_number("from", start, min_value=0),
        end=read_number("to", end),
        page=read_number("page", page, max_value=MAX_PAGE) or 1,
    )
    if query.statement is None and (query.start is not None or query.end is not None):
        raise UsageError("from and to need a statement, such as statement=3")
    return query
