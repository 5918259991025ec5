"""The page of a client's doctor run, and the button that starts one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from billfold.app.values import DOCTOR_LIMIT_SECONDS
from billfold.web.access import IngestAccess, ReadAccess, Scope
from billfold.web.dependencies import OurBillfold
from billfold.web.forms.known_ids import KNOWN_IDS
from billfold.web.pages.client_steps import path_of
from billfold.web.pages.clients import ClientId, find_client
from billfold.web.pages.rendering import render

# While doctor runs.
_REFRESH_SECONDS = 2

router = APIRouter(include_in_schema=False, dependencies=[KNOWN_IDS])


@router.get("/clients/{client_id}/doctor")
def show_doctor(
    request: Request,
    billfold: OurBillfold,
    access: ReadAccess,
    client_id: ClientId,
) -> Response:
    """The last doctor run; the page refreshes while it is running."""
    client, surround = find_client(billfold, access, client_id)
    run = billfold.requests.find_doctor_run(client_id)
    context: dict[str, Any] = {
        "client": client,
        "path": path_of(client_id),
        "run": run,
        "probes": run.list_probes(access.client_id) if run else [],
        "counts": run.count_probes(access.client_id) if run else [],
        "limit_seconds": DOCTOR_LIMIT_SECONDS,
        "may_run": access.allows(Scope.INGEST),
    }
    response = render(request, "doctor.html", frame=surround, **context)
    if run and run.is_running:
        response.headers["Refresh"] = str(_REFRESH_SECONDS)
    return response


@router.post("/clients/{client_id}/doctor")
def start_doctor(
    billfold: OurBillfold,
    access: ReadAccess,
    _: IngestAccess,
    client_id: ClientId,
) -> Response:
    """The button "Run doctor"."""
    find_client(billfold, access, client_id)
    billfold.requests.doctor(client_id)
    return RedirectResponse(f"{path_of(client_id)}/doctor", status_code=303)
