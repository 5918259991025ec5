"""The pages of costs: sums with charts, the charges behind them, and the sums as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from billfold.errors import UsageError
from billfold.money import count_decimals
from billfold.selection import Metric
from billfold.spreadsheet import Cell
from billfold.web.access import ReadAccess
from billfold.web.dependencies import OurBillfold
from billfold.web.forms.charge_cursor import format_charge_cursor, read_charge_cursor
from billfold.web.forms.cost_query import GROUPS, KEY_GROUPS, SPLIT_GROUPS, CostQuery, read_cost_query
from billfold.web.forms.known_ids import KNOWN_IDS
from billfold.web.pages.csv_download import send_csv
from billfold.web.pages.rendering import attempt, frame, link, render

if TYPE_CHECKING:
    from billfold.reports.spending import CurrencySpending, SpendingReport

PAGE_SIZE = 50
MAX_CSV_GROUPS = 100_000

CostQueryOf = Annotated[CostQuery, Depends(read_cost_query)]


router = APIRouter(include_in_schema=False, dependencies=[KNOWN_IDS])


@router.get("/")
@router.get("/costs")
def show_costs(request: Request, billfold: OurBillfold, access: ReadAccess, query: CostQueryOf) -> Response:
    """Sums with charts."""
    surround = frame(billfold, access, tab="costs", client=query.client)
    report = billfold.dashboard.spending(query.question(surround.client))
    # The chosen month stays in the list even if this client has no bill for it.
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
def send_costs(billfold: OurBillfold, access: ReadAccess, query: CostQueryOf) -> Response:
    """All groups as CSV."""
    question = query.question(access.narrow(query.client))
    report = billfold.dashboard.spending(question, limit=MAX_CSV_GROUPS)
    name = f"costs-{report.since or 'none'}-{report.until or 'none'}-by-{query.group}.csv"
    header = [str(query.column), "currency", "cost", "month", "month_before_to_date", "change"]
    return send_csv(name, header, _list_groups(report))


@router.get("/costs/charges")
def show_charges(
    request: Request,
    billfold: OurBillfold,
    access: ReadAccess,
    query: CostQueryOf,
    after: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """The charges of one month, page by page."""
    if query.until is None:
        raise UsageError("charges need a month, such as until=2026-05")
    if query.is_split:
        raise UsageError("charges cannot be split by workload", advice="remove split and the filters by workload")
    surround = frame(billfold, access, tab="costs", client=query.client)
    question = query.question(surround.client)
    charges = billfold.dashboard.charges(question, query.until, after=read_charge_cursor(after), limit=PAGE_SIZE)
    following = format_charge_cursor(charges.last) if charges.last else None
    return render(
        request, "charges.html", frame=surround, query=query, charges=charges, after=after, following=following
    )


def _draw(spending: CurrencySpending, query: CostQuery) -> dict[str, Any]:
    """The stacked bars of one currency for Plotly; a click on a group drills down."""
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
    # Months are not days, and for a single day a time axis would show fractions of a second.
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
    """The table of the page with all groups and exact amounts: one line for each group and currency."""
    for spending in report.currencies:
        for row in spending.groups:
            yield [row.name, row.currency, row.amount, row.month, row.before_to_date, row.change]
