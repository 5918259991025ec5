"""The pages of clients: the list, and one client with its onboarding, its settings and its statements."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import RedirectResponse

from billfold.app import Billfold
from billfold.web.access import Access, ReadAccess, Scope
from billfold.web.api.clients import describe_clients
from billfold.web.api.responses import not_found
from billfold.web.dependencies import OurBillfold
from billfold.web.forms.fields import read_text
from billfold.web.forms.known_ids import KNOWN_IDS
from billfold.web.pages.client_steps import list_steps, path_of
from billfold.web.pages.rendering import Frame, frame, render

MAX_CLIENTS = 300
MAX_STATEMENTS = 60

ClientId = Annotated[str, Path(max_length=1_000, pattern=r"^[^\x00]*$")]

router = APIRouter(include_in_schema=False, dependencies=[KNOWN_IDS])


@router.get("/clients")
def show_clients(request: Request, billfold: OurBillfold, access: ReadAccess, client: str = "") -> Response:
    """All clients, late ones first; the choice of one leads to its page."""
    surround = frame(billfold, access, tab="clients", client=read_text("client", client))
    if surround.client:
        return RedirectResponse(path_of(surround.client), status_code=303)
    found = sorted(describe_clients(billfold, None), key=lambda each: not each["late_since"])
    context: dict[str, Any] = {
        "clients": found[:MAX_CLIENTS],
        "client_count": len(found),
        "late_count": sum(each["late_since"] is not None for each in found),
        "state_of": state_of,
        "path_of": path_of,
    }
    return render(request, "clients.html", frame=surround, **context)


@router.get("/clients/{client_id}")
def show_client(
    request: Request,
    billfold: OurBillfold,
    access: ReadAccess,
    client_id: ClientId,
) -> Response:
    """One client."""
    client, surround = find_client(billfold, access, client_id)
    run = billfold.requests.find_doctor_run(client_id)
    context: dict[str, Any] = {
        "client": client,
        "state": state_of(client),
        "path": path_of(client_id),
        "steps": list_steps(client, run),
        "run": run,
        "counts": run.count_probes(access.client_id) if run else [],
        "may_run": access.allows(Scope.INGEST),
        "statements": billfold.statements(client=client_id, limit=MAX_STATEMENTS),
        "freshness": {row.statement_id: row for row in billfold.clients.statement_freshness(client_id)},
    }
    return render(request, "client.html", frame=surround, **context)


def find_client(billfold: Billfold, access: Access, client_id: str) -> tuple[dict[str, Any], Frame]:
    """The client as the API returns it, and the frame of its pages; 404 if the token is for another client."""
    found = describe_clients(billfold, client_id) if access.client_id in (None, client_id) else []
    if not found:
        raise not_found("client")
    return found[0], frame(billfold, access, tab="clients", client=client_id)


def state_of(client: dict[str, Any]) -> str:
    """The state of a client in one or two words."""
    if not client["enabled"]:
        return "disabled"
    if not client["is_expected"]:
        return "no schedule"
    if client["late_since"]:
        return "late"
    return "on time" if client["last_delivered_at"] else "no delivery yet"
