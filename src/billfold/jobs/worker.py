"""The worker: takes messages from the queue, works on several at a time, and lets none get lost.

    receiver   asks for as many messages as threads are free, and settles at once what only waits for a slot; a message
               whose worker died takes its slot, lets the others finish, and until it is done it is the only one
    threads    one message each: intake decides its fate, the thread tells the queue
    heartbeat  keeps messages hidden from others while they are worked on
    caller     waits for the end: nothing is left where it drains, or `stop`

What a worker holds in PostgreSQL dies with it, and what it holds of the queue comes back when its time is over: another
one goes on where it was killed.
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
from billfold.jobs.in_flight import Report, Workload
from billfold.jobs.intake import find_full, take_in, tell
from billfold.jobs.queue_url import choose_queue_url
from billfold.jobs.results import Cause, Dead, Fate, Later, retry_seconds, wait_seconds
from billfold.log import Event
from billfold.model import Client
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.store.jobs.failures import end_attempts

# SQS could wait 20 seconds for a message; a worker that is told to end must not wait so long for the answer.
POLL_SECONDS = 5
# Whoever drains wants to know soon that nothing is left.
DRAIN_POLL_SECONDS = 1
# Without a dead-letter queue a dead message stays where it is, hidden for as long as this.
STUCK_SECONDS = 6 * 3600
# A queue's policy reaches all of SQS after a while only: one that refuses what it allowed before is asked again.
MAX_REFUSALS = 5
# So many clients are named in a warning.
_NAMED_CLIENTS = 10
_TICK_SECONDS = 0.1

log = structlog.get_logger(__name__)


def make_worker(billfold: Billfold, queue_url: str | None = None, *, concurrency: int, drain: bool = False) -> Worker:
    """A worker of this queue, or of BILLFOLD_QUEUE_URL; raises UsageError for a URL that is none."""
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
        self._load = Workload(concurrency)
        self._worker_id = uuid4()
        # Plain values, because a signal's handler may take no lock; how often `stop` was called.
        self._stops = 0
        self._is_database_away = False
        self._failure: BaseException | None = None
        self._beating = threading.Lock()
        self._random = Random()

    def stop(self) -> None:
        """Receive nothing more. What has begun may finish within BILLFOLD_SHUTDOWN_SECONDS, or not: at a second call.

        Any thread may call it, and a signal's handler.
        """
        self._stops += 1

    def run(self) -> Report:
        """Work until nothing is left, where it drains, or until `stop`; say what was done.

        Raises what keeps it from receiving at all: SourceError for a queue that does not exist or refuses us, the first
        time or several times in a row.
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
        """Say it where one client's deliveries could take every thread, and other clients would have to wait."""
        try:
            known = [each for each in clients.list_clients(self._database) if each.is_registered and each.enabled]
        except StoreError:
            # It is waited for where messages need it.
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
        """Let everybody come to an end while there is time, and give back what does not."""
        deadline = time.monotonic() + self._settings.shutdown_seconds
        self._stops = max(self._stops, 1)
        while True:
            working = self._load.wait_for_end(_TICK_SECONDS)
            is_over = time.monotonic() >= deadline or self._stops > 1
            if is_over or not (working or receiver.is_alive()):
                break
            receiver.join(_TICK_SECONDS)
        # As long as it asks, what is given back could come to itself. Told twice, it takes that chance.
        until = time.monotonic() + POLL_SECONDS
        while receiver.is_alive() and time.monotonic() < until and self._stops == 1:
            receiver.join(_TICK_SECONDS)
        # It may have begun a last one meanwhile.
        working = self._load.wait_for_end(0)
        self._load.count("unfinished", len(working))
        self._give_back(self._load.kept())
        if working:
            # What is given back in the middle was told to end: it is not to blame for that.
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
                    # A wrong URL is told at once.
                    if refusals >= (MAX_REFUSALS if has_received else 1):
                        raise
                    self._back_off(Event.RECEIVE_FAILED, self._wait_after(failures, refusals), error)
                    continue
                failures, refusals, has_received = 0, 0, True
                needing = self._distribute(messages, free)
                # A flood of what is settled at once is gone through by full hands, anything else as threads are free.
                wanted = MAX_MESSAGES if messages and not needing else 0
                # What is worked on or hidden by us may come again: only a poll without it tells that nothing is left.
                empty_in_a_row = empty_in_a_row + 1 if was_empty and not messages else 0
                if self._drain and empty_in_a_row and self._is_drained(empty_in_a_row):
                    return
        except BaseException as error:
            self._failure = error

    def _wait_after(self, failures: int, refusals: int) -> int:
        """How long to wait before the queue is asked again: a refusal is mended in minutes, if at all."""
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
        """A thread for each message that needs one, as long as there are any; returns how many need one."""
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
            # A refusal would last: what is given back at once would be received until SQS gives up on it.
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
        """For how many seconds a message waits that is not looked at further."""
        delay_seconds = wait_seconds(message.receive_count, self._random)
        with structlog.contextvars.bound_contextvars(message_id=message.message_id):
            tell(Later(cause=cause, delay_seconds=delay_seconds, reason=reason, client=client))
        return delay_seconds

    def _begin(self, message: Message, *, alone: bool = False) -> None:
        """A thread of its own for the message."""
        if self._load.begin(message):
            arguments = [message, partial(self._wait_to_be_alone, message) if alone else None]
            threading.Thread(target=self._work, args=arguments, name=message.message_id, daemon=True).start()
        # Else its time was not extended while a thread is at it: it stays hidden, as it was received now.

    def _work_alone(self, message: Message) -> None:
        """Begin this one, and nothing else until it is done or waits for its slot.

        Its worker died under it and perhaps others: if the next one dies too, there is one to blame. What comes
        meanwhile waits in the queue.
        """
        self._begin(message, alone=True)
        while not self._stops and message in self._load.wait_for_end(_TICK_SECONDS):
            pass

    def _wait_to_be_alone(self, message: Message) -> bool:
        """Let what else runs finish, now that this one has its slot; False where the worker is told to end."""
        while not self._stops and len(self._load.wait_for_end(_TICK_SECONDS)) > 1:
            pass
        if self._stops:
            return False
        log.warning(Event.MESSAGE_ALONE, message_id=message.message_id)
        return True

    def _is_drained(self, empty_in_a_row: int) -> bool:
        """Whether nothing is left that this worker has to wait for; what others have hidden is theirs."""
        if empty_in_a_row > 1:
            return True
        try:
            state = self._queue.describe()
        except BillfoldError as error:
            # The next empty poll tells it as well.
            log.warning(Event.QUEUE_FAILED, action="describe", error_code=error.error_code, error=str(error))
            return False
        return state.waiting_count == 0 and state.hidden_count == 0

    def _find_database(self) -> bool:
        """Whether the database answers again: until then messages would come and go for nothing."""
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
        """One message, in a thread of its own."""
        with structlog.contextvars.bound_contextvars(message_id=message.message_id):
            try:
                fate = take_in(
                    message,
                    settings=self._settings,
                    database=self._database,
                    worker_id=self._worker_id,
                    may_begin=may_begin,
                )
                with self._beating:
                    self._load.let_go(message)
                self._learn(fate)
                self._settle(message, fate)
            except Exception:
                # The message comes again when its time is over.
                log.exception(Event.INTERNAL_ERROR)
                self._load.wait_for(message, self._settings.visibility_seconds)
            finally:
                self._load.end(message)

    def _learn(self, fate: Fate) -> None:
        if isinstance(fate, Later) and fate.cause is Cause.DATABASE:
            self._is_database_away = True
        if fate.client and isinstance(fate, Later) and fate.cause is Cause.SLOT:
            self._load.note_full(fate.client)
        elif fate.client:
            self._load.note_room(fate.client)

    def _settle(self, message: Message, fate: Fate) -> None:
        if isinstance(fate, Later):
            self._postpone([(message, fate.delay_seconds)])
            self._load.count("later")
        elif isinstance(fate, Dead):
            self._bury(message, fate)
        else:
            self._delete(message)
            self._load.count("done")
            if fate.state:
                self._load.count_state(fate.state)

    def _bury(self, message: Message, fate: Dead) -> None:
        """Send it to the dead-letter queue, and only then delete it; where it cannot be sent, hide it for long."""
        target = self._dead_letters
        if target is not None and self._try("send", lambda: bury(target, message, fate)):
            if self._delete(message):
                forget(message, self._database)
            self._load.count("dead")
            return
        delay_seconds = message.limit_hiding(STUCK_SECONDS)
        log.error(Event.MESSAGE_STUCK, reason=fate.reason, error_code=fate.error_code, delay_seconds=delay_seconds)
        self._load.count("stuck")
        self._try("hide", lambda: self._queue.hide(message, delay_seconds))

    def _delete(self, message: Message) -> bool:
        """Whether it is gone; else it comes again, soon where the queue can be told so."""
        if self._try("delete", lambda: self._queue.delete(message)):
            return True
        self._postpone([(message, wait_seconds(message.receive_count, self._random))])
        return False

    def _postpone(self, hidden: Sequence[tuple[Message, int]]) -> None:
        """Each comes again after its seconds, or when its receipt's time is over, where the queue cannot be told so."""
        is_told = self._try("hide", lambda: self._queue.hide_all(hidden))
        # The time begins when the queue has heard of it: whoever drains must not look for it too early.
        for message, seconds in hidden:
            self._load.wait_for(message, seconds if is_told else self._settings.visibility_seconds)

    def _beat(self) -> None:
        """Hide what is worked on for longer; after a third of the time, so that two beats may fail."""
        seconds = self._settings.visibility_seconds
        while True:
            time.sleep(seconds / 3)
            # Whoever lets a message go waits for the beat: it would be hidden for longer than its fate asks.
            try:
                with self._beating:
                    hidden = [(message, seconds) for message in self._load.kept()]
                    self._try("hide", partial(self._queue.hide_all, hidden))
            except Exception:
                # Without its beats a worker would lose what it works on to others.
                log.exception(Event.INTERNAL_ERROR)

    def _give_back(self, messages: Sequence[Message]) -> None:
        """Others may have them at once."""
        self._load.count("given_back", len(messages))
        for message in messages:
            log.debug(Event.MESSAGE_GIVEN_BACK, message_id=message.message_id)
        self._postpone([(message, 0) for message in messages])

    def _try(self, action: str, call: Callable[[], object]) -> bool:
        """Whether the queue did it; a message that it does not let go comes again, and nothing is done twice."""
        try:
            call()
        except BillfoldError as error:
            log.warning(Event.QUEUE_FAILED, action=action, error_code=error.error_code, error=str(error))
            return False
        return True
