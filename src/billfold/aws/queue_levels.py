"""How full the worker's queue is, for monitoring: with short calls, cached briefly, and never failing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import Any

import structlog

from billfold.aws.aws_errors import translated
from billfold.aws.credentials import aws_client
from billfold.aws.queue import Queue, open_queue, open_session_of
from billfold.errors import BillfoldError
from billfold.log import Event
from billfold.settings import Settings

KEPT_SECONDS = 15
# For each call; a scrape waits ten seconds for everything.
TIMEOUT_SECONDS = 2
# AWS: SQS reports to CloudWatch every minute, and not at all for an unused queue.
_LOOK_BACK = timedelta(minutes=10)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class QueueLevels:
    """Approximate counts from SQS. A part that could not be read is None, and its `is_up` is false.

    `oldest_seconds` is CloudWatch's latest value, None if it has none for the last minutes.
    """

    waiting_count: int | None = None
    hidden_count: int | None = None
    dead_count: int | None = None
    oldest_seconds: float | None = None
    is_up: dict[str, bool] = field(default_factory=dict)


class QueueWatch:
    """One queue, its dead-letter queue, and its CloudWatch metrics; answers are cached briefly."""

    def __init__(self, url: str, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._settings = settings
        self._clock = clock
        self._lock = Lock()
        self._kept = QueueLevels()
        self._kept_until = float("-inf")

    def read(self) -> QueueLevels:
        """The levels, at most 15 seconds old; a part that cannot be read is logged as `queue_failed`."""
        with self._lock:
            if self._clock() >= self._kept_until:
                self._kept = self._ask()
                self._kept_until = self._clock() + KEPT_SECONDS
            return self._kept

    def _ask(self) -> QueueLevels:
        levels = QueueLevels()
        parts = {
            "messages": self._ask_queue,
            "dead_letters": self._ask_dead_letters,
            "oldest_message": self._ask_cloudwatch,
        }
        is_answering = True
        for part, ask in parts.items():
            levels.is_up[part] = False
            if not is_answering:
                continue
            try:
                ask(levels)
                levels.is_up[part] = True
            except BillfoldError as error:
                # If AWS does not answer, each further call would take its time as well.
                is_answering = not error.retryable
                log.warning(Event.QUEUE_FAILED, action=f"measure {part}", error_code=error.error_code, error=str(error))
            except Exception:
                # An error here must not hide the other metrics of a scrape.
                log.exception(Event.INTERNAL_ERROR)
        return levels

    def _ask_queue(self, levels: QueueLevels) -> None:
        state = self._queue.describe()
        levels.waiting_count, levels.hidden_count = state.waiting_count, state.hidden_count

    def _ask_dead_letters(self, levels: QueueLevels) -> None:
        """The number of dead letters; 0 without a dead-letter queue."""
        levels.dead_count = self._dead_letters.describe().waiting_count if self._dead_letters else 0

    def _ask_cloudwatch(self, levels: QueueLevels) -> None:
        """The age of the oldest message, from CloudWatch: SQS itself does not report it."""
        now = datetime.now(UTC)
        with translated(f"CloudWatch's metrics of {self._url}", permission="cloudwatch:GetMetricStatistics"):
            points = self._cloudwatch.get_metric_statistics(
                Namespace="AWS/SQS",
                MetricName="ApproximateAgeOfOldestMessage",
                Dimensions=[{"Name": "QueueName", "Value": self._url.rsplit("/", 1)[-1]}],
                StartTime=now - _LOOK_BACK,
                EndTime=now,
                Period=60,
                Statistics=["Maximum"],
            )["Datapoints"]
        if points:
            levels.oldest_seconds = float(max(points, key=lambda point: point["Timestamp"])["Maximum"])

    @cached_property
    def _queue(self) -> Queue:
        return open_queue(self._url, self._settings, timeout_seconds=TIMEOUT_SECONDS)

    @cached_property
    def _dead_letters(self) -> Queue | None:
        return self._queue.open_dead_letters()

    @cached_property
    def _cloudwatch(self) -> Any:
        session = open_session_of(self._url, self._settings)
        return aws_client(session, "cloudwatch", self._settings, timeout_seconds=TIMEOUT_SECONDS)
