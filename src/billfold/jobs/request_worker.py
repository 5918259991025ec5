"""The server's worker: takes up what was asked for, a delivery at a time in each thread, until it is told to end.

The rows of the deliveries that wait are its queue. Several servers share it: what a thread has in hand is locked in
PostgreSQL, and free again when its process is gone. What becomes of a delivery is decided as for a message of SQS. One
whose server died takes its slot, lets the other threads finish, and until it is done it is the only one of its server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any, assert_never
from uuid import UUID, uuid4

import structlog

from billfold.aws.notifications import Request
from billfold.aws.queue import Message
from billfold.errors import BillfoldError, StoreError
from billfold.jobs.intake import take_request
from billfold.jobs.results import Cause, Dead, Done, Fate, Later, wait_seconds
from billfold.log import Event
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect
from billfold.store.jobs import failures, requests
from billfold.store.jobs.requests import TakenDelivery

POLL_SECONDS = 1.0
# Somebody watches: what waits for another one looks again sooner than a message of a queue would.
MAX_WAIT_SECONDS = 10
_TICK_SECONDS = 0.1

log = structlog.get_logger(__name__)
_random = Random()


class AskedWorker:
    """So many threads, for one server; each polls with a connection of its own."""

    def __init__(self, *, settings: Settings, database: Database, concurrency: int) -> None:
        self._settings = settings
        self._database = database
        self._stopping = threading.Event()
        # Who may have a delivery in hand, and who is alone with one, or waits to be.
        self._changed = threading.Condition()
        self._working: set[UUID] = set()
        self._alone: UUID | None = None
        # Each life of a thread has an id of its own: what another one left unfinished was interrupted.
        self._threads: Mapping[UUID, threading.Thread] = {
            (worker_id := uuid4()): threading.Thread(
                target=self._run, args=[worker_id], name=f"asked-{number}", daemon=True
            )
            for number in range(1, concurrency + 1)
        }

    def start(self) -> None:
        """Begin to take up what waits."""
        for thread in self._threads.values():
            thread.start()

    def stop(self) -> None:
        """Take up nothing more."""
        self._stopping.set()

    def finish(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Take up nothing more, and let what runs end within so many seconds, or until it `is_over`.

        What does not stays asked for: another worker, or the next one, takes it up again.
        """
        self.stop()
        deadline = time.monotonic() + seconds
        for thread in self._threads.values():
            while thread.is_alive() and time.monotonic() < deadline and not is_over():
                thread.join(_TICK_SECONDS)

    def count_working(self) -> int:
        """How many threads have not ended."""
        return sum(thread.is_alive() for thread in self._threads.values())

    def give_back(self) -> None:
        """What still runs was told to end: it is not to blame for that, and its next attempt need not wait."""
        try:
            with connect(self._database.conninfo) as connection:
                for worker_id, thread in self._threads.items():
                    if thread.is_alive():
                        failures.end_attempts(connection, worker_id)
        except StoreError as error:
            log.warning(Event.ATTEMPT_NOT_ENDED, error_code=error.error_code, error=str(error))

    def _run(self, worker_id: UUID) -> None:
        failure_count = 0
        while not self._stopping.is_set():
            try:
                with connect(self._database.conninfo) as connection:
                    if failure_count:
                        log.info(Event.DATABASE_FOUND)
                        failures.end_attempts(connection, worker_id)
                    failure_count = 0
                    while not self._stopping.is_set():
                        if not self._take_next(connection, worker_id):
                            self._stopping.wait(POLL_SECONDS)
            except BillfoldError as error:
                failure_count += 1
                delay_seconds = wait_seconds(failure_count, _random)
                log.warning(
                    Event.DATABASE_AWAY, delay_seconds=delay_seconds, error_code=error.error_code, error=str(error)
                )
                self._stopping.wait(delay_seconds)
            except Exception:
                # Without its thread nothing more would be taken up.
                log.exception(Event.INTERNAL_ERROR)
                failure_count += 1
                self._stopping.wait(wait_seconds(failure_count, _random))

    def _take_next(self, connection: Connection, worker_id: UUID) -> bool:
        """Work on the next delivery that is due; False where none is, or another thread is alone with its own."""
        with self._at_work(worker_id) as may_take:
            taken = requests.take(connection) if may_take else None
            if taken is None:
                return False
            with structlog.contextvars.bound_contextvars(
                client=taken.delivery.client_id, delivery_id=str(taken.delivery.delivery_id), key=taken.delivery.key
            ):
                self._work(connection, worker_id, taken)
            requests.let_go(connection, taken.delivery.delivery_id)
        return True

    def _work(self, connection: Connection, worker_id: UUID, taken: TakenDelivery) -> None:
        # One that waits for others is taken up again and again.
        tell = log.info if taken.taken_count == 1 else log.debug
        tell(Event.ASKED_STARTED, asked_by=taken.requested_by, taken_count=taken.taken_count)
        message = _as_message(taken)
        is_suspect = taken.taken_count > 1 and bool(failures.list_suspects(connection, [message.message_id]))
        fate = take_request(
            Request(
                client_id=taken.delivery.client_id,
                key=taken.delivery.key,
                source=taken.requested_by,
                month=taken.delivery.named_period,
            ),
            message,
            settings=self._settings,
            database=self._database,
            worker_id=worker_id,
            may_begin=partial(self._wait_to_be_alone, worker_id) if is_suspect else None,
        )
        # The connection of the lock may have been lost meanwhile.
        with connect(self._database.conninfo) as another:
            _settle(another, taken, fate)

    @contextmanager
    def _at_work(self, worker_id: UUID) -> Iterator[bool]:
        """Whether this thread may take a delivery up, which counts as work until the end."""
        with self._changed:
            may_take = self._alone is None
            if may_take:
                self._working.add(worker_id)
        try:
            yield may_take
        finally:
            with self._changed:
                self._working.discard(worker_id)
                if self._alone == worker_id:
                    self._alone = None
                self._changed.notify_all()

    def _wait_to_be_alone(self, worker_id: UUID) -> bool:
        """Let the other threads finish, now that this one has its delivery's slot; False where it cannot be alone.

        The delivery's server died under it and perhaps others: if this one dies too, there is one to blame.
        """
        with self._changed:
            if self._alone is not None:
                return False
            self._alone = worker_id
            while not self._stopping.is_set() and len(self._working) > 1:
                self._changed.wait(_TICK_SECONDS)
        if self._stopping.is_set():
            return False
        log.warning(Event.ASKED_ALONE)
        return True


def _as_message(taken: TakenDelivery) -> Message:
    """To intake it is a message whose name is the delivery's, and which came as often as it was taken up."""
    name = str(taken.delivery.delivery_id)
    return Message(message_id=name, receipt="", body="", receive_count=taken.taken_count)


def _settle(connection: Connection, taken: TakenDelivery, fate: Fate) -> None:
    facts: dict[str, Any] = {"reason": fate.reason} if fate.reason else {}
    match fate:
        case Done():
            is_another = fate.delivery_id not in (None, taken.delivery.delivery_id)
            requests.finish(connection, taken, "was replaced at its key before it was read")
            log.info(
                Event.ASKED_DONE,
                state=fate.state,
                **({"instead": str(fate.delivery_id)} if is_another else {}),
                **facts,
            )
        case Later():
            is_wait = fate.cause in (Cause.SLOT, Cause.BUSY)
            delay_seconds = min(fate.delay_seconds, MAX_WAIT_SECONDS) if is_wait else fate.delay_seconds
            requests.postpone(connection, taken, delay_seconds)
            tell = log.debug if is_wait else log.warning
            code = {"error_code": fate.error_code} if fate.error_code else {}
            tell(Event.ASKED_LATER, cause=fate.cause, delay_seconds=delay_seconds, **code, **facts)
        case Dead():
            requests.give_up(connection, taken, error_code=fate.error_code, message=fate.reason)
            failures.forget_failures(connection, str(taken.delivery.delivery_id))
            log.error(Event.ASKED_DEAD, error_code=fate.error_code, **facts)
        case _:
            assert_never(fate)
