"""The schedule: has each client's folder visited at its refresh interval, and reports late deliveries.

A visit is a job of the queue, as is each delivery that it finds: what events missed comes in like what they announced,
and a client with much to ingest does not keep the others waiting.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from billfold.app import Billfold
from billfold.errors import BillfoldError, ConfigurationError, DeliveryHeldError, InternalError, UsageError
from billfold.jobs.pool import Pool
from billfold.jobs.rescue import free_gone_now
from billfold.jobs.results import Cause, Done, Result, Retry
from billfold.log import Event
from billfold.model import Client, DeliveryState, JobKind, TriggerSource
from billfold.store.database import connect
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import Job, NewJob
from billfold.store.reports import freshness

if TYPE_CHECKING:
    from billfold.reports.freshness import ClientFreshness

DEFAULT_CONCURRENCY = 2
# A visit that failed for good, for example because access is denied, is made again after this time.
PATIENCE_SECONDS = 3600
_TICK_SECONDS = 0.1

log = structlog.get_logger(__name__)


class VisitState(StrEnum):
    """How a client's visit ended. BUSY: another worker makes it, or workers have taken all of its slots."""

    DONE = "done"
    FAILED = "failed"
    BUSY = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a client's folder, or a delivery in it, could not be read."""

    error_code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The visit of one client. `counts` are its statements by state; `failures` are the errors of those that failed."""

    client_id: str
    state: VisitState
    statement_count: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()


def keep_schedule(
    billfold: Billfold,
    *,
    interval_seconds: int,
    concurrency: int = DEFAULT_CONCURRENCY,
    count_stops: Callable[[], int],
) -> int:
    """Have due clients visited, and work on `concurrency` jobs at a time, until it is to stop.

    Returns how many jobs did not end in time. `count_stops` returns the number of stops. After the first stop no job
    begins, and those in progress may end within BILLFOLD_SHUTDOWN_SECONDS; a second stop cuts that short. A pass begins
    at each interval. If the database is away, the schedule waits for it.
    """
    visited: Counter[str] = Counter()

    def count(job: Job, result: Result) -> None:
        if job.kind is JobKind.VISIT and not isinstance(result, Retry):
            visited[job.client_id] += 1

    pool = Pool(settings=billfold.settings, database=billfold.database, concurrency=concurrency, on_settled=count)
    if not count_stops():
        pool.start()
    while not count_stops():
        until = time.monotonic() + interval_seconds
        try:
            report_late(billfold)
            _, refused = _add_visits(billfold, patience_seconds=PATIENCE_SECONDS)
            _report_refused(refused)
            finish_pass(billfold, visited=visited.total() + len(refused))
            visited.clear()
        except BillfoldError as error:
            if not error.retryable:
                pool.finish(0)
                raise
            log.error(Event.SCHEDULE_INTERRUPTED, error_code=error.error_code, error=str(error))
        while time.monotonic() < until and not count_stops():
            time.sleep(_TICK_SECONDS)
    unfinished = pool.finish(billfold.settings.shutdown_seconds, lambda: count_stops() > 1)
    if unfinished:
        log.warning(Event.SCHEDULE_UNFINISHED, clients=sorted({job.client_id for job in unfinished}))
    return len(unfinished)


def visit_due(billfold: Billfold, *, concurrency: int = DEFAULT_CONCURRENCY) -> tuple[Visit, ...]:
    """Visit each client whose interval has passed, and ingest what is found; one that fails does not stop the others.

    Two schedules at once share the clients. What failed and can succeed later waits in the queue for the next call, or
    for any other worker. Raises StoreError, which prevents every visit.
    """
    with connect(billfold.database.conninfo) as connection:
        free_gone_now(connection, uuid4(), billfold.settings)
    due, refused = _add_visits(billfold)
    _report_refused(refused)
    settled: dict[int, tuple[Job, Result]] = {}

    def keep(job: Job, result: Result) -> None:
        if not (isinstance(result, Retry) and result.cause in (Cause.BUSY, Cause.DATABASE)):
            settled[job.job_id] = (job, result)

    pool = Pool(
        settings=billfold.settings,
        database=billfold.database,
        concurrency=concurrency,
        on_settled=keep,
        trigger=TriggerSource.SCHEDULE,
    )
    pool.start()
    try:
        while pool.is_alive() and not pool.is_idle():
            if pool.failure is not None:
                raise pool.failure
            time.sleep(_TICK_SECONDS)
    finally:
        pool.finish(0)
    others = sorted({job.client_id for job, _ in settled.values()} - set(due))
    return (*refused, *(_sum_up(client_id, settled.values()) for client_id in (*due, *others)))


def report_late(billfold: Billfold) -> tuple[ClientFreshness, ...]:
    """The clients without a delivery for one and a half of their intervals, each with a log line."""
    late = _find_late(billfold.clients.freshness())
    for row in late:
        log.warning(
            Event.CLIENT_LATE,
            client=row.client_id,
            last_delivered_at=row.last_delivered_at.isoformat() if row.last_delivered_at else None,
            late_since=row.late_since.isoformat() if row.late_since else None,
            hours=row.refresh_hours,
        )
    return late


def finish_pass(billfold: Billfold, *, visited: int) -> tuple[ClientFreshness, ...]:
    """Log the end of the pass, even if no client was due, and return the clients that are late now.

    A schedule that does not run cannot report late clients: an alarm can watch for the absence of this line.
    """
    known = billfold.clients.freshness()
    with connect(billfold.database.conninfo) as connection:
        visiting = jobs.count_visited(connection)
    log.info(Event.SCHEDULE_FINISHED, clients=len(known), visited=visited, visiting=visiting)
    return _find_late(known)


def _find_late(known: Collection[ClientFreshness]) -> tuple[ClientFreshness, ...]:
    return tuple(row for row in known if row.late_since)


def _add_visits(billfold: Billfold, *, patience_seconds: int = 0) -> tuple[list[str], list[Visit]]:
    """Queue a visit of each client that is due; returns them, and the failed visits of those that cannot be visited."""
    default = billfold.settings.default_client()
    refused: dict[str, Visit] = {}

    def keep(client_id: str) -> Client | None:
        try:
            return billfold.clients.keep(client_id)
        except (ConfigurationError, UsageError) as error:
            failure = Failure(error_code=error.error_code, message=str(error))
            refused[client_id] = Visit(client_id=client_id, state=VisitState.FAILED, failures=(failure,))
            return None

    if default.bucket:
        # Settings alone do not make its row.
        keep(default.client_id)
    with connect(billfold.database.conninfo) as connection:
        default_client = default.client_id if default.bucket else None
        due = freshness.list_due(connection, default_client=default_client, patience_seconds=patience_seconds)
        for client in map(keep, due):
            if client is not None:
                jobs.add(connection, make_visit(client))
    return [client_id for client_id in due if client_id not in refused], list(refused.values())


def make_visit(client: Client) -> NewJob:
    """The job that looks through the client's folder."""
    return NewJob(
        kind=JobKind.VISIT,
        client_id=client.client_id,
        bucket=client.bucket or "",
        key=client.prefix,
        work=f"visit {client.client_id}",
        trigger=TriggerSource.SCHEDULE,
    )


def _report_refused(refused: Collection[Visit]) -> None:
    for visit in refused:
        [failure] = visit.failures
        log.error(
            Event.SCHEDULE_CLIENT_FAILED,
            client=visit.client_id,
            error_code=failure.error_code,
            error=failure.message,
        )


def _sum_up(client_id: str, settled: Collection[tuple[Job, Result]]) -> Visit:
    """The visit of a client, from the last result of each of its jobs."""
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    statement_count = current_count = 0
    is_visited = False
    for job, result in settled:
        if job.client_id != client_id:
            continue
        is_visited = is_visited or job.kind is JobKind.VISIT
        if result.visit is not None:
            statement_count = result.visit.statement_count
            current_count = result.visit.current_count
            counts["failed"] += len(result.visit.failures)
            failures += [Failure(error_code=each.error_code, message=str(each)) for each in result.visit.failures]
        elif not isinstance(result, Done):
            counts["failed"] += job.kind is JobKind.INGEST
            failures.append(Failure(error_code=result.error_code or InternalError.error_code, message=result.reason))
        elif result.state:
            counts[result.state] += 1
            if result.state == DeliveryState.HELD:
                failures.append(Failure(error_code=DeliveryHeldError.error_code, message=result.reason or ""))
    state = VisitState.FAILED if failures else VisitState.DONE if is_visited else VisitState.BUSY
    return Visit(
        client_id=client_id,
        state=state,
        statement_count=statement_count,
        counts={"current": current_count, **+counts},
        failures=tuple(failures),
    )
