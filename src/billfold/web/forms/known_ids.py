"""Ids in a query must exist: an unknown client, statement, delivery or publication is 404."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from fastapi import Depends, HTTPException, Request

from billfold.web.access import Access, Scope
from billfold.web.cursors import MAX_ID
from billfold.web.dependencies import OurBillfold

# Numbers of publications.
_ENDS = ("from", "to", "from_publication", "to_publication")


def refuse_unknown_ids(request: Request, billfold: OurBillfold) -> None:
    """Raise HTTPException 404 for an id in the query that does not exist or belongs to another client.

    The route itself checks the format of an id, and who may send the request.
    """
    access, query = getattr(request.state, "access", None), request.query_params
    if not (isinstance(access, Access) and access.allows(Scope.READ)):
        return
    client = query.get("client") or None
    if access.client_id is not None:
        if client not in (None, access.client_id):
            return
        client = access.client_id
    # Ids begin at 1.
    statement, delivery = _read_number(query, "statement") or None, _read_uuid(query, "delivery")
    if (client is None and statement is None and delivery is None) or "\0" in (client or ""):
        return
    named = billfold.dashboard.find_named(client=client, statement=statement, delivery=delivery)
    if client is not None and not named.has_client and client != billfold.settings.described_client_id:
        raise _not_found("client", client)
    if statement is not None and not (named.statement_client and client in (None, named.statement_client)):
        raise _not_found("statement", statement)
    if delivery is not None and not (named.delivery_client and client in (None, named.delivery_client)):
        raise _not_found("delivery", delivery)
    for name in _ENDS:
        number = _read_number(query, name)
        if statement is not None and number is not None and number > named.last_number:
            raise HTTPException(404, f"statement {statement} has no publication {number}")


KNOWN_IDS = Depends(refuse_unknown_ids)


def _not_found(what: str, value: object) -> HTTPException:
    text = str(value)
    return HTTPException(404, f"{what} {text if len(text) <= 100 else text[:100] + '…'} not found")


def _read_number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and int(text) <= MAX_ID
    return int(text) if is_number else None


def _read_uuid(query: Mapping[str, str], name: str) -> UUID | None:
    try:
        return UUID(query.get(name, ""))
    except ValueError:
        return None
