"""One delivery, start to finish: resolve, claim, fetch, parse, identify, compare, land, map, reconcile, publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import UUID

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from billfold import interruption
from billfold.aws import Bucket, Progress, SilentProgress, address, fetch_delivery, resolve, unpack
from billfold.aws.layout import place_of
from billfold.bills import outcomes
from billfold.bills.admission import (
    confirm,
    find_obstacle,
    find_standalone,
    find_standing,
    holds,
    is_copy,
    judge,
    may_stay,
)
from billfold.bills.expiry import find_expired
from billfold.bills.left_out import Sieve
from billfold.bills.local_roots import locate_source, settle
from billfold.bills.publication import PublishedBill, Timings, UnchangedBill, publish_bill
from billfold.bills.typed_sources import leaves_nothing, refuse_other_file
from billfold.errors import (
    BillfoldError,
    DeliveryHeldError,
    InputError,
    InterruptionError,
    RunConflictError,
    SourceError,
    UsageError,
    as_internal,
)
from billfold.log import Event
from billfold.model import (
    Client,
    Delivery,
    DeliveryOutcome,
    DeliveryState,
    LeftOutFile,
    RunStatus,
    SpooledFile,
    TriggerSource,
    UnpackedFile,
)
from billfold.period import BillingPeriod
from billfold.quality import record_checks
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect, connect_at_last
from billfold.store.deliveries import control, hold, runs, statements
from billfold.transform import Bill, open_bill
from billfold.transform.identify import HASH_VERSION
from billfold.transform.landing import LandingFile
from billfold.work_folder import work_folder

MAX_RETRY_DELAY_SECONDS = 60
INTERRUPTION = InterruptionError("a signal ended the command before the delivery was done", advice="ingest it again")

log = structlog.get_logger(__name__)


OnLeftOut = Callable[[Sequence[LeftOutFile]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion:
    """What one call works with: in whose name, on whose behalf, where to and within which limits.

    `since` is the first billing period that is wanted: what only its content dates is read, and left if it is older.
    `most` is how many deliveries a folder may mean. `is_event` is whether the source is an object that came, so that it
    may be anything, `is_typed` whether somebody typed it. `on_left_out` is called with what lies in the source and is
    not a bill. `month` is what somebody named for a file that names none.
    """

    client: Client
    settings: Settings
    database: Database
    trigger: TriggerSource
    force: bool
    progress: Progress
    since: BillingPeriod | None = None
    most: int | None = None
    is_event: bool = False
    is_typed: bool = False
    on_left_out: OnLeftOut | None = None
    month: BillingPeriod | None = None


def ingest(
    source: str,
    *,
    client: Client,
    settings: Settings,
    database: Database,
    trigger: TriggerSource = TriggerSource.CLI,
    force: bool = False,
    progress: Progress | None = None,
    is_event: bool = False,
    on_left_out: OnLeftOut | None = None,
    month: BillingPeriod | None = None,
) -> list[DeliveryOutcome]:
    """Ingest everything that `source` means and say how each delivery ended, the oldest period first.

    `month` is the billing period of one file that names none itself, whenever the usage in it starts. What is not a
    bill in a folder is left out, and told to `on_left_out`; so is the source itself if it `is_event`.

    A delivery that fails is an outcome with its error, and does not stop the others. Of a typing error nothing is
    kept: see `typed`. Raises only what keeps any
    delivery from being tried: configuration, usage, the database.
    """
    ingestion = Ingestion(
        client=client,
        settings=settings,
        database=database,
        trigger=trigger,
        force=force,
        progress=progress or SilentProgress(),
        is_event=is_event,
        is_typed=trigger is TriggerSource.CLI and not is_event,
        on_left_out=on_left_out,
        month=month,
    )
    found, refused = find_deliveries(ingestion, source)
    return refused + [ingest_delivery(ingestion, bucket, delivery) for bucket, delivery in found]


def find_deliveries(ingestion: Ingestion, source: str) -> tuple[list[tuple[Bucket, Delivery]], list[DeliveryOutcome]]:
    """The deliveries that `source` means, each with its bucket, and outcomes for what cannot be resolved."""
    client, settings, database = ingestion.client, ingestion.settings, ingestion.database
    retrying(settings)(_check_client, database, client)
    try:
        bucket, key = retrying(settings)(locate_source, source, client, settings, database)
    except (SourceError, InputError) as error:
        # The role refuses us, a path does not exist, a local manifest cannot be read: there is no bucket to name.
        return [], [_refuse(ingestion, "" if ingestion.is_typed else client.bucket or "", source, error)]
    if ingestion.is_typed:
        try:
            refuse_other_file(bucket, key, client, database)
        except InputError as error:
            return [], [_refuse(ingestion, bucket.name, key, error)]
    deliveries, refused = resolve_all(ingestion, bucket, key)
    if deliveries:
        retrying(settings)(keep_client, database, client)
    return [(bucket, delivery) for delivery in deliveries], refused


def resolve_all(
    ingestion: Ingestion, bucket: Bucket, key: str, *, since: BillingPeriod | None = None
) -> tuple[list[Delivery], list[DeliveryOutcome]]:
    """The deliveries at a key, and outcomes for statements that cannot be resolved; `since` leaves out older ones.

    Among those outcomes are the current deliveries whose data files have expired: they have no error. Raises UsageError
    where there are too many deliveries.
    """
    refused: list[DeliveryOutcome] = []

    def keep_refused(manifest_key: str, error: BillfoldError) -> None:
        refused.append(_keep_or_refuse(ingestion, bucket, manifest_key, error))

    sieve = Sieve(ingestion.client, ingestion.database, takes_named=ingestion.is_event)
    try:
        deliveries = retrying(ingestion.settings)(
            resolve,
            bucket,
            key,
            on_refused=keep_refused,
            since=since,
            most=ingestion.most,
            tolerate_newer_files=ingestion.force,
            leave_out=sieve,
        )
    except UsageError:
        # Nothing is wrong with what stands there.
        raise
    except BillfoldError as error:
        return [], [_keep_or_refuse(ingestion, bucket, key, error)]
    except Exception as error:
        log.exception(Event.INTERNAL_ERROR, bucket=bucket.name, key=key)
        return [], [_refuse(ingestion, bucket.name, key, as_internal(error))]
    finally:
        sieve.tell(bucket.name)
    if ingestion.on_left_out and sieve.found:
        ingestion.on_left_out(sieve.found)
    if ingestion.month:
        if len(deliveries) + len(refused) > 1:
            raise UsageError(
                f"the month {ingestion.month} is of one file, and {address(bucket.name, key)} holds"
                f" {len(deliveries) + len(refused)} deliveries",
                advice="name the file itself",
            )
        deliveries = [name_month(delivery, ingestion.month) for delivery in deliveries]
    return deliveries, refused


def name_month(delivery: Delivery, month: BillingPeriod) -> Delivery:
    """The delivery as one of the month that somebody names; raises UsageError where it is of another month."""
    if delivery.period is None:
        return replace(delivery, period=month, is_month_named=True)
    if delivery.period != month:
        told_by = "manifest" if delivery.manifest else "key"
        raise UsageError(
            f"{delivery.export_name} is of {delivery.period}, as its {told_by} says, not of {month}",
            advice="leave the month out",
        )
    return delivery


def ingest_delivery(ingestion: Ingestion, bucket: Bucket, delivery: Delivery) -> DeliveryOutcome:
    """Try until it is in, up to the retry limit; what failed at last is an outcome, foreseen or not."""
    key = delivery.manifest.key if delivery.manifest else delivery.files[0].key
    failed: list[DeliveryOutcome] = []

    def attempt() -> DeliveryOutcome:
        # What failed may have been replaced meanwhile: the key decides anew which delivery is current.
        latest = resolve(bucket, key, tolerate_newer_files=ingestion.force)[0] if failed else delivery
        place, latest = settle(
            latest,
            bucket,
            client=ingestion.client,
            database=ingestion.database,
            tolerate_newer_files=ingestion.force,
        )
        if ingestion.month:
            latest = name_month(latest, ingestion.month)
        return _attempt(ingestion, place, latest, failed)

    try:
        return retrying(ingestion.settings)(attempt)
    except BillfoldError as error:
        return failed[-1] if failed else _refuse(ingestion, bucket.name, key, error)
    except Exception as error:
        # The deliveries beside this one go on.
        log.exception(Event.INTERNAL_ERROR, bucket=bucket.name, key=key)
        known = as_internal(error)
        return replace(failed[-1], exit_error=known) if failed else _refuse(ingestion, bucket.name, key, known)


def _attempt(
    ingestion: Ingestion, bucket: Bucket, delivery: Delivery, failed: list[DeliveryOutcome]
) -> DeliveryOutcome:
    """One attempt on a connection of its own, with which the claim dies; a failure joins `failed` and is raised."""
    with interruption.unfinished(partial(_settle, ingestion, delivery)):
        return _attempt_once(ingestion, bucket, delivery, failed)


def _settle(ingestion: Ingestion, delivery: Delivery) -> str:
    """Write down that a signal ended the attempt, and say how the delivery stands then."""
    statement = _name(delivery)
    with connect_at_last(ingestion.database.conninfo) as connection:
        state = control.interrupt(connection, ingestion.client, delivery, INTERRUPTION)
    log.warning(Event.DELIVERY_INTERRUPTED, client=ingestion.client.client_id, statement=statement, state=state)
    if state is DeliveryState.PENDING:
        return f"{statement} is left pending, and the next ingest takes it up"
    return f"{statement} is {state}" if state else f"{statement} is not begun"


def _attempt_once(
    ingestion: Ingestion, bucket: Bucket, delivery: Delivery, failed: list[DeliveryOutcome]
) -> DeliveryOutcome:
    started = time.monotonic()
    with connect(ingestion.database.conninfo) as connection:
        registered = control.register_delivery(connection, ingestion.client, delivery, ingestion.trigger)
    with structlog.contextvars.bound_contextvars(
        client=ingestion.client.client_id,
        delivery_id=str(registered.delivery_id),
        statement=_name(delivery),
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
        except interruption.Interruption:
            # How it is left is written down when its sessions have ended.
            raise
        except BaseException as error:
            interruption.check()
            known = _known(error)
            if isinstance(known, RunConflictError):
                # Two who want the same are no failure: the other one does it.
                log.warning(Event.DELIVERY_BUSY, error=str(known))
            else:
                log.error(
                    Event.DELIVERY_FAILED, error_code=known.error_code, error=str(known), retryable=known.retryable
                )
            # Without the claim another worker holds the statement, perhaps with these very runs: they are its to end.
            if is_claimed or not isinstance(known, RunConflictError):
                _keep_failure(ingestion, registered, known)
            failure = outcomes.unpublished(
                ingestion.client, delivery, registered, DeliveryState.FAILED, RunStatus.FAILED, known
            )
            failed.append(replace(failure, duration_seconds=time.monotonic() - started))
            raise
        outcome = replace(outcome, duration_seconds=time.monotonic() - started)
        if outcome.state is DeliveryState.PUBLISHED:
            interruption.note(f"{_name(delivery)} is published")
        _skip_unnamed(ingestion, delivery, outcome)
        log.info(
            Event.DELIVERY_FINISHED,
            state=outcome.state,
            rows_read=outcome.rows_read,
            rows_added=outcome.rows_added,
            rows_removed=outcome.rows_removed,
            rows_unchanged=outcome.rows_unchanged,
            billed_cost={currency: format(cost, "f") for currency, cost in outcome.billed_cost.items()},
            duration_seconds=round(outcome.duration_seconds, 3),
            **({"reason": outcome.reason} if outcome.reason else {}),
        )
        return outcome


def _bring_in(
    ingestion: Ingestion,
    connection: Connection,
    bucket: Bucket,
    delivery: Delivery,
    registered: control.RegisteredDelivery,
) -> DeliveryOutcome:
    """Under the claim: skip what is in, refuse what may not come in, else fetch and publish."""
    client, settings = ingestion.client, ingestion.settings
    control.end_abandoned(connection, registered.delivery_id)
    # While the claim was waited for, the delivery may have been rolled back, or let through.
    registered = control.read_again(connection, registered)
    current = statements.find_statement(connection, client, delivery)
    obstacle = find_obstacle(
        connection, client, delivery, registered, current, least_percent=settings.hold_below_percent
    )
    if obstacle and not ingestion.force:
        return _leave_out(ingestion, connection, delivery, registered, *obstacle)
    expected = _find_expected(connection, client, delivery)
    if current and find_standalone(connection, client, delivery, current.billing_period):
        # Its rows stand twice until they are taken over.
        current = None
    if current and holds(current, delivery) and not ingestion.force:
        rows = control.adopt(connection, registered, current)
        return outcomes.skipped(client, delivery, registered, current, rows)
    control.start(connection, registered, ingestion.trigger)
    timings = Timings()
    with work_folder(settings, "delivery") as folder:
        with timings.measure("fetch"):
            spooled = fetch_delivery(bucket, delivery, folder, settings, ingestion.progress)
            control.record_fetched(connection, registered, spooled)
        if current and not ingestion.force and is_copy(current, spooled):
            rows = control.adopt(connection, registered, current)
            return outcomes.skipped(client, delivery, registered, current, rows, status=RunStatus.SUCCESS)
        with open_bill(folder, memory_limit_mb=settings.memory_limit_mb, threads=settings.threads) as bill:
            with timings.measure("parse"):
                files = list(_unpack_all(spooled, folder, settings))
                bill.parse(files, max_unpacked_bytes=settings.max_unpacked_bytes)
                period = bill.find_period(expected=expected, fallback=delivery.delivered_at.date())
            if ingestion.since and period < ingestion.since:
                reason = f"is of {period}, and nothing before {ingestion.since} was asked for"
                control.set_aside(connection, registered, period, reason)
                return outcomes.set_aside(client, delivery, registered, period, reason)
            with timings.measure("identify"):
                bill.identify()
            # What is lost by one that was held is said where it is published.
            passed = obstacle[1] if obstacle and obstacle[0] is not DeliveryState.HELD else None
            remarks = [f"published by force, although it {passed}"] if passed else []
            if delivery.time_fault:
                remarks.append(f"{delivery.time_fault}: it says nothing about the order of deliveries")
            return _publish(ingestion, connection, delivery, registered, bill, period, remarks, timings)


def _find_expected(connection: Connection, client: Client, delivery: Delivery) -> BillingPeriod | None:
    """The month that the content must be of: the delivery's, else the one as which this very version is current.

    Raises UsageError for a named month where this version is current as another one: it would be counted twice.
    """
    if delivery.period and not delivery.is_month_named:
        return delivery.period
    known = statements.list_months_of_version(connection, client, delivery)
    if delivery.period is None:
        return known[0][0] if known else None
    for month, delivery_id in known:
        if month != delivery.period:
            raise UsageError(
                f"{delivery.export_name} is in as {month}: it cannot be of {delivery.period} too",
                advice=f"take that back first: billfold rollback {delivery_id}",
            )
    return delivery.period


def _name(delivery: Delivery) -> str:
    return f"{delivery.export_name} {delivery.period or ''}".strip()


def _skip_unnamed(ingestion: Ingestion, delivery: Delivery, outcome: DeliveryOutcome) -> None:
    """Data files of this month that came before the manifest, and that it does not name, wait for nothing any more.

    The delivery is published, whatever comes of this: the next one does it again.
    """
    if outcome.state is not DeliveryState.PUBLISHED or delivery.manifest is None or delivery.period is None:
        return
    try:
        with connect(ingestion.database.conninfo) as connection:
            unnamed = [
                waiting.ingestion_run_id
                for waiting in runs.list_waiting(connection, ingestion.client, delivery)
                if (place := place_of(waiting.key)) and place.statement == (delivery.export_path, delivery.period)
            ]
            if unnamed:
                runs.skip_waiting(connection, unnamed)
    except BillfoldError as error:
        log.warning(Event.UNNAMED_NOT_SKIPPED, error_code=error.error_code, error=str(error))


def _leave_out(
    ingestion: Ingestion,
    connection: Connection,
    delivery: Delivery,
    registered: control.RegisteredDelivery,
    state: DeliveryState,
    reason: str,
) -> DeliveryOutcome:
    """The delivery ends without being published, and says why."""
    control.end(connection, registered, state, RunStatus.SKIPPED, reason=reason)
    error = _ask_for_release(delivery, registered, reason) if state is DeliveryState.HELD else None
    return outcomes.unpublished(ingestion.client, delivery, registered, state, RunStatus.SKIPPED, error, reason=reason)


def _publish(
    ingestion: Ingestion,
    connection: Connection,
    delivery: Delivery,
    registered: control.RegisteredDelivery,
    bill: Bill,
    period: BillingPeriod,
    remarks: Sequence[str],
    timings: Timings,
) -> DeliveryOutcome:
    client, settings = ingestion.client, ingestion.settings
    statement = statements.ensure_statement(
        connection,
        client,
        delivery,
        period,
        hash_version=HASH_VERSION,
        lock_timeout_seconds=settings.lock_timeout_seconds,
    )
    standing = find_standing(connection, client, delivery, statement)
    published = publish_bill(
        bill,
        standing,
        database=ingestion.database,
        client=client,
        delivery_id=registered.delivery_id,
        files=[
            LandingFile(file_number=number, ingestion_run_id=run_id, source=file)
            for number, (run_id, file) in enumerate(zip(registered.run_ids, delivery.files, strict=True))
        ],
        least_percent=settings.hold_below_percent,
        let_through="by force" if ingestion.force else "by release" if registered.is_released else None,
        may_stay=may_stay(statement) and not ingestion.force,
        confirm=partial(confirm, connection, client, delivery, standing, force=ingestion.force),
        remarks=remarks,
        timings=timings,
    )
    for finding in published.findings:
        log.warning(Event.FINDING, text=finding)
    if isinstance(published, PublishedBill):
        # The bill is in, whatever the checks find or miss.
        for checked in (statement.statement_id, *sorted(published.affected)):
            record_checks(ingestion.database, statement_id=checked)
        return outcomes.published(client, delivery, registered, period, published)
    read = published.comparison.rows_read_by_file
    compared = hold.Compared(
        rows_read=tuple(read.get(number, 0) for number in range(len(delivery.files))),
        columns=published.columns,
        findings=published.findings,
        timings=timings.seconds,
    )
    if isinstance(published, UnchangedBill):
        rows = control.adopt(connection, registered, statement, compared)
        outcome = outcomes.skipped(client, delivery, registered, statement, rows, status=RunStatus.SUCCESS)
        return replace(outcome, findings=published.findings)
    with connection.transaction():
        control.end(connection, registered, DeliveryState.HELD, RunStatus.SKIPPED, reason=published.reason)
        hold.keep_judgement(
            connection,
            registered.delivery_id,
            registered.run_ids,
            judge(statement, standing.standalone, least_percent=settings.hold_below_percent),
            compared,
            period=period,
            export_format=bill.export_format,
            source_cost=published.source.billed,
        )
    error = _ask_for_release(delivery, registered, published.reason)
    return outcomes.held(client, delivery, registered, period, published, error)


def _ask_for_release(delivery: Delivery, registered: control.RegisteredDelivery, reason: str) -> DeliveryHeldError:
    return DeliveryHeldError(
        f"{delivery.export_name} {delivery.period or ''}".rstrip() + f" is held: it {reason}",
        advice=f"the old bill stands; if that is right: billfold release {registered.delivery_id}",
    )


def _keep_failure(ingestion: Ingestion, registered: control.RegisteredDelivery, error: BillfoldError) -> None:
    """Keep the failure where it can be seen; a database that is gone cannot, and must not hide the first error."""
    try:
        with connect(ingestion.database.conninfo) as connection:
            control.end(connection, registered, DeliveryState.FAILED, RunStatus.FAILED, error)
    except BillfoldError as second:
        log.error(Event.FAILURE_NOT_RECORDED, error=str(second))


def _check_client(database: Database, client: Client) -> None:
    with connect(database.conninfo) as connection:
        control.check_client(connection, client)


def keep_client(database: Database, client: Client) -> None:
    """Keep the client's row as it is configured."""
    with connect(database.conninfo) as connection:
        control.ensure_client(connection, client)


def _keep_or_refuse(ingestion: Ingestion, bucket: Bucket, key: str, error: BillfoldError) -> DeliveryOutcome:
    """The outcome of a statement that cannot be resolved: nothing to do where only its current files have expired."""
    client = ingestion.client
    if not ingestion.force and (expired := find_expired(ingestion.database, client, bucket, error)):
        return outcomes.kept(
            client,
            expired.statement,
            export_name=expired.export_name,
            files=expired.files,
            reason=expired.reason,
        )
    return _refuse(ingestion, bucket.name, key, error)


def _refuse(ingestion: Ingestion, bucket: str, key: str, error: BillfoldError) -> DeliveryOutcome:
    """A source that resolves to no delivery leaves a failed run under the key that was asked for.

    What somebody typed leaves one only where it is a source of a known client: see `typed`.
    """
    log.error(
        Event.SOURCE_REFUSED,
        bucket=bucket,
        key=key,
        error_code=error.error_code,
        error=str(error),
        retryable=error.retryable,
    )
    client, database = ingestion.client, ingestion.database
    if ingestion.is_typed and leaves_nothing(
        error, bucket, key, client=client, settings=ingestion.settings, database=database
    ):
        return outcomes.refused(client, key, None, error)
    with connect(database.conninfo) as connection:
        control.ensure_client(connection, client)
        run_id: UUID | None = runs.record_failed_source(
            connection,
            client,
            bucket=bucket or client.bucket or "",
            key=key,
            etag="",
            error=error,
            trigger=ingestion.trigger,
        )
    return outcomes.refused(client, key, run_id, error)


def _known(error: BaseException) -> BillfoldError:
    if isinstance(error, BillfoldError):
        return error
    return INTERRUPTION if isinstance(error, KeyboardInterrupt | SystemExit) else as_internal(error)


def _unpack_all(spooled: Sequence[SpooledFile], folder: Path, settings: Settings) -> Iterator[UnpackedFile]:
    for file in spooled:
        unpacked = unpack(file, folder, settings)
        if unpacked.path != file.path:
            file.path.unlink()
        yield unpacked


def retrying(settings: Settings) -> Retrying:
    """Try again what can succeed later: exponential backoff with jitter, up to INGEST_RETRY_MAX_ATTEMPTS."""
    return Retrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, BillfoldError) and error.retryable and not interruption.is_asked()
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
