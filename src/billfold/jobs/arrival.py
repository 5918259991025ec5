"""A message of the queue, from its text to the jobs that it makes: whose object it announces, and what to do with that.

    message -> parse -> owner by the registry -> data file: its run is pending
                                              -> manifest or file without one: a job

The receiver and the Lambda handler share it. Messages arrive at least once and in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from billfold import clients
from billfold.aws.keys import is_trick
from billfold.aws.layout import is_data_file, is_manifest, place_of, work_of
from billfold.aws.notifications import CreatedObject, Request, parse_notification
from billfold.aws.other_files import kind_of_key
from billfold.aws.queue import Message
from billfold.errors import AccessDeniedError, BillfoldError, ConfigurationError, MessageError, StoreError
from billfold.jobs.results import Dead, Done, Result, choose
from billfold.jobs.settlement import keep_message
from billfold.log import Event
from billfold.model import Client
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.store.deliveries import registration, runs
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import NewJob

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What a message made: the ids of its jobs, and the result of the rest; None where all of it became jobs."""

    job_ids: tuple[int, ...]
    result: Done | Dead | None


def take_in(message: Message, queue_url: str, *, settings: Settings, database: Database) -> Arrival:
    """Write the message's jobs, and deal with all else that it announces.

    Raises StoreError if PostgreSQL is away, and ConfigurationError; the message then stays in its queue.
    """
    try:
        notification = parse_notification(message.body)
    except MessageError as error:
        return Arrival(job_ids=(), result=Dead(reason=str(error), error_code=error.error_code))
    for name in notification.ignored:
        log.info(Event.EVENT_IGNORED, reason=name)
    found: list[NewJob | Result] = []
    all_announced: tuple[CreatedObject | Request, ...] = (*notification.created, *notification.requests)
    for announced in all_announced:
        with structlog.contextvars.bound_contextvars(key=announced.key):
            found.append(_judge(announced, message, queue_url, settings, database))
    job_ids = []
    with connect(database.conninfo) as connection, connection.transaction():
        for new in found:
            if isinstance(new, NewJob):
                job_ids.append(jobs.add(connection, new))
    results = [each for each in found if not isinstance(each, NewJob)]
    result = choose(results) if results or not job_ids else None
    assert result is None or isinstance(result, Done | Dead)
    return Arrival(job_ids=tuple(job_ids), result=result)


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


def _judge(
    announced: CreatedObject | Request, message: Message, queue_url: str, settings: Settings, database: Database
) -> NewJob | Result:
    try:
        if isinstance(announced, Request):
            return _judge_request(announced, message, queue_url, settings, database)
        return _judge_object(announced, message, queue_url, settings, database)
    except (StoreError, ConfigurationError):
        # An operator may fix the cause: the message comes again.
        raise
    except BillfoldError as error:
        return Dead(reason=str(error), error_code=error.error_code)


def _judge_object(
    created: CreatedObject, message: Message, queue_url: str, settings: Settings, database: Database
) -> NewJob | Result:
    place = f"s3://{created.bucket}/{created.key}"
    if is_trick(created.key):
        return _refuse(None, created.bucket, f"{place} has parts such as `..`, which AWS never writes")
    client = clients.find_owner(database, settings, created.bucket, created.key)
    if client is None:
        log.warning(Event.EVENT_FOREIGN, bucket=created.bucket, reason="belongs to no client")
        return Done(reason="belongs to no client")
    if created.account_id and client.account_id and created.account_id != client.account_id:
        # The sender of the event must not learn the registry's account.
        return _refuse(client, created.bucket, f"{place} is announced by account {created.account_id}, not its owner's")
    if not client.enabled:
        log.warning(Event.EVENT_REFUSED, client=client.client_id, bucket=created.bucket, reason="is disabled")
        return Done(client=client, reason="the client is disabled")
    if kind := kind_of_key(created.key):
        log.info(Event.OBJECT_LEFT_OUT, client=client.client_id, reason=f"is not a bill: {kind}")
        return Done(client=client, reason=f"is not a bill: {kind}")
    if starts_delivery(created.key):
        with connect(database.conninfo) as connection:
            registration.ensure_client(connection, client)
        return NewJob(
            client_id=client.client_id,
            bucket=created.bucket,
            key=created.key,
            work=work_of(created.bucket, created.key),
            trigger=created.source,
            is_event=True,
            message=keep_message(message, queue_url),
        )
    if is_data_file(created.key):
        return mark_pending(client, created, database)
    log.info(Event.OBJECT_LEFT_OUT, client=client.client_id, reason="is not a bill")
    return Done(client=client, reason="is not a bill")


def _judge_request(
    request: Request, message: Message, queue_url: str, settings: Settings, database: Database
) -> NewJob | Result:
    client = clients.resolve_client(database, settings, request.client_id)
    if client.bucket is None:
        reason = f"client {client.client_id} has no bucket"
        return Dead(client=client, reason=reason, error_code=ConfigurationError.error_code)
    if not clients.owns(client, request.key):
        return _refuse(client, client.bucket, f"{request.key} is outside the folder of {client.client_id}")
    with connect(database.conninfo) as connection:
        registration.ensure_client(connection, client)
    return NewJob(
        client_id=client.client_id,
        bucket=client.bucket,
        key=request.key,
        work=work_of(client.bucket, request.key),
        trigger=request.source,
        period=request.month,
        message=keep_message(message, queue_url),
    )


def _refuse(client: Client | None, bucket: str, reason: str) -> Dead:
    """Read nothing for a forged event; its message is kept as evidence."""
    whose = {"client": client.client_id} if client else {}
    log.error(Event.EVENT_REFUSED, bucket=bucket, reason=reason, **whose)
    return Dead(client=client, reason=reason, error_code=AccessDeniedError.error_code)
