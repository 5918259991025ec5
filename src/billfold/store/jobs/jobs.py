"""The queue's rows: what waits to be ingested, what a worker has taken, and what was given up.

A worker's life has an id, whose advisory lock its connection holds: where the lock is free, the worker is gone, and
what it had taken is free again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from billfold.model import JobKind, JobState, TriggerSource
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import Connection

CHANNEL = "billfold_jobs"
INTERRUPTED = "interrupted"
# A process may be stopped while it takes jobs, and all others wait for it: it has this long for each answer.
TAKE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMessage:
    """The message of SQS that announced a job: with it, a dead job can go to the dead-letter queue as it came."""

    message_id: str
    queue_url: str
    body: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """An object to be ingested as this client, a folder of it to be visited, or a doctor run of it.

    `period` is the month that a user gave for a file that names none. `work` names what no two workers may do at once:
    the statement, or the key. `is_event` says that an event announced the object, which need not be a bill;
    `delivery_id` is the delivery that was requested.
    """

    client_id: str
    bucket: str
    key: str
    work: str
    trigger: TriggerSource
    kind: JobKind = JobKind.INGEST
    period: BillingPeriod | None = None
    is_event: bool = False
    delivery_id: UUID | None = None
    message: JobMessage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that a worker has taken, for the `take_count`th time. A suspect is worked on alone."""

    job_id: int
    client_id: str
    kind: JobKind
    bucket: str
    key: str
    period: BillingPeriod | None
    work: str
    trigger: TriggerSource
    is_event: bool
    delivery_id: UUID | None
    message: JobMessage | None
    is_suspect: bool
    take_count: int
    failure_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What there is to do: `due_in_seconds` until the first job that waits is due, at most 0 if one is, None if none
    waits; `gone` are other workers that have jobs and whose connection is gone.
    """

    due_in_seconds: float | None
    is_suspect_due: bool
    is_doctor_due: bool
    gone: list[UUID]

    @property
    def is_due(self) -> bool:
        return self.due_in_seconds is not None and self.due_in_seconds <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedJob:
    """A job whose worker is gone."""

    job_id: int
    client_id: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as it is shown: `worker` has it since `began_at`, or it is tried again at `due_at`."""

    job_id: int
    state: str
    kind: str
    client_id: str
    bucket: str
    key: str
    billing_period: str | None
    work: str
    trigger_source: str
    delivery_id: UUID | None
    message_id: str | None
    created_at: datetime
    due_at: datetime | None
    worker: str | None
    began_at: datetime | None
    is_suspect: bool
    take_count: int
    failure_count: int
    error_code: str | None
    reason: str | None
    ended_at: datetime | None


def add(connection: Connection, new: NewJob) -> int:
    """Let the job wait; returns its id, or that of the job that waits for the same object already.

    A dead job of the same object is forgotten: this is another try.
    """
    message = new.message
    parameters = {
        "client_id": new.client_id,
        "kind": new.kind,
        "bucket": new.bucket,
        "key": new.key,
        "work": new.work,
        "trigger": new.trigger,
        "period": new.period.starts_on if new.period else None,
        "is_event": new.is_event,
        "delivery_id": new.delivery_id,
        "message_id": message.message_id if message else None,
        "queue_url": message.queue_url if message else None,
        "body": message.body if message else None,
        "attributes": Jsonb(message.attributes) if message else None,
    }
    with connection.transaction():
        connection.execute(_query("forget_dead"), parameters)
        row = connection.execute(_query("add"), parameters).fetchone()
        connection.execute(_query("announce"))
    assert row is not None
    return int(row[0])


def live(connection: Connection, worker_id: UUID, *, silence_seconds: float | None = None) -> None:
    """Hold the lock of this worker's life on this connection, and listen for new jobs.

    PostgreSQL ends the connection, and with it the life, if it sends nothing for `silence_seconds`.
    """
    if silence_seconds is not None:
        connection.execute(_query("end_if_silent"), {"silence": f"{round(silence_seconds * 1000)}ms"})
    connection.execute(_query("live"), {"worker_id": worker_id})
    connection.execute(f"LISTEN {CHANNEL}".encode())


def lock_takes(connection: Connection) -> None:
    """Let nobody else take jobs until the transaction ends, or until this process is silent for too long in it."""
    connection.execute(_query("lock_takes"), {"silence": f"{round(TAKE_SECONDS * 1000)}ms"})


def take(
    connection: Connection,
    worker_id: UUID,
    *,
    limit: int,
    suspects: bool = False,
    job_ids: Sequence[int] | None = None,
    trigger: TriggerSource | None = None,
) -> list[Job]:
    """Take at most `limit` due jobs whose client has a free slot and whose work nobody does: suspects, or the others.

    With `job_ids`, only these; with `trigger`, only what it found.
    """
    parameters = {
        "worker_id": worker_id,
        "worker": _worker_name(),
        "limit": limit,
        "suspects": suspects,
        "job_ids": list(job_ids) if job_ids is not None else None,
        "trigger": trigger,
    }
    with connection.transaction():
        lock_takes(connection)
        return sorted(_take(connection, "take", parameters), key=lambda job: job.job_id)


def take_doctor(connection: Connection, worker_id: UUID, *, limit: int) -> list[Job]:
    """Take at most `limit` doctor runs."""
    parameters = {"worker_id": worker_id, "worker": _worker_name(), "limit": limit}
    return _take(connection, "take_doctor", parameters)


def count(connection: Connection) -> dict[str, int]:
    """How many jobs are `waiting` and `running`, and `oldest_seconds`, since the oldest of them was written."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return dict(cursor.execute(_query("count")).fetchone() or {})


def count_visited(connection: Connection) -> int:
    """How many clients have a visit, or a delivery that it found, that has not ended."""
    return int(_value(connection, "count_visited", {}))


def look(connection: Connection, worker_id: UUID) -> Outlook:
    """What there is to do for this worker."""
    with connection.cursor(row_factory=class_row(Outlook)) as cursor:
        outlook = cursor.execute(_query("look"), {"worker_id": worker_id}).fetchone()
    assert outlook is not None
    return outlook


def begin(connection: Connection, job: Job, worker_id: UUID) -> bool:
    """The attempt begins now: it is the job's if its worker dies. False if the worker no longer has the job."""
    return _value(connection, "begin", _attempt(job, worker_id)) is not None


def finish(connection: Connection, job: Job, worker_id: UUID) -> bool:
    """The job is done; False if it waits again, because it was wanted again meanwhile."""
    if _value(connection, "finish", _attempt(job, worker_id)) is not None:
        return True
    connection.execute(_query("wait_again"), _attempt(job, worker_id))
    return False


def postpone(
    connection: Connection,
    job: Job,
    worker_id: UUID,
    *,
    seconds: int,
    is_failure: bool,
    is_tried: bool,
    reason: str,
    error_code: str | None = None,
) -> None:
    """Let the job wait for this time, after a failure or for something else."""
    parameters = {
        **_attempt(job, worker_id),
        "seconds": seconds,
        "failures": int(is_failure),
        "is_tried": is_tried,
        "reason": reason,
        "error_code": error_code,
    }
    connection.execute(_query("postpone"), parameters)


def bury(connection: Connection, job: Job, worker_id: UUID, *, error_code: str, reason: str) -> bool:
    """The job is dead; False if it waits again, because it was wanted again meanwhile."""
    parameters = {**_attempt(job, worker_id), "error_code": error_code, "reason": reason}
    return bool(_value(connection, "bury", parameters))


def give_back(connection: Connection, worker_id: UUID, *, kept: Sequence[Job] = ()) -> int:
    """Let others have all jobs of this worker but those that are `kept`; returns how many."""
    parameters = {
        "worker_id": worker_id,
        "job_ids": [job.job_id for job in kept],
        "take_counts": [job.take_count for job in kept],
    }
    return connection.execute(_query("give_back"), parameters).rowcount


def list_open(connection: Connection, job_ids: Sequence[int]) -> dict[int, int]:
    """Those of these jobs that have not ended, each with the seconds until it is due."""
    return dict(connection.execute(_query("list_open"), {"job_ids": list(job_ids)}).fetchall())


def free(connection: Connection, worker_id: UUID, *, seconds: int) -> list[FreedJob]:
    """Free the jobs of a worker that is gone: each attempt that had begun is a failure, and waits for `seconds`.

    The sessions that its process may still have are ended: if it was only stopped, it publishes nothing when it wakes.
    """
    connection.execute(_query("end_sessions"), {"worker_id": worker_id})
    with connection.transaction(), connection.cursor(row_factory=class_row(FreedJob)) as cursor:
        freed = cursor.execute(_query("free"), {"worker_id": worker_id, "seconds": seconds}).fetchall()
        connection.execute(_query("announce"))
    return freed


def list_jobs(
    connection: Connection,
    *,
    client_id: str | None = None,
    state: JobState | None = None,
    job_id: int | None = None,
    limit: int | None = None,
) -> list[JobRow]:
    """The jobs in the queue: those in progress, those that wait by when they are due, and the dead ones."""
    parameters = {"client_id": client_id, "state": state, "job_id": job_id, "limit": limit}
    with connection.cursor(row_factory=class_row(JobRow)) as cursor:
        return cursor.execute(_query("list"), parameters).fetchall()


def retry(connection: Connection, job_id: int, *, client_id: str | None = None) -> bool:
    """Let the job be due at once, a dead one as if it had never failed; False if it is in progress or gone."""
    with connection.transaction():
        is_due = bool(_value(connection, "retry", {"job_id": job_id, "client_id": client_id}))
        connection.execute(_query("announce"))
    return is_due


def cancel(connection: Connection, job_id: int, *, client_id: str | None = None) -> bool:
    """Take the job out of the queue; False if it is in progress or gone."""
    return bool(_value(connection, "cancel", {"job_id": job_id, "client_id": client_id}))


def _take(connection: Connection, name: str, parameters: Mapping[str, Any]) -> list[Job]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return list(map(_job, cursor.execute(_query(name), parameters)))


def _job(row: dict[str, Any]) -> Job:
    message = {name: row.pop(name) for name in ("message_id", "queue_url", "body", "attributes")}
    period = row.pop("period")
    return Job(
        kind=JobKind(row.pop("kind")),
        period=BillingPeriod(period) if period else None,
        trigger=TriggerSource(row.pop("trigger")),
        message=JobMessage(**message) if message["message_id"] is not None else None,
        **row,
    )


def _attempt(job: Job, worker_id: UUID) -> dict[str, Any]:
    """This attempt and no other: the worker may have lost the job meanwhile, and even have taken it again."""
    return {"job_id": job.job_id, "worker_id": worker_id, "take_count": job.take_count}


def _worker_name() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


def _value(connection: Connection, name: str, parameters: Mapping[str, Any]) -> Any:
    row = connection.execute(_query(name), parameters).fetchone()
    return row[0] if row else None


def _query(name: str) -> bytes:
    return read_queries("billfold.store.jobs", "jobs")[name].encode()
