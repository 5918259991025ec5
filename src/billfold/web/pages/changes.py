"""The page of changes: the latest publications, and what changed between two of one statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from billfold.documents import shortest
from billfold.spreadsheet import Cell
from billfold.web.access import ReadAccess
from billfold.web.dependencies import OurBillfold
from billfold.web.forms.change_query import GROUPS, ChangeQuery, read_change_query
from billfold.web.forms.known_ids import KNOWN_IDS
from billfold.web.pages.csv_download import send_csv
from billfold.web.pages.rendering import frame, render
from billfold.web.pages.waterfall import MAX_MOVERS, list_movements

if TYPE_CHECKING:
    from billfold.reports.changes import ChangeReport, StatementChange
    from billfold.reports.moves import Move

PAGE_SIZE = 15
MAX_CSV_PUBLICATIONS = 200

ChangeQueryOf = Annotated[ChangeQuery, Depends(read_change_query)]


router = APIRouter(include_in_schema=False, dependencies=[KNOWN_IDS])


@router.get("/changes")
def show_changes(request: Request, billfold: OurBillfold, access: ReadAccess, query: ChangeQueryOf) -> Response:
    """The latest publications, and what changed between two of them."""
    surround = frame(billfold, access, tab="changes", client=query.client)
    report = billfold.dashboard.moves_in_detail(
        query.listed(surround.client, limit=PAGE_SIZE),
        query.comparison,
        column=query.by,
        metric=query.metric,
        limit=MAX_MOVERS,
        offset=(query.page - 1) * PAGE_SIZE,
    )
    # Links name the comparison even if the page chose it.
    compared = query.with_comparison(report.compared)
    context: dict[str, Any] = {
        "query": query,
        "compared": compared,
        "report": report,
        "groups": GROUPS,
        "movements": list_movements(report, compared),
        "page_size": PAGE_SIZE,
    }
    return render(request, "changes.html", frame=surround, **context)


@router.get("/changes.csv")
def send_changes(billfold: OurBillfold, access: ReadAccess, query: ChangeQueryOf) -> Response:
    """The groups that changed as CSV, or the publications if the query names no statement."""
    client = access.narrow(query.client)
    if chosen := query.comparison:
        report = billfold.changes(
            [query.by],
            client=client,
            statement=chosen.statement,
            start=chosen.start,
            end=chosen.end,
            metric=query.metric,
            limit=MAX_MOVERS,
        )
        header = ["statement", "client", "export", "month", "from", "to", query.by]
        return send_csv(_name_file(query), [*header, "currency", "old", "new", "difference"], _list_movers(report))
    moves = billfold.dashboard.moves(query.listed(client, limit=MAX_CSV_PUBLICATIONS), metric=query.metric)
    header = ["published_at", "statement", "client", "export", "month", "publication", "kind", "closed_month_moved"]
    amounts = ["currency", "billed_before", f"{query.metric}_difference", "billed_after"]
    return send_csv("publications.csv", [*header, *amounts], _list_publications(moves))


def _name_file(query: ChangeQuery) -> str:
    numbers = [number for number in (query.statement, query.start, query.end) if number is not None]
    return f"changes-of-{'-'.join(map(str, numbers))}-by-{query.by}.csv"


def _list_movers(report: ChangeReport) -> Iterator[list[Cell]]:
    for change in report.changes:
        place = _list_ids(change)
        for row in change.groups:
            yield [*place, *row.group, row.currency, *map(shortest, (row.old, row.new, row.difference))]


def _list_ids(change: StatementChange) -> list[str]:
    ends = (change.earlier.number if change.earlier else 0, change.later.number)
    return [
        str(change.statement_id),
        change.client_id,
        change.export_name,
        change.billing_period,
        *map(str, ends),
    ]


def _list_publications(moves: tuple[Move, ...]) -> Iterator[list[Cell]]:
    """One line for each publication and each currency in it."""
    for move in moves:
        place = [
            move.published_at.isoformat(),
            str(move.statement_id),
            move.client_id,
            move.export_name,
            move.billing_period,
            str(move.number),
            move.kind,
            "yes" if move.closed_month_moved else "no",
        ]
        amounts = (move.billed_cost_before, move.difference, move.billed_cost_after)
        for currency in sorted({*amounts[0], *amounts[1], *amounts[2]}) or [""]:
            yield [*place, currency, *(_format_optional(each, currency) for each in amounts)]


def _format_optional(amounts: Mapping[str, str], currency: str) -> Cell:
    return shortest(amounts[currency]) if currency in amounts else ""
