"""The worker: receives messages from the queue, handles several at a time, and loses none.

    receiver   receives as many messages as threads are free, and puts off at once those that wait for a slot; a message
               whose worker died takes its slot, lets the others finish, and is then alone until it is done
    threads    one message each: `messages` decides its result, the thread applies it to the queue
    heartbeat  keeps messages hidden from others while they are worked on
    caller     waits for the end: an empty queue if it drains, or `stop`

The locks of a worker in PostgreSQL end with it, and its messages come back when their visibility timeout is over:
another worker continues where it was killed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from uuid import uuid4

import structlog

from billfold import clients
from billfold.app import Billfold
from billfold.aws.queue import MAX_MESSAGES, Message, Queue, open_queue
from billfold.errors import BillfoldError, StoreError
from billfold.jobs.attempts import end_all, find_suspects, forget
from billfold.jobs.dead_letters import bury
from billfold.jobs.in_flight import InFlight, Report
from billfold.jobs.messages import find_full, handle_message
from billfold.jobs.queue_url import choose_queue_url
from billfold.jobs.results import Cause, Dead, Result, Retry, report, retry_seconds, wait_seconds
from billfold.log import Event
from billfold.model import Client
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.store.jobs.failures import end_attempts

# SQS could wait 20 seconds for a message; a worker that is to stop must not wait that long for the answer.
POLL_SECONDS = 5
# A draining worker should notice soon that the queue is empty.
DRAIN_POLL_SECONDS = 1
# Without a dead-letter queue a dead message stays in its queue, hidden for this long.
STUCK_SECONDS = 6 * 3600
# A queue's policy takes a while to reach all of SQS: if access is denied after it was allowed, try again.
MAX_REFUSALS = 5
# This many clients are named in a warning.
_NAMED_CLIENTS = 10
_TICK_SECONDS = 0.1

log = structlog.get_logger(__name__)


def make_worker(billfold: Billfold, queue_url: str | None = None, *, concurrency: int, drain: bool = False) -> Worker:
    """A worker of this queue, or of BILLFOLD_QUEUE_URL; raises UsageError for an invalid URL."""
    url = choose_queue_url(billfold.settings, queue_url, purpose="the worker")
    database = billfold.database
    queue = open_queue(url, billfold.settings)
    return Worker(queue, settings=billfold.settings, database=database, concurrency=concurrency, drain=drain)


class Worker:
    """One worker of a queue, for one `run`."""

    def __init__(
        self, queue: Queue, *, settings: Settings, database: Database, concurrency: int, drain: bool = False
    ) -> None:
        self._queue = queue
        self._dead_letters: Queue | None = None
        self._settings = settings
        self._database = database
        self._concurrency = concurrency
        self._drain = drain
        self._load = InFlight(concurrency)
        self._worker_id = uuid4()
        # Plain values, because a signal handler must not take a lock; how often `stop` was called.
        self._stops = 0
        self._is_database_away = False
        self._failure: BaseException | None = None
        self._beating = threading.Lock()
        self._random = Random()

    def stop(self) -> None:
        """Receive no more messages. Those in flight may finish within BILLFOLD_SHUTDOWN_SECONDS, until a second call.

        Any thread and a signal handler may call it.
        """
        self._stops += 1

    def run(self) -> Report:
        """Handle messages until the queue is empty, if it drains, or until `stop`; returns the counts.

        Raises SourceError for a queue that does not exist or denies access, the first time or several times in a row.
        """
        started = time.monotonic()
        self._dead_letters = self._queue.open_dead_letters()
        if self._dead_letters is None:
            log.warning(Event.NO_DEAD_LETTER_QUEUE, queue=self._queue.url)
        log.info(Event.WORKER_STARTED, queue=self._queue.url, concurrency=self._concurrency, drain=self._drain)
        self._warn_of_crowds()
        receiver = threading.Thread(target=self._receive_all, name="receiver", daemon=True)
        receiver.start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        while receiver.is_alive() and not self._stops:
            receiver.join(_TICK_SECONDS)
        if self._stops:
            log.info(Event.WORKER_STOPPING, seconds=self._settings.shutdown_seconds)
        self._finish(receiver)
        report = self._load.report(time.monotonic() - started)
        log.info(Event.WORKER_FINISHED, received=report.received_count, done=report.done_count, dead=report.dead_count)
        if self._failure is not None:
            raise self._failure
        return report

    def _warn_of_crowds(self) -> None:
        """Warn if one client's deliveries could take every thread, so that other clients would have to wait."""
        try:
            known = [each for each in clients.list_clients(self._database) if each.is_registered and each.enabled]
        except StoreError:
            # The worker waits for the database when a message needs it.
            return
        default = self._settings.default_client()
        known += [default] if default.bucket else []
        crowds = sorted(each.client_id for each in known if each.max_deliveries >= self._concurrency)
        if crowds and len(known) > 1:
            log.warning(
                Event.WORKER_CROWDED,
                concurrency=self._concurrency,
                clients=crowds[:_NAMED_CLIENTS],
                client_count=len(crowds),
                advice="let --concurrency be more than the slots of any client",
            )

    def _finish(self, receiver: threading.Thread) -> None:
        """Let the threads finish while there is time, and give back the messages of those that do not."""
        deadline = time.monotonic() + self._settings.shutdown_seconds
        self._stops = max(self._stops, 1)
        while True:
            working = self._load.wait_for_end(_TICK_SECONDS)
            is_over = time.monotonic() >= deadline or self._stops > 1
            if is_over or not (working or receiver.is_alive()):
                break
            receiver.join(_TICK_SECONDS)
        # While the receiver polls, it could receive what is given back. After a second stop that risk is taken.
        until = time.monotonic() + POLL_SECONDS
        while receiver.is_alive() and time.monotonic() < until and self._stops == 1:
            receiver.join(_TICK_SECONDS)
        # The receiver may have begun a last message meanwhile.
        working = self._load.wait_for_end(0)
        self._load.count("unfinished", len(working))
        self._give_back(self._load.kept())
        if working:
            # Attempts that were stopped do not count as failures.
            end_all(self._database, self._worker_id)

    def _receive_all(self) -> None:
        failures, refusals, empty_in_a_row, wanted = 0, 0, 0, 0
        has_received = False
        try:
            while not self._stops:
                free = self._load.wait_for_room(_TICK_SECONDS)
                if not free or (self._is_database_away and not self._find_database()):
                    continue
                was_empty = self._load.is_empty()
                try:
                    messages = self._receive(min(max(wanted, free), MAX_MESSAGES))
                except BillfoldError as error:
                    failures, refusals = (failures + 1, 0) if error.retryable else (0, refusals + 1)
                    # A wrong URL is reported at once.
                    if refusals >= (MAX_REFUSALS if has_received else 1):
                        raise
                    self._back_off(Event.RECEIVE_FAILED, self._wait_after(failures, refusals), error)
                    continue
                failures, refusals, has_received = 0, 0, True
                needing = self._distribute(messages, free)
                # Messages that are put off at once are received in full batches, others as threads are free.
                wanted = MAX_MESSAGES if messages and not needing else 0
                # What is in flight or hidden by us may come again: only a poll without either shows an empty queue.
                empty_in_a_row = empty_in_a_row + 1 if was_empty and not messages else 0
                if self._drain and empty_in_a_row and self._is_drained(empty_in_a_row):
                    return
        except BaseException as error:
            self._failure = error

    def _wait_after(self, failures: int, refusals: int) -> int:
        """How long to wait before the next poll: denied access is fixed in minutes, if at all."""
        if refusals:
            return retry_seconds(refusals, self._settings.message_retry_seconds, self._random)
        return wait_seconds(failures, self._random)

    def _receive(self, count: int) -> Sequence[Message]:
        messages = self._queue.receive(
            max_messages=count,
            wait_seconds=DRAIN_POLL_SECONDS if self._drain else POLL_SECONDS,
            hide_seconds=self._settings.visibility_seconds,
        )
        self._load.receive(messages)
        return messages

    def _distribute(self, messages: Sequence[Message], free: int) -> int:
        """Start a thread for each message that needs one, while threads are free; returns how many need one."""
        settled: list[tuple[Message, int]] = []
        needing: list[Message] = []
        for message in messages:
            client = find_full(message, self._load.full_clients())
            if client is None:
                needing.append(message)
                continue
            reason = f"all {client.max_deliveries} slots are taken"
            settled.append((message, self._let_wait(message, Cause.SLOT, reason, client)))
        try:
            suspects = find_suspects(needing, self._database)
        except StoreError as error:
            # The outage may last: messages that are given back at once would be received until SQS gives up.
            self._is_database_away = True
            settled += [(message, self._let_wait(message, Cause.DATABASE, str(error))) for message in needing]
            needing, suspects = [], set()
        alone = next((message for message in needing if message.message_id in suspects), None)
        taken = [] if self._stops else [alone] if alone else needing[:free]
        if not alone:
            for message in taken:
                self._begin(message)
        self._postpone(settled)
        self._load.count("later", len(settled))
        self._give_back([message for message in needing if message not in taken])
        if alone and taken:
            self._work_alone(alone)
        return len(needing)

    def _let_wait(self, message: Message, cause: Cause, reason: str, client: Client | None = None) -> int:
        """Report that the message waits, and return for how many seconds."""
        delay_seconds = wait_seconds(message.receive_count, self._random)
        with structlog.contextvars.bound_contextvars(message_id=message.message_id):
            report(Retry(cause=cause, delay_seconds=delay_seconds, reason=reason, client=client))
        return delay_seconds

    def _begin(self, message: Message, *, alone: bool = False) -> None:
        """Start a thread for the message."""
        if self._load.begin(message):
            arguments = [message, partial(self._wait_to_be_alone, message) if alone else None]
            threading.Thread(target=self._work, args=arguments, name=message.message_id, daemon=True).start()
        # Otherwise its time ran out while a thread handles it: it stays hidden, because it was just received again.

    def _work_alone(self, message: Message) -> None:
        """Begin this message, and nothing else until it is done or waits for its slot.

        A worker died while it handled this message and perhaps others: if another one dies, this message is the cause.
        Other messages wait in the queue.
        """
        self._begin(message, alone=True)
        while not self._stops and message in self._load.wait_for_end(_TICK_SECONDS):
            pass

    def _wait_to_be_alone(self, message: Message) -> bool:
        """Let the other threads finish, now that this message has its slot; False if the worker is to stop."""
        while not self._stops and len(self._load.wait_for_end(_TICK_SECONDS)) > 1:
            pass
        if self._stops:
            return False
        log.warning(Event.MESSAGE_ALONE, message_id=message.message_id)
        return True

    def _is_drained(self, empty_in_a_row: int) -> bool:
        """Whether the queue is empty for this worker; messages that others have hidden are theirs."""
        if empty_in_a_row > 1:
            return True
        try:
            state = self._queue.describe()
        except BillfoldError as error:
            # The next empty poll decides as well.
            log.warning(Event.QUEUE_FAILED, action="describe", error_code=error.error_code, error=str(error))
            return False
        return state.waiting_count == 0 and state.hidden_count == 0

    def _find_database(self) -> bool:
        """Whether the database answers again: until then receiving messages is useless."""
        try:
            with connect(self._database.conninfo) as connection:
                kept = [message.message_id for message in self._load.kept()]
                end_attempts(connection, self._worker_id, except_ids=kept)
                self._is_database_away = False
        except StoreError as error:
            self._back_off(Event.DATABASE_AWAY, wait_seconds(2, self._random), error)
            return False
        log.info(Event.DATABASE_FOUND)
        return True

    def _back_off(self, event: Event, delay_seconds: int, error: BillfoldError) -> None:
        log.warning(event, delay_seconds=delay_seconds, error_code=error.error_code, error=str(error))
        until = time.monotonic() + delay_seconds
        while time.monotonic() < until and not self._stops:
            time.sleep(_TICK_SECONDS)

    def _work(self, message: Message, may_begin: Callable[[], bool] | None) -> None:
        """Handle one message, in a thread of its own."""
        with structlog.contextvars.bound_contextvars(message_id=message.message_id):
            try:
                result = handle_message(
                    message,
                    settings=self._settings,
                    database=self._database,
                    worker_id=self._worker_id,
                    may_begin=may_begin,
                )
                with self._beating:
                    self._load.let_go(message)
                self._note_client(result)
                self._settle(message, result)
            except Exception:
                # The message comes again when its visibility timeout is over.
                log.exception(Event.INTERNAL_ERROR)
                self._load.wait_for(message, self._settings.visibility_seconds)
            finally:
                self._load.end(message)

    def _note_client(self, result: Result) -> None:
        if isinstance(result, Retry) and result.cause is Cause.DATABASE:
            self._is_database_away = True
        if result.client and isinstance(result, Retry) and result.cause is Cause.SLOT:
            self._load.note_full(result.client)
        elif result.client:
            self._load.note_room(result.client)

    def _settle(self, message: Message, result: Result) -> None:
        if isinstance(result, Retry):
            self._postpone([(message, result.delay_seconds)])
            self._load.count("later")
        elif isinstance(result, Dead):
            self._bury(message, result)
        else:
            self._delete(message)
            self._load.count("done")
            if result.state:
                self._load.count_state(result.state)

    def _bury(self, message: Message, result: Dead) -> None:
        """Send it to the dead-letter queue, and only then delete it; if it cannot be sent, hide it for long."""
        target = self._dead_letters
        if target is not None and self._try("send", lambda: bury(target, message, result)):
            if self._delete(message):
                forget(message, self._database)
            self._load.count("dead")
            return
        delay_seconds = message.limit_hiding(STUCK_SECONDS)
        log.error(Event.MESSAGE_STUCK, reason=result.reason, error_code=result.error_code, delay_seconds=delay_seconds)
        self._load.count("stuck")
        self._try("hide", lambda: self._queue.hide(message, delay_seconds))

    def _delete(self, message: Message) -> bool:
        """Delete the message; if that fails, it comes again, soon if the queue accepts that."""
        if self._try("delete", lambda: self._queue.delete(message)):
            return True
        self._postpone([(message, wait_seconds(message.receive_count, self._random))])
        return False

    def _postpone(self, hidden: Sequence[tuple[Message, int]]) -> None:
        """Hide each message for its seconds; if that fails, it comes again when its visibility timeout is over."""
        is_hidden = self._try("hide", lambda: self._queue.hide_all(hidden))
        # The time begins when the queue has answered: a draining worker must not expect the message too early.
        for message, seconds in hidden:
            self._load.wait_for(message, seconds if is_hidden else self._settings.visibility_seconds)

    def _beat(self) -> None:
        """Hide messages in flight for longer, after each third of the time, so that two beats may fail."""
        seconds = self._settings.visibility_seconds
        while True:
            time.sleep(seconds / 3)
            # A thread that has a result waits for the beat, which would hide its message for too long.
            try:
                with self._beating:
                    hidden = [(message, seconds) for message in self._load.kept()]
                    self._try("hide", partial(self._queue.hide_all, hidden))
            except Exception:
                # Without its beats a worker would lose its messages to others.
                log.exception(Event.INTERNAL_ERROR)

    def _give_back(self, messages: Sequence[Message]) -> None:
        """Let other workers have the messages at once."""
        self._load.count("given_back", len(messages))
        for message in messages:
            log.debug(Event.MESSAGE_GIVEN_BACK, message_id=message.message_id)
        self._postpone([(message, 0) for message in messages])

    def _try(self, action: str, call: Callable[[], object]) -> bool:
        """Call the queue; False if it failed. A message that stays in the queue comes again, and changes nothing."""
        try:
            call()
        except BillfoldError as error:
            log.warning(Event.QUEUE_FAILED, action=action, error_code=error.error_code, error=str(error))
            return False
        return True
