"""`billfold.jobs`: what waits to be ingested, what is being ingested, and what was given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from billfold.errors import UsageError
from billfold.model import JobState

if TYPE_CHECKING:
    from billfold.app.billfold import Billfold
    from billfold.store.jobs.jobs import JobRow


class Jobs:
    """The one queue: the worker, the server, the schedule and Lambda work on its jobs."""

    def __init__(self, billfold: Billfold) -> None:
        self._billfold = billfold

    def __call__(self) -> Sequence[JobRow]:
        """All jobs: short for `list`.

        >>> billfold.jobs()
        []
        """
        return self.list()

    def list(
        self,
        *,
        client: str | None = None,
        state: JobState | None = None,
        job_id: int | None = None,
        limit: int | None = None,
    ) -> list[JobRow]:
        """The jobs in progress, then those that wait, by when they are due, then the dead ones.

        >>> billfold.jobs.list(client="acme")
        []
        """
        from billfold.store.database import connect
        from billfold.store.jobs import jobs

        with connect(self._billfold.database.conninfo) as connection:
            return jobs.list_jobs(connection, client_id=client, state=state, job_id=job_id, limit=limit)

    def retry(self, job_id: int, *, client: str | None = None) -> None:
        """Let a job be tried at once; a dead one as if it had never failed. With `client`, only a job of that client.

        Raises UsageError for a job that is in progress, or not in the queue.

        >>> billfold.jobs.retry(1)
        Traceback (most recent call last):
        ...
        UsageError: job 1 is not in the queue: `billfold jobs` lists what is
        """
        from billfold.store.jobs import requests

        self._change(requests.retry, job_id, client)

    def cancel(self, job_id: int, *, client: str | None = None) -> None:
        """Take a job out of the queue; its object can be announced or requested again.

        Raises UsageError for a job that is in progress, or not in the queue.

        >>> billfold.jobs.cancel(1)
        Traceback (most recent call last):
        ...
        UsageError: job 1 is not in the queue: `billfold jobs` lists what is
        """
        from billfold.store.jobs import requests

        self._change(requests.cancel, job_id, client)

    def _change(self, change: Callable[..., bool], job_id: int, client: str | None) -> None:
        from billfold.store.database import connect

        with connect(self._billfold.database.conninfo) as connection:
            if change(connection, job_id, client_id=client):
                return
        if self.list(client=client, job_id=job_id):
            raise UsageError(f"job {job_id} is in progress", advice="wait until it ends")
        raise UsageError(f"job {job_id} is not in the queue", advice="`billfold jobs` lists what is")
