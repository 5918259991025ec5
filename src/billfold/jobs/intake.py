"""One message of the queue, from what it tells to its fate: whose is it, may it be read, and how did that end.

    message -> parse -> owner by the registry -> data file: its run is pending
                                              -> manifest or file without one: turn, slot, ingest

The worker and the Lambda handler share it. Messages are at least once and in any order: whatever is repeated, late or
reversed changes nothing, because each object is looked at as it stands now and ingested only if it is not in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, assert_never
from uuid import UUID

import structlog

from billfold import clients
from billfold.aws.keys import is_trick
from billfold.aws.layout import Place, is_data_file, is_manifest, place_of
from billfold.aws.notifications import CreatedObject, Request, parse_notification
from billfold.aws.other_files import kind_of_key
from billfold.aws.queue import Message
from billfold.bills.ingest import ingest
from billfold.errors import (
    AccessDeniedError,
    BillfoldError,
    ConfigurationError,
    DeliveryHeldError,
    InternalError,
    MessageError,
    RunConflictError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    as_internal,
)
from billfold.jobs.attempts import attempt, is_left_behind
from billfold.jobs.results import Cause, Dead, Done, Fate, Later, choose, retry_seconds, wait_seconds
from billfold.log import Event
from billfold.model import Client, DeliveryOutcome, DeliveryState, LeftOutFile, TriggerSource
from billfold.period import BillingPeriod
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect
from billfold.store.deliveries import claims, records, registration, runs
from billfold.store.jobs import failures
from billfold.store.jobs.slots import open_slots, take_slot, take_turn

# A backfill or a command may hold the statement: the message can wait better than a thread that others need.
_CLAIM_WAIT_SECONDS = 5

# What is wrong with us is not the message's fault: an operator may mend it before the last attempt.
_OUR_OWN = (InternalError, ConfigurationError, StoreError)

# Asked when the slot is taken, just before the work begins, and may wait; False is to put it off.
MayBegin = Callable[[], bool]

log = structlog.get_logger(__name__)
_random = Random()


def take_in(
    message: Message, *, settings: Settings, database: Database, worker_id: UUID, may_begin: MayBegin | None = None
) -> Fate:
    """Do what the message asks for and say what becomes of it; the end is logged. Raises nothing of Exception's.

    `worker_id` names one life of whoever works on it: a message that another one left unfinished was interrupted.
    """
    with structlog.contextvars.bound_contextvars(message_id=message.message_id):
        taking = _Taking(message, settings, database, worker_id, may_begin)
        try:
            notification = parse_notification(message.body)
        except MessageError as error:
            fate: Fate = Dead(reason=str(error), error_code=error.error_code)
            tell(fate)
            return fate
        except Exception as error:
            log.exception(Event.MESSAGE_FAILED)
            fate = taking.count(taking.fail(as_internal(error), None, is_tried=True))
            tell(fate)
            return fate
        for name in notification.ignored:
            log.info(Event.EVENT_IGNORED, reason=name)
        told: tuple[CreatedObject | Request, ...] = (*notification.created, *notification.requests)
        with structlog.contextvars.bound_contextvars(**({"key": told[0].key} if len(told) == 1 else {})):
            fate = taking.count(choose([taking.take(what) for what in told]))
            tell(fate)
        return fate


def take_request(
    request: Request,
    message: Message,
    *,
    settings: Settings,
    database: Database,
    worker_id: UUID,
    may_begin: MayBegin | None = None,
) -> Fate:
    """The fate of what asks for a key from elsewhere than the queue; `message` tells its name and how often it came.

    As `take_in`, but that it logs no end.
    """
    taking = _Taking(message, settings, database, worker_id, may_begin)
    return taking.count(taking.take(request))


def mark_pending(client: Client, created: CreatedObject, database: Database) -> Done:
    """The data of a bill came: its manifest will say what it belongs to."""
    if created.etag is None:
        return Done(client=client, reason="the event names no version")
    with connect(database.conninfo) as connection:
        registration.ensure_client(connection, client)
        is_new = runs.mark_pending(
            connection,
            client,
            bucket=created.bucket,
            key=created.key,
            etag=created.etag,
            size_bytes=created.size_bytes,
            trigger=created.source,
        )
    return Done(client=client, state="pending" if is_new else None, reason="waits for its manifest")


def starts_delivery(key: str) -> bool:
    """A manifest does, and a data file that no manifest will follow."""
    return is_manifest(key) or (is_data_file(key) and place_of(key) is None)


def find_full(message: Message, full: Sequence[Client]) -> Client | None:
    """Which of these clients, who have no slot free, the message would have to wait for; it is not looked at further.

    That decides nothing but that it comes again, so the registry need not be asked.
    """
    if not full:
        return None
    try:
        notification = parse_notification(message.body)
    except Exception:
        # Whatever is wrong with it is reported by the thread that works on it.
        return None
    for client in full:
        if any(request.client_id == client.client_id for request in notification.requests):
            return client
        for created in notification.created:
            is_theirs = created.bucket == client.bucket and created.key.startswith(client.prefix)
            if is_theirs and starts_delivery(created.key):
                return client
    return None


def tell(fate: Fate) -> None:
    """Log the end of a message: `message_done`, `message_later` or `message_dead`."""
    facts: dict[str, Any] = {
        **({"client": fate.client.client_id} if fate.client else {}),
        **({"delivery_id": str(fate.delivery_id)} if fate.delivery_id else {}),
        **({"reason": fate.reason} if fate.reason else {}),
    }
    match fate:
        case Done():
            log.info(Event.MESSAGE_DONE, **({"state": fate.state} if fate.state else {}), **facts)
        case Later(cause=Cause.SLOT | Cause.BUSY):
            # A flood of one client's events tells this thousands of times.
            log.debug(Event.MESSAGE_LATER, cause=fate.cause, delay_seconds=fate.delay_seconds, **facts)
        case Later():
            code = {"error_code": fate.error_code} if fate.error_code else {}
            log.warning(Event.MESSAGE_LATER, cause=fate.cause, delay_seconds=fate.delay_seconds, **code, **facts)
        case Dead():
            log.error(Event.MESSAGE_DEAD, error_code=fate.error_code, **facts)
        case _:
            assert_never(fate)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What is ingested: a manifest, a file without one, or whatever a request names."""

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


class _Taking:
    """One message at work: how often it was received, and how often it failed, decides how long it waits."""

    def __init__(
        self, message: Message, settings: Settings, database: Database, worker_id: UUID, may_begin: MayBegin | None
    ) -> None:
        self._message = message
        self._settings = settings
        self._database = database
        self._worker_id = worker_id
        self._may_begin = may_begin

    def take(self, what: CreatedObject | Request) -> Fate:
        """The fate of one object or request, whatever happens on the way."""
        with structlog.contextvars.bound_contextvars(key=what.key):
            try:
                return self._take_request(what) if isinstance(what, Request) else self._take_object(what)
            except BillfoldError as error:
                return self.fail(error, None)
            except Exception as error:
                log.exception(Event.MESSAGE_FAILED)
                return self.fail(as_internal(error), None)

    def count(self, fate: Fate) -> Fate:
        """The fate as the message's failures make it: a later one waits for longer, and the last one is dead."""
        if isinstance(fate, Later):
            concerns_failures = fate.cause is Cause.FAILURE
        else:
            # What never came before has never failed before, and what is dead starts anew only when it is buried.
            concerns_failures = isinstance(fate, Done) and self._message.receive_count > 1
        if not concerns_failures:
            return fate
        try:
            with connect(self._database.conninfo) as connection:
                if isinstance(fate, Later):
                    return self._count_failure(connection, fate)
                failures.forget_failures(connection, self._message.message_id)
        except BillfoldError as error:
            # It is settled all the same: what cannot be counted now is at the next failure.
            log.warning(Event.FAILURES_NOT_COUNTED, error_code=error.error_code, error=str(error))
        return fate

    def _count_failure(self, connection: Connection, fate: Later) -> Later | Dead:
        error_code = fate.error_code or InternalError.error_code
        client_id = fate.client.client_id if fate.client else None
        count = failures.count_failure(connection, self._message.message_id, error_code, client_id=client_id)
        if count < self._settings.message_attempts:
            delay_seconds = retry_seconds(count, self._settings.message_retry_seconds, _random)
            return replace(fate, delay_seconds=delay_seconds)
        reason = f"failed {count} times, at last: {fate.reason}"
        return Dead(client=fate.client, delivery_id=fate.delivery_id, reason=reason, error_code=error_code)

    def _take_object(self, created: CreatedObject) -> Fate:
        place = f"s3://{created.bucket}/{created.key}"
        if is_trick(created.key):
            return _refuse(None, created.bucket, f"{place} has parts such as `..`, which AWS never writes")
        client = clients.find_owner(self._database, self._settings, created.bucket, created.key)
        if client is None:
            log.warning(Event.EVENT_FOREIGN, bucket=created.bucket, reason="belongs to no client")
            return Done(reason="belongs to no client")
        if created.account_id and client.account_id and created.account_id != client.account_id:
            # The registry's account is never told to whoever sent the event.
            return _refuse(client, created.bucket, f"{place} is told by account {created.account_id}, not its owner's")
        if not client.enabled:
            log.warning(Event.EVENT_REFUSED, client=client.client_id, bucket=created.bucket, reason="is disabled")
            return Done(client=client, reason="the client is disabled")
        if kind := kind_of_key(created.key):
            log.info(Event.OBJECT_LEFT_OUT, client=client.client_id, reason=f"is not a bill: {kind}")
            return Done(client=client, reason=f"is not a bill: {kind}")
        if starts_delivery(created.key):
            return self._ingest(client, created.bucket, created.key, created.source, is_event=True)
        if is_data_file(created.key):
            return mark_pending(client, created, self._database)
        log.info(Event.OBJECT_LEFT_OUT, client=client.client_id, reason="is not a bill")
        return Done(client=client, reason="is not a bill")

    def _take_request(self, request: Request) -> Fate:
        client = clients.resolve_client(self._database, self._settings, request.client_id)
        if client.bucket is None:
            return Dead(
                client=client,
                reason=f"client {client.client_id} has no bucket",
                error_code=ConfigurationError.error_code,
            )
        if not clients.owns(client, request.key):
            return _refuse(client, client.bucket, f"{request.key} is outside the folder of {client.client_id}")
        return self._ingest(client, client.bucket, request.key, request.source, month=request.month)

    def _ingest(
        self,
        client: Client,
        bucket: str,
        key: str,
        trigger: TriggerSource,
        *,
        is_event: bool = False,
        month: BillingPeriod | None = None,
    ) -> Fate:
        """Ingest in the client's name, where nobody else does the same and the client has a slot left."""
        place = place_of(key)
        work = f"{bucket} {place.export_path} {place.period}" if place else f"{bucket} {key}"
        with (
            structlog.contextvars.bound_contextvars(client=client.client_id),
            open_slots(self._database) as connection,
        ):
            if not take_turn(connection, client, work):
                return self._wait(Cause.BUSY, client, "another message of its statement is worked on")
            # One of several objects comes twice at times, and its other half is no dead worker's.
            if not take_turn(connection, client, f"message {self._message.message_id}"):
                return self._wait(Cause.BUSY, client, "another object of its message is worked on")
            if take_slot(connection, client) is None:
                return self._wait(Cause.SLOT, client, f"all {client.max_deliveries} slots are taken")
            source = _Source(client=client, bucket=bucket, key=key, place=place)
            if interruption := self._end_interrupted(connection, source):
                return interruption
            if self._may_begin and not self._may_begin():
                reason = "it is to be worked on alone, and cannot be now"
                return Later(cause=Cause.BUSY, delay_seconds=0, reason=reason, client=client)
            settings = self._settings.model_copy(
                # The queue tries again, and so lets others go on meanwhile.
                update={
                    "retry_max_attempts": 1,
                    "claim_wait_seconds": min(self._settings.claim_wait_seconds, _CLAIM_WAIT_SECONDS),
                }
            )
            being_tried = attempt(connection, self._message, client, database=self._database, worker_id=self._worker_id)
            others: list[LeftOutFile] = []
            try:
                with being_tried:
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
                self._keep_defect(source, error, trigger)
                return self.fail(as_internal(error), client, is_tried=True)
        if is_event and others and not outcomes:
            return Done(client=client, reason=f"is not a bill: {others[0].kind}")
        return choose([self._judge(client, outcome) for outcome in outcomes])

    def _end_interrupted(self, connection: Connection, source: _Source) -> Later | None:
        """What this message was when its worker ended under it has failed: it waits before it is tried again.

        None where no worker but this one left an attempt on this message behind: another message's end, or a command's,
        is not its own.
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
        return Later(
            cause=Cause.FAILURE,
            delay_seconds=self._settings.message_retry_seconds,
            reason="its worker ended before it did",
            client=source.client,
            delivery_id=left_running,
            error_code=failures.INTERRUPTED,
        )

    def _keep_defect(self, source: _Source, error: Exception, trigger: TriggerSource) -> None:
        """Now that nobody knows what went wrong: what left no trace yet gets a failed run."""
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

    def _judge(self, client: Client, outcome: DeliveryOutcome) -> Fate:
        error = outcome.exit_error
        delivery_id = outcome.delivery_id
        if error is None or isinstance(error, DeliveryHeldError):
            return Done(client=client, delivery_id=delivery_id, state=str(outcome.state), reason=outcome.reason)
        return self.fail(error, client, is_tried=True, delivery_id=delivery_id)

    def fail(
        self, error: BillfoldError, client: Client | None, *, is_tried: bool = False, delivery_id: UUID | None = None
    ) -> Fate:
        """What can succeed later comes again. Only what was tried counts as a failure: what kept it from being tried is
        our own trouble, however often the message came.
        """
        if isinstance(error, RunConflictError):
            return self._wait(Cause.BUSY, client, str(error), delivery_id)
        if isinstance(error, StoreUnavailableError | StoreFullError):
            return self._wait(Cause.DATABASE, client, str(error), delivery_id)
        if not error.retryable and not isinstance(error, _OUR_OWN):
            return Dead(client=client, delivery_id=delivery_id, reason=str(error), error_code=error.error_code)
        received = max(self._message.receive_count, 1)
        return Later(
            cause=Cause.FAILURE if is_tried else Cause.UNTRIED,
            delay_seconds=retry_seconds(received, self._settings.message_retry_seconds, _random),
            reason=str(error),
            client=client,
            delivery_id=delivery_id,
            error_code=error.error_code,
        )

    def _wait(self, cause: Cause, client: Client | None, reason: str, delivery_id: UUID | None = None) -> Later:
        delay_seconds = wait_seconds(self._message.receive_count, _random)
        return Later(cause=cause, delay_seconds=delay_seconds, reason=reason, client=client, delivery_id=delivery_id)


def _refuse(client: Client | None, bucket: str, reason: str) -> Dead:
    """Nothing is read for an event that somebody made up; it is kept as evidence."""
    whose = {"client": client.client_id} if client else {}
    log.error(Event.EVENT_REFUSED, bucket=bucket, reason=reason, **whose)
    return Dead(client=client, reason=reason, error_code=AccessDeniedError.error_code)
