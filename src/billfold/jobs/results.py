"""The result of a job or a message: it is done, it is retried later, or it is dead, with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, assert_never
from uuid import UUID

import structlog

from billfold.log import Event
from billfold.model import Client

if TYPE_CHECKING:
    from billfold.bills.backfill import FolderContents
    from billfold.store.jobs.jobs import Job

# A wait for other work is short at first, and at most this long
MAX_WAIT_SECONDS = 60
# until a message of Lambda was received this often: SQS gives up after 1,000 times at most, which must last for days.
_PATIENT_FROM = 100
# The longest wait after a failure.
MAX_RETRY_DELAY_SECONDS = 900

_RANDOM = Random()

log = structlog.get_logger(__name__)


class Cause(StrEnum):
    """Why a job is retried: its statement is busy (BUSY), PostgreSQL is away (DATABASE), an error of ours prevented the
    attempt (UNTRIED), or the attempt failed (FAILURE).
    """

    BUSY = "busy"
    DATABASE = "database"
    UNTRIED = "untried"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The job is done, even if it changed nothing; `reason` says why. `visit` is what a visit of a folder found."""

    client: Client | None = None
    delivery_id: UUID | None = None
    state: str | None = None
    reason: str | None = None
    visit: FolderContents | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The job is retried after `delay_seconds`; only a FAILURE counts towards the limit of attempts."""

    cause: Cause
    delay_seconds: int
    reason: str
    client: Client | None = None
    delivery_id: UUID | None = None
    error_code: str | None = None
    visit: FolderContents | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """The job can never succeed, or has failed too often."""

    reason: str
    error_code: str
    client: Client | None = None
    delivery_id: UUID | None = None
    visit: FolderContents | None = None


Result = Done | Retry | Dead


def choose(results: Sequence[Result]) -> Result:
    """The result of a job whose key has several deliveries: it is retried as long as one of them can succeed.

    A failure among the retries counts, even if others only wait; the longest wait applies to all.
    """
    retries = [result for result in results if isinstance(result, Retry)]
    if retries:
        chosen = max(retries, key=lambda result: (result.cause is Cause.FAILURE, result.delay_seconds))
        return replace(chosen, delay_seconds=max(result.delay_seconds for result in retries))
    dead = [result for result in results if isinstance(result, Dead)]
    return next(iter([*dead, *results]), Done())


def report(result: Result, job: Job | None = None) -> None:
    """Log the end of a message, or of a job: `message_…` with a message, `asked_…` without one."""
    is_message = job is None or job.message is not None
    facts: dict[str, Any] = {"reason": result.reason} if result.reason else {}
    if is_message:
        facts |= {"client": result.client.client_id} if result.client else {}
        facts |= {"delivery_id": str(result.delivery_id)} if result.delivery_id else {}
    elif job and isinstance(result, Done) and result.delivery_id not in (None, job.delivery_id):
        facts["instead"] = str(result.delivery_id)
    match result:
        case Done():
            facts |= {"state": result.state} if result.state else {}
            log.info(Event.MESSAGE_DONE if is_message else Event.ASKED_DONE, **facts)
        case Retry():
            # A flood of one client's events waits thousands of times.
            write = log.debug if result.cause is Cause.BUSY else log.warning
            facts |= {"error_code": result.error_code} if result.error_code else {}
            event = Event.MESSAGE_LATER if is_message else Event.ASKED_LATER
            write(event, cause=result.cause, delay_seconds=result.delay_seconds, **facts)
        case Dead():
            log.error(Event.MESSAGE_DEAD if is_message else Event.ASKED_DEAD, error_code=result.error_code, **facts)
        case _:
            assert_never(result)


def wait_seconds(count: int, random: Random = _RANDOM) -> int:
    """How long to wait for other work: longer each time, and random, so that not all come at once.

    It grows slowly, so that what is free again does not wait long.
    """
    patience = max(count - _PATIENT_FROM, 0) * 5
    bound = min(1 + count, MAX_WAIT_SECONDS) + patience
    return random.randint(1, min(bound, MAX_RETRY_DELAY_SECONDS))


def retry_seconds(failure_count: int, base_seconds: int, random: Random = _RANDOM) -> int:
    """How long to wait after this many failures: twice as long each time, the last quarter of it random."""
    bound = min(base_seconds * 2 ** min(failure_count - 1, 20), MAX_RETRY_DELAY_SECONDS)
    return random.randint(bound - bound // 4, bound)
