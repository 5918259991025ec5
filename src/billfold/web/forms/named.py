"""What an address names must exist: an unknown client, statement, delivery or publication is 404."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from fastapi import HTTPException, Request

from billfold.reports import find_named
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.access import Access, Scope
from billfold.web.cursors import MAX_ID

# PostgreSQL's integer; a larger number is refused by the route itself.
_ENDS = ("from", "to", "from_publication", "to_publication")


def make_check(settings: Settings, database: Database) -> Callable[[Request], None]:
    """A dependency that raises HTTPException 404 for an id in the query that means nothing, or is another client's.

    What is no id at all is left to the route, which says what one looks like; so is who may ask.
    """

    def refuse_missing(request: Request) -> None:
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
        named = find_named(database, client=client, statement=statement, delivery=delivery)
        if client is not None and not named.has_client and client != settings.described_client_id:
            raise _missing("client", client)
        if statement is not None and not (named.statement_client and client in (None, named.statement_client)):
            raise _missing("statement", statement)
        if delivery is not None and not (named.delivery_client and client in (None, named.delivery_client)):
            raise _missing("delivery", delivery)
        for name in _ENDS:
            number = _read_number(query, name)
            if statement is not None and number is not None and number > named.last_number:
                raise HTTPException(404, f"statement {statement} has no publication {number}")

    return refuse_missing


def _missing(what: str, value: object) -> HTTPException:
    text = str(value)
    return HTTPException(404, f"there is no {what} {text if len(text) <= 100 else text[:100] + '…'}")


def _read_number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and int(text) <= MAX_ID
    return int(text) if is_number else None


def _read_uuid(query: Mapping[str, str], name: str) -> UUID | None:
    try:
        return UUID(query.get(name, ""))
    except ValueError:
        return None
