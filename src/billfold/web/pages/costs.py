"""The pages of costs: where the money goes, the charges behind it, and the same as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from billfold.errors import UsageError
from billfold.money import count_decimals
from billfold.reports.spending import CurrencySpending, SpendingReport, list_charges, report_spending
from billfold.selection import Metric
from billfold.spreadsheet import Cell
from billfold.store.database import Database
from billfold.web.access import ReadAccess
from billfold.web.forms.charge_place import read_place, spell_place
from billfold.web.forms.cost_query import GROUPS, KEY_GROUPS, SPLIT_GROUPS, CostQuery, read_cost_query
from billfold.web.pages.rendering import attempt, frame, link, render
from billfold.web.pages.tables import send_csv

PAGE_SIZE = 50
MAX_CSV_GROUPS = 100_000

CostQueryOf = Annotated[CostQuery, Depends(read_cost_query)]


def make_router(database: Database) -> APIRouter:
    """`/` and `/costs` show sums, `/costs/charges` what they are made of, `/costs.csv` all groups."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    @router.get("/costs")
    def show_costs(request: Request, access: ReadAccess, query: CostQueryOf) -> Response:
        surround = frame(database, access, tab="costs", client=query.client)
        report = report_spending(database, query.question(surround.client))
        # A month that was asked for stays in the choice, also where this client has no bill of it.
        months = sorted({*report.months, *filter(None, (report.since, report.until))}, reverse=True)
        charts = [attempt("chart of costs", partial(_draw, each, query)) for each in report.currencies]
        context: dict[str, Any] = {
            "query": query,
            "report": report,
            "charts": charts,
            "months": months,
            "groups": [
                *(group for group in GROUPS if group not in KEY_GROUPS),
                *(SPLIT_GROUPS if query.is_split else ()),
            ],
            "split_groups": SPLIT_GROUPS,
            "metric_of": {str(metric): metric for metric in Metric},
            "key_groups": KEY_GROUPS,
        }
        return render(request, "costs.html", frame=surround, **context)

    @router.get("/costs.csv")
    def send_costs(access: ReadAccess, query: CostQueryOf) -> Response:
        question = query.question(access.narrow(query.client))
        report = report_spending(database, question, limit=MAX_CSV_GROUPS)
        name = f"costs-{report.since or 'none'}-{report.until or 'none'}-by-{query.group}.csv"
        header = [str(query.column), "currency", "cost", "month", "month_before_to_date", "change"]
        return send_csv(name, header, _list_groups(report))

    @router.get("/costs/charges")
    def show_charges(
        request: Request,
        access: ReadAccess,
        query: CostQueryOf,
        after: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        if query.until is None:
            raise UsageError("charges are of one month: until=2026-05 names it")
        if query.is_split:
            raise UsageError("charges are those of instances, not split: leave out split and what it is filtered by")
        surround = frame(database, access, tab="costs", client=query.client)
        question = query.question(surround.client)
        charges = list_charges(database, question, query.until, after=read_place(after), limit=PAGE_SIZE)
        following = spell_place(charges.last) if charges.last else None
        return render(
            request, "charges.html", frame=surround, query=query, charges=charges, after=after, following=following
        )

    return router


def _draw(spending: CurrencySpending, query: CostQuery) -> dict[str, Any]:
    """The stacked bars of one currency, as Plotly reads them; a click on a group looks into it."""
    data = []
    for series in spending.series:
        name = "others" if series.name is None else series.name or "(none)"
        bars: dict[str, Any] = {
            "type": "bar",
            "name": name if len(name) <= 34 else f"{name[:33]}\N{HORIZONTAL ELLIPSIS}",
            "x": spending.steps,
            "y": series.amounts,
            "hovertemplate": f"%{{y:,.{count_decimals(spending.currency)}f}} {spending.currency}",
        }
        if series.name is not None:
            bars["meta"] = {"href": link("/costs", query.drill(series.name))}
        data.append(bars)
    # Months are no days, and around a single day an axis of time shows parts of a second.
    has_days = len(spending.steps) > 1 and len(spending.steps[0]) == len("2026-05-31")
    return {
        "data": data,
        "layout": {
            "barmode": "relative",
            "bargap": 0.18,
            "hovermode": "x unified",
            "xaxis": {"type": "date" if has_days else "category"},
            "yaxis": {"type": "linear"},
        },
    }


def _list_groups(report: SpendingReport) -> Iterator[list[Cell]]:
    """The table of the page, all of its groups: exact amounts, one line for each group and currency."""
    for spending in report.currencies:
        for row in spending.groups:
            yield [row.name, row.currency, row.amount, row.month, row.before_to_date, row.change]
