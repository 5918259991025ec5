"""The pages of clients: how each stands, what comes next in its onboarding, and what doctor found of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.responses import RedirectResponse

from billfold import reports
from billfold.model import Probe, ProbeState
from billfold.selection import Filter
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.access import Access, IngestAccess, ReadAccess, Scope
from billfold.web.api.lists import describe_clients
from billfold.web.api.responses import missing
from billfold.web.doctor_runs import LIMIT_SECONDS, Examination, Examinations
from billfold.web.forms.fields import read_text
from billfold.web.pages.rendering import Frame, frame, render

MAX_CLIENTS = 300
MAX_STATEMENTS = 60
# How soon a page looks again while doctor is at work, in seconds.
_LOOK_AGAIN_SECONDS = 2

ClientId = Annotated[str, Path(max_length=1_000, pattern=r"^[^\x00]*$")]


class StepState(StrEnum):
    """Whether a step of an onboarding is behind us."""

    DONE = "done"
    TO_DO = "to do"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a client's onboarding, and what to do about one that is not done; `command` is for our own shell."""

    title: str
    state: StepState
    text: str
    command: str = ""
    path: str = ""


def make_router(settings: Settings, database: Database, examinations: Examinations) -> APIRouter:
    """`/clients` shows all, `/clients/{id}` one, and `/clients/{id}/doctor` its examination, which a form asks for."""
    router = APIRouter(include_in_schema=False)

    @router.get("/clients")
    def show_clients(request: Request, access: ReadAccess, client: str = "") -> Response:
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
    def show_client(request: Request, access: ReadAccess, client_id: ClientId) -> Response:
        client, surround = find_client(settings, database, access, client_id)
        examination = examinations.find(client_id)
        context: dict[str, Any] = {
            "client": client,
            "state": state_of(client),
            "path": path_of(client_id),
            "steps": _list_steps(client, examination),
            "examination": examination,
            "counts": _count(examination, access),
            "may_examine": access.allows(Scope.INGEST),
            "statements": reports.list_statements(database, Filter(client=client_id, limit=MAX_STATEMENTS)),
            "freshness": {
                row.statement_id: row
                for row in reports.list_statement_freshness(database, settings.described_client_id, client_id)
            },
        }
        return render(request, "client.html", frame=surround, **context)

    @router.get("/clients/{client_id}/doctor")
    def show_examination(request: Request, access: ReadAccess, client_id: ClientId) -> Response:
        client, surround = find_client(settings, database, access, client_id)
        examination = examinations.find(client_id)
        context: dict[str, Any] = {
            "client": client,
            "path": path_of(client_id),
            "examination": examination,
            "probes": _list_probes(examination, access),
            "counts": _count(examination, access),
            "limit_seconds": LIMIT_SECONDS,
            "may_examine": access.allows(Scope.INGEST),
        }
        response = render(request, "doctor.html", frame=surround, **context)
        if examination and examination.is_running:
            response.headers["Refresh"] = str(_LOOK_AGAIN_SECONDS)
        return response

    @router.post("/clients/{client_id}/doctor")
    def examine(access: ReadAccess, _: IngestAccess, client_id: ClientId) -> Response:
        find_client(settings, database, access, client_id)
        if not examinations.start(client_id):
            message = "doctor is busy with other clients: try again in a minute"
            raise HTTPException(503, message, headers={"Retry-After": str(round(LIMIT_SECONDS))})
        return RedirectResponse(f"{path_of(client_id)}/doctor", status_code=303)

    return router


def find_client(settings: Settings, database: Database, access: Access, client_id: str) -> tuple[dict[str, Any], Frame]:
    """The client as its JSON route tells it, and the frame of its pages; 404 for one that the token is not for."""
    found = describe_clients(settings, database, client_id) if access.client_id in (None, client_id) else []
    if not found:
        raise missing("client")
    return found[0], frame(database, access, tab="clients", client=client_id)


def path_of(client_id: str) -> str:
    """The address of a client's page."""
    return f"/clients/{quote(client_id, safe='')}"


def state_of(client: dict[str, Any]) -> str:
    """How a client stands, in two words."""
    if not client["enabled"]:
        return "disabled"
    if not client["is_expected"]:
        return "not expected"
    if client["late_since"]:
        return "late"
    return "on time" if client["last_delivered_at"] else "nothing yet"


def _list_steps(client: dict[str, Any], examination: Examination | None) -> list[Step]:
    """What has to be done before a client's bills come in by themselves, in order."""
    name, path = client["client"], path_of(client["client"])
    is_delivered = client["last_delivered_at"] is not None
    examined = _judge(examination)
    role = Step(
        title="The client's account lets us in",
        state=_done(is_delivered or examined is StepState.DONE),
        text="Its administrator deploys our template in its account: a role that reads this folder alone.",
        path=f"{path}/onboarding",
    )
    return [
        *([role] if client["role_arn"] else []),
        Step(
            title="Doctor finds nothing missing",
            state=examined,
            text="Every right that an ingest needs is tried for real; what is missing is told with what mends it.",
            command=f"billfold doctor --client {name}",
            path=f"{path}/doctor",
        ),
        Step(
            title="The first delivery came in",
            state=_done(is_delivered),
            text="Bring in what stands in the bucket. AWS delivers a new export for the first time within a day.",
            command=f"billfold backfill --client {name}",
        ),
        Step(
            title="Enabled",
            state=_done(client["enabled"]),
            text="Nothing is taken in for a disabled client; what stands stays.",
            command=f"billfold client enable {name}",
        ),
    ]


def _done(is_done: bool) -> StepState:
    return StepState.DONE if is_done else StepState.TO_DO


def _judge(examination: Examination | None) -> StepState:
    """What an examination that came to its end says of the client itself."""
    of_client = [probe.state for probe in examination.probes if probe.client_id] if examination else []
    if examination is None or examination.ended_at is None or examination.is_cut_off or not of_client:
        return StepState.UNKNOWN
    return _done(ProbeState.FAILED not in of_client)


def _list_probes(examination: Examination | None, access: Access) -> list[Probe]:
    """What may be shown: how our own machine and database are is not for a token of one client."""
    probes = tuple(examination.probes) if examination else ()
    return [probe for probe in probes if access.client_id is None or probe.client_id == access.client_id]


def _count(examination: Examination | None, access: Access) -> list[tuple[ProbeState, int]]:
    counts = Counter(probe.state for probe in _list_probes(examination, access))
    return [(state, counts[state]) for state in ProbeState if counts[state]]
