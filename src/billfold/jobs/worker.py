"""`billfold worker`: a receiver that writes the jobs of an SQS queue's messages, and a pool that works on all jobs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from billfold import clients
from billfold.app import Billfold
from billfold.aws.queue import Queue, open_queue
from billfold.errors import StoreError
from billfold.jobs.pool import Pool
from billfold.jobs.queue_url import choose_queue_url
from billfold.jobs.receiver import POLL_SECONDS, Receiver
from billfold.jobs.results import Done, Result, Retry
from billfold.log import Event
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.store.jobs.jobs import Job

# This many clients are named in a warning.
_NAMED_CLIENTS = 10
_TICK_SECONDS = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker did: `received_count` messages, and what came of them and of the jobs that it took.

    A job that was retried counts as later each time. `stuck_count` are dead messages that no dead-letter queue took;
    `unfinished_count` jobs were still in progress when the time to shut down was over, and were given back. `states`
    counts deliveries by their final state.
    """

    received_count: int = 0
    done_count: int = 0
    later_count: int = 0
    dead_count: int = 0
    stuck_count: int = 0
    unfinished_count: int = 0
    duration_seconds: float = 0.0
    states: Mapping[str, int] = field(default_factory=dict)


def make_worker(billfold: Billfold, queue_url: str | None = None, *, concurrency: int, drain: bool = False) -> Worker:
    """A worker of this queue, or of BILLFOLD_QUEUE_URL; raises UsageError for an invalid URL."""
    url = choose_queue_url(billfold.settings, queue_url, purpose="the worker")
    queue = open_queue(url, billfold.settings)
    return Worker(queue, settings=billfold.settings, database=billfold.database, concurrency=concurrency, drain=drain)


class Worker:
    """A receiver and a pool, for one `run`."""

    def __init__(
        self, queue: Queue, *, settings: Settings, database: Database, concurrency: int, drain: bool = False
    ) -> None:
        self._url = queue.url
        self._settings = settings
        self._database = database
        self._concurrency = concurrency
        self._drain = drain
        self._receiver = Receiver(queue, settings=settings, database=database, drain=drain)
        self._pool = Pool(settings=settings, database=database, concurrency=concurrency, on_settled=self._count)
        self._counts: Counter[str] = Counter()
        self._states: Counter[str] = Counter()
        # A plain value, because a signal handler must not take a lock; how often `stop` was called.
        self._stops = 0

    def stop(self) -> None:
        """Receive no more messages. Jobs in progress may end within BILLFOLD_SHUTDOWN_SECONDS, until a second call.

        Any thread and a signal handler may call it.
        """
        self._stops += 1

    def run(self) -> Report:
        """Work until queue and jobs are empty, if it drains, or until `stop`; returns the counts.

        Raises SourceError for a queue that does not exist or denies access, the first time or several times in a row.
        """
        started = time.monotonic()
        self._receiver.start()
        log.info(Event.WORKER_STARTED, queue=self._url, concurrency=self._concurrency, drain=self._drain)
        self._warn_of_crowds()
        self._pool.start()
        while self._receiver.is_alive() and not self._stops and not self._is_drained():
            self._receiver.join(_TICK_SECONDS)
        if self._stops:
            log.info(Event.WORKER_STOPPING, seconds=self._settings.shutdown_seconds)
        unfinished = self._finish()
        report = self._report(unfinished, time.monotonic() - started)
        log.info(Event.WORKER_FINISHED, received=report.received_count, done=report.done_count, dead=report.dead_count)
        if self._receiver.failure is not None:
            raise self._receiver.failure
        return report

    def _is_drained(self) -> bool:
        return self._drain and self._receiver.is_drained() and self._pool.is_idle()

    def _finish(self) -> int:
        """Let jobs in progress end while there is time; returns how many do not."""
        self._receiver.stop()
        unfinished = len(self._pool.finish(self._settings.shutdown_seconds, lambda: self._stops > 1))
        # A poll may still bring messages: they are taken in, or come again.
        until = time.monotonic() + POLL_SECONDS
        while self._receiver.is_alive() and time.monotonic() < until and self._stops <= 1:
            self._receiver.join(_TICK_SECONDS)
        return unfinished

    def _count(self, job: Job, result: Result) -> None:
        if isinstance(result, Retry):
            self._counts["later"] += 1
        elif isinstance(result, Done):
            self._counts["done"] += 1
            if result.state:
                self._states[result.state] += 1
        else:
            self._counts["dead"] += 1

    def _report(self, unfinished: int, duration_seconds: float) -> Report:
        counts = self._counts + self._receiver.counts
        return Report(
            **{f"{name}_count": number for name, number in counts.items()},
            unfinished_count=unfinished,
            duration_seconds=duration_seconds,
            states=dict(sorted(self._states.items())),
        )

    def _warn_of_crowds(self) -> None:
        """Warn if one client's deliveries could take every thread, so that other clients would have to wait."""
        try:
            known = [each for each in clients.list_clients(self._database) if each.is_registered and each.enabled]
        except StoreError:
            # The pool waits for the database.
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
