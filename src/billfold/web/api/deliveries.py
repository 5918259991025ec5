"""The routes of deliveries, their runs, and how fresh they are."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from billfold import reports
from billfold.documents import report_document
from billfold.model import DeliveryState, RunStatus
from billfold.reports import ClientFreshness, DeliveryRow, RunRow, StatementFreshness
from billfold.selection import Filter
from billfold.web.access import ReadAccess
from billfold.web.api.parameters import DEFAULT_LIMIT, Cursor, Limit, OneClient, OneExport, OneMonth, make_filter
from billfold.web.api.responses import (
    PREFIX,
    answer,
    answer_one,
    answer_page,
    describe,
    schema_of_row,
    schema_of_rows,
)
from billfold.web.cursors import read_cursor, read_moment
from billfold.web.dependencies import OurDatabase, OurSettings

router = APIRouter(prefix=PREFIX)

_DELIVERIES = schema_of_rows("deliveries", DeliveryRow, is_paged=True)
_FRESHNESS = {
    "type": "object",
    "required": ["clients", "statements"],
    "properties": {
        "clients": {"type": "array", "items": schema_of_row(ClientFreshness)},
        "statements": {"type": "array", "items": schema_of_row(StatementFreshness)},
    },
}


@router.get("/deliveries", responses=describe(_DELIVERIES), tags=["deliveries"])
def list_deliveries(
    database: OurDatabase,
    access: ReadAccess,
    client: OneClient = None,
    export: OneExport = None,
    period: OneMonth = None,
    state: DeliveryState | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Deliveries, newest first."""
    after = read_cursor(cursor, read_moment, UUID)
    wanted = make_filter(access, client, export, period, state=state, after=after, limit=limit + 1)
    rows = reports.list_deliveries(database, wanted)
    return answer_page("deliveries", rows, limit, lambda row: (row.created_at, row.delivery_id))


@router.get("/deliveries/{delivery_id}", responses=describe(schema_of_row(DeliveryRow)), tags=["deliveries"])
def show_delivery(database: OurDatabase, access: ReadAccess, delivery_id: UUID) -> Response:
    """One delivery; `/v1/runs?delivery=` lists its runs."""
    rows = reports.list_deliveries(database, Filter(client=access.client_id, delivery=delivery_id))
    return answer_one("deliveries", rows, "delivery")


@router.get("/runs", responses=describe(schema_of_rows("runs", RunRow, is_paged=True)), tags=["runs"])
def list_runs(
    database: OurDatabase,
    access: ReadAccess,
    client: OneClient = None,
    export: OneExport = None,
    period: OneMonth = None,
    delivery: Annotated[UUID | None, Query(description="Only the runs of this delivery's files.")] = None,
    status: RunStatus | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Runs, newest first."""
    after = read_cursor(cursor, read_moment, UUID)
    wanted = make_filter(access, client, export, period, delivery=delivery, state=status, after=after, limit=limit + 1)
    rows = reports.list_runs(database, wanted)
    return answer_page("runs", rows, limit, lambda row: (row.created_at, row.ingestion_run_id))


@router.get("/runs/{run_id}", responses=describe(schema_of_row(RunRow)), tags=["runs"])
def show_run(database: OurDatabase, access: ReadAccess, run_id: UUID) -> Response:
    """One run."""
    return answer_one("runs", reports.list_runs(database, Filter(client=access.client_id, run=run_id)), "run")


@router.get("/freshness", responses=describe(_FRESHNESS), tags=["deliveries"])
def show_freshness(
    settings: OurSettings, database: OurDatabase, access: ReadAccess, client: OneClient = None
) -> Response:
    """The last delivery of each client and statement, and which of them are late."""
    only = access.narrow(client)
    of_clients = reports.list_client_freshness(database, settings.described_client_id, only)
    of_statements = reports.list_statement_freshness(database, settings.described_client_id, only)
    return answer(report_document("clients", of_clients) | report_document("statements", of_statements))
