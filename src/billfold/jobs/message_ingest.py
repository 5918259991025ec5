"""The ingest behind a message: take a turn and a slot, ingest, and turn the outcome into the message's result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from uuid import UUID

import structlog

from billfold.aws.layout import Place, place_of
from billfold.aws.queue import Message
from billfold.bills.ingest import ingest
from billfold.errors import (
    BillfoldError,
    ConfigurationError,
    DeliveryHeldError,
    InternalError,
    RunConflictError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    as_internal,
)
from billfold.jobs.attempts import attempt, is_left_behind
from billfold.jobs.results import Cause, Dead, Done, Result, Retry, choose, retry_seconds, wait_seconds
from billfold.log import Event
from billfold.model import Client, DeliveryOutcome, DeliveryState, LeftOutFile, TriggerSource
from billfold.period import BillingPeriod
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect
from billfold.store.deliveries import claims, records, runs
from billfold.store.jobs import failures
from billfold.store.jobs.slots import open_slots, take_slot, take_turn

# A backfill or a command may have the statement: the message waits in the queue, and the thread is free for others.
_CLAIM_WAIT_SECONDS = 5

# These errors are not the message's fault: an operator may fix the cause before the last attempt.
_OUR_OWN = (InternalError, ConfigurationError, StoreError)

# Called when the slot is taken, just before the work begins; it may wait, and False puts the message off.
MayBegin = Callable[[], bool]

log = structlog.get_logger(__name__)
_random = Random()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What is ingested: a manifest, a file without one, or any key that a request names."""

    client: Client
    bucket: str
    key: str
    place: Place | None

    @property
    def address(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def find_latest_attempt(self, connection: Connection) -> records.Attempt | None:
        return records.find_latest_attempt(
            connection,
            self.client,
            bucket=self.bucket,
            export_path=self.place.export_path if self.place else self.key,
            period=self.place.period if self.place else None,
        )


class MessageIngest:
    """Ingests for one message. How often it was received, and how often it failed, decides how long it waits."""

    def __init__(
        self, message: Message, settings: Settings, database: Database, worker_id: UUID, may_begin: MayBegin | None
    ) -> None:
        self._message = message
        self._settings = settings
        self._database = database
        self._worker_id = worker_id
        self._may_begin = may_begin

    def run(
        self,
        client: Client,
        bucket: str,
        key: str,
        trigger: TriggerSource,
        *,
        is_event: bool = False,
        month: BillingPeriod | None = None,
    ) -> Result:
        """Ingest as this client, if no other worker does the same and the client has a free slot."""
        place = place_of(key)
        work = f"{bucket} {place.export_path} {place.period}" if place else f"{bucket} {key}"
        with (
            structlog.contextvars.bound_contextvars(client=client.client_id),
            open_slots(self._database) as connection,
        ):
            if not take_turn(connection, client, work):
                return self._wait(Cause.BUSY, client, "another message of its statement is worked on")
            # A message of several objects may arrive twice: the other copy is not a dead worker's.
            if not take_turn(connection, client, f"message {self._message.message_id}"):
                return self._wait(Cause.BUSY, client, "another object of its message is worked on")
            if take_slot(connection, client) is None:
                return self._wait(Cause.SLOT, client, f"all {client.max_deliveries} slots are taken")
            source = _Source(client=client, bucket=bucket, key=key, place=place)
            if interruption := self._end_interrupted(connection, source):
                return interruption
            if self._may_begin and not self._may_begin():
                reason = "it is to be worked on alone, and cannot be now"
                return Retry(cause=Cause.BUSY, delay_seconds=0, reason=reason, client=client)
            return self._ingest(connection, source, trigger, is_event=is_event, month=month)

    def _ingest(
        self,
        connection: Connection,
        source: _Source,
        trigger: TriggerSource,
        *,
        is_event: bool,
        month: BillingPeriod | None,
    ) -> Result:
        client = source.client
        settings = self._settings.model_copy(
            # The queue retries, so that other messages are handled meanwhile.
            update={
                "retry_max_attempts": 1,
                "claim_wait_seconds": min(self._settings.claim_wait_seconds, _CLAIM_WAIT_SECONDS),
            }
        )
        others: list[LeftOutFile] = []
        try:
            with attempt(connection, self._message, client, database=self._database, worker_id=self._worker_id):
                outcomes = ingest(
                    source.address,
                    client=client,
                    settings=settings,
                    database=self._database,
                    trigger=trigger,
                    is_event=is_event,
                    on_left_out=others.extend,
                    month=month,
                )
        except BillfoldError as error:
            return self.fail(error, client)
        except Exception as error:
            log.exception(Event.MESSAGE_FAILED)
            self._record_defect(source, error, trigger)
            return self.fail(as_internal(error), client, is_tried=True)
        if is_event and others and not outcomes:
            return Done(client=client, reason=f"is not a bill: {others[0].kind}")
        return choose([self._judge(client, outcome) for outcome in outcomes])

    def _end_interrupted(self, connection: Connection, source: _Source) -> Retry | None:
        """Count the attempt of a worker that died as a failure: the message waits before it is tried again.

        None if no other worker left an attempt on this message behind. An attempt of another message or of a command
        does not count.
        """
        if not is_left_behind(connection, self._message, self._worker_id):
            return None
        latest = source.find_latest_attempt(connection)
        left_running = latest.delivery_id if latest and latest.state is DeliveryState.RUNNING else None
        if left_running:
            try:
                stored = records.find_delivery(connection, left_running)
                claims.claim_stored(connection, stored, wait_seconds=_CLAIM_WAIT_SECONDS)
            except RunConflictError as error:
                return self._wait(Cause.BUSY, source.client, str(error), left_running)
            if not failures.is_interrupted(connection, self._message.message_id, worker_id=self._worker_id):
                return self._wait(Cause.BUSY, source.client, "its worker has ended it meanwhile", left_running)
            claims.end_abandoned(connection, left_running)
        return Retry(
            cause=Cause.FAILURE,
            delay_seconds=self._settings.message_retry_seconds,
            reason="its worker ended before it did",
            client=source.client,
            delivery_id=left_running,
            error_code=failures.INTERRUPTED,
        )

    def _record_defect(self, source: _Source, error: Exception, trigger: TriggerSource) -> None:
        """Record a failed run for an unexpected error, unless the attempt is recorded as failed already."""
        try:
            with connect(self._database.conninfo) as connection:
                latest = source.find_latest_attempt(connection)
                if latest and latest.state is DeliveryState.FAILED and latest.error_code == InternalError.error_code:
                    return
                runs.record_failed_source(
                    connection,
                    source.client,
                    bucket=source.bucket,
                    key=source.key,
                    etag="",
                    error=as_internal(error),
                    trigger=trigger,
                )
        except BillfoldError as second:
            log.error(Event.FAILURE_NOT_RECORDED, error=str(second))

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

        Only what was tried (`is_tried`) counts as a failure, however often the message came.
        """
        if isinstance(error, RunConflictError):
            return self._wait(Cause.BUSY, client, str(error), delivery_id)
        if isinstance(error, StoreUnavailableError | StoreFullError):
            return self._wait(Cause.DATABASE, client, str(error), delivery_id)
        if not error.retryable and not isinstance(error, _OUR_OWN):
            return Dead(client=client, delivery_id=delivery_id, reason=str(error), error_code=error.error_code)
        received = max(self._message.receive_count, 1)
        return Retry(
            cause=Cause.FAILURE if is_tried else Cause.UNTRIED,
            delay_seconds=retry_seconds(received, self._settings.message_retry_seconds, _random),
            reason=str(error),
            client=client,
            delivery_id=delivery_id,
            error_code=error.error_code,
        )

    def _wait(self, cause: Cause, client: Client | None, reason: str, delivery_id: UUID | None = None) -> Retry:
        delay_seconds = wait_seconds(self._message.receive_count, _random)
        return Retry(cause=cause, delay_seconds=delay_seconds, reason=reason, client=client, delivery_id=delivery_id)
