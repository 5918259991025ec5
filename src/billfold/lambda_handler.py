"""The door of AWS Lambda: `billfold.lambda_handler.handler` for batches of a queue.

The event source mapping must ask for partial batch responses (`ReportBatchItemFailures`): what is not named as failed
is deleted by Lambda. It needs DATABASE_URL, and BILLFOLD_SPOOL in a folder that may be written, such as /tmp/spool.
Source: "Using Lambda with Amazon SQS" in the AWS documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, assert_never
from uuid import UUID, uuid4

import structlog

from billfold.config import Settings, load_settings, require
from billfold.errors import BillfoldError
from billfold.exports.queue import Message, Queue, open_queue, open_queue_by_arn
from billfold.fate import Dead, Done, Later
from billfold.intake import take_in
from billfold.log import configure_logging
from billfold.store.database import Database, open_database
from billfold.store.migrate import prepare

# With less time left nothing new is begun: Lambda would kill it, and it would count as an attempt.
MIN_REMAINING_SECONDS = 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Container:
    """What one container reads once and keeps for all of its calls."""

    settings: Settings
    database: Database
    dead_letters: Queue | None
    worker_id: UUID


def handler(event: Mapping[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """Take in the messages of one batch and name those that must come again.

    A message that can never succeed is sent to BILLFOLD_DEAD_LETTER_QUEUE_URL, without it to the queue that the redrive
    policy of its own queue names; where there is none it fails like any other. Raises ConfigurationError and StoreError
    where nothing can be tried at all.
    """
    container = _container()
    failed = [record["messageId"] for record in event.get("Records", ()) if not _is_settled(container, record, context)]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _is_settled(container: _Container, record: Mapping[str, Any], context: Any) -> bool:
    message = _message(record)
    if context.get_remaining_time_in_millis() < MIN_REMAINING_SECONDS * 1000:
        log.warning("message_given_back", message_id=message.message_id, reason="the call's time is nearly over")
        _hide(record, message, 0, container.settings)
        return False
    fate = take_in(message, settings=container.settings, database=container.database, worker_id=container.worker_id)
    match fate:
        case Done():
            return True
        case Later():
            _hide(record, message, fate.delay_seconds, container.settings)
            return False
        case Dead():
            return _is_buried(container, record, message, fate)
        case _:
            assert_never(fate)


def _is_buried(container: _Container, record: Mapping[str, Any], message: Message, fate: Dead) -> bool:
    try:
        target = container.dead_letters or _dead_letters_of(record["eventSourceARN"], container.settings)
        if target is None:
            return False
        target.send(message.body, fate.attributes(message.message_id))
    except BillfoldError as error:
        log.warning("queue_failed", action="send", error_code=error.error_code, error=str(error))
        return False
    return True


def _hide(record: Mapping[str, Any], message: Message, seconds: int, settings: Settings) -> None:
    """Where that fails, the message comes again when the visibility timeout of its queue is over."""
    try:
        _source_queue(record["eventSourceARN"], settings).hide(message, seconds)
    except BillfoldError as error:
        log.warning("queue_failed", action="hide", error_code=error.error_code, error=str(error))


def _message(record: Mapping[str, Any]) -> Message:
    return Message(
        message_id=record["messageId"],
        receipt=record["receiptHandle"],
        body=record["body"],
        receive_count=int(record.get("attributes", {}).get("ApproximateReceiveCount", 1)),
    )


@cache
def _container() -> _Container:
    settings = load_settings()
    configure_logging(settings)
    require(settings, "DATABASE_URL", purpose="the Lambda handler")
    database = open_database(settings)
    prepare(database)
    url = settings.dead_letter_queue_url
    return _Container(
        settings=settings,
        database=database,
        dead_letters=open_queue(url, settings) if url is not None else None,
        worker_id=uuid4(),
    )


@cache
def _dead_letters_of(arn: str, settings: Settings) -> Queue | None:
    return _source_queue(arn, settings).open_dead_letters()


@cache
def _source_queue(arn: str, settings: Settings) -> Queue:
    return open_queue_by_arn(arn, settings)
