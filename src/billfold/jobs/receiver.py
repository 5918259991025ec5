"""The receiver: takes messages from SQS, writes their jobs, and only then deletes them.

A message that makes no job is dealt with at once: a data file's run is pending, a foreign event is deleted, and what is
not a notification goes to the dead-letter queue with its reason.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from billfold.aws.queue import Message, Queue
from billfold.errors import BillfoldError, StoreError, as_internal
from billfold.jobs.arrival import take_in
from billfold.jobs.dead_letters import bury
from billfold.jobs.results import Cause, Dead, Retry, report, retry_seconds, wait_seconds
from billfold.log import Event
from billfold.settings import Settings
from billfold.store.database import Database, connect

# SQS could wait 20 seconds for a message; a worker that is to stop must not wait that long for the answer.
POLL_SECONDS = 5
# A draining worker should notice soon that the queue is empty.
DRAIN_POLL_SECONDS = 1
# Without a dead-letter queue a dead message stays in its queue, hidden for this long.
STUCK_SECONDS = 6 * 3600
# A queue's policy takes a while to reach all of SQS: if access is denied after it was allowed, try again.
MAX_REFUSALS = 5
_TICK_SECONDS = 0.1

log = structlog.get_logger(__name__)


class Receiver:
    """The one thread of a worker that reads its queue."""

    def __init__(self, queue: Queue, *, settings: Settings, database: Database, drain: bool) -> None:
        self._queue = queue
        self._dead_letters: Queue | None = None
        self._settings = settings
        self._database = database
        self._drain = drain
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        # A plain value, because a signal handler must not take a lock.
        self._is_stopping = False
        self._is_drained = False
        self._hidden_until = 0.0
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Find the dead-letter queue, and start receiving; raises SourceError for a queue that does not exist."""
        self._dead_letters = self._queue.open_dead_letters()
        if self._dead_letters is None:
            log.warning(Event.NO_DEAD_LETTER_QUEUE, queue=self._queue.url)
        self._thread.start()

    def stop(self) -> None:
        """Receive no more messages; any thread and a signal handler may call it."""
        self._is_stopping = True

    def is_alive(self) -> bool:
        """Whether it still receives."""
        return self._thread.is_alive()

    def is_drained(self) -> bool:
        """Whether the queue was empty at the last polls, and nothing that came in is hidden for later."""
        return self._is_drained

    def join(self, seconds: float) -> None:
        """Wait for its end, but no longer than this."""
        self._thread.join(seconds)

    def _run(self) -> None:
        failures, refusals, empty_in_a_row = 0, 0, 0
        has_received = False
        try:
            while not self._is_stopping:
                try:
                    messages = self._queue.receive(
                        wait_seconds=DRAIN_POLL_SECONDS if self._drain else POLL_SECONDS,
                        hide_seconds=self._settings.visibility_seconds,
                    )
                except BillfoldError as error:
                    failures, refusals = (failures + 1, 0) if error.retryable else (0, refusals + 1)
                    # A wrong URL is reported at once.
                    if refusals >= (MAX_REFUSALS if has_received else 1):
                        raise
                    self._back_off(Event.RECEIVE_FAILED, self._wait_after(failures, refusals), error)
                    continue
                failures, refusals, has_received = 0, 0, True
                self.counts["received"] += len(messages)
                self._is_drained = False
                self._take_in_all(messages)
                # What we hid ourselves comes again: only polls without it show an empty queue.
                is_empty = not messages and time.monotonic() >= self._hidden_until
                empty_in_a_row = empty_in_a_row + 1 if is_empty else 0
                self._is_drained = self._drain and empty_in_a_row > 0 and self._looks_empty(empty_in_a_row)
        except BaseException as error:
            self.failure = error

    def _wait_after(self, failures: int, refusals: int) -> int:
        """How long to wait before the next poll: denied access is fixed in minutes, if at all."""
        if refusals:
            return retry_seconds(refusals, self._settings.message_retry_seconds)
        return wait_seconds(failures)

    def _looks_empty(self, empty_in_a_row: int) -> bool:
        """Whether the queue is empty; messages that others have hidden are theirs."""
        if empty_in_a_row > 1:
            return True
        try:
            state = self._queue.describe()
        except BillfoldError as error:
            # The next empty poll decides as well.
            log.warning(Event.QUEUE_FAILED, action="describe", error_code=error.error_code, error=str(error))
            return False
        return state.waiting_count == 0 and state.hidden_count == 0

    def _take_in_all(self, messages: Sequence[Message]) -> None:
        for number, message in enumerate(messages):
            with structlog.contextvars.bound_contextvars(message_id=message.message_id):
                try:
                    self._take_in(message)
                except StoreError as error:
                    # The outage may last: the messages come again, and none is received before PostgreSQL answers.
                    for each in messages[number:]:
                        self._let_wait(each, Cause.DATABASE, error, wait_seconds(each.receive_count))
                    self._wait_for_database()
                    return
                except BillfoldError as error:
                    self._fail(message, error)
                except Exception as error:
                    log.exception(Event.MESSAGE_FAILED)
                    self._fail(message, as_internal(error))

    def _take_in(self, message: Message) -> None:
        arrival = take_in(message, self._queue.url, settings=self._settings, database=self._database)
        if isinstance(arrival.result, Dead):
            report(arrival.result)
            self._bury(message, arrival.result)
            return
        if arrival.result is not None:
            report(arrival.result)
            self.counts["done"] += 1
        self._delete(message)

    def _fail(self, message: Message, error: BillfoldError) -> None:
        """Let the message come again after an error of ours: nothing was tried, and it may have waited for long."""
        delay_seconds = retry_seconds(message.receive_count, self._settings.message_retry_seconds)
        self._let_wait(message, Cause.UNTRIED, error, delay_seconds)

    def _let_wait(self, message: Message, cause: Cause, error: BillfoldError, seconds: int) -> None:
        report(Retry(cause=cause, delay_seconds=seconds, reason=str(error), error_code=error.error_code))
        self.counts["later"] += 1
        self._hide(message, seconds)

    def _wait_for_database(self) -> None:
        while not self._is_stopping:
            try:
                with connect(self._database.conninfo):
                    log.info(Event.DATABASE_FOUND)
                    return
            except StoreError as error:
                self._back_off(Event.DATABASE_AWAY, wait_seconds(2), error)

    def _back_off(self, event: Event, delay_seconds: int, error: BillfoldError) -> None:
        log.warning(event, delay_seconds=delay_seconds, error_code=error.error_code, error=str(error))
        until = time.monotonic() + delay_seconds
        while time.monotonic() < until and not self._is_stopping:
            time.sleep(_TICK_SECONDS)

    def _bury(self, message: Message, result: Dead) -> None:
        """Send it to the dead-letter queue, and only then delete it; if it cannot be sent, hide it for long."""
        target = self._dead_letters
        if target is not None and self._try("send", lambda: bury(target, message, result)):
            self._delete(message)
            self.counts["dead"] += 1
            return
        log.error(Event.MESSAGE_STUCK, reason=result.reason, error_code=result.error_code, delay_seconds=STUCK_SECONDS)
        self.counts["stuck"] += 1
        self._try("hide", lambda: self._queue.hide(message, STUCK_SECONDS))

    def _delete(self, message: Message) -> None:
        """Delete the message; if that fails, it comes again, and its job is not written twice while it waits."""
        if not self._try("delete", lambda: self._queue.delete(message)):
            self._hide(message, wait_seconds(message.receive_count))

    def _hide(self, message: Message, seconds: int) -> None:
        if not self._try("hide", lambda: self._queue.hide(message, seconds)):
            seconds = self._settings.visibility_seconds
        self._hidden_until = max(self._hidden_until, time.monotonic() + seconds)

    def _try(self, action: str, call: Callable[[], object]) -> bool:
        """Call the queue; False if it failed. A message that stays in the queue comes again, and changes nothing."""
        try:
            call()
        except BillfoldError as error:
            log.warning(Event.QUEUE_FAILED, action=action, error_code=error.error_code, error=str(error))
            return False
        return True
