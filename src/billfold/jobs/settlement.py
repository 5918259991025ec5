"""What comes of a job's result: it is done, waits for its next attempt, or is dead, in the queue and in the log."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, assert_never
from uuid import UUID

import structlog

from billfold.aws.queue import Attribute, Message, Queue, open_queue
from billfold.errors import BillfoldError, InternalError
from billfold.jobs.dead_letters import bury
from billfold.jobs.results import Cause, Dead, Done, Result, Retry, report, retry_seconds
from billfold.log import Event
from billfold.model import JobKind
from billfold.settings import Settings
from billfold.store.database import Connection
from billfold.store.jobs import jobs, requests
from billfold.store.jobs.jobs import Job, JobMessage

# A user may be watching: what was requested and waits for other work is retried sooner than an event.
MAX_REQUEST_WAIT_SECONDS = 10

log = structlog.get_logger(__name__)


def bind(job: Job) -> AbstractContextManager[Any]:
    """Name the job in each event that is logged in the block."""
    names = {"client": job.client_id, "key": job.key}
    if job.message:
        names["message_id"] = job.message.message_id
    if job.delivery_id:
        names["delivery_id"] = str(job.delivery_id)
    return structlog.contextvars.bound_contextvars(**names)


def keep_message(message: Message, queue_url: str) -> JobMessage:
    """The message as a job keeps it: values in Base64, because JSON holds no bytes and PostgreSQL no NUL."""
    return JobMessage(
        message_id=message.message_id,
        queue_url=queue_url,
        body=message.body,
        attributes={name: _keep_attribute(each) for name, each in message.attributes.items()},
    )


def _keep_attribute(attribute: Attribute) -> dict[str, str]:
    value = attribute.value if isinstance(attribute.value, bytes) else attribute.value.encode()
    return {"type": attribute.data_type, "value": b64encode(value).decode()}


def restore_message(kept: JobMessage) -> Message:
    """The message as it came."""
    return Message(
        message_id=kept.message_id,
        receipt="",
        body=kept.body,
        attributes={name: _restore_attribute(each) for name, each in kept.attributes.items()},
    )


def _restore_attribute(kept: Mapping[str, str]) -> Attribute:
    value, is_binary = b64decode(kept["value"]), kept["type"].startswith("Binary")
    return Attribute(value=value if is_binary else value.decode(), data_type=kept["type"])


def announce_start(job: Job, *, is_alone: bool) -> None:
    """Log the beginning."""
    if is_alone:
        log.warning(Event.ASKED_ALONE if job.message is None else Event.MESSAGE_ALONE)
    if job.message is None:
        # One that waits for others is taken again and again.
        write = log.info if job.take_count == 1 and job.kind is JobKind.INGEST else log.debug
        write(Event.ASKED_STARTED, asked_by=job.trigger, taken_count=job.take_count)


def conclude(job: Job, result: Result, settings: Settings, *, dead_letters: Queue | None = None) -> Result:
    """The final result: the last failure is the end, and a dead message goes to these dead letters or its queue's.

    A dead job that cannot be sent there is retried.
    """
    if isinstance(result, Retry) and result.cause is Cause.FAILURE:
        result = _count_failure(job, result, settings)
    if isinstance(result, Retry) and job.message is None and result.cause is Cause.BUSY:
        result = replace(result, delay_seconds=min(result.delay_seconds, MAX_REQUEST_WAIT_SECONDS))
    if isinstance(result, Dead) and job.message is not None:
        return _bury(job, job.message, result, settings, dead_letters)
    return result


def _count_failure(job: Job, result: Retry, settings: Settings) -> Retry | Dead:
    count = job.failure_count + 1
    if count < settings.message_attempts:
        delay_seconds = retry_seconds(count, settings.message_retry_seconds)
        return replace(result, delay_seconds=delay_seconds)
    return Dead(
        client=result.client,
        delivery_id=result.delivery_id,
        reason=f"failed {count} times, at last: {result.reason}",
        error_code=result.error_code or InternalError.error_code,
        visit=result.visit,
    )


def _bury(job: Job, kept: JobMessage, result: Dead, settings: Settings, dead_letters: Queue | None) -> Dead | Retry:
    try:
        target = dead_letters or open_queue(kept.queue_url, settings).open_dead_letters()
        if target is None:
            log.error(Event.MESSAGE_STUCK, reason=result.reason, error_code=result.error_code)
        else:
            bury(target, restore_message(kept), result)
    except BillfoldError as error:
        log.warning(Event.QUEUE_FAILED, action="send", error_code=error.error_code, error=str(error))
        return Retry(
            cause=Cause.UNTRIED,
            delay_seconds=retry_seconds(job.take_count, settings.message_retry_seconds),
            reason=f"it is dead, and cannot be sent to the dead-letter queue: {result.reason}",
            client=result.client,
            delivery_id=result.delivery_id,
            error_code=result.error_code,
        )
    return result


def settle(connection: Connection, job: Job, worker_id: UUID, result: Result) -> None:
    """Write the result into the queue, and into the delivery that was requested."""
    with connection.transaction():
        match result:
            case Done():
                if jobs.finish(connection, job, worker_id) and job.delivery_id:
                    requests.supersede(connection, job.delivery_id)
            case Retry():
                jobs.postpone(
                    connection,
                    job,
                    worker_id,
                    seconds=result.delay_seconds,
                    is_failure=result.cause is Cause.FAILURE,
                    # A suspect that was worked on to its end has cleared itself.
                    is_tried=result.cause is Cause.FAILURE,
                    reason=result.reason,
                    error_code=result.error_code,
                )
            case Dead():
                is_dead = jobs.bury(connection, job, worker_id, error_code=result.error_code, reason=result.reason)
                if is_dead and job.delivery_id:
                    requests.fail(connection, job.delivery_id, error_code=result.error_code, message=result.reason)
            case _:
                assert_never(result)
    _report(job, result)


def _report(job: Job, result: Result) -> None:
    if job.kind is JobKind.VISIT and (isinstance(result, Done | Dead) or result.cause is Cause.FAILURE):
        _report_visit(result)
    elif job.kind is not JobKind.DOCTOR or not isinstance(result, Done):
        report(result, job)


def _report_visit(result: Result) -> None:
    visit = result.visit
    if visit is not None:
        counts = {"current": visit.current_count, "pending": len(visit.waiting)}
        state = "done" if isinstance(result, Done) else "failed"
        log.info(Event.SCHEDULE_CLIENT_FINISHED, state=state, statements=visit.statement_count, **counts)
    elif isinstance(result, Done):
        log.info(Event.SCHEDULE_CLIENT_FINISHED, state="done", statements=0, reason=result.reason)
    else:
        log.error(Event.SCHEDULE_CLIENT_FAILED, error_code=result.error_code, error=result.reason)
