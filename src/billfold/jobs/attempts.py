"""Attempts on messages: begun, ended, or left behind by a worker that died; the next death must have one to blame."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import structlog

from billfold.aws.queue import Message
from billfold.errors import BillfoldError
from billfold.log import Event
from billfold.model import Client
from billfold.store.database import Connection, Database, connect
from billfold.store.jobs import failures

# A worker that could not tell of its attempt's end, because PostgreSQL was away, does it as soon as it finds it again.
_MARK_WAIT_SECONDS = 5
_LOOK_SECONDS = 0.5

log = structlog.get_logger(__name__)


@contextmanager
def attempt(
    connection: Connection, message: Message, client: Client, *, database: Database, worker_id: UUID
) -> Iterator[None]:
    """The message is being ingested by this worker. Raises StoreError where it cannot be said that it begins."""
    failures.begin_attempt(connection, message.message_id, client_id=client.client_id, worker_id=worker_id)
    try:
        yield
    finally:
        _end_attempt(message, database, worker_id)


def _end_attempt(message: Message, database: Database, worker_id: UUID) -> None:
    """On a connection of its own: the other one was idle for long, and an outcome must not be lost with it."""
    try:
        with connect(database.conninfo) as connection:
            failures.end_attempt(connection, message.message_id, worker_id=worker_id)
    except BillfoldError as error:
        # The worker does it when the database is back.
        log.warning(Event.ATTEMPT_NOT_ENDED, error_code=error.error_code, error=str(error))


def end_all(database: Database, worker_id: UUID) -> bool:
    """All attempts of this worker have ended, as it does itself or could not tell before; whether that is known now."""
    try:
        with connect(database.conninfo) as connection:
            failures.end_attempts(connection, worker_id)
    except BillfoldError as error:
        log.warning(Event.ATTEMPT_NOT_ENDED, error_code=error.error_code, error=str(error))
        return False
    return True


def is_left_behind(connection: Connection, message: Message, worker_id: UUID) -> bool:
    """Whether another worker began an attempt and is dead, or says nothing for as long as a living one may need.

    May take a few seconds where there is such an attempt.
    """
    until = time.monotonic() + _MARK_WAIT_SECONDS
    while is_interrupted := failures.is_interrupted(connection, message.message_id, worker_id=worker_id):
        if time.monotonic() >= until:
            break
        time.sleep(_LOOK_SECONDS)
    return is_interrupted


def find_suspects(messages: Sequence[Message], database: Database) -> set[str]:
    """The ids of those whose worker died the last time that they were worked on.

    Nothing else is begun beside one of them, so that the next death has nobody else to blame. Raises StoreError.
    """
    known = [message.message_id for message in messages if message.receive_count > 1]
    if not known:
        return set()
    with connect(database.conninfo) as connection:
        return failures.list_suspects(connection, known)


def forget(message: Message, database: Database) -> None:
    """The message is buried: a redriven one starts anew. What cannot be forgotten now is after 14 days."""
    try:
        with connect(database.conninfo) as connection:
            failures.forget_failures(connection, message.message_id)
    except BillfoldError as error:
        log.warning(Event.FAILURES_NOT_FORGOTTEN, message_id=message.message_id, error_code=error.error_code)
