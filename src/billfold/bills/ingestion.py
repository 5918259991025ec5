"""What one call of an ingest works with, and how it retries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from billfold import interruption
from billfold.aws import Progress
from billfold.errors import BillfoldError
from billfold.log import Event
from billfold.model import Client, LeftOutFile, TriggerSource
from billfold.period import BillingPeriod
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.store.deliveries import registration

MAX_RETRY_DELAY_SECONDS = 60

log = structlog.get_logger(__name__)

OnLeftOut = Callable[[Sequence[LeftOutFile]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion:
    """For which client, into which database, and within which limits one call ingests.

    `since` is the first billing period wanted: a file that is dated only by its content is read, and left if it is
    older. `max_deliveries` limits how many deliveries a folder may hold. `is_event` says that the source is an object
    that arrived, and may be any file; `is_typed` that somebody typed it. `on_left_out` is called with the files in the
    source that are not bills. `month` is the billing period named for a file that names none.
    """

    client: Client
    settings: Settings
    database: Database
    trigger: TriggerSource
    force: bool
    progress: Progress
    since: BillingPeriod | None = None
    max_deliveries: int | None = None
    is_event: bool = False
    is_typed: bool = False
    on_left_out: OnLeftOut | None = None
    month: BillingPeriod | None = None


def keep_client(database: Database, client: Client) -> None:
    """Keep the client's row as it is configured."""
    with connect(database.conninfo) as connection:
        registration.ensure_client(connection, client)


def retrying(settings: Settings) -> Retrying:
    """Retry what can succeed later: exponential backoff with jitter, up to INGEST_RETRY_MAX_ATTEMPTS."""
    return Retrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, BillfoldError) and error.retryable and not interruption.is_requested()
        ),
        sleep=interruption.pause,
        stop=stop_after_attempt(settings.retry_max_attempts),
        wait=wait_exponential_jitter(
            multiplier=settings.retry_base_delay_ms / 1000,
            max=MAX_RETRY_DELAY_SECONDS,
            jitter=settings.retry_base_delay_ms / 1000,
        ),
        before_sleep=_log_retry,
        reraise=True,
    )


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning(
        Event.RETRYING,
        attempt=state.attempt_number,
        delay_seconds=round(state.next_action.sleep, 3) if state.next_action else 0,
        error=str(error),
    )
