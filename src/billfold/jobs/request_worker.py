"""The server's worker: ingests requested deliveries, one at a time in each thread, until it is stopped.

The rows of the deliveries that wait are its queue. Several servers share it: the delivery of a thread is locked in
PostgreSQL, and free again when its process is gone. Results are decided as for a message of SQS. A delivery whose
server died takes its slot, lets the other threads finish, and is then the only one of its server until it is done.
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
from billfold.jobs.messages import handle_request
from billfold.jobs.results import Cause, Dead, Done, Result, Retry, wait_seconds
from billfold.log import Event
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect
from billfold.store.jobs import failures, requests
from billfold.store.jobs.requests import TakenDelivery

POLL_SECONDS = 1.0
# A user may be watching: a delivery that waits for another one is retried sooner than a message of a queue.
MAX_WAIT_SECONDS = 10
_TICK_SECONDS = 0.1

log = structlog.get_logger(__name__)
_random = Random()


class RequestWorker:
    """The threads of one server; each polls with a connection of its own."""

    def __init__(self, *, settings: Settings, database: Database, concurrency: int) -> None:
        self._settings = settings
        self._database = database
        self._stopping = threading.Event()
        # The threads that may have a delivery, and the one that handles its delivery alone, or waits to.
        self._changed = threading.Condition()
        self._working: set[UUID] = set()
        self._alone: UUID | None = None
        # Each life of a thread has an id of its own: what another id left unfinished was interrupted.
        self._threads: Mapping[UUID, threading.Thread] = {
            (worker_id := uuid4()): threading.Thread(
                target=self._run, args=[worker_id], name=f"request-worker-{number}", daemon=True
            )
            for number in range(1, concurrency + 1)
        }

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads.values():
            thread.start()

    def stop(self) -> None:
        """Take no more deliveries."""
        self._stopping.set()

    def finish(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Take no more deliveries, and let those in progress end within `seconds`, or until `is_over`.

        A delivery that does not end stays requested: another worker, or the next one, takes it again.
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
        """End the attempts that still run: they were stopped, so they do not count as failures and need not wait."""
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
                # If the thread ended, it would take no more deliveries.
                log.exception(Event.INTERNAL_ERROR)
                failure_count += 1
                self._stopping.wait(wait_seconds(failure_count, _random))

    def _take_next(self, connection: Connection, worker_id: UUID) -> bool:
        """Handle the next delivery that is due; False if none is, or if another thread handles its delivery alone."""
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
        # One that waits for others is taken again and again.
        write = log.info if taken.taken_count == 1 else log.debug
        write(Event.ASKED_STARTED, asked_by=taken.requested_by, taken_count=taken.taken_count)
        message = _as_message(taken)
        is_suspect = taken.taken_count > 1 and bool(failures.list_suspects(connection, [message.message_id]))
        result = handle_request(
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
            _settle(another, taken, result)

    @contextmanager
    def _at_work(self, worker_id: UUID) -> Iterator[bool]:
        """Whether this thread may take a delivery; it counts as working until the end of the block."""
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
        """Let the other threads finish, now that this one has its delivery's slot; False if it cannot be alone.

        A server died while it handled this delivery and perhaps others: if another one dies, the cause is certain.
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
    """The delivery as a message: its id is the delivery's, and it was received as often as it was taken."""
    name = str(taken.delivery.delivery_id)
    return Message(message_id=name, receipt="", body="", receive_count=taken.taken_count)


def _settle(connection: Connection, taken: TakenDelivery, result: Result) -> None:
    facts: dict[str, Any] = {"reason": result.reason} if result.reason else {}
    match result:
        case Done():
            is_another = result.delivery_id not in (None, taken.delivery.delivery_id)
            requests.finish(connection, taken, "was replaced at its key before it was read")
            log.info(
                Event.ASKED_DONE,
                state=result.state,
                **({"instead": str(result.delivery_id)} if is_another else {}),
                **facts,
            )
        case Retry():
            is_wait = result.cause in (Cause.SLOT, Cause.BUSY)
            delay_seconds = min(result.delay_seconds, MAX_WAIT_SECONDS) if is_wait else result.delay_seconds
            requests.postpone(connection, taken, delay_seconds)
            write = log.debug if is_wait else log.warning
            code = {"error_code": result.error_code} if result.error_code else {}
            write(Event.ASKED_LATER, cause=result.cause, delay_seconds=delay_seconds, **code, **facts)
        case Dead():
            requests.give_up(connection, taken, error_code=result.error_code, message=result.reason)
            failures.forget_failures(connection, str(taken.delivery.delivery_id))
            log.error(Event.ASKED_DEAD, error_code=result.error_code, **facts)
        case _:
            assert_never(result)
