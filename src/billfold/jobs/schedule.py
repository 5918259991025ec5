"""The schedule: lists each client's folder at its refresh interval, and reports late deliveries.

It ingests what events missed, by the same `backfill` that an operator can call. Several clients are visited at a time,
so that one with much to ingest does not keep the others waiting; late clients are reported even during a visit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from billfold import interruption
from billfold.app import Billfold
from billfold.errors import BillfoldError, StoreFullError, StoreLimitError, as_internal
from billfold.jobs.client_pool import ClientPool
from billfold.jobs.rescue import free_gone_now
from billfold.log import Event
from billfold.model import Client, TriggerSource
from billfold.settings import Settings
from billfold.store.database import Connection, connect
from billfold.store.jobs import jobs
from billfold.store.reports import freshness

if TYPE_CHECKING:
    from billfold.bills.backfill import BackfillReport
    from billfold.reports.freshness import ClientFreshness

DEFAULT_CONCURRENCY = 2
# The longest wait of a client that failed.
MAX_PATIENCE_SECONDS = 3600
_TICK_SECONDS = 0.1

log = structlog.get_logger(__name__)


class VisitState(StrEnum):
    """How a client's visit ended. BUSY: another schedule visits it, or workers have taken all of its slots.

    UNFINISHED: its delivery still ran when the time to end was over; a later visit claims it again.
    """

    DONE = "done"
    FAILED = "failed"
    BUSY = "busy"
    STOPPED = "stopped"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The visit of one client. `counts` are its statements by state; `failures` are the errors of those that failed."""

    client_id: str
    state: VisitState
    statement_count: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[BillfoldError, ...] = ()


class _Stopping(Exception):  # noqa: N818, not an error: the schedule is to end between two deliveries
    """Ends a backfill before its next delivery."""


def keep_schedule(
    billfold: Billfold,
    *,
    interval_seconds: int,
    concurrency: int = DEFAULT_CONCURRENCY,
    count_stops: Callable[[], int],
) -> int:
    """Visit due clients, `concurrency` at a time, until it is to stop; returns how many visits did not end in time.

    `count_stops` returns the number of stops. After the first stop no delivery begins, and those in progress may
    end within BILLFOLD_SHUTDOWN_SECONDS; a second stop cuts that short. A pass begins at each interval, even if
    visits of the one before still run. A client that failed waits twice as long each time, an hour at most. If
    the database is away, the schedule waits for it.
    """
    patience = _Patience(interval_seconds)

    def is_stopped() -> bool:
        return count_stops() > 0

    visits = _make_visits(billfold, concurrency, is_stopped)
    while not is_stopped():
        next_at = time.monotonic() + interval_seconds
        try:
            report_late(billfold)
            waiting = patience.list_waiting()
            visits.add(each for each in _list_due(billfold) if each not in waiting)
            under_way = visits.wait_for_end(interval_seconds, is_stopped)
            ended = visits.take_results()
            patience.learn(ended)
            finish_pass(billfold, visited=len(ended), visiting=len(under_way))
            # If all visits ended early, the next pass begins a whole interval later.
            next_at = next_at if under_way else time.monotonic() + interval_seconds
        except BillfoldError as error:
            if not error.retryable:
                raise
            log.error(Event.SCHEDULE_INTERRUPTED, error_code=error.error_code, error=str(error))
        while time.monotonic() < next_at and not is_stopped():
            time.sleep(_TICK_SECONDS)
    return len(_end_visits(visits, billfold.settings, count_stops))


def visit_due(
    billfold: Billfold,
    *,
    concurrency: int = DEFAULT_CONCURRENCY,
    count_stops: Callable[[], int] = lambda: 0,
) -> tuple[Visit, ...]:
    """Visit each client whose interval has passed; one that fails does not stop the others.

    Two schedules at once share the clients. A client with a retryable failure stays due. It stops as `keep_schedule`
    does. Raises StoreError, which prevents every visit.
    """
    due = _list_due(billfold)
    visits = _make_visits(billfold, concurrency, lambda: count_stops() > 0)
    visits.add(due)
    visits.wait_for_end(math.inf, lambda: count_stops() > 0)
    unfinished = _end_visits(visits, billfold.settings, count_stops) if count_stops() else ()
    ended = visits.take_results() + [Visit(client_id=each, state=VisitState.UNFINISHED) for each in unfinished]
    return tuple(sorted(ended, key=lambda visit: due.index(visit.client_id)))


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


def finish_pass(billfold: Billfold, *, visited: int, visiting: int = 0) -> tuple[ClientFreshness, ...]:
    """Log the end of the pass, even if no client was due, and return the clients that are late now.

    A schedule that does not run cannot report late clients: an alarm can watch for the absence of this line.
    """
    known = billfold.clients.freshness()
    log.info(Event.SCHEDULE_FINISHED, clients=len(known), visited=visited, visiting=visiting)
    return _find_late(known)


def _find_late(known: Collection[ClientFreshness]) -> tuple[ClientFreshness, ...]:
    return tuple(row for row in known if row.late_since)


def _list_due(billfold: Billfold) -> list[str]:
    """The clients whose interval has passed, and the one that the settings describe, due or not."""
    with connect(billfold.database.conninfo) as connection:
        due = freshness.list_due(connection)
    default = billfold.settings.default_client()
    if default.bucket and default.client_id not in due:
        due.append(default.client_id)
    return due


def _make_visits(billfold: Billfold, concurrency: int, should_stop: Callable[[], bool]) -> ClientPool[Visit]:
    def visit(client_id: str) -> Visit | None:
        if should_stop():
            return None
        with structlog.contextvars.bound_contextvars(client=client_id):
            return _visit(client_id, billfold, should_stop)

    return ClientPool(concurrency, visit)


def _end_visits(visits: ClientPool[Visit], settings: Settings, count_stops: Callable[[], int]) -> Collection[str]:
    """Let the deliveries in progress end while there is time; returns the clients whose deliveries did not."""
    visits.forget_waiting()
    unfinished = visits.wait_for_end(settings.shutdown_seconds, lambda: count_stops() > 1)
    if unfinished:
        log.warning(Event.SCHEDULE_UNFINISHED, clients=list(unfinished))
    return unfinished


def _visit(client_id: str, billfold: Billfold, should_stop: Callable[[], bool]) -> Visit | None:
    """Visit one client; None if it is not due after all."""
    try:
        client = billfold.clients.keep(client_id)
        worker_id = uuid4()
        with connect(billfold.database.conninfo) as connection:
            if not freshness.try_lock_client(connection, client_id):
                return Visit(client_id=client_id, state=VisitState.BUSY)
            # Another schedule may have visited it since it was found to be due.
            if not freshness.is_due(connection, client_id):
                return None
            jobs.live(connection, worker_id)
            free_gone_now(connection, worker_id, billfold.settings)
            # A backfill ingests one delivery at a time: it takes one slot, as a job does.
            with jobs.visit(connection, worker_id, client) as has_slot:
                if not has_slot:
                    return Visit(client_id=client_id, state=VisitState.BUSY)
                return _backfill(client, billfold, connection, should_stop)
    except _Stopping:
        log.info(Event.SCHEDULE_CLIENT_STOPPED)
        return Visit(client_id=client_id, state=VisitState.STOPPED)
    except BillfoldError as error:
        interruption.check()
        log.error(Event.SCHEDULE_CLIENT_FAILED, error_code=error.error_code, error=str(error))
        return Visit(client_id=client_id, state=VisitState.FAILED, failures=(error,))
    except Exception as error:
        interruption.check()
        log.exception(Event.INTERNAL_ERROR)
        return Visit(client_id=client_id, state=VisitState.FAILED, failures=(as_internal(error),))


def _backfill(client: Client, billfold: Billfold, connection: Connection, should_stop: Callable[[], bool]) -> Visit:
    def go_on(*_: object) -> None:
        if should_stop():
            raise _Stopping

    began_at = freshness.read_clock(connection)
    report = billfold.backfill(client=client, trigger=TriggerSource.SCHEDULE, on_delivery=go_on)
    failures = tuple(outcome.exit_error for outcome in report.outcomes if outcome.exit_error)
    if is_finished(report, failures):
        # The connection of the lock may have been lost in the hours that a first backfill takes.
        with connect(billfold.database.conninfo) as again:
            freshness.mark_backfilled(again, client.client_id, began_at)
    state = VisitState.FAILED if failures else VisitState.DONE
    log.info(Event.SCHEDULE_CLIENT_FINISHED, state=state, statements=report.statement_count, **report.counts)
    return Visit(
        client_id=client.client_id,
        state=state,
        statement_count=report.statement_count,
        counts=report.counts,
        failures=failures,
    )


def is_finished(report: BackfillReport, failures: Collection[BillfoldError]) -> bool:
    """Whether another visit before the next interval would find nothing more to do.

    A full database or a limit of it needs the operator, and says nothing about the deliveries.
    """
    return report.is_complete and not any(
        failure.retryable or isinstance(failure, StoreFullError | StoreLimitError) for failure in failures
    )


class _Patience:
    """Which clients failed recently, and until when (monotonic seconds) each waits."""

    def __init__(self, interval_seconds: int) -> None:
        self._interval_seconds = interval_seconds
        self._failed: dict[str, tuple[int, float]] = {}

    def list_waiting(self) -> set[str]:
        now = time.monotonic()
        return {client_id for client_id, (_, until) in self._failed.items() if until > now}

    def learn(self, visits: Collection[Visit]) -> None:
        for visit in visits:
            if visit.state is VisitState.FAILED:
                count = self._failed.get(visit.client_id, (0, 0.0))[0] + 1
                delay = min(self._interval_seconds * 2 ** min(count, 16), MAX_PATIENCE_SECONDS)
                self._failed[visit.client_id] = (count, time.monotonic() + delay)
            elif visit.state is VisitState.DONE:
                self._failed.pop(visit.client_id, None)
