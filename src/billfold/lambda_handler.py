"""The entry point of AWS Lambda: `billfold.lambda_handler.handler` for batches of a queue.

The event source mapping must enable partial batch responses (`ReportBatchItemFailures`): Lambda deletes messages that
are not named as failed. Set DATABASE_URL, and BILLFOLD_SPOOL to a writable folder such as /tmp/spool.
Source: "Using Lambda with Amazon SQS" in the AWS documentation.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID, uuid4

import structlog

from billfold.app import Billfold
from billfold.aws.queue import Attribute, Message, Queue, open_queue, open_queue_by_arn
from billfold.errors import BillfoldError, StoreUnavailableError, as_internal
from billfold.jobs.arrival import take_in
from billfold.jobs.dead_letters import bury
from billfold.jobs.receiver import STUCK_SECONDS
from billfold.jobs.rescue import free_gone_now
from billfold.jobs.results import Cause, Dead, Result, Retry, report, retry_seconds, wait_seconds
from billfold.jobs.settlement import bind, settle
from billfold.jobs.work import attempt
from billfold.log import Event, configure_logging
from billfold.settings import Settings, load_settings, require
from billfold.store.database import Connection, Database, connect
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import Job

# With less time left no job is begun: Lambda would kill it, and that would count as an attempt.
MIN_REMAINING_SECONDS = 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Container:
    """What one container reads once and keeps for all calls; results wait in `ended` until they can be settled."""

    settings: Settings
    database: Database
    dead_letters: Queue | None
    ended: list[tuple[Job, UUID, Result]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    """A message of the batch, and the queue that it came from."""

    message: Message
    queue: Queue


def handler(event: Mapping[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """Write the jobs of one batch, work on them, and name the messages whose jobs have not ended: they come again.

    A message that can never succeed is sent to BILLFOLD_DEAD_LETTER_QUEUE_URL, or else to the queue that the redrive
    policy of its own queue names. A job that was interrupted before is worked on alone, with all of the call's time.
    Raises ConfigurationError, SourceError and StoreError if nothing can be tried at all.
    """
    container = _container()
    batch = [_read(record, container.settings) for record in event.get("Records", ())]
    written = [_take_in(container, received) for received in batch]
    left = _work_off(container, {job_id for job_ids in written for job_id in job_ids or ()}, context)
    failed = []
    for received, job_ids in zip(batch, written, strict=True):
        waits = [left[job_id] for job_id in job_ids or () if job_id in left]
        if waits:
            # One that is due waits for a slot, for another worker, or for the next call.
            _hide(received, min(waits) or wait_seconds(received.message.receive_count))
        if waits or job_ids is None:
            failed.append({"itemIdentifier": received.message.message_id})
    return {"batchItemFailures": failed}


def _take_in(container: _Container, received: _Received) -> tuple[int, ...] | None:
    """The ids of the message's jobs, of which it may have none; None if it was not taken in and has to come again."""
    with structlog.contextvars.bound_contextvars(message_id=received.message.message_id):
        try:
            arrival = take_in(
                received.message, received.queue.url, settings=container.settings, database=container.database
            )
            if arrival.result is not None:
                report(arrival.result)
            if isinstance(arrival.result, Dead):
                target = container.dead_letters or received.queue.open_dead_letters()
                if target is None:
                    log.error(Event.MESSAGE_STUCK, reason=arrival.result.reason, error_code=arrival.result.error_code)
                    _hide(received, STUCK_SECONDS)
                    return None
                bury(target, received.message, arrival.result)
        except StoreUnavailableError:
            raise
        except BillfoldError as error:
            _let_wait(container, received, error)
        except Exception as error:
            # The others of its batch need not fail with it.
            log.exception(Event.MESSAGE_FAILED)
            _let_wait(container, received, as_internal(error))
        else:
            return arrival.job_ids
    return None


def _let_wait(container: _Container, received: _Received, error: BillfoldError) -> None:
    seconds = retry_seconds(received.message.receive_count, container.settings.message_retry_seconds)
    report(Retry(cause=Cause.UNTRIED, delay_seconds=seconds, reason=str(error), error_code=error.error_code))
    _hide(received, seconds)


def _work_off(container: _Container, wanted: Collection[int], context: Any) -> Mapping[int, int]:
    """Work on each of these jobs once, if there is time; those that have not ended, each with the seconds it waits."""
    worker_id = uuid4()
    # `jobs.free` ends the sessions with this name.
    database = container.database.named(str(worker_id))
    untried = set(wanted)
    while True:
        # A connection that was idle during an attempt may be gone. The lock of this life ends with the call: what is
        # left unfinished is free for the next one.
        with connect(database.conninfo) as connection:
            jobs.live(connection, worker_id)
            _settle_ended(container, connection)
            free_gone_now(connection, worker_id, container.settings)
            is_time_left = context.get_remaining_time_in_millis() >= MIN_REMAINING_SECONDS * 1000
            job = _take(connection, worker_id, untried) if is_time_left else None
            if job is None:
                return jobs.list_open(connection, sorted(wanted))
            result = attempt(job, container.settings, database, dead_letters=container.dead_letters)
        container.ended.append((job, worker_id, result))
        untried = set() if job.is_suspect else untried - {job.job_id}


def _settle_ended(container: _Container, connection: Connection) -> None:
    """Settle what has ended: in this call, or in an earlier one that lost the database."""
    while container.ended:
        job, worker_id, result = container.ended[0]
        with bind(job):
            settle(connection, job, worker_id, result)
        del container.ended[0]


def _take(connection: Connection, worker_id: UUID, wanted: Collection[int]) -> Job | None:
    """The next of these jobs, which begins: first one that was interrupted."""
    for suspects in (True, False):
        for job in jobs.take(connection, worker_id, limit=1, suspects=suspects, job_ids=sorted(wanted)):
            jobs.begin(connection, job, worker_id)
            return job
    return None


def _hide(received: _Received, seconds: int) -> None:
    """Hide the message; if that fails, it comes again when the visibility timeout of its queue is over."""
    try:
        received.queue.hide(received.message, seconds)
    except BillfoldError as error:
        log.warning(Event.QUEUE_FAILED, action="hide", error_code=error.error_code, error=str(error))


def _read(record: Mapping[str, Any], settings: Settings) -> _Received:
    message = Message(
        message_id=record["messageId"],
        receipt=record["receiptHandle"],
        body=record["body"],
        receive_count=int(record.get("attributes", {}).get("ApproximateReceiveCount", 1)),
        attributes={name: _read_attribute(given) for name, given in record.get("messageAttributes", {}).items()},
    )
    return _Received(message=message, queue=_source_queue(record["eventSourceARN"], settings))


def _read_attribute(given: Mapping[str, Any]) -> Attribute:
    """Lambda sends bytes as Base64."""
    text = given.get("stringValue")
    return Attribute(value=b64decode(given["binaryValue"]) if text is None else text, data_type=given["dataType"])


@cache
def _container() -> _Container:
    settings = load_settings()
    configure_logging(settings)
    require(settings, "DATABASE_URL", purpose="the Lambda handler")
    url = settings.dead_letter_queue_url
    return _Container(
        settings=settings,
        database=Billfold(settings).database,
        dead_letters=open_queue(url, settings) if url is not None else None,
    )


@cache
def _source_queue(arn: str, settings: Settings) -> Queue:
    return open_queue_by_arn(arn, settings)
