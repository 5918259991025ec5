"""The pool: takes jobs from the queue, works on several at a time, and loses none.

    dispatcher  one thread with one connection: takes jobs, settles those that have ended, frees those of dead workers
    threads     one job each: `work` decides its result

The dispatcher's connection holds the lock of the pool's life. When the connection is gone, other pools free what this
one had taken. If PostgreSQL is away, results are kept until they can be settled. A job whose worker died is worked on
alone, so that another death has only one possible cause.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from uuid import uuid4

import structlog

from billfold.errors import BillfoldError
from billfold.interruption import Interruption
from billfold.jobs.rescue import Rescue
from billfold.jobs.results import Result, wait_seconds
from billfold.jobs.settlement import bind, settle
from billfold.jobs.work import attempt
from billfold.log import Event
from billfold.model import JobKind, TriggerSource
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import Job, Outlook

# How often it looks for due jobs and for workers that are gone. New jobs, and the ends of its own, wake it earlier.
LOOK_SECONDS = 5.0
# Due jobs that it could not take may wait for another worker, which does not announce the ends of its jobs.
_DUE_LOOK_SECONDS = 1.0
# PostgreSQL ends the connection of a pool that sends nothing for this long, as of a stopped process.
SILENCE_SECONDS = 10.0
# Shorter than `rescue.GRACE_SECONDS`: others would take it for gone.
_MAX_RECONNECT_SECONDS = 3
# Doctor runs have threads of their own, because somebody is watching.
DOCTOR_CONCURRENCY = 2
_COUNT_SECONDS = 60
_TICK_SECONDS = 0.1
# A result that is being written when the time is over may still be written.
_LAST_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Pool:
    """The threads of one process, for one run. With `trigger`, they take only the jobs that this one found."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        concurrency: int,
        on_settled: Callable[[Job, Result], None] = lambda job, result: None,
        trigger: TriggerSource | None = None,
    ) -> None:
        self._worker_id = uuid4()
        self._settings = settings
        # `jobs.free` ends the sessions with this name.
        self._database = database.named(str(self._worker_id))
        self._concurrency = concurrency
        self._on_settled = on_settled
        self._trigger = trigger
        self._thread = threading.Thread(target=self._run, name="pool", daemon=True)
        # Plain values, because a signal handler must not take a lock.
        self._is_stopping = False
        self._is_given_up = False
        self._changed = threading.Condition()
        self._running: list[Job] = []
        self._ended: deque[tuple[Job, Result]] = deque()
        self._alone: Job | None = None
        self._is_idle = False
        self._failure: BillfoldError | None = None
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)

    def start(self) -> None:
        """Start taking jobs."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more jobs; any thread and a signal handler may call it."""
        self._is_stopping = True
        self._wake()

    def finish(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> Sequence[Job]:
        """Take no more jobs, and let those in progress end within `seconds`, or until `is_over`.

        Those that do not end are given back. Returns them.
        """
        self.stop()
        deadline = time.monotonic() + seconds
        while self._thread.is_alive() and time.monotonic() < deadline and not is_over():
            self._thread.join(_TICK_SECONDS)
        self._is_given_up = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join(_LAST_SECONDS)
        with self._changed:
            unfinished = list(self._running)
        if self._list_known():
            self._give_back()
        return unfinished

    def is_alive(self) -> bool:
        """Whether it still takes or works on jobs."""
        return self._thread.is_alive()

    def is_idle(self) -> bool:
        """Whether nothing was in progress here at the last look, and no job waited that this pool could take.

        Without a `trigger` it waits for those that are due later, too.
        """
        return self._is_idle

    @property
    def failure(self) -> BillfoldError | None:
        """Why the database is away; None while it answers."""
        return self._failure

    def _list_known(self) -> list[Job]:
        """What it has taken and not settled."""
        with self._changed:
            waits = [self._alone] if self._alone is not None else []
            return [*self._running, *(job for job, _ in self._ended), *waits]

    def _wake(self) -> None:
        try:
            os.write(self._waker, b".")
        except BlockingIOError:
            # The pipe is full: it is awake already.
            pass

    def _give_back(self) -> None:
        """These attempts were stopped: they are no failures, and others may have the jobs at once."""
        try:
            with connect(self._database.conninfo) as connection:
                jobs.give_back(connection, self._worker_id)
        except BillfoldError as error:
            # Its jobs are free as soon as this process has ended.
            log.warning(Event.ATTEMPT_NOT_ENDED, error_code=error.error_code, error=str(error))

    def _run(self) -> None:
        failure_count = 0
        while not self._is_over():
            try:
                with connect(self._database.conninfo) as connection:
                    jobs.live(connection, self._worker_id, silence_seconds=SILENCE_SECONDS)
                    # What it took while the connection was lost.
                    jobs.give_back(connection, self._worker_id, kept=self._list_known())
                    if failure_count:
                        log.info(Event.DATABASE_FOUND)
                        failure_count, self._failure = 0, None
                    self._dispatch(connection)
            except Interruption:
                return
            except BillfoldError as error:
                self._is_idle, self._failure = False, error
                failure_count += 1
                delay_seconds = min(wait_seconds(failure_count), _MAX_RECONNECT_SECONDS)
                log.warning(
                    Event.DATABASE_AWAY, delay_seconds=delay_seconds, error_code=error.error_code, error=str(error)
                )
                self._pause(delay_seconds)
            except Exception:
                # If the thread ended, nobody would take jobs.
                log.exception(Event.INTERNAL_ERROR)
                failure_count += 1
                self._pause(wait_seconds(failure_count))

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._is_over():
            time.sleep(_TICK_SECONDS)

    def _is_over(self) -> bool:
        with self._changed:
            return self._is_given_up or (self._is_stopping and not self._running and not self._ended)

    def _dispatch(self, connection: Connection) -> None:
        """Take and settle jobs until all is over; raises StoreError if PostgreSQL goes away."""
        rescue = Rescue(self._settings)
        counted_at = -math.inf
        while True:
            self._settle_all(connection)
            if self._is_over():
                return
            outlook = jobs.look(connection, self._worker_id)
            if self._trigger is None and time.monotonic() >= counted_at + _COUNT_SECONDS:
                log.info(Event.JOBS_COUNTED, **jobs.count(connection))
                counted_at = time.monotonic()
            waits = [LOOK_SECONDS, rescue.free_gone(connection, outlook.gone)]
            if not self._is_stopping and self._take(connection, outlook) and outlook.due_in_seconds is not None:
                waits.append(outlook.due_in_seconds if outlook.due_in_seconds > 0 else _DUE_LOOK_SECONDS)
            with self._changed:
                is_busy = self._running or self._ended or self._alone
                self._is_idle = not is_busy and (outlook.due_in_seconds is None or self._trigger is not None)
            self._wait(connection, min(seconds for seconds in waits if seconds is not None))

    def _wait(self, connection: Connection, seconds: float) -> None:
        """Wait for this time, a new job, or the end of one here."""
        socket = connection.pgconn.socket
        # Some came with the answers to the last queries.
        if list(connection.notifies(timeout=0)):
            return
        ready, _, _ = select.select([socket, self._woken], [], [], seconds)
        if self._woken in ready:
            os.read(self._woken, 4096)
        if socket in ready:
            list(connection.notifies(timeout=0))

    def _take(self, connection: Connection, outlook: Outlook) -> bool:
        """Begin what can begin; whether more could."""
        if self._alone is not None:
            self._begin_alone(connection)
            return False
        with self._changed:
            doctor_count = sum(job.kind is JobKind.DOCTOR for job in self._running)
            free = self._concurrency - len(self._running) + doctor_count
        if self._trigger is None and outlook.is_doctor_due:
            for job in jobs.take_doctor(connection, self._worker_id, limit=DOCTOR_CONCURRENCY - doctor_count):
                self._begin(job)
        if free <= 0:
            return False
        if outlook.is_suspect_due:
            suspects = jobs.take(connection, self._worker_id, limit=1, suspects=True, trigger=self._trigger)
            if suspects:
                [self._alone] = suspects
                self._begin_alone(connection)
                return False
        taken = []
        if outlook.is_due:
            taken = jobs.take(connection, self._worker_id, limit=free, trigger=self._trigger)
        for job in taken:
            self._begin(job)
        return len(taken) < free

    def _begin_alone(self, connection: Connection) -> None:
        """Begin the suspect when the others have ended; until it has ended nothing else begins."""
        assert self._alone is not None
        with self._changed:
            # What has just ended may be the suspect itself.
            if self._running or self._ended:
                return
        if jobs.begin(connection, self._alone, self._worker_id):
            self._begin(self._alone)
        else:
            self._alone = None

    def _begin(self, job: Job) -> None:
        with self._changed:
            self._running.append(job)
        try:
            threading.Thread(target=self._work, args=[job], name=f"job {job.job_id}", daemon=True).start()
        except RuntimeError:
            # The machine has no thread left: the job is given back with the next connection.
            with self._changed:
                self._running.remove(job)
            raise

    def _work(self, job: Job) -> None:
        """Work on one job, in a thread of its own."""
        try:
            result = attempt(job, self._settings, self._database)
        except Interruption:
            return
        with self._changed:
            self._ended.append((job, result))
            self._running.remove(job)
        self._wake()

    def _settle_all(self, connection: Connection) -> None:
        while self._ended:
            job, result = self._ended[0]
            with bind(job):
                settle(connection, job, self._worker_id, result)
            self._ended.popleft()
            if job == self._alone:
                self._alone = None
            self._on_settled(job, result)
