"""What a worker does with a message, in one call and without a queue: it takes it in, and works on all jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol
from uuid import uuid4

from billfold.aws.queue import Attribute, Message
from billfold.jobs.arrival import Arrival, take_in
from billfold.jobs.results import Done, Result, choose, report
from billfold.jobs.settlement import announce_start, bind, conclude, settle
from billfold.jobs.work import work_on
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.store.jobs import jobs
from tests.connections import ask

WORKER = uuid4()
NO_QUEUE = "no queue"


class Place(Protocol):
    """Where the worker is: a landing or a registry."""

    @property
    def settings(self) -> Settings: ...

    @property
    def database(self) -> Database: ...


def arrive(
    place: Place,
    body: str,
    *,
    message_id: str = "m-1",
    queue_url: str = NO_QUEUE,
    attributes: Mapping[str, Attribute] | None = None,
) -> Arrival:
    """Write the jobs of a message, as its receiver does."""
    message = Message(message_id=message_id, receipt="r-1", body=body, attributes=attributes or {})
    arrival = take_in(message, queue_url, settings=place.settings, database=place.database)
    if arrival.result is not None:
        report(arrival.result)
    return arrival


def take(place: Place, body: str, *, message_id: str = "m-1") -> Result:
    """Take a message in and work once on each job, due or not; what came of all that."""
    arrival = arrive(place, body, message_id=message_id)
    results = [arrival.result] if arrival.result else []
    return choose([*results, *work_off(place)])


def work_off(place: Place) -> list[Result]:
    """Work once on each job that waits, due or not; a dead one without a queue is only marked dead."""
    waiting = ask(
        place.database.conninfo,
        lambda connection: connection.execute(
            "UPDATE billing_jobs SET due_at = now() WHERE state = 'waiting' RETURNING job_id, is_suspect"
        ).fetchall(),
    )
    results = [_work(place, job_id, is_suspect) for job_id, is_suspect in sorted(waiting)]
    return [result for result in results if result is not None] or [Done(reason="nothing was due")]


def _work(place: Place, job_id: int, is_suspect: bool) -> Result | None:
    with connect(place.database.conninfo) as connection:
        taken = jobs.take(connection, WORKER, limit=1, suspects=is_suspect, job_ids=[job_id])
        if not taken:
            return None
        [job] = taken
        has_queue = job.message is not None and job.message.queue_url != NO_QUEUE
        with bind(job):
            announce_start(job, is_alone=is_suspect)
            result = work_on(job, place.settings, place.database)
            result = conclude(job if has_queue else replace(job, message=None), result, place.settings)
            settle(connection, job, WORKER, result)
        return result
