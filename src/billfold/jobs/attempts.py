"""Attempts on messages: begun, ended, or left behind by a worker that died, so that a deadly message is found."""

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

# A worker that could not record the end of its attempt, because PostgreSQL was away, does so when it is back.
_MARK_WAIT_SECONDS = 5
_LOOK_SECONDS = 0.5

log = structlog.get_logger(__name__)


@contextmanager
def attempt(
    connection: Connection, message: Message, client: Client, *, database: Database, worker_id: UUID
) -> Iterator[None]:
    """Record an attempt of this worker on the message. Raises StoreError if its beginning cannot be recorded."""
    failures.begin_attempt(connection, message.message_id, client_id=client.client_id, worker_id=worker_id)
    try:
        yield
    finally:
        _end_attempt(message, database, worker_id)


def _end_attempt(message: Message, database: Database, worker_id: UUID) -> None:
    """Use a new connection: the other one was idle for long, and an outcome must not be lost with it."""
    try:
        with connect(database.conninfo) as connection:
            failures.end_attempt(connection, message.message_id, worker_id=worker_id)
    except BillfoldError as error:
        # The worker ends it when the database is back.
        log.warning(Event.ATTEMPT_NOT_ENDED, error_code=error.error_code, error=str(error))


def end_all(database: Database, worker_id: UUID) -> bool:
    """Record that all attempts of this worker have ended; False if PostgreSQL is away."""
    try:
        with connect(database.conninfo) as connection:
            failures.end_attempts(connection, worker_id)
    except BillfoldError as error:
        log.warning(Event.ATTEMPT_NOT_ENDED, error_code=error.error_code, error=str(error))
        return False
    return True


def is_left_behind(connection: Connection, message: Message, worker_id: UUID) -> bool:
    """Whether another worker began an attempt and did not end it within the time that a living one may need.

    May take a few seconds if there is such an attempt.
    """
    until = time.monotonic() + _MARK_WAIT_SECONDS
    while is_interrupted := failures.is_interrupted(connection, message.message_id, worker_id=worker_id):
        if time.monotonic() >= until:
            break
        time.sleep(_LOOK_SECONDS)
    return is_interrupted


def find_suspects(messages: Sequence[Message], database: Database) -> set[str]:
    """The ids of the messages whose worker died during the last attempt.

    Each of them is handled alone, so that another death has only one possible cause. Raises StoreError.
    """
    known = [message.message_id for message in messages if message.receive_count > 1]
    if not known:
        return set()
    with connect(database.conninfo) as connection:
        return failures.list_suspects(connection, known)


def forget(message: Message, database: Database) -> None:
    """Delete the failures of a dead message, so that a redriven one starts from zero; else they expire in 14 days."""
    try:
        with connect(database.conninfo) as connection:
            failures.forget_failures(connection, message.message_id)
    except BillfoldError as error:
        log.warning(Event.FAILURES_NOT_FORGOTTEN, message_id=message.message_id, error_code=error.error_code)
