"""The routes of clients and of the owners of their accounts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from billfold import reports
from billfold.clients import registry as clients
from billfold.documents import client_document, report_document
from billfold.errors import UsageError
from billfold.reports import OwnerRow, UnownedRow
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.access import ReadAccess
from billfold.web.api.parameters import OneClient
from billfold.web.api.responses import PREFIX, answer, describe, not_found, schema_of_rows
from billfold.web.dependencies import OurDatabase, OurSettings

router = APIRouter(prefix=PREFIX, tags=["clients"])

_CLIENT = {"type": "object", "required": ["client", "enabled", "late_since"]}
_CLIENTS = {
    "type": "object",
    "required": ["clients"],
    "properties": {"clients": {"type": "array", "items": _CLIENT}},
}


@router.get("/clients", responses=describe(_CLIENTS))
def list_clients(settings: OurSettings, database: OurDatabase, access: ReadAccess) -> Response:
    """All clients; an external id is never included."""
    return answer({"clients": describe_clients(settings, database, access.client_id)})


@router.get("/clients/{client_id}", responses=describe(_CLIENT))
def show_client(
    settings: OurSettings,
    database: OurDatabase,
    access: ReadAccess,
    client_id: Annotated[str, Path(max_length=1_000)],
) -> Response:
    """One client."""
    found = describe_clients(settings, database, client_id) if access.client_id in (None, client_id) else []
    if not found:
        raise not_found("client")
    return answer(found[0])


@router.get("/owners", responses=describe(schema_of_rows("owners", OwnerRow)))
def list_owners(database: OurDatabase, access: ReadAccess, client: OneClient = None) -> Response:
    """The accounts and their owners."""
    return answer(report_document("owners", reports.list_owners(database, access.narrow(client))))


@router.get("/owners/missing", responses=describe(schema_of_rows("accounts", UnownedRow)))
def list_accounts_without_owner(database: OurDatabase, access: ReadAccess, client: OneClient = None) -> Response:
    """The accounts that have costs and no owner, with their billed cost of the latest month."""
    rows = reports.list_accounts_without_owner(database, access.narrow(client))
    return answer(report_document("accounts", rows))


def describe_clients(settings: Settings, database: Database, only: str | None) -> list[dict[str, Any]]:
    """The clients by id with their freshness, or only one; empty if that one does not exist."""
    try:
        rows = clients.list_clients(database) if only is None else [clients.find_known(database, only)]
    except UsageError:
        return []
    fresh = {row.client_id: row for row in reports.list_client_freshness(database, settings.described_client_id, only)}
    return [client_document(row, fresh.get(row.client_id)) for row in rows]
