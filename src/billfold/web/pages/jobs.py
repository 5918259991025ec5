"""The page of the queue: what waits, for how long, what runs where, and what was given up."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from billfold.model import JobState
from billfold.web.access import IngestAccess, ReadAccess, Scope
from billfold.web.api.jobs import JobId, change_job, find_jobs
from billfold.web.dependencies import OurBillfold
from billfold.web.forms.fields import read_text
from billfold.web.forms.known_ids import KNOWN_IDS
from billfold.web.pages.rendering import frame, link, render

MAX_JOBS = 200
# While a job is in progress or due.
_REFRESH_SECONDS = 5

router = APIRouter(include_in_schema=False, dependencies=[KNOWN_IDS])


@router.get("/jobs")
def show_jobs(request: Request, billfold: OurBillfold, access: ReadAccess, client: str = "") -> Response:
    """The queue; the page refreshes while anything is in progress or due."""
    surround = frame(billfold, access, tab="jobs", client=read_text("client", client))
    rows = find_jobs(billfold, access, client=surround.client, limit=MAX_JOBS + 1)
    now = datetime.now(UTC)
    is_moving = any(row.state == JobState.RUNNING or (row.due_at and row.due_at <= now) for row in rows)
    counts = Counter(row.state for row in rows[:MAX_JOBS])
    context: dict[str, Any] = {
        "jobs": rows[:MAX_JOBS],
        "has_more": len(rows) > MAX_JOBS,
        "counts": [(state, counts[state]) for state in JobState if counts[state]],
        "is_moving": is_moving,
        "may_change": access.allows(Scope.INGEST),
        "now": now,
    }
    response = render(request, "jobs.html", frame=surround, **context)
    if is_moving:
        response.headers["Refresh"] = str(_REFRESH_SECONDS)
    return response


@router.post("/jobs/{job_id}/retry")
def retry_job(billfold: OurBillfold, access: IngestAccess, job_id: JobId, client: str = "") -> Response:
    """The button "Try now"."""
    change_job(billfold, access, job_id, billfold.jobs.retry)
    return _show(client)


@router.post("/jobs/{job_id}/cancel")
def cancel_job(billfold: OurBillfold, access: IngestAccess, job_id: JobId, client: str = "") -> Response:
    """The button "Cancel"."""
    change_job(billfold, access, job_id, billfold.jobs.cancel)
    return _show(client)


def _show(client: str) -> Response:
    return RedirectResponse(link("/jobs", client=client), status_code=303)
