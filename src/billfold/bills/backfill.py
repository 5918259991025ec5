"""Backfill: ingest every statement below the client's prefix that is not current, the oldest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import structlog

from billfold.aws import Bucket, Progress, SilentProgress, open_bucket
from billfold.bills.admission import is_current
from billfold.bills.attempt import ingest_delivery
from billfold.bills.ingestion import Ingestion, keep_client, retrying
from billfold.bills.sources import resolve_all
from billfold.errors import BillfoldError, StoreFullError, StoreLimitError
from billfold.log import Event
from billfold.model import Client, Delivery, DeliveryOutcome, LeftOutFile, TriggerSource
from billfold.period import BillingPeriod
from billfold.settings import Settings, require
from billfold.store.database import Database, connect
from billfold.store.deliveries import runs, statements

log = structlog.get_logger(__name__)

# Called before each attempt with the delivery's place (from 1), the number of deliveries, and the delivery.
OnDelivery = Callable[[int, int, Delivery], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderContents:
    """What is in a client's folder: how many statements, how many of them current, and the deliveries that wait.

    `refused` are the statements that cannot be resolved, or the folder itself, each with its error. `is_complete` says
    that the whole folder was listed.
    """

    bucket: Bucket
    statement_count: int
    current_count: int
    waiting: tuple[Delivery, ...]
    refused: tuple[DeliveryOutcome, ...]
    is_complete: bool

    @property
    def failures(self) -> list[BillfoldError]:
        """The errors, first those that another look may not meet."""
        met = [outcome.exit_error for outcome in self.refused if outcome.exit_error]
        return sorted(met, key=may_pass, reverse=True)


def may_pass(failure: BillfoldError) -> bool:
    """Whether the next attempt may succeed: a full database, or a limit of it, says nothing about the file."""
    return failure.retryable or isinstance(failure, StoreFullError | StoreLimitError)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillReport:
    """What a backfill found: how many statements, how many of them current, and how the others ended.

    `is_complete` says that the whole folder was listed, however its statements ended. `left_out` are the files in the
    folder that are not bills.
    """

    statement_count: int
    current_count: int
    outcomes: tuple[DeliveryOutcome, ...]
    is_complete: bool = True
    left_out: tuple[LeftOutFile, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many deliveries ended in each state; `current` counts those that were current already."""
        return {"current": self.current_count, **Counter(str(outcome.state) for outcome in self.outcomes)}


def backfill(
    *,
    client: Client,
    settings: Settings,
    database: Database,
    since: BillingPeriod | None = None,
    trigger: TriggerSource = TriggerSource.CLI,
    progress: Progress | None = None,
    on_delivery: OnDelivery | None = None,
) -> BackfillReport:
    """Ingest what is not current below the client's prefix, the oldest billing period first.

    It reads from the database what is current, so it continues after an interruption. A delivery that fails, is held or
    was rolled back does not stop the others. `since` is the first billing period to ingest; a file without a manifest
    that turns out to be of a month before it stays pending.

    Raises ConfigurationError if no bucket is configured, and the error that prevents every attempt.
    """
    left_out: list[LeftOutFile] = []
    ingestion = Ingestion(
        client=client,
        settings=settings,
        database=database,
        trigger=trigger,
        force=False,
        progress=progress or SilentProgress(),
        since=since,
        on_left_out=left_out.extend,
    )
    found = look_through(ingestion)
    outcomes = list(found.refused)
    for number, delivery in enumerate(found.waiting, start=1):
        if on_delivery is not None:
            on_delivery(number, len(found.waiting), delivery)
        outcomes.append(ingest_delivery(ingestion, found.bucket, delivery))
    report = BackfillReport(
        statement_count=found.statement_count,
        current_count=found.current_count,
        outcomes=tuple(outcomes),
        is_complete=found.is_complete,
        left_out=tuple(left_out),
    )
    log.info(Event.BACKFILL_FINISHED, statements=report.statement_count, **report.counts)
    return report


def look_through(ingestion: Ingestion) -> FolderContents:
    """List the client's folder: what is not current waits, the oldest billing period first.

    The month of a file without a manifest may be only in its content: it is known if this version was read before.
    A new version is ordered by the month of the one before it, and a file that was never read comes last.

    Raises ConfigurationError if no bucket is configured, and the error that prevents every attempt.
    """
    client, settings, database = ingestion.client, ingestion.settings, ingestion.database
    if client.bucket is None:
        require(settings, "AWS_BILLING_BUCKET", purpose="backfill")
    retrying(settings)(keep_client, database, client)
    bucket: Bucket = retrying(settings)(open_bucket, client, settings)
    deliveries, refused = resolve_all(ingestion, bucket, client.prefix, since=ingestion.since)
    deliveries = retrying(settings)(_in_order, database, client, deliveries, ingestion.since)
    waiting = retrying(settings)(_leave_out_current, database, client, deliveries)
    log.info(Event.BACKFILL_STARTED, statements=len(deliveries) + len(refused), waiting=len(waiting))
    return FolderContents(
        bucket=bucket,
        statement_count=len(deliveries) + len(refused),
        # An outcome without an error is a current delivery whose files have expired.
        current_count=len(deliveries) - len(waiting) + sum(outcome.exit_error is None for outcome in refused),
        waiting=tuple(waiting),
        refused=tuple(outcome for outcome in refused if outcome.exit_error),
        # An outcome under the folder's own name is the folder's: a statement has its manifest's name.
        is_complete=all(outcome.export_name != client.prefix for outcome in refused),
    )


def _in_order(
    database: Database, client: Client, deliveries: list[Delivery], since: BillingPeriod | None
) -> list[Delivery]:
    """The oldest period first, without deliveries that are known to be of a month before `since`."""
    undated = [delivery for delivery in deliveries if delivery.period is None and delivery.files]
    if not undated:
        return deliveries
    keys = [delivery.files[0].key for delivery in undated]
    with connect(database.conninfo) as connection:
        known = runs.find_periods(connection, client, undated[0].bucket, keys)
    of_version = {(each.key, each.etag): each.billing_period for each in known}
    of_key = {each.key: each.billing_period for each in known}

    def is_wanted(delivery: Delivery) -> bool:
        # A file may be overwritten each month by the next one: the month of an earlier version does not exclude it.
        period = delivery.period or of_version.get(_version(delivery))
        return since is None or period is None or period >= since

    def order(delivery: Delivery) -> tuple[date, str]:
        key, _ = version = _version(delivery)
        period = delivery.period or of_version.get(version) or of_key.get(key)
        return period.starts_on if period else date.max, delivery.export_path

    return sorted(filter(is_wanted, deliveries), key=order)


def _version(delivery: Delivery) -> tuple[str, str]:
    """Key and ETag of its first file."""
    return (delivery.files[0].key, delivery.files[0].etag) if delivery.files else ("", "")


def _leave_out_current(database: Database, client: Client, deliveries: list[Delivery]) -> list[Delivery]:
    with connect(database.conninfo) as connection:
        found = [(delivery, statements.find_statement(connection, client, delivery)) for delivery in deliveries]
    return [delivery for delivery, statement in found if statement is None or not is_current(delivery, statement)]
