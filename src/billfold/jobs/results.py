"""What becomes of a message: it is done, it comes again later, or it goes to the dead-letter queue with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from uuid import UUID

from billfold.model import Client

# A wait for somebody else is short at first, and longer than this only
MAX_WAIT_SECONDS = 60
# for a message that came so often: SQS gives up on it after 1,000 times at most, and those must last for days.
_PATIENT_FROM = 100
# A wait after a failure.
MAX_RETRY_DELAY_SECONDS = 900
# SQS: an attribute counts towards the size of its message, and a reason is for people.
_MAX_REASON_CHARACTERS = 1000


class Cause(StrEnum):
    """Why a message comes again: its client has no slot free, its statement is worked on, PostgreSQL is away, something
    of ours kept it from being tried (UNTRIED), or it FAILED.
    """

    SLOT = "slot"
    BUSY = "busy"
    DATABASE = "database"
    UNTRIED = "untried"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The message is dealt with, whether anything came of it or not; `reason` says why nothing did."""

    client: Client | None = None
    delivery_id: UUID | None = None
    state: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """The message comes again after `delay_seconds`; only a FAILURE counts towards the limit of attempts."""

    cause: Cause
    delay_seconds: int
    reason: str
    client: Client | None = None
    delivery_id: UUID | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """The message can never succeed, or has failed too often."""

    reason: str
    error_code: str
    client: Client | None = None
    delivery_id: UUID | None = None

    def attributes(self, message_id: str) -> dict[str, str]:
        """What the dead letter carries: `reason`, `error_code`, and the id that the message had in its queue."""
        return {
            # SQS refuses control characters and empty values.
            "reason": "".join(c if c.isprintable() else " " for c in self.reason)[:_MAX_REASON_CHARACTERS] or "-",
            "error_code": self.error_code,
            "source_message_id": message_id,
        }


Fate = Done | Later | Dead


def choose(fates: Sequence[Fate]) -> Fate:
    """The fate of a message that tells of several objects: it comes again as long as one of them can succeed.

    A failure among them counts, whatever the others wait for; the longest wait is good for all of them.
    """
    later = [fate for fate in fates if isinstance(fate, Later)]
    if later:
        chosen = max(later, key=lambda fate: (fate.cause is Cause.FAILURE, fate.delay_seconds))
        return replace(chosen, delay_seconds=max(fate.delay_seconds for fate in later))
    dead = [fate for fate in fates if isinstance(fate, Dead)]
    return next(iter([*dead, *fates]), Done())


def wait_seconds(receive_count: int, random: Random) -> int:
    """How long a message waits for somebody else: longer each time, and by chance, so that not all come at once.

    It grows slowly: a slot that becomes free must not wait long for the next message.
    """
    patience = max(receive_count - _PATIENT_FROM, 0) * 5
    bound = min(1 + receive_count, MAX_WAIT_SECONDS) + patience
    return random.randint(1, min(bound, MAX_RETRY_DELAY_SECONDS))


def retry_seconds(failure_count: int, base_seconds: int, random: Random) -> int:
    """How long a message waits after so many failures: twice as long each time, the last quarter of it by chance."""
    bound = min(base_seconds * 2 ** min(failure_count - 1, 20), MAX_RETRY_DELAY_SECONDS)
    return random.randint(bound - bound // 4, bound)
