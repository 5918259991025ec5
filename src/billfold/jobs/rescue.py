"""Jobs of workers that are gone: they are free again, and each attempt that had begun counts as a failure."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
    """Looks after the other workers, for as long as one connection of this one lasts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._gone_since: dict[UUID, float] = {}

    def free_gone(self, connection: Connection, gone: Sequence[UUID]) -> float | None:
        """Free the jobs of those that are gone for long enough; `gone` are those that are gone now.

        Returns the seconds until the next of them is gone for long enough; None if there is none.
        """
        now = time.monotonic()
        self._gone_since = {worker_id: self._gone_since.get(worker_id, now) for worker_id in gone}
        waits = []
        for worker_id, since in self._gone_since.items():
            if now - since < GRACE_SECONDS:
                waits.append(since + GRACE_SECONDS - now)
            else:
                _free(connection, worker_id, self._settings)
        return min(waits, default=None)


def free_gone_now(connection: Connection, worker_id: UUID, settings: Settings) -> None:
    """The same in one call, which takes a few seconds if a worker seems to be gone."""
    gone = jobs.look(connection, worker_id).gone
    if not gone:
        return
    time.sleep(GRACE_SECONDS)
    for each in set(gone).intersection(jobs.look(connection, worker_id).gone):
        _free(connection, each, settings)


def _free(connection: Connection, gone: UUID, settings: Settings) -> None:
    for freed in jobs.free(connection, gone, seconds=settings.message_retry_seconds):
        log.warning(Event.JOB_FREED, job_id=freed.job_id, client=freed.client_id, key=freed.key)
