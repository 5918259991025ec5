"""The query of an address about changes, such as `?period=2026-05&by=account&statement=3&from=2&to=5`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Query

from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.reports import LookInto, Move
from billfold.selection import ChangeColumn, Filter, Metric
from billfold.web.forms.fields import choose, read_month, read_number, read_text

MAX_PAGE = 2_000

# How movers are grouped on the page, one column at a time.
GROUPS = (
    ChangeColumn.SERVICE,
    ChangeColumn.ACCOUNT,
    ChangeColumn.REGION,
    ChangeColumn.CATEGORY,
    ChangeColumn.DAY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeQuery:
    """An address's query: which publications are listed, and which statement is looked into from where to where.

    Without `statement` the page chooses; without `start` it is the publication before `end`, without `end` the last.
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
        """Which publications are listed, within what whoever asks may see."""
        return Filter(client=client, export=self.export, period=self.period, limit=limit)

    @property
    def look_into(self) -> LookInto | None:
        """What is looked into, None where the page chooses."""
        return LookInto(statement=self.statement, start=self.start, end=self.end) if self.statement else None

    def looking_into(self, chosen: LookInto | None) -> ChangeQuery:
        """The query that looks into that, and stays on its page of the list."""
        if chosen is None:
            return self
        return replace(self, statement=chosen.statement, start=chosen.start, end=chosen.end)

    def step(self, move: Move) -> dict[str, Any]:
        """The parameters that look into what a publication moved."""
        chosen = LookInto(statement=move.statement_id, start=move.number - 1, end=move.number)
        return self.looking_into(chosen).parameters()

    def parameters(self) -> dict[str, Any]:
        """The query anew: what stands at its default is left out."""
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
    """The query of an address. Raises UsageError for what is none: each message names the field."""
    query = ChangeQuery(
        client=read_text("client", client),
        export=read_text("export", export),
        period=read_month("period", period),
        metric=Metric(choose("metric", metric or Metric.BILLED, tuple(Metric))),
        by=ChangeColumn(choose("by", by or GROUPS[0], GROUPS)),
        statement=read_number("statement", statement),
        start=read_number("from", start, least=0),
        end=read_number("to", end),
        page=read_number("page", page, most=MAX_PAGE) or 1,
    )
    if query.statement is None and (query.start is not None or query.end is not None):
        raise UsageError("from and to are publications of one statement: statement=3 names it")
    return query
