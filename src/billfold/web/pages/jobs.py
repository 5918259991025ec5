"""The page of the queue: what waits, for how long, what runs where, and what was given up."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from billfold.model import JobState
from billfold.web.access import IngestAccess, ReadAccess
from billfold.web.dependencies import OurBillfold
from billfold.web.forms.known_ids import KNOWN_IDS
from billfold.web.pages.rendering import frame, render

MAX_JOBS = 200
# While a job is in progress or due.
_REFRESH_SECONDS = 5

router = APIRouter(include_in_schema=False, dependencies=[KNOWN_IDS])


@router.get("/jobs")
def show_jobs(request: Request, billfold: OurBillfold, access: ReadAccess, client: str | None = None) -> Response:
    """The queue; the page refreshes while anything is in progress or due."""
    surround = frame(billfold, access, tab="jobs", client=client)
    rows = billfold.jobs.list(client=surround.client, limit=MAX_JOBS + 1)
    now = datetime.now(UTC)
    is_moving = any(row.state == JobState.RUNNING or (row.due_at and row.due_at <= now) for row in rows)
    counts = Counter(row.state for row in rows)
    context: dict[str, Any] = {
        "jobs": rows[:MAX_JOBS],
        "has_more": len(rows) > MAX_JOBS,
        "counts": [(state, counts[state]) for state in JobState if counts[state]],
        "is_moving": is_moving,
        "now": now,
    }
    response = render(request, "jobs.html", frame=surround, **context)
    if is_moving:
        response.headers["Refresh"] = str(_REFRESH_SECONDS)
    return response


@router.post("/jobs/{job_id}/retry")
def retry_job(billfold: OurBillfold, access: IngestAccess, job_id: int) -> Response:
    """The button "Try now"."""
    billfold.jobs.retry(job_id, client=access.client_id)
    return RedirectResponse("/jobs", status_code=303)


@router.post("/jobs/{job_id}/cancel")
def cancel_job(billfold: OurBillfold, access: IngestAccess, job_id: int) -> Response:
    """The button "Cancel"."""
    billfold.jobs.cancel(job_id, client=access.client_id)
    return RedirectResponse("/jobs", status_code=303)
