"""One message of the queue, from its text to its result: whose object it announces, and what came of that.

    message -> parse -> owner by the registry -> data file: its run is pending
                                              -> manifest or file without one: ingest (`message_ingest`)

The worker and the Lambda handler share it. Messages arrive at least once and in any order. Repeated, late or reversed
messages change nothing, because each object is read as it is now and ingested only if it is not yet current.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from uuid import UUID

import structlog

from billfold import clients
from billfold.aws.keys import is_trick
from billfold.aws.layout import is_data_file, is_manifest, place_of
from billfold.aws.notifications import CreatedObject, Request, parse_notification
from billfold.aws.other_files import kind_of_key
from billfold.aws.queue import Message
from billfold.errors import (
    AccessDeniedError,
    BillfoldError,
    ConfigurationError,
    InternalError,
    MessageError,
    as_internal,
)
from billfold.jobs.message_ingest import MayBegin, MessageIngest
from billfold.jobs.results import Cause, Dead, Done, Result, Retry, choose, report, retry_seconds
from billfold.log import Event
from billfold.model import Client
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect
from billfold.store.deliveries import registration, runs
from billfold.store.jobs import failures

log = structlog.get_logger(__name__)
_random = Random()


def handle_message(
    message: Message, *, settings: Settings, database: Database, worker_id: UUID, may_begin: MayBegin | None = None
) -> Result:
    """Handle a message, log the end and return the result. Does not raise an Exception.

    `worker_id` names one life of the worker: a message that another id left unfinished was interrupted.
    """
    with structlog.contextvars.bound_contextvars(message_id=message.message_id):
        handler = _Handler(message, settings, database, worker_id, may_begin)
        try:
            notification = parse_notification(message.body)
        except MessageError as error:
            result: Result = Dead(reason=str(error), error_code=error.error_code)
            report(result)
            return result
        except Exception as error:
            log.exception(Event.MESSAGE_FAILED)
            result = handler.count(handler.ingest.fail(as_internal(error), None, is_tried=True))
            report(result)
            return result
        for name in notification.ignored:
            log.info(Event.EVENT_IGNORED, reason=name)
        announced: tuple[CreatedObject | Request, ...] = (*notification.created, *notification.requests)
        with structlog.contextvars.bound_contextvars(**({"key": announced[0].key} if len(announced) == 1 else {})):
            result = handler.count(choose([handler.handle(each) for each in announced]))
            report(result)
        return result


def handle_request(
    request: Request,
    message: Message,
    *,
    settings: Settings,
    database: Database,
    worker_id: UUID,
    may_begin: MayBegin | None = None,
) -> Result:
    """Handle a request that did not come from the queue; `message` has its id and how often it was tried.

    As `handle_message`, but the end is not logged.
    """
    handler = _Handler(message, settings, database, worker_id, may_begin)
    return handler.count(handler.handle(request))


def mark_pending(client: Client, created: CreatedObject, database: Database) -> Done:
    """Record that a data file of a bill arrived: its manifest will name its delivery."""
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
    """Whether the key is a manifest, or a data file in a place without manifests."""
    return is_manifest(key) or (is_data_file(key) and place_of(key) is None)


def find_full(message: Message, full: Sequence[Client]) -> Client | None:
    """The client among these, which have no free slot, that the message would have to wait for; None if it need not.

    The message is only put off because of that, so the registry is not needed.
    """
    if not full:
        return None
    try:
        notification = parse_notification(message.body)
    except Exception:
        # The thread that handles the message reports the error.
        return None
    for client in full:
        if any(request.client_id == client.client_id for request in notification.requests):
            return client
        for created in notification.created:
            is_theirs = created.bucket == client.bucket and created.key.startswith(client.prefix)
            if is_theirs and starts_delivery(created.key):
                return client
    return None


class _Handler:
    """Handles one message: finds the client of each object and request, and counts the message's failures."""

    def __init__(
        self, message: Message, settings: Settings, database: Database, worker_id: UUID, may_begin: MayBegin | None
    ) -> None:
        self._message = message
        self._settings = settings
        self._database = database
        self.ingest = MessageIngest(message, settings, database, worker_id, may_begin)

    def handle(self, announced: CreatedObject | Request) -> Result:
        """The result of one object or request; every error becomes a result."""
        with structlog.contextvars.bound_contextvars(key=announced.key):
            try:
                if isinstance(announced, Request):
                    return self._handle_request(announced)
                return self._handle_object(announced)
            except BillfoldError as error:
                return self.ingest.fail(error, None)
            except Exception as error:
                log.exception(Event.MESSAGE_FAILED)
                return self.ingest.fail(as_internal(error), None)

    def count(self, result: Result) -> Result:
        """The result after counting the failures of the message: each retry waits longer, and the last one is dead."""
        if isinstance(result, Retry):
            concerns_failures = result.cause is Cause.FAILURE
        else:
            # A message that never came before has not failed; the failures of a dead one are deleted when it is buried.
            concerns_failures = isinstance(result, Done) and self._message.receive_count > 1
        if not concerns_failures:
            return result
        try:
            with connect(self._database.conninfo) as connection:
                if isinstance(result, Retry):
                    return self._count_failure(connection, result)
                failures.forget_failures(connection, self._message.message_id)
        except BillfoldError as error:
            # The result is final anyway: a failure that cannot be counted now is counted the next time.
            log.warning(Event.FAILURES_NOT_COUNTED, error_code=error.error_code, error=str(error))
        return result

    def _count_failure(self, connection: Connection, result: Retry) -> Retry | Dead:
        error_code = result.error_code or InternalError.error_code
        client_id = result.client.client_id if result.client else None
        count = failures.count_failure(connection, self._message.message_id, error_code, client_id=client_id)
        if count < self._settings.message_attempts:
            delay_seconds = retry_seconds(count, self._settings.message_retry_seconds, _random)
            return replace(result, delay_seconds=delay_seconds)
        reason = f"failed {count} times, at last: {result.reason}"
        return Dead(client=result.client, delivery_id=result.delivery_id, reason=reason, error_code=error_code)

    def _handle_object(self, created: CreatedObject) -> Result:
        place = f"s3://{created.bucket}/{created.key}"
        if is_trick(created.key):
            return _refuse(None, created.bucket, f"{place} has parts such as `..`, which AWS never writes")
        client = clients.find_owner(self._database, self._settings, created.bucket, created.key)
        if client is None:
            log.warning(Event.EVENT_FOREIGN, bucket=created.bucket, reason="belongs to no client")
            return Done(reason="belongs to no client")
        if created.account_id and client.account_id and created.account_id != client.account_id:
            # The sender of the event must not learn the registry's account.
            return _refuse(
                client, created.bucket, f"{place} is announced by account {created.account_id}, not its owner's"
            )
        if not client.enabled:
            log.warning(Event.EVENT_REFUSED, client=client.client_id, bucket=created.bucket, reason="is disabled")
            return Done(client=client, reason="the client is disabled")
        if kind := kind_of_key(created.key):
            log.info(Event.OBJECT_LEFT_OUT, client=client.client_id, reason=f"is not a bill: {kind}")
            return Done(client=client, reason=f"is not a bill: {kind}")
        if starts_delivery(created.key):
            return self.ingest.run(client, created.bucket, created.key, created.source, is_event=True)
        if is_data_file(created.key):
            return mark_pending(client, created, self._database)
        log.info(Event.OBJECT_LEFT_OUT, client=client.client_id, reason="is not a bill")
        return Done(client=client, reason="is not a bill")

    def _handle_request(self, request: Request) -> Result:
        client = clients.resolve_client(self._database, self._settings, request.client_id)
        if client.bucket is None:
            return Dead(
                client=client,
                reason=f"client {client.client_id} has no bucket",
                error_code=ConfigurationError.error_code,
            )
        if not clients.owns(client, request.key):
            return _refuse(client, client.bucket, f"{request.key} is outside the folder of {client.client_id}")
        return self.ingest.run(client, client.bucket, request.key, request.source, month=request.month)


def _refuse(client: Client | None, bucket: str, reason: str) -> Dead:
    """Read nothing for a forged event; its message is kept as evidence."""
    whose = {"client": client.client_id} if client else {}
    log.error(Event.EVENT_REFUSED, bucket=bucket, reason=reason, **whose)
    return Dead(client=client, reason=reason, error_code=AccessDeniedError.error_code)
