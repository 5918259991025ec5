"""The entry point of AWS Lambda: `billfold.lambda_handler.handler` for batches of a queue.

The event source mapping must enable partial batch responses (`ReportBatchItemFailures`): Lambda deletes messages that
are not named as failed. Set DATABASE_URL, and BILLFOLD_SPOOL to a writable folder such as /tmp/spool.
Source: "Using Lambda with Amazon SQS" in the AWS documentation.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, assert_never
from uuid import UUID, uuid4

import structlog

from billfold.app import Billfold
from billfold.aws.queue import Attribute, Message, Queue, open_queue, open_queue_by_arn
from billfold.errors import BillfoldError
from billfold.jobs.attempts import end_all, find_suspects, forget
from billfold.jobs.dead_letters import bury
from billfold.jobs.messages import handle_message
from billfold.jobs.results import Cause, Dead, Done, Retry
from billfold.log import Event, configure_logging
from billfold.settings import Settings, load_settings, require
from billfold.store.database import Database

# With less time left no message is begun: Lambda would kill it, and that would count as an attempt.
MIN_REMAINING_SECONDS = 20

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Container:
    """What one container reads once and keeps for all calls; `is_tidy`: the end of every attempt is recorded."""

    settings: Settings
    database: Database
    dead_letters: Queue | None
    worker_id: UUID
    is_tidy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    """A message of the batch, and the queue that it came from."""

    message: Message
    queue_arn: str


def handler(event: Mapping[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """Handle the messages of one batch and name those that must come again.

    A message that can never succeed is sent to BILLFOLD_DEAD_LETTER_QUEUE_URL, or else to the queue that the redrive
    policy of its own queue names; without either it fails like any other. One that was interrupted before is handled
    alone, with all of the call's time: the others of its batch come again at once. Raises ConfigurationError and
    StoreError if nothing can be tried at all.
    """
    container = _container()
    # Another container must not take this one for dead: between two calls it handles nothing.
    container.is_tidy = container.is_tidy or end_all(container.database, container.worker_id)
    batch = [_read(record) for record in event.get("Records", ())]
    taken = _choose(container, batch)
    failed = [each for each in batch if each not in taken]
    for each in failed:
        _give_back(container, each, "another one of its batch is worked on alone")
    failed += [each for each in taken if not _is_settled(container, each, context)]
    return {"batchItemFailures": [{"itemIdentifier": each.message.message_id} for each in failed]}


def _choose(container: _Container, batch: Sequence[_Received]) -> Sequence[_Received]:
    """All of the batch, or the one of it that was interrupted before."""
    suspects = find_suspects([each.message for each in batch], container.database)
    for each in batch:
        if each.message.message_id in suspects:
            log.warning(Event.MESSAGE_ALONE, message_id=each.message.message_id)
            return [each]
    return batch


def _is_settled(container: _Container, received: _Received, context: Any) -> bool:
    if context.get_remaining_time_in_millis() < MIN_REMAINING_SECONDS * 1000:
        _give_back(container, received, "the call's time is nearly over")
        return False
    result = handle_message(
        received.message, settings=container.settings, database=container.database, worker_id=container.worker_id
    )
    match result:
        case Done():
            return True
        case Retry():
            container.is_tidy = container.is_tidy and result.cause is not Cause.DATABASE
            _hide(container, received, result.delay_seconds)
            return False
        case Dead():
            return _is_buried(container, received, result)
        case _:
            assert_never(result)


def _is_buried(container: _Container, received: _Received, result: Dead) -> bool:
    try:
        target = container.dead_letters or _dead_letters_of(received.queue_arn, container.settings)
        if target is None:
            return False
        bury(target, received.message, result)
    except BillfoldError as error:
        log.warning(Event.QUEUE_FAILED, action="send", error_code=error.error_code, error=str(error))
        return False
    try:
        # Lambda would delete it after the call. Its failures may be forgotten only once it cannot come again.
        _source_queue(received.queue_arn, container.settings).delete(received.message)
    except BillfoldError as error:
        log.warning(Event.QUEUE_FAILED, action="delete", error_code=error.error_code, error=str(error))
    else:
        forget(received.message, container.database)
    return True


def _give_back(container: _Container, received: _Received, reason: str) -> None:
    log.warning(Event.MESSAGE_GIVEN_BACK, message_id=received.message.message_id, reason=reason)
    _hide(container, received, 0)


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
        worker_id=uuid4(),
    )


@cache
def _dead_letters_of(arn: str, settings: Settings) -> Queue | None:
    return _source_queue(arn, settings).open_dead_letters()


@cache
def _source_queue(arn: str, settings: Settings) -> Queue:
    return open_queue_by_arn(arn, settings)
