"""The routes of the queue: its jobs, and to retry or cancel one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import HTTPException, Path, Response

from billfold.app import Billfold
from billfold.app.values import JobRow
from billfold.documents import report_document
from billfold.errors import UsageError
from billfold.model import JobState
from billfold.web.access import Access, IngestAccess, ReadAccess
from billfold.web.api.parameters import DEFAULT_LIMIT, Limit, OneClient
from billfold.web.api.responses import (
    FAILURES,
    answer,
    describe,
    describe_failures,
    not_found,
    schema_of_rows,
)
from billfold.web.api.routers import make_router
from billfold.web.cursors import MAX_ID
from billfold.web.dependencies import OurBillfold

router = make_router("jobs")

JobId = Annotated[int, Path(ge=1, le=MAX_ID)]

_CHANGES: dict[int | str, dict[str, Any]] = {
    204: {"description": "Done."},
    **describe_failures({**FAILURES, 409: "The job is in progress."}),
}


@router.get("/jobs", responses=describe(schema_of_rows("jobs", JobRow)))
def list_jobs(
    billfold: OurBillfold,
    access: ReadAccess,
    client: OneClient = None,
    state: JobState | None = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Response:
    """The jobs in progress, then those that wait, by when they are tried next, then the dead ones.

    `worker` is null for a token of one client.
    """
    return answer(report_document("jobs", find_jobs(billfold, access, client=client, state=state, limit=limit)))


@router.post("/jobs/{job_id}/retry", status_code=204, responses=_CHANGES)
def retry_job(billfold: OurBillfold, access: IngestAccess, job_id: JobId) -> Response:
    """Let a waiting job be tried at once, or a dead one as if it had never failed."""
    change_job(billfold, access, job_id, billfold.jobs.retry)
    return Response(status_code=204)


@router.post("/jobs/{job_id}/cancel", status_code=204, responses=_CHANGES)
def cancel_job(billfold: OurBillfold, access: IngestAccess, job_id: JobId) -> Response:
    """Take a waiting or dead job out of the queue. What it would have ingested can be announced or requested again."""
    change_job(billfold, access, job_id, billfold.jobs.cancel)
    return Response(status_code=204)


def find_jobs(billfold: Billfold, access: Access, *, client: str | None = None, **wanted: Any) -> Sequence[JobRow]:
    """The jobs that the token may see; one of a single client sees nothing about our machines."""
    rows = billfold.jobs.list(client=access.narrow(client), **wanted)
    return rows if access.client_id is None else [replace(row, worker=None) for row in rows]


def change_job(billfold: Billfold, access: Access, job_id: int, change: Callable[..., None]) -> None:
    """Retry or cancel a job; raises HTTPException 404 for one that the token may not see, 409 for one in progress."""
    if not find_jobs(billfold, access, job_id=job_id):
        raise not_found("job")
    try:
        change(job_id, client=access.client_id)
    except UsageError as error:
        raise HTTPException(409, str(error)) from error
