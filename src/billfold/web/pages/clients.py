"""The pages of clients: the list, and one client with its onboarding, its settings and its statements."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import RedirectResponse

from billfold import reports
from billfold.selection import Filter
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.access import Access, ReadAccess, Scope
from billfold.web.api.clients import describe_clients
from billfold.web.api.responses import not_found
from billfold.web.dependencies import OurDatabase, OurDoctorRuns, OurSettings
from billfold.web.forms.fields import read_text
from billfold.web.pages.client_steps import list_steps, path_of
from billfold.web.pages.rendering import Frame, frame, render

MAX_CLIENTS = 300
MAX_STATEMENTS = 60

ClientId = Annotated[str, Path(max_length=1_000, pattern=r"^[^\x00]*$")]

router = APIRouter(include_in_schema=False)


@router.get("/clients")
def show_clients(
    request: Request, settings: OurSettings, database: OurDatabase, access: ReadAccess, client: str = ""
) -> Response:
    """All clients, late ones first; the choice of one leads to its page."""
    surround = frame(database, access, tab="clients", client=read_text("client", client))
    if surround.client:
        return RedirectResponse(path_of(surround.client), status_code=303)
    found = sorted(describe_clients(settings, database, None), key=lambda each: not each["late_since"])
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
    settings: OurSettings,
    database: OurDatabase,
    doctor_runs: OurDoctorRuns,
    access: ReadAccess,
    client_id: ClientId,
) -> Response:
    """One client."""
    client, surround = find_client(settings, database, access, client_id)
    run = doctor_runs.find(client_id)
    context: dict[str, Any] = {
        "client": client,
        "state": state_of(client),
        "path": path_of(client_id),
        "steps": list_steps(client, run),
        "run": run,
        "counts": run.count_probes(access.client_id) if run else [],
        "may_run": access.allows(Scope.INGEST),
        "statements": reports.list_statements(database, Filter(client=client_id, limit=MAX_STATEMENTS)),
        "freshness": {
            row.statement_id: row
            for row in reports.list_statement_freshness(database, settings.described_client_id, client_id)
        },
    }
    return render(request, "client.html", frame=surround, **context)


def find_client(settings: Settings, database: Database, access: Access, client_id: str) -> tuple[dict[str, Any], Frame]:
    """The client as the API returns it, and the frame of its pages; 404 if the token is for another client."""
    found = describe_clients(settings, database, client_id) if access.client_id in (None, client_id) else []
    if not found:
        raise not_found("client")
    return found[0], frame(database, access, tab="clients", client=client_id)


def state_of(client: dict[str, Any]) -> str:
    """The state of a client in one or two words."""
    if not client["enabled"]:
        return "disabled"
    if not client["is_expected"]:
        return "no schedule"
    if client["late_since"]:
        return "late"
    return "on time" if client["last_delivered_at"] else "no delivery yet"
