"""One delivery, start to finish: resolve, claim, fetch, parse, identify, compare, land, map, reconcile, publish."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from billfold import outcomes
from billfold.config import Settings
from billfold.errors import BillfoldError, InputError, InternalError, RunConflictError, SourceError
from billfold.exports import Bucket, Progress, SilentProgress, fetch_delivery, locate, resolve, unpack
from billfold.model import (
    Client,
    Delivery,
    DeliveryOutcome,
    DeliveryState,
    RunStatus,
    SpooledFile,
    TriggerSource,
    UnpackedFile,
)
from billfold.period import BillingPeriod
from billfold.publication import Timings, publish_bill
from billfold.store import control
from billfold.store.database import Database, connect
from billfold.transform import Bill, open_bill
from billfold.transform.identify import HASH_VERSION
from billfold.transform.landing import LandingFile
from billfold.transform.mapping import MAPPING_VERSION

MAX_RETRY_DELAY_SECONDS = 60

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion:
    """What one call works with: in whose name, on whose behalf, where to and within which limits."""

    client: Client
    settings: Settings
    database: Database
    trigger: TriggerSource
    force: bool
    progress: Progress


def ingest(
    source: str,
    *,
    client: Client,
    settings: Settings,
    database: Database,
    trigger: TriggerSource = TriggerSource.CLI,
    force: bool = False,
    progress: Progress | None = None,
) -> list[DeliveryOutcome]:
    """Ingest everything that `source` means and say how each delivery ended, the oldest period first.

    A delivery that fails is an outcome with its error, and does not stop the others. Raises only what keeps any
    delivery from being tried: configuration, usage, the database.
    """
    ingestion = Ingestion(
        client=client,
        settings=settings,
        database=database,
        trigger=trigger,
        force=force,
        progress=progress or SilentProgress(),
    )
    with connect(database.conninfo) as connection:
        control.ensure_client(connection, client)
    try:
        bucket, key = _retrying(settings)(locate, source, client, settings)
    except (SourceError, InputError) as error:
        # The role refuses us, a path does not exist, a local manifest cannot be read: there is no bucket to name.
        return [_refuse(ingestion, client.bucket or "", source, error)]
    refused: list[DeliveryOutcome] = []

    def keep_refused(manifest_key: str, error: BillfoldError) -> None:
        refused.append(_refuse(ingestion, bucket.name, manifest_key, error))

    try:
        deliveries = _retrying(settings)(resolve, bucket, key, on_refused=keep_refused)
    except BillfoldError as error:
        return [_refuse(ingestion, bucket.name, key, error)]
    return refused + [_ingest_delivery(ingestion, bucket, delivery) for delivery in deliveries]


def _ingest_delivery(ingestion: Ingestion, bucket: Bucket, delivery: Delivery) -> DeliveryOutcome:
    """Try until it is in, up to the retry limit; what failed at last is an outcome."""
    key = delivery.manifest.key if delivery.manifest else delivery.files[0].key
    failed: list[DeliveryOutcome] = []

    def attempt() -> DeliveryOutcome:
        # What failed may have been replaced meanwhile: the key decides anew which delivery is current.
        latest = resolve(bucket, key)[0] if failed else delivery
        return _attempt(ingestion, bucket, latest, failed)

    try:
        return _retrying(ingestion.settings)(attempt)
    except BillfoldError as error:
        return failed[-1] if failed else _refuse(ingestion, bucket.name, key, error)


def _attempt(
    ingestion: Ingestion, bucket: Bucket, delivery: Delivery, failed: list[DeliveryOutcome]
) -> DeliveryOutcome:
    """One attempt on a connection of its own, with which the claim dies; a failure joins `failed` and is raised."""
    started = time.monotonic()
    with connect(ingestion.database.conninfo) as connection:
        registered = control.register_delivery(connection, ingestion.client, delivery, ingestion.trigger)
    with structlog.contextvars.bound_contextvars(
        client=ingestion.client.client_id,
        delivery_id=str(registered.delivery_id),
        statement=f"{delivery.export_name} {delivery.period or ''}".strip(),
        run_id=[str(run_id) for run_id in registered.run_ids],
    ):
        is_claimed = False
        try:
            with connect(ingestion.database.conninfo) as connection:
                control.claim(
                    connection, ingestion.client, delivery, wait_seconds=ingestion.settings.claim_wait_seconds
                )
                is_claimed = True
                outcome = _bring_in(ingestion, connection, bucket, delivery, registered)
        except BaseException as error:
            known = error if isinstance(error, BillfoldError) else _unknown(error)
            log.error("delivery_failed", error_code=known.error_code, error=str(known), retryable=known.retryable)
            # Without the claim another worker holds the statement, perhaps with these very runs: they are its to end.
            if is_claimed or not isinstance(known, RunConflictError):
                _keep_failure(ingestion, registered, known)
            failure = outcomes.unpublished(
                ingestion.client, delivery, registered, DeliveryState.FAILED, RunStatus.FAILED, known
            )
            failed.append(replace(failure, duration_seconds=time.monotonic() - started))
            raise
        outcome = replace(outcome, duration_seconds=time.monotonic() - started)
        log.info(
            "delivery_finished",
            state=outcome.state,
            rows_read=outcome.rows_read,
            rows_added=outcome.rows_added,
            rows_removed=outcome.rows_removed,
            rows_unchanged=outcome.rows_unchanged,
            billed_cost={currency: format(cost, "f") for currency, cost in outcome.billed_cost.items()},
            duration_seconds=round(outcome.duration_seconds, 3),
        )
        return outcome


def _bring_in(
    ingestion: Ingestion,
    connection: control.Connection,
    bucket: Bucket,
    delivery: Delivery,
    registered: control.RegisteredDelivery,
) -> DeliveryOutcome:
    """Under the claim: skip what is in, refuse what is older, else fetch and publish."""
    client, settings = ingestion.client, ingestion.settings
    current = control.find_statement(connection, client, delivery)
    if current and current.publication_id and not ingestion.force:
        if _holds(current, delivery):
            rows = control.adopt(connection, registered, current)
            return outcomes.skipped(client, delivery, registered, current, rows)
        # A file outside any export has no earlier deliveries: what stands at its key is what counts.
        if delivery.manifest and current.delivered_at and delivery.delivered_at < current.delivered_at:
            control.end(connection, registered, DeliveryState.SUPERSEDED, RunStatus.SKIPPED)
            return outcomes.unpublished(client, delivery, registered, DeliveryState.SUPERSEDED, RunStatus.SKIPPED)
    control.start(connection, registered, ingestion.trigger)
    timings = Timings()
    with _work_folder(settings) as folder:
        with timings.measure("fetch"):
            spooled = fetch_delivery(bucket, delivery, folder, settings, ingestion.progress)
            control.record_fetched(connection, registered, spooled)
        with open_bill(folder, memory_limit_mb=settings.memory_limit_mb, threads=settings.threads) as bill:
            with timings.measure("parse"):
                bill.parse(list(_unpack_all(spooled, folder, settings)))
                period = bill.find_period(expected=delivery.period, fallback=delivery.delivered_at.date())
            with timings.measure("identify"):
                bill.identify()
            return _publish(ingestion, connection, delivery, registered, bill, period, timings)


def _publish(
    ingestion: Ingestion,
    connection: control.Connection,
    delivery: Delivery,
    registered: control.RegisteredDelivery,
    bill: Bill,
    period: BillingPeriod,
    timings: Timings,
) -> DeliveryOutcome:
    statement = control.ensure_statement(
        connection,
        ingestion.client,
        delivery,
        period,
        hash_version=HASH_VERSION,
        lock_timeout_seconds=ingestion.settings.lock_timeout_seconds,
    )
    published = publish_bill(
        bill,
        database=ingestion.database,
        client=ingestion.client,
        statement=statement,
        residuals=control.list_residuals(connection, statement),
        delivery_id=registered.delivery_id,
        files=[
            LandingFile(file_number=number, ingestion_run_id=run_id, source=file)
            for number, (run_id, file) in enumerate(zip(registered.run_ids, delivery.files, strict=True))
        ],
        timings=timings,
    )
    for finding in published.findings:
        log.warning("finding", text=finding)
    return outcomes.published(ingestion.client, delivery, registered, period, published)


def _holds(current: control.CurrentStatement, delivery: Delivery) -> bool:
    """Whether every file of the delivery is the current one's, and was hashed and mapped as today."""
    return (
        current.file_versions == {(file.key, file.etag) for file in delivery.files}
        and current.mapping_version == MAPPING_VERSION
        and current.hash_version == HASH_VERSION
    )


def _keep_failure(ingestion: Ingestion, registered: control.RegisteredDelivery, error: BillfoldError) -> None:
    """Keep the failure where it can be seen; a database that is gone cannot, and must not hide the first error."""
    try:
        with connect(ingestion.database.conninfo) as connection:
            control.end(connection, registered, DeliveryState.FAILED, RunStatus.FAILED, error)
    except BillfoldError as second:
        log.error("failure_not_recorded", error=str(second))


def _refuse(ingestion: Ingestion, bucket: str, key: str, error: BillfoldError) -> DeliveryOutcome:
    """A source that resolves to no delivery leaves a failed run under the key that was asked for."""
    log.error("source_refused", bucket=bucket, key=key, error_code=error.error_code, error=str(error))
    with connect(ingestion.database.conninfo) as connection:
        run_id: UUID | None = control.record_failed_source(
            connection,
            ingestion.client,
            bucket=bucket,
            key=key,
            etag="",
            error=error,
            trigger=ingestion.trigger,
        )
    return outcomes.refused(ingestion.client, key, run_id, error)


def _unknown(error: BaseException) -> InternalError:
    """What nobody foresaw, in one line; its traceback goes on with the exception itself."""
    return InternalError(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}")


def _unpack_all(spooled: Sequence[SpooledFile], folder: Path, settings: Settings) -> Iterator[UnpackedFile]:
    for file in spooled:
        unpacked = unpack(file, folder, settings)
        if unpacked.path != file.path:
            file.path.unlink()
        yield unpacked


@contextmanager
def _work_folder(settings: Settings) -> Iterator[Path]:
    """A folder of this delivery's own in the spool, gone afterwards whatever happens."""
    settings.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix="delivery-", dir=settings.spool))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _retrying(settings: Settings) -> Retrying:
    """Try again what can succeed later: exponential backoff with jitter, up to INGEST_RETRY_MAX_ATTEMPTS."""
    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, BillfoldError) and error.retryable),
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
        "retrying",
        attempt=state.attempt_number,
        delay_seconds=round(state.next_action.sleep, 3) if state.next_action else 0,
        error=str(error),
    )
