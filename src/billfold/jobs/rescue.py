"""Jobs of workers that are gone: they are free again, and each attempt that had begun counts as a failure."""

from __future__ import annotations

import time
from uuid import UUID

import structlog

from billfold.log import Event
from billfold.settings import Settings
from billfold.store.database import Connection
from billfold.store.jobs import jobs

# A worker is gone if its lock is free for this long: after a restart of PostgreSQL all have to connect again.
GRACE_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Rescue:
    """Looks after the other workers, from one life of one worker."""

    def __init__(self, worker_id: UUID, settings: Settings) -> None:
        self._worker_id = worker_id
        self._settings = settings
        self._gone_since: dict[UUID, float] = {}

    def free_gone(self, connection: Connection) -> None:
        """Free the jobs of the workers that are gone for long enough; to be called every few seconds."""
        now = time.monotonic()
        gone = jobs.find_gone(connection, self._worker_id)
        self._gone_since = {worker_id: self._gone_since.get(worker_id, now) for worker_id in gone}
        for worker_id, since in self._gone_since.items():
            if now - since >= GRACE_SECONDS:
                _free(connection, worker_id, self._settings)


def free_gone_now(connection: Connection, worker_id: UUID, settings: Settings) -> None:
    """The same in one call, which takes a few seconds if a worker seems to be gone."""
    gone = jobs.find_gone(connection, worker_id)
    if not gone:
        return
    time.sleep(GRACE_SECONDS)
    for each in set(gone).intersection(jobs.find_gone(connection, worker_id)):
        _free(connection, each, settings)


def _free(connection: Connection, gone: UUID, settings: Settings) -> None:
    for freed in jobs.free(connection, gone, seconds=settings.message_retry_seconds):
        log.warning(Event.JOB_FREED, job_id=freed.job_id, client=freed.client_id, key=freed.key)
