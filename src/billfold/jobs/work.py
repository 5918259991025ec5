"""One job, from its object to its result: whose it is now, what was ingested, and what came of that.

Jobs repeat, and come in any order. That changes nothing, because each object is read as it is now and ingested only if
it is not yet current.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from billfold.app import Billfold
from billfold.aws.layout import Place, place_of
from billfold.aws.queue import Queue
from billfold.errors import (
    AccessDeniedError,
    BillfoldError,
    ConfigurationError,
    DeliveryHeldError,
    InternalError,
    RunConflictError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    UsageError,
    as_internal,
)
from billfold.jobs.doctor_job import run_doctor_job
from billfold.jobs.results import Cause, Dead, Done, Result, Retry, choose, retry_seconds, wait_seconds
from billfold.jobs.settlement import announce_start, bind, conclude
from billfold.log import Event
from billfold.model import Client, DeliveryOutcome, DeliveryState, JobKind, LeftOutFile
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect
from billfold.store.deliveries import claims, records, runs
from billfold.store.jobs import doctor_runs
from billfold.store.jobs.jobs import INTERRUPTED, Job

# A backfill or a command may have the statement: the job waits in the queue, and the thread is free for others.
_CLAIM_WAIT_SECONDS = 5

# After a defect of ours outside of the attempt.
_DEFECT_SECONDS = 60

# These errors are not the job's fault: an operator may fix the cause before the last attempt.
_OUR_OWN = (InternalError, ConfigurationError, StoreError)

log = structlog.get_logger(__name__)


def attempt(job: Job, settings: Settings, database: Database, *, dead_letters: Queue | None = None) -> Result:
    """Work on the job that was taken; its final result, to be settled. Does not raise an Exception.

    A dead message goes to these dead letters, or to those of its queue.
    """
    with bind(job):
        announce_start(job, is_alone=job.is_suspect)
        try:
            return conclude(job, work_on(job, settings, database), settings, dead_letters=dead_letters)
        except Exception as error:
            log.exception(Event.INTERNAL_ERROR)
            return Retry(cause=Cause.UNTRIED, delay_seconds=_DEFECT_SECONDS, reason=str(as_internal(error)))


def work_on(job: Job, settings: Settings, database: Database) -> Result:
    """Ingest the job's object and return the result. Does not raise an Exception."""
    # The queue retries, so that other jobs are worked on meanwhile.
    changes = {"retry_max_attempts": 1, "claim_wait_seconds": min(settings.claim_wait_seconds, _CLAIM_WAIT_SECONDS)}
    billfold = Billfold(settings.model_copy(update=changes), database=database)
    worker = _Worker(job, settings, database, billfold)
    try:
        return worker.run()
    except BillfoldError as error:
        return worker.fail(error, None)
    except Exception as error:
        log.exception(Event.MESSAGE_FAILED)
        return worker.fail(as_internal(error), None)


@dataclass(frozen=True, slots=True)
class _Worker:
    """Works on one job. How often it was taken, and how often it failed, decides how long it waits."""

    job: Job
    settings: Settings
    database: Database
    billfold: Billfold

    def run(self) -> Result:
        if self.job.kind is JobKind.DOCTOR:
            return self._examine()
        if self.job.kind is JobKind.VISIT:
            return self._find_too_deadly() or self._visit()
        client = self._find_client()
        if not isinstance(client, Client):
            return client
        if self.job.is_suspect:
            with connect(self.database.conninfo) as connection:
                if waiting := self._end_left_running(connection, client):
                    return waiting
        return self._find_too_deadly() or self._ingest(client)

    def _find_too_deadly(self) -> Dead | None:
        """The end of a job that has killed its last worker; it may have waited for something else since."""
        count = self.job.failure_count
        # A doctor run is worked on beside others, and fails in no other way.
        is_deadly = self.job.is_suspect or self.job.kind is JobKind.DOCTOR
        if not is_deadly or count < self.settings.message_attempts:
            return None
        return Dead(reason=f"failed {count} times, at last: its worker ended before it did", error_code=INTERRUPTED)

    def _examine(self) -> Result:
        """Examine the client, as the dashboard asked for."""
        dead = self._find_too_deadly()
        if dead is None:
            return run_doctor_job(self.job.client_id, self.settings, self.database)
        with connect(self.database.conninfo) as connection:
            doctor_runs.end(connection, self.job.client_id, is_cut_off=False, error=dead.reason)
        return dead

    def _find_client(self) -> Client | Result:
        """Whose the object is now, or why nobody ingests it: clients may have changed since the job was written."""
        job = self.job
        if job.is_event:
            owner = self.billfold.clients.find_owner(job.bucket, job.key)
            if owner is None:
                log.warning(Event.EVENT_FOREIGN, bucket=job.bucket, reason="belongs to no client")
                return Done(reason="belongs to no client")
            if not owner.enabled:
                log.warning(Event.EVENT_REFUSED, bucket=job.bucket, reason="is disabled")
                return Done(client=owner, reason="the client is disabled")
            return owner
        client = self.billfold.clients.resolve(job.client_id)
        if client.bucket is None:
            reason = f"client {client.client_id} has no bucket"
            return Dead(client=client, reason=reason, error_code=ConfigurationError.error_code)
        if client.bucket != job.bucket or not self.billfold.clients.owns(client, job.key):
            reason = f"{job.key} is outside the folder of {client.client_id}"
            log.error(Event.EVENT_REFUSED, bucket=job.bucket, reason=reason)
            return Dead(client=client, reason=reason, error_code=AccessDeniedError.error_code)
        return client

    def _visit(self) -> Result:
        """Look through the client's folder: what it finds are jobs of their own."""
        try:
            client = self.billfold.clients.resolve(self.job.client_id)
        except UsageError as error:
            return Done(reason=str(error))
        if (client.bucket, client.prefix) != (self.job.bucket, self.job.key):
            return Done(client=client, reason="the client's folder is another one now")
        try:
            found = self.billfold.requests.visit(client)
        except BillfoldError as error:
            return self.fail(error, client, is_tried=True)
        except Exception as error:
            log.exception(Event.INTERNAL_ERROR)
            return self.fail(as_internal(error), client, is_tried=True)
        if not found.failures:
            return Done(client=client, visit=found)
        return replace(self.fail(found.failures[0], client, is_tried=True), visit=found)

    def _ingest(self, client: Client) -> Result:
        job = self.job
        others: list[LeftOutFile] = []
        try:
            outcomes = self.billfold.ingest(
                f"s3://{job.bucket}/{job.key}",
                client=client,
                trigger=job.trigger,
                is_event=job.is_event,
                on_left_out=others.extend,
                month=job.period,
            )
        except BillfoldError as error:
            return self.fail(error, client)
        except Exception as error:
            log.exception(Event.MESSAGE_FAILED)
            self._record_defect(client, error)
            return self.fail(as_internal(error), client, is_tried=True)
        if job.is_event and others and not outcomes:
            return Done(client=client, reason=f"is not a bill: {others[0].kind}")
        return choose([self._judge(client, outcome) for outcome in outcomes])

    def _end_left_running(self, connection: Connection, client: Client) -> Retry | None:
        """End the attempt that its dead worker left running; a Retry while another one works on the statement."""
        latest = self._find_latest_attempt(connection, client)
        if latest is None or latest.state is not DeliveryState.RUNNING:
            return None
        stored = records.find_delivery(connection, latest.delivery_id)
        try:
            claims.claim_stored(connection, stored, wait_seconds=_CLAIM_WAIT_SECONDS)
        except RunConflictError as error:
            return self._wait(Cause.BUSY, client, str(error), latest.delivery_id)
        claims.end_abandoned(connection, latest.delivery_id)
        return None

    def _record_defect(self, client: Client, error: Exception) -> None:
        """Record a failed run for an unexpected error, unless the attempt is recorded as failed already."""
        try:
            with connect(self.database.conninfo) as connection:
                latest = self._find_latest_attempt(connection, client)
                if latest and latest.state is DeliveryState.FAILED and latest.error_code == InternalError.error_code:
                    return
                runs.record_failed_source(
                    connection,
                    client,
                    bucket=self.job.bucket,
                    key=self.job.key,
                    etag="",
                    error=as_internal(error),
                    trigger=self.job.trigger,
                )
        except BillfoldError as second:
            log.error(Event.FAILURE_NOT_RECORDED, error=str(second))

    def _find_latest_attempt(self, connection: Connection, client: Client) -> records.Attempt | None:
        place: Place | None = place_of(self.job.key)
        return records.find_latest_attempt(
            connection,
            client,
            bucket=self.job.bucket,
            export_path=place.export_path if place else self.job.key,
            period=place.period if place else None,
        )

    def _judge(self, client: Client, outcome: DeliveryOutcome) -> Result:
        error = outcome.exit_error
        delivery_id = outcome.delivery_id
        if error is None or isinstance(error, DeliveryHeldError):
            return Done(client=client, delivery_id=delivery_id, state=str(outcome.state), reason=outcome.reason)
        return self.fail(error, client, is_tried=True, delivery_id=delivery_id)

    def fail(
        self, error: BillfoldError, client: Client | None, *, is_tried: bool = False, delivery_id: UUID | None = None
    ) -> Result:
        """The result of an error: a retry if a later attempt can succeed, else dead.

        Only what was tried (`is_tried`) counts as a failure, however often the job was taken.
        """
        if isinstance(error, RunConflictError):
            return self._wait(Cause.BUSY, client, str(error), delivery_id)
        if isinstance(error, StoreUnavailableError | StoreFullError):
            return self._wait(Cause.DATABASE, client, str(error), delivery_id)
        if not error.retryable and not isinstance(error, _OUR_OWN):
            return Dead(client=client, delivery_id=delivery_id, reason=str(error), error_code=error.error_code)
        return Retry(
            cause=Cause.FAILURE if is_tried else Cause.UNTRIED,
            delay_seconds=retry_seconds(self.job.take_count, self.settings.message_retry_seconds),
            reason=str(error),
            client=client,
            delivery_id=delivery_id,
            error_code=error.error_code,
        )

    def _wait(self, cause: Cause, client: Client | None, reason: str, delivery_id: UUID | None = None) -> Retry:
        delay_seconds = wait_seconds(self.job.take_count)
        return Retry(cause=cause, delay_seconds=delay_seconds, reason=reason, client=client, delivery_id=delivery_id)
