"""The routes of lists and of single things: clients, owners, statements, deliveries, runs, publications, checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from billfold import reports
from billfold.clients import registry as clients
from billfold.errors import UsageError
from billfold.model import DeliveryState, RunStatus
from billfold.quality import CheckState
from billfold.reports import (
    CheckRow,
    ClientFreshness,
    DeliveryRow,
    Filter,
    OwnerRow,
    PublicationRow,
    RunRow,
    StatementFreshness,
    StatementRow,
    UnownedRow,
)
from billfold.reports.documents import client_document, report_document
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.access import Access, ReadAccess
from billfold.web.api.responses import (
    DEFAULT_LIMIT,
    PREFIX,
    Cursor,
    Limit,
    OneClient,
    OneExport,
    OneMonth,
    OneStatement,
    StatementId,
    answer,
    describe,
    missing,
    parse_optional_month,
    schema_of_row,
    schema_of_rows,
)
from billfold.web.cursors import next_cursor, read_cursor, read_id, read_moment, read_name

Row = TypeVar("Row", RunRow, DeliveryRow, StatementRow, PublicationRow)

_CLIENT = {"type": "object", "required": ["client", "enabled", "late_since"]}
_CLIENTS = {
    "type": "object",
    "required": ["clients"],
    "properties": {"clients": {"type": "array", "items": _CLIENT}},
}
_CHECKS = {
    "type": "object",
    "required": ["checks", "unchecked_statements"],
    "properties": {
        "checks": {"type": "array", "items": schema_of_row(CheckRow)},
        "unchecked_statements": {"type": "array", "items": {"type": "integer"}},
    },
}
_FRESHNESS = {
    "type": "object",
    "required": ["clients", "statements"],
    "properties": {
        "clients": {"type": "array", "items": schema_of_row(ClientFreshness)},
        "statements": {"type": "array", "items": schema_of_row(StatementFreshness)},
    },
}


def make_router(settings: Settings, database: Database) -> APIRouter:
    """The routes; each shows what the token may see, and 404 for what is another client's."""
    router = APIRouter(prefix=PREFIX)

    @router.get("/clients", responses=describe(_CLIENTS), tags=["clients"])
    def list_clients(access: ReadAccess) -> Response:
        """The clients, never with an external id."""
        return answer({"clients": describe_clients(settings, database, access.client_id)})

    @router.get("/clients/{client_id}", responses=describe(_CLIENT), tags=["clients"])
    def show_client(access: ReadAccess, client_id: Annotated[str, Path(max_length=1_000)]) -> Response:
        """One client."""
        if access.client_id not in (None, client_id):
            raise missing("client")
        return answer(_only(describe_clients(settings, database, client_id), "client"))

    @router.get(
        "/statements",
        responses=describe(schema_of_rows("statements", StatementRow, is_paged=True)),
        tags=["statements"],
    )
    def list_statements(
        access: ReadAccess,
        client: OneClient = None,
        export: OneExport = None,
        period: OneMonth = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        """The statements as they stand, the newest month first."""
        after = read_cursor(cursor, date.fromisoformat, read_name, read_name, read_id)
        wanted = _filter(access, client, export, period, after_statement=after, limit=limit + 1)
        rows = reports.list_statements(database, wanted)
        return _answer_page("statements", rows, limit, _place_of_statement)

    @router.get("/statements/{statement_id}", responses=describe(schema_of_row(StatementRow)), tags=["statements"])
    def show_statement(access: ReadAccess, statement_id: StatementId) -> Response:
        """One statement."""
        wanted = Filter(client=access.client_id, statement=statement_id)
        rows = reports.list_statements(database, wanted)
        return answer(_only(report_document("statements", rows)["statements"], "statement"))

    @router.get(
        "/deliveries", responses=describe(schema_of_rows("deliveries", DeliveryRow, is_paged=True)), tags=["deliveries"]
    )
    def list_deliveries(
        access: ReadAccess,
        client: OneClient = None,
        export: OneExport = None,
        period: OneMonth = None,
        state: DeliveryState | None = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        """The deliveries, the newest first."""
        after = read_cursor(cursor, read_moment, UUID)
        wanted = _filter(access, client, export, period, state=state, after=after, limit=limit + 1)
        rows = reports.list_deliveries(database, wanted)
        return _answer_page("deliveries", rows, limit, lambda row: (row.created_at, row.delivery_id))

    @router.get("/deliveries/{delivery_id}", responses=describe(schema_of_row(DeliveryRow)), tags=["deliveries"])
    def show_delivery(access: ReadAccess, delivery_id: UUID) -> Response:
        """One delivery; `/v1/runs?delivery=` lists its runs."""
        rows = reports.list_deliveries(database, Filter(client=access.client_id, delivery=delivery_id))
        return answer(_only(report_document("deliveries", rows)["deliveries"], "delivery"))

    @router.get("/runs", responses=describe(schema_of_rows("runs", RunRow, is_paged=True)), tags=["runs"])
    def list_runs(
        access: ReadAccess,
        client: OneClient = None,
        export: OneExport = None,
        period: OneMonth = None,
        delivery: Annotated[UUID | None, Query(description="Only the runs of this delivery's files.")] = None,
        status: RunStatus | None = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        """The runs, the newest first."""
        after = read_cursor(cursor, read_moment, UUID)
        wanted = _filter(access, client, export, period, delivery=delivery, state=status, after=after, limit=limit + 1)
        rows = reports.list_runs(database, wanted)
        return _answer_page("runs", rows, limit, lambda row: (row.created_at, row.ingestion_run_id))

    @router.get("/runs/{run_id}", responses=describe(schema_of_row(RunRow)), tags=["runs"])
    def show_run(access: ReadAccess, run_id: UUID) -> Response:
        """One run."""
        rows = reports.list_runs(database, Filter(client=access.client_id, run=run_id))
        return answer(_only(report_document("runs", rows)["runs"], "run"))

    @router.get(
        "/publications",
        responses=describe(schema_of_rows("publications", PublicationRow, is_paged=True)),
        tags=["changes"],
    )
    def list_publications(
        access: ReadAccess,
        client: OneClient = None,
        export: OneExport = None,
        period: OneMonth = None,
        statement: OneStatement = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        """Every change of the bills, the newest first."""
        after = read_cursor(cursor, read_moment, read_id)
        wanted = _filter(access, client, export, period, statement=statement, after=after, limit=limit + 1)
        rows = reports.list_publications(database, wanted)
        return _answer_page("publications", rows, limit, lambda row: (row.published_at, row.publication_id))

    @router.get("/checks", responses=describe(_CHECKS), tags=["checks"])
    def list_checks(
        access: ReadAccess,
        client: OneClient = None,
        export: OneExport = None,
        period: OneMonth = None,
        statement: OneStatement = None,
        state: CheckState | None = None,
        all: Annotated[bool, Query(description="Of all publications, not only of the bills that stand now.")] = False,
    ) -> Response:
        """The checks of the bills, in rows and money."""
        limit = reports.MAX_LIMIT
        wanted = _filter(access, client, export, period, statement=statement, state=state, limit=limit)
        report = reports.list_checks(database, wanted, every=all)
        return answer({**report_document("checks", report.rows), "unchecked_statements": list(report.unchecked)})

    @router.get("/owners", responses=describe(schema_of_rows("owners", OwnerRow)), tags=["clients"])
    def list_owners(access: ReadAccess, client: OneClient = None) -> Response:
        """Who answers for which account."""
        return answer(report_document("owners", reports.list_owners(database, access.narrow(client))))

    @router.get("/owners/missing", responses=describe(schema_of_rows("accounts", UnownedRow)), tags=["clients"])
    def list_accounts_without_owner(access: ReadAccess, client: OneClient = None) -> Response:
        """The accounts that cost something and nobody answers for, with their billed cost of the latest month."""
        rows = reports.list_accounts_without_owner(database, access.narrow(client))
        return answer(report_document("accounts", rows))

    @router.get("/freshness", responses=describe(_FRESHNESS), tags=["deliveries"])
    def show_freshness(access: ReadAccess, client: OneClient = None) -> Response:
        """When something was last delivered to each client and statement, and who is late."""
        only = access.narrow(client)
        of_clients = reports.list_client_freshness(database, settings.described_client_id, only)
        of_statements = reports.list_statement_freshness(database, settings.described_client_id, only)
        return answer(report_document("clients", of_clients) | report_document("statements", of_statements))

    return router


def _filter(
    access: Access,
    client: str | None,
    export: str | None,
    period: str | None,
    *,
    limit: int,
    **more: Any,
) -> Filter:
    return Filter(
        client=access.narrow(client),
        export=export,
        period=parse_optional_month(period),
        limit=limit,
        **more,
    )


def describe_clients(settings: Settings, database: Database, only: str | None) -> list[dict[str, Any]]:
    """The clients by id, or one of them, with their freshness; none where there is no such client."""
    try:
        rows = clients.list_clients(database) if only is None else [clients.find_known(database, only)]
    except UsageError:
        return []
    fresh = {row.client_id: row for row in reports.list_client_freshness(database, settings.described_client_id, only)}
    return [client_document(row, fresh.get(row.client_id)) for row in rows]


def _answer_page(name: str, rows: Sequence[Row], limit: int, place_of: Callable[[Row], tuple[Any, ...]]) -> Response:
    """The first `limit` of the rows, and where the next page begins if there are more of them."""
    more = next_cursor(*place_of(rows[limit - 1])) if len(rows) > limit else None
    return answer({**report_document(name, rows[:limit]), "next_cursor": more})


def _place_of_statement(row: StatementRow) -> tuple[str, str, str, int]:
    return f"{row.billing_period}-01", row.client_id, row.export_name, row.statement_id


def _only(rows: list[dict[str, Any]], what: str) -> dict[str, Any]:
    if not rows:
        raise missing(what)
    return rows[0]
