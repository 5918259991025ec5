"""The page of changes: the latest publications, and what one statement's bill moved from one of them to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from billfold.documents import spell_money
from billfold.reports import (
    ChangeReport,
    Filter,
    Move,
    StatementChange,
    list_changes,
    list_choices,
    list_moves,
    list_publications,
)
from billfold.store.database import Database
from billfold.web.access import ReadAccess
from billfold.web.pages.change_query import GROUPS, ChangeQuery, read_change_query
from billfold.web.pages.rendering import frame, render
from billfold.web.pages.tables import send_csv
from billfold.web.pages.waterfall import MAX_MOVERS, list_movements

PAGE_SIZE = 15
MAX_CSV_PUBLICATIONS = 200
# So many publications of a statement can be chosen from; addresses reach all of them.
MAX_ENDS = 200

ChangeQueryOf = Annotated[ChangeQuery, Depends(read_change_query)]


def make_router(database: Database) -> APIRouter:
    """`/changes` shows publications and what moved between two of them, `/changes.csv` the one or the other."""
    router = APIRouter(include_in_schema=False)

    @router.get("/changes")
    def show_changes(request: Request, access: ReadAccess, query: ChangeQueryOf) -> Response:
        surround = frame(database, access, tab="changes", client=query.client)
        moves = list_moves(
            database,
            query.listed(surround.client, limit=PAGE_SIZE),
            metric=query.metric,
            offset=(query.page - 1) * PAGE_SIZE,
        )
        asked = query if query.statement else _look_into_newest(query, moves.rows)
        report = _compare(database, asked, surround.client)
        change = next(iter(report.changes), None) if report else None
        wanted = Filter(client=surround.client, statement=change.statement_id if change else None, limit=MAX_ENDS)
        context: dict[str, Any] = {
            "query": query,
            "asked": asked,
            "choices": list_choices(database, surround.client),
            "groups": GROUPS,
            "page_size": PAGE_SIZE,
            "moves": moves,
            "change": change,
            "ends": list_publications(database, wanted) if change else (),
            "movements": list_movements(report, change, asked) if report and change else (),
        }
        return render(request, "changes.html", frame=surround, **context)

    @router.get("/changes.csv")
    def send_changes(access: ReadAccess, query: ChangeQueryOf) -> Response:
        client = access.narrow(query.client)
        if report := _compare(database, query, client):
            header = ["statement", "client", "export", "month", "from", "to", query.by]
            return send_csv(_name_file(query), [*header, "currency", "old", "new", "difference"], _list_movers(report))
        moves = list_moves(database, query.listed(client, limit=MAX_CSV_PUBLICATIONS), metric=query.metric)
        header = ["published_at", "statement", "client", "export", "month", "publication", "kind", "closed_month_moved"]
        amounts = ["currency", "billed_before", f"{query.metric}_difference", "billed_after"]
        return send_csv("publications.csv", [*header, *amounts], _list_publications(moves.rows))

    return router


def _look_into_newest(query: ChangeQuery, moves: tuple[Move, ...]) -> ChangeQuery:
    """Where nothing is chosen it is the newest publication of the list that moved something."""
    newest = next((move for move in moves if move.has_moved), None)
    return query.look_into(newest.statement_id, newest.number - 1, newest.number) if newest else query


def _compare(database: Database, query: ChangeQuery, client: str | None) -> ChangeReport | None:
    """What moved in the statement that is looked into, all of its groups; None where none is chosen."""
    if query.statement is None:
        return None
    return list_changes(
        database,
        Filter(client=client, statement=query.statement),
        start=query.start,
        end=query.end,
        columns=[query.by],
        metric=query.metric,
        limit=MAX_MOVERS,
    )


def _name_file(query: ChangeQuery) -> str:
    ends = "-".join(str(end) for end in (query.start, query.end) if end is not None)
    return f"changes-of-{query.statement}{ends and f'-{ends}'}-by-{query.by}.csv"


def _list_movers(report: ChangeReport) -> Iterator[list[str]]:
    for change in report.changes:
        place = _spell_place(change)
        for row in change.groups:
            yield [*place, *row.group, row.currency, *map(spell_money, (row.old, row.new, row.difference))]


def _spell_place(change: StatementChange) -> list[str]:
    ends = (change.earlier.number if change.earlier else 0, change.later.number)
    return [
        str(change.statement_id),
        change.client_id,
        change.export_name,
        change.billing_period,
        *map(str, ends),
    ]


def _list_publications(moves: tuple[Move, ...]) -> Iterator[list[str]]:
    """One line for each publication and currency that it held or moved."""
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
        held = (move.billed_cost_before, move.difference, move.billed_cost_after)
        for currency in sorted({*held[0], *held[1], *held[2]}) or [""]:
            yield [*place, currency, *(_spell_optional(amounts, currency) for amounts in held)]


def _spell_optional(amounts: Mapping[str, str], currency: str) -> str:
    return spell_money(amounts[currency]) if currency in amounts else ""
