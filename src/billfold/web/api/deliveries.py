"""The routes of deliveries, their runs, and how fresh they are."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from billfold.app.values import ClientFreshness, DeliveryRow, RunRow, StatementFreshness
from billfold.documents import report_document
from billfold.model import DeliveryState, RunStatus
from billfold.web.access import ReadAccess
from billfold.web.api.parameters import DEFAULT_LIMIT, Cursor, Limit, OneClient, OneExport, OneMonth
from billfold.web.api.responses import (
    answer,
    answer_one,
    answer_page,
    describe,
    schema_of_row,
    schema_of_rows,
)
from billfold.web.api.routers import make_router
from billfold.web.cursors import read_cursor, read_moment
from billfold.web.dependencies import OurBillfold

router = make_router()

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
    billfold: OurBillfold,
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
    rows = billfold.deliveries(
        client=access.narrow(client), export=export, month=period, state=state, after=after, limit=limit + 1
    )
    return answer_page("deliveries", rows, limit, lambda row: (row.created_at, row.delivery_id))


@router.get("/deliveries/{delivery_id}", responses=describe(schema_of_row(DeliveryRow)), tags=["deliveries"])
def show_delivery(billfold: OurBillfold, access: ReadAccess, delivery_id: UUID) -> Response:
    """One delivery; `/v1/runs?delivery=` lists its runs."""
    rows = billfold.deliveries(client=access.client_id, delivery=delivery_id)
    return answer_one("deliveries", rows, "delivery")


@router.get("/runs", responses=describe(schema_of_rows("runs", RunRow, is_paged=True)), tags=["runs"])
def list_runs(
    billfold: OurBillfold,
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
    rows = billfold.runs(
        client=access.narrow(client),
        export=export,
        month=period,
        delivery=delivery,
        status=status,
        after=after,
        limit=limit + 1,
    )
    return answer_page("runs", rows, limit, lambda row: (row.created_at, row.ingestion_run_id))


@router.get("/runs/{run_id}", responses=describe(schema_of_row(RunRow)), tags=["runs"])
def show_run(billfold: OurBillfold, access: ReadAccess, run_id: UUID) -> Response:
    """One run."""
    return answer_one("runs", billfold.runs(client=access.client_id, run=run_id), "run")


@router.get("/freshness", responses=describe(_FRESHNESS), tags=["deliveries"])
def show_freshness(billfold: OurBillfold, access: ReadAccess, client: OneClient = None) -> Response:
    """The last delivery of each client and statement, and which of them are late."""
    only = access.narrow(client)
    of_clients = billfold.clients.freshness(only)
    of_statements = billfold.clients.statement_freshness(only)
    return answer(report_document("clients", of_clients) | report_document("statements", of_statements))
