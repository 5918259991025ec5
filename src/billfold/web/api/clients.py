"""The routes of clients and of the owners of their accounts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Response

from billfold.app import Billfold
from billfold.app.values import OwnerRow, UnownedRow
from billfold.documents import client_document, report_document
from billfold.errors import UsageError
from billfold.web.access import ReadAccess
from billfold.web.api.parameters import OneClient
from billfold.web.api.responses import answer, describe, not_found, schema_of_rows
from billfold.web.api.routers import make_router
from billfold.web.dependencies import OurBillfold

router = make_router("clients")

_CLIENT = {"type": "object", "required": ["client", "enabled", "late_since"]}
_CLIENTS = {
    "type": "object",
    "required": ["clients"],
    "properties": {"clients": {"type": "array", "items": _CLIENT}},
}


@router.get("/clients", responses=describe(_CLIENTS))
def list_clients(billfold: OurBillfold, access: ReadAccess) -> Response:
    """All clients; an external id is never included."""
    return answer({"clients": describe_clients(billfold, access.client_id)})


@router.get("/clients/{client_id}", responses=describe(_CLIENT))
def show_client(
    billfold: OurBillfold,
    access: ReadAccess,
    client_id: Annotated[str, Path(max_length=1_000)],
) -> Response:
    """One client."""
    found = describe_clients(billfold, client_id) if access.client_id in (None, client_id) else []
    if not found:
        raise not_found("client")
    return answer(found[0])


@router.get("/owners", responses=describe(schema_of_rows("owners", OwnerRow)))
def list_owners(billfold: OurBillfold, access: ReadAccess, client: OneClient = None) -> Response:
    """The accounts and their owners."""
    return answer(report_document("owners", billfold.owners.list(access.narrow(client))))


@router.get("/owners/missing", responses=describe(schema_of_rows("accounts", UnownedRow)))
def list_accounts_without_owner(billfold: OurBillfold, access: ReadAccess, client: OneClient = None) -> Response:
    """The accounts that have costs and no owner, with their billed cost of the latest month."""
    rows = billfold.owners.list_missing(access.narrow(client))
    return answer(report_document("accounts", rows))


def describe_clients(billfold: Billfold, only: str | None) -> list[dict[str, Any]]:
    """The clients by id with their freshness, or only one; empty if that one does not exist."""
    try:
        rows = billfold.clients.list() if only is None else [billfold.clients.find(only)]
    except UsageError:
        return []
    fresh = {row.client_id: row for row in billfold.clients.freshness(only)}
    return [client_document(row, fresh.get(row.client_id)) for row in rows]
