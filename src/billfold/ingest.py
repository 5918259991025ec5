"""One delivery, start to finish: resolve, claim, fetch, parse, identify, compare, land, map, reconcile, publish."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from billfold.config import Settings
from billfold.errors import BillfoldError, InputError, InternalError, SourceError
from billfold.exports import Bucket, Progress, SilentProgress, fetch_delivery, locate, resolve, unpack
from billfold.model import (
    Client,
    Delivery,
    DeliveryOutcome,
    DeliveryState,
    RunOutcome,
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
from billfold.transform.compare import Comparison
from billfold.transform.identify import HASH_VERSION
from billfold.transform.landing import LandingFile
from billfold.transform.mapping import MAPPING_VERSION

MAX_RETRY_DELAY_SECONDS = 60

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion:
    """What one call works with: in whose name, on whose behalf, with which connections and limits."""

    client: Client
    settings: Settings
    database: Database
    connection: control.Connection
    trigger: TriggerSource
    force: bool = False
    progress: Progress = field(default_factory=SilentProgress)


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
    with connect(database.conninfo) as connection:
        control.ensure_client(connection, client)
        ingestion = Ingestion(
            client=client,
            settings=settings,
            database=database,
            connection=connection,
            trigger=trigger,
            force=force,
            progress=progress or SilentProgress(),
        )
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
    latest: list[DeliveryOutcome] = []

    def attempt(delivery: Delivery) -> DeliveryOutcome:
        if latest:
            # What failed may have been replaced meanwhile: the key decides anew which delivery is current.
            delivery = resolve(bucket, delivery.manifest.key if delivery.manifest else delivery.files[0].key)[0]
        return _attempt(ingestion, bucket, delivery, latest)

    try:
        return _retrying(ingestion.settings)(attempt, delivery)
    except BillfoldError as error:
        if not latest:
            return _refuse(
                ingestion, bucket.name, delivery.manifest.key if delivery.manifest else delivery.files[0].key, error
            )
        return latest[-1]


def _attempt(
    ingestion: Ingestion, bucket: Bucket, delivery: Delivery, latest: list[DeliveryOutcome]
) -> DeliveryOutcome:
    started = time.monotonic()
    registered = control.register_delivery(ingestion.connection, ingestion.client, delivery, ingestion.trigger)
    with structlog.contextvars.bound_contextvars(
        client=ingestion.client.client_id,
        delivery_id=str(registered.delivery_id),
        statement=f"{delivery.export_name} {delivery.period or ''}".strip(),
        run_id=[str(run_id) for run_id in registered.run_ids],
    ):
        try:
            with control.claim(
                ingestion.connection, ingestion.client, delivery, wait_seconds=ingestion.settings.claim_wait_seconds
            ):
                outcome = _bring_in(ingestion, bucket, delivery, registered)
        except BaseException as error:
            known = error if isinstance(error, BillfoldError) else _unknown(error)
            latest.append(_fail(ingestion, delivery, registered, known, time.monotonic() - started))
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
    ingestion: Ingestion, bucket: Bucket, delivery: Delivery, registered: control.RegisteredDelivery
) -> DeliveryOutcome:
    """Under the claim: skip what is in, refuse what is older, else fetch and publish."""
    current = control.find_statement(ingestion.connection, ingestion.client, delivery)
    if current and current.publication_id and not ingestion.force:
        if _holds(current, delivery):
            return _skip(ingestion, delivery, registered, current)
        if current.delivered_at and delivery.delivered_at < current.delivered_at:
            return _supersede(ingestion, delivery, registered)
    control.start(ingestion.connection, registered, ingestion.trigger)
    with _work_folder(ingestion.settings) as folder:
        timings = Timings()
        with timings.measure("fetch"):
            spooled = fetch_delivery(bucket, delivery, folder, ingestion.settings, ingestion.progress)
            control.record_fetched(ingestion.connection, registered, spooled)
        with open_bill(
            folder, memory_limit_mb=ingestion.settings.memory_limit_mb, threads=ingestion.settings.threads
        ) as bill:
            with timings.measure("parse"):
                bill.parse(list(_unpack_all(spooled, folder, ingestion.settings)))
                period = bill.find_period(expected=delivery.period, fallback=delivery.delivered_at.date())
            with timings.measure("identify"):
                bill.identify()
            return _publish(ingestion, delivery, registered, bill, period, timings)


def _publish(
    ingestion: Ingestion,
    delivery: Delivery,
    registered: control.RegisteredDelivery,
    bill: Bill,
    period: BillingPeriod,
    timings: Timings,
) -> DeliveryOutcome:
    statement = control.ensure_statement(
        ingestion.connection, ingestion.client, delivery, period, hash_version=HASH_VERSION
    )
    published = publish_bill(
        bill,
        database=ingestion.database,
        client=ingestion.client,
        statement=statement,
        residuals=control.list_residuals(ingestion.connection, statement),
        delivery_id=registered.delivery_id,
        files=[
            LandingFile(file_number=number, ingestion_run_id=run_id, source=file)
            for number, (run_id, file) in enumerate(zip(registered.run_ids, delivery.files, strict=True))
        ],
        timings=timings,
    )
    for finding in published.findings:
        log.warning("finding", text=finding)
    comparison = published.comparison
    return DeliveryOutcome(
        delivery_id=registered.delivery_id,
        client_id=ingestion.client.client_id,
        export_name=delivery.export_name,
        billing_period=str(period),
        state=DeliveryState.PUBLISHED,
        rows_read=published.source.row_count,
        rows_added=comparison.rows_added,
        rows_removed=comparison.rows_removed,
        rows_unchanged=comparison.rows_unchanged,
        source_cost=published.source.billed,
        billed_cost=published.after.billed,
        runs=_published_runs(delivery, registered, comparison),
        findings=published.findings,
    )


def _holds(current: control.CurrentStatement, delivery: Delivery) -> bool:
    """Whether every file of the delivery is the current one's, and was hashed and mapped as today."""
    return (
        current.file_versions == {(file.key, file.etag) for file in delivery.files}
        and current.mapping_version == MAPPING_VERSION
        and current.hash_version == HASH_VERSION
    )


def _skip(
    ingestion: Ingestion,
    delivery: Delivery,
    registered: control.RegisteredDelivery,
    current: control.CurrentStatement,
) -> DeliveryOutcome:
    """The delivery is the current one: nothing is downloaded, nothing changes."""
    counts = control.adopt(ingestion.connection, registered, current)
    return DeliveryOutcome(
        delivery_id=registered.delivery_id,
        client_id=ingestion.client.client_id,
        export_name=delivery.export_name,
        billing_period=str(current.billing_period),
        state=DeliveryState.PUBLISHED,
        rows_read=current.totals.row_count,
        rows_unchanged=current.totals.row_count,
        source_cost=current.totals.billed,
        billed_cost=current.totals.billed,
        runs=tuple(
            RunOutcome(
                ingestion_run_id=run_id,
                source_s3_key=file.key,
                status=RunStatus.SKIPPED,
                rows_read=counts.get((file.key, file.etag), 0),
                rows_skipped=counts.get((file.key, file.etag), 0),
            )
            for run_id, file in zip(registered.run_ids, delivery.files, strict=True)
        ),
    )


def _supersede(ingestion: Ingestion, delivery: Delivery, registered: control.RegisteredDelivery) -> DeliveryOutcome:
    """A newer delivery is published: this one is kept as superseded and never applied."""
    control.end(ingestion.connection, registered, DeliveryState.SUPERSEDED, RunStatus.SKIPPED)
    return _unpublished(ingestion, delivery, registered, DeliveryState.SUPERSEDED, RunStatus.SKIPPED, None)


def _fail(
    ingestion: Ingestion,
    delivery: Delivery,
    registered: control.RegisteredDelivery,
    error: BillfoldError,
    duration_seconds: float,
) -> DeliveryOutcome:
    """Keep the failure where it can be seen; a database that is gone cannot, and must not hide the first error."""
    try:
        control.end(ingestion.connection, registered, DeliveryState.FAILED, RunStatus.FAILED, error)
    except Exception as second:
        log.error("failure_not_recorded", error=str(second))
    log.error("delivery_failed", error_code=error.error_code, error=str(error), retryable=error.retryable)
    outcome = _unpublished(ingestion, delivery, registered, DeliveryState.FAILED, RunStatus.FAILED, error)
    return replace(outcome, duration_seconds=duration_seconds)


def _unknown(error: BaseException) -> InternalError:
    """What nobody foresaw, in one line; its traceback goes on with the exception itself."""
    return InternalError(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}")


def _unpublished(
    ingestion: Ingestion,
    delivery: Delivery,
    registered: control.RegisteredDelivery,
    state: DeliveryState,
    status: RunStatus,
    error: BillfoldError | None,
) -> DeliveryOutcome:
    error_code = error.error_code if error else None
    return DeliveryOutcome(
        delivery_id=registered.delivery_id,
        client_id=ingestion.client.client_id,
        export_name=delivery.export_name,
        billing_period=str(delivery.period) if delivery.period else None,
        state=state,
        runs=tuple(
            RunOutcome(ingestion_run_id=run_id, source_s3_key=file.key, status=status, error_code=error_code)
            for run_id, file in zip(registered.run_ids, delivery.files, strict=True)
        ),
        exit_error=error,
    )


def _refuse(ingestion: Ingestion, bucket: str, key: str, error: BillfoldError) -> DeliveryOutcome:
    """A source that resolves to no delivery leaves a failed run under the key that was asked for."""
    run_id = control.record_failed_source(
        ingestion.connection,
        ingestion.client,
        bucket=bucket,
        key=key,
        etag="",
        error=error,
        trigger=ingestion.trigger,
    )
    log.error("source_refused", bucket=bucket, key=key, error_code=error.error_code, error=str(error))
    return DeliveryOutcome(
        delivery_id=None,
        client_id=ingestion.client.client_id,
        export_name=key,
        billing_period=None,
        state=DeliveryState.FAILED,
        runs=(
            RunOutcome(
                ingestion_run_id=run_id, source_s3_key=key, status=RunStatus.FAILED, error_code=error.error_code
            ),
        )
        if run_id
        else (),
        exit_error=error,
    )


def _published_runs(
    delivery: Delivery, registered: control.RegisteredDelivery, comparison: Comparison
) -> tuple[RunOutcome, ...]:
    return tuple(
        RunOutcome(
            ingestion_run_id=run_id,
            source_s3_key=file.key,
            status=RunStatus.SUCCESS,
            rows_read=comparison.rows_read_by_file.get(number, 0),
            rows_inserted=comparison.rows_added_by_file.get(number, 0),
            rows_skipped=comparison.rows_read_by_file.get(number, 0) - comparison.rows_added_by_file.get(number, 0),
        )
        for number, (run_id, file) in enumerate(zip(registered.run_ids, delivery.files, strict=True))
    )


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
