"""The entry point of AWS Lambda: `billfold.lambda_handler.handler` for batches of a queue.

The event source mapping must enable partial batch responses (`ReportBatchItemFailures`): Lambda deletes messages that
are not named as failed. Set DATABASE_URL, and BILLFOLD_SPOOL to a writable folder such as /tmp/spool.
Source: "Using Lambda with Amazon SQS" in the AWS documentation.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID, uuid4

import structlog

from billfold.app import Billfold
from billfold.aws.queue import Attribute, Message, Queue, open_queue, open_queue_by_arn
from billfold.errors import BillfoldError, ConfigurationError, StoreError
from billfold.jobs.arrival import take_in
from billfold.jobs.dead_letters import bury
from billfold.jobs.rescue import free_gone_now
from billfold.jobs.results import Dead, report
from billfold.jobs.settlement import announce_start, bind, conclude, settle
from billfold.jobs.work import work_on
from billfold.log import Event, configure_logging
from billfold.settings import Settings, load_settings, require
from billfold.store.database import Connection, Database, connect
from billfold.store.jobs import jobs

# With less time left no job is begun: Lambda would kill it, and that would count as an attempt.
MIN_REMAINING_SECONDS = 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Container:
    """What one container reads once and keeps for all calls; `lost` are its lives that lost the database."""

    settings: Settings
    database: Database
    dead_letters: Queue | None
    lost: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    """A message of the batch, and the queue that it came from."""

    message: Message
    queue_arn: str


def handler(event: Mapping[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """Write the jobs of one batch, work on them, and name the messages whose jobs have not ended: they come again.

    A message that can never succeed is sent to BILLFOLD_DEAD_LETTER_QUEUE_URL, or else to the queue that the redrive
    policy of its own queue names; without either its job stays dead in
    `billfold jobs`. A job that was interrupted before is worked
    on alone, with all of the call's time. Raises ConfigurationError and StoreError if nothing can be tried at all.
    """
    container = _container()
    batch = [_read(record) for record in event.get("Records", ())]
    open_jobs: dict[str, set[int]] = {}
    failed: list[_Received] = []
    for received in batch:
        job_ids = _take_in(container, received)
        if job_ids is None:
            failed.append(received)
        else:
            open_jobs[received.message.message_id] = set(job_ids)
    wanted = sorted(set().union(*open_jobs.values()))
    # The lock of this life ends with the call: what it leaves unfinished is free for the next one.
    with connect(container.database.conninfo) as connection:
        left = _work_off(container, connection, wanted, context)
    for received in batch:
        waits = open_jobs.get(received.message.message_id, set()) & left.keys()
        if waits:
            failed.append(received)
            _hide(container, received, min(left[job_id] for job_id in waits))
    return {"batchItemFailures": [{"itemIdentifier": each.message.message_id} for each in failed]}


def _take_in(container: _Container, received: _Received) -> Sequence[int] | None:
    """The ids of the message's jobs; None if it has to come again."""
    queue = _source_queue(received.queue_arn, container.settings)
    message = received.message
    with structlog.contextvars.bound_contextvars(message_id=message.message_id):
        try:
            arrival = take_in(message, queue.url, settings=container.settings, database=container.database)
            if isinstance(arrival.result, Dead):
                report(arrival.result)
                target = container.dead_letters or queue.open_dead_letters()
                if target is None:
                    return None
                bury(target, message, arrival.result)
            elif arrival.result is not None:
                report(arrival.result)
        except (StoreError, ConfigurationError):
            raise
        except BillfoldError as error:
            log.warning(Event.QUEUE_FAILED, action="send", error_code=error.error_code, error=str(error))
            return None
    return arrival.job_ids


def _work_off(container: _Container, connection: Connection, wanted: Sequence[int], context: Any) -> Mapping[int, int]:
    """Work on these jobs while there is time; returns those that have not ended, with the seconds that each waits."""
    worker_id = uuid4()
    jobs.live(connection, worker_id)
    while container.lost:
        # Its own earlier life has lost the database: no attempt of it failed.
        jobs.give_back(connection, container.lost[-1])
        container.lost.pop()
    free_gone_now(connection, worker_id, container.settings)
    is_alone = False
    while not is_alone and context.get_remaining_time_in_millis() >= MIN_REMAINING_SECONDS * 1000:
        taken = jobs.take(connection, worker_id, limit=1, suspects=True, job_ids=wanted) or jobs.take(
            connection, worker_id, limit=1, job_ids=wanted
        )
        if not taken:
            break
        [job] = taken
        is_alone = job.is_suspect
        if is_alone:
            jobs.begin(connection, job, worker_id)
        with bind(job):
            announce_start(job, is_alone=is_alone)
            result = work_on(job, container.settings, container.database)
            result = conclude(job, result, container.settings, dead_letters=container.dead_letters)
            try:
                # The other connection was idle for long.
                with connect(container.database.conninfo) as another:
                    settle(another, job, worker_id, result)
            except StoreError:
                container.lost.append(worker_id)
                raise
    return jobs.list_open(connection, wanted)


def _hide(container: _Container, received: _Received, seconds: int) -> None:
    """Hide the message; if that fails, it comes again when the visibility timeout of its queue is over."""
    try:
        _source_queue(received.queue_arn, container.settings).hide(received.message, seconds)
    except BillfoldError as error:
        log.warning(Event.QUEUE_FAILED, action="hide", error_code=error.error_code, error=str(error))


def _read(record: Mapping[str, Any]) -> _Received:
    message = Message(
        message_id=record["messageId"],
        receipt=record["receiptHandle"],
        body=record["body"],
        receive_count=int(record.get("attributes", {}).get("ApproximateReceiveCount", 1)),
        attributes={name: _read_attribute(given) for name, given in record.get("messageAttributes", {}).items()},
    )
    return _Received(message=message, queue_arn=record["eventSourceARN"])


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
