"""A message of the queue, from its text to the jobs that it makes: whose object it announces, and what to do with that.

    message -> parse -> owner by the registry -> data file: its run is pending
                                              -> manifest or file without one: a job

The receiver and the Lambda handler share it. Messages arrive at least once and in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from billfold import clients
from billfold.aws.keys import is_trick
from billfold.aws.layout import is_data_file, is_manifest, place_of, work_of
from billfold.aws.notifications import CreatedObject, Request, format_event, parse_notification
from billfold.aws.other_files import kind_of_key
from billfold.aws.queue import Message
from billfold.errors import AccessDeniedError, ConfigurationError, MessageError, UsageError
from billfold.jobs.results import Dead, Done
from billfold.jobs.settlement import keep_message
from billfold.log import Event
from billfold.model import Client
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect
from billfold.store.deliveries import registration, runs
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import JobMessage, NewJob

# Each job keeps the body of its message. Of a longer list it keeps only its own part: a message can be 1 MiB long and
# name thousands of objects.
MAX_OBJECTS_OF_BODY = 10

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What a message made: the ids of its jobs, and the result of the rest; None where all of it became jobs."""

    job_ids: tuple[int, ...]
    result: Done | Dead | None


def take_in(message: Message, queue_url: str, *, settings: Settings, database: Database) -> Arrival:
    """Write the message's jobs, and deal with all else that it announces.

    Raises what another attempt may pass, such as StoreError if PostgreSQL is away; the message then stays in its queue.
    """
    try:
        notification = parse_notification(message.body)
    except MessageError as error:
        return Arrival(job_ids=(), result=Dead(reason=str(error), error_code=error.error_code))
    for name in notification.ignored:
        log.info(Event.EVENT_IGNORED, reason=name)
    all_announced: tuple[CreatedObject | Request, ...] = (*notification.created, *notification.requests)
    if not all_announced:
        return Arrival(job_ids=(), result=Done())
    kept = keep_message(message, queue_url)
    # One connection: a message can name thousands of objects, and should not come again meanwhile.
    with connect(database.conninfo) as connection:
        found = []
        for announced in all_announced:
            with structlog.contextvars.bound_contextvars(key=announced.key):
                own = kept if len(all_announced) <= MAX_OBJECTS_OF_BODY else _split(kept, announced)
                found.append(_judge(announced, own, settings, database, connection))
        new_jobs = [each for each in found if isinstance(each, NewJob)]
        with connection.transaction():
            # In the same order for all, or two messages of the same objects would wait for each other.
            new_jobs.sort(key=lambda new: (new.client_id, new.bucket, new.key))
            job_ids = tuple(jobs.add(connection, new) for new in new_jobs)
    rest = [each for each in found if not isinstance(each, NewJob)]
    result = next((each for each in rest if isinstance(each, Dead)), next(iter(rest), None))
    return Arrival(job_ids=job_ids, result=result)


def mark_pending(connection: Connection, client: Client, created: CreatedObject) -> Done:
    """Record that a data file of a bill arrived: its manifest will name its delivery."""
    if created.etag is None:
        return Done(client=client, reason="the event names no version")
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


def _split(kept: JobMessage, announced: CreatedObject | Request) -> JobMessage:
    """The message as if it announced only this object."""
    assert isinstance(announced, CreatedObject)
    return replace(kept, body=format_event(announced))


def _judge(
    announced: CreatedObject | Request, kept: JobMessage, settings: Settings, database: Database, connection: Connection
) -> NewJob | Done | Dead:
    try:
        if isinstance(announced, Request):
            return _judge_request(announced, kept, settings, database, connection)
        return _judge_object(announced, kept, settings, connection)
    except UsageError as error:
        # All other errors may pass: the message comes again.
        return Dead(reason=str(error), error_code=error.error_code)


def _judge_object(
    created: CreatedObject, kept: JobMessage, settings: Settings, connection: Connection
) -> NewJob | Done | Dead:
    place = f"s3://{created.bucket}/{created.key}"
    if is_trick(created.key):
        return _refuse(None, created.bucket, f"{place} has parts such as `..`, which AWS never writes")
    client = clients.look_up_owner(connection, settings, created.bucket, created.key)
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
        registration.ensure_client(connection, client)
        return NewJob(
            client_id=client.client_id,
            bucket=created.bucket,
            key=created.key,
            work=work_of(created.bucket, created.key),
            trigger=created.source,
            is_event=True,
            message=kept,
        )
    if is_data_file(created.key):
        return mark_pending(connection, client, created)
    log.info(Event.OBJECT_LEFT_OUT, client=client.client_id, reason="is not a bill")
    return Done(client=client, reason="is not a bill")


def _judge_request(
    request: Request, kept: JobMessage, settings: Settings, database: Database, connection: Connection
) -> NewJob | Dead:
    client = clients.resolve_client(database, settings, request.client_id)
    if client.bucket is None:
        reason = f"client {client.client_id} has no bucket"
        return Dead(client=client, reason=reason, error_code=ConfigurationError.error_code)
    if not clients.owns(client, request.key):
        return _refuse(client, client.bucket, f"{request.key} is outside the folder of {client.client_id}")
    registration.ensure_client(connection, client)
    return NewJob(
        client_id=client.client_id,
        bucket=client.bucket,
        key=request.key,
        work=work_of(client.bucket, request.key),
        trigger=request.source,
        period=request.month,
        message=kept,
    )


def _refuse(client: Client | None, bucket: str, reason: str) -> Dead:
    """Read nothing for a forged event; its message is kept as evidence."""
    whose = {"client": client.client_id} if client else {}
    log.error(Event.EVENT_REFUSED, bucket=bucket, reason=reason, **whose)
    return Dead(client=client, reason=reason, error_code=AccessDeniedError.error_code)
