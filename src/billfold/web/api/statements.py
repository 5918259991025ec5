"""The routes of statements and their publications."""

from __future__ import annotations

from datetime import date

from fastapi import Response

from billfold.app.values import PublicationRow, StatementRow
from billfold.web.access import ReadAccess
from billfold.web.api.parameters import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    OneClient,
    OneExport,
    OneMonth,
    OneStatement,
    StatementId,
)
from billfold.web.api.responses import answer_one, answer_page, describe, schema_of_row, schema_of_rows
from billfold.web.api.routers import make_router
from billfold.web.cursors import read_cursor, read_id, read_moment, read_name
from billfold.web.dependencies import OurBillfold

router = make_router()

_STATEMENTS = schema_of_rows("statements", StatementRow, is_paged=True)
_PUBLICATIONS = schema_of_rows("publications", PublicationRow, is_paged=True)


@router.get("/statements", responses=describe(_STATEMENTS), tags=["statements"])
def list_statements(
    billfold: OurBillfold,
    access: ReadAccess,
    client: OneClient = None,
    export: OneExport = None,
    period: OneMonth = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Statements, newest month first."""
    after = read_cursor(cursor, date.fromisoformat, read_name, read_name, read_id)
    of_whom = access.narrow(client)
    rows = billfold.statements(client=of_whom, export=export, month=period, after_statement=after, limit=limit + 1)
    return answer_page("statements", rows, limit, _place_of_statement)


@router.get("/statements/{statement_id}", responses=describe(schema_of_row(StatementRow)), tags=["statements"])
def show_statement(billfold: OurBillfold, access: ReadAccess, statement_id: StatementId) -> Response:
    """One statement."""
    rows = billfold.statements(client=access.client_id, statement=statement_id)
    return answer_one("statements", rows, "statement")


@router.get("/publications", responses=describe(_PUBLICATIONS), tags=["changes"])
def list_publications(
    billfold: OurBillfold,
    access: ReadAccess,
    client: OneClient = None,
    export: OneExport = None,
    period: OneMonth = None,
    statement: OneStatement = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Publications, newest first: every change of a statement."""
    after = read_cursor(cursor, read_moment, read_id)
    rows = billfold.publications(
        client=access.narrow(client), export=export, month=period, statement=statement, after=after, limit=limit + 1
    )
    return answer_page("publications", rows, limit, lambda row: (row.published_at, row.publication_id))


def _place_of_statement(row: StatementRow) -> tuple[str, str, str, int]:
    return f"{row.billing_period}-01", row.client_id, row.export_name, row.statement_id
