"""Attempts on one delivery: each on connections of its own, retried up to the limit, its end always written down."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import structlog

from billfold import interruption
from billfold.aws import Bucket, resolve
from billfold.aws.layout import place_of
from billfold.bills import outcomes
from billfold.bills.delivery import describe, ingest_claimed
from billfold.bills.ingestion import Ingestion, retrying
from billfold.bills.local_roots import locate_delivery
from billfold.bills.sources import name_month, refuse
from billfold.errors import BillfoldError, InterruptionError, RunConflictError, as_internal
from billfold.log import Event
from billfold.model import Delivery, DeliveryOutcome, DeliveryState, RunStatus
from billfold.store.database import Connection, connect, connect_at_last, translate_errors
from billfold.store.deliveries import attempts, claims, registration, runs
from billfold.store.deliveries.registration import RegisteredDelivery

INTERRUPTION = InterruptionError("a signal ended the command before the delivery was done", advice="ingest it again")

log = structlog.get_logger(__name__)


def ingest_delivery(ingestion: Ingestion, bucket: Bucket, delivery: Delivery) -> DeliveryOutcome:
    """Try until the delivery is in, up to the retry limit; the last failure, expected or not, is an outcome."""
    key = delivery.manifest.key if delivery.manifest else delivery.files[0].key
    failed: list[DeliveryOutcome] = []

    def attempt() -> DeliveryOutcome:
        # What failed may have been replaced meanwhile: resolve the key again to find the current delivery.
        latest = resolve(bucket, key, tolerate_newer_files=ingestion.force)[0] if failed else delivery
        # The claim ends with the attempt's connection.
        with connect(ingestion.database.conninfo) as connection:
            place, latest = locate_delivery(
                connection, latest, bucket, client=ingestion.client, tolerate_newer_files=ingestion.force
            )
            if ingestion.month:
                latest = name_month(latest, ingestion.month)
            with interruption.unfinished(partial(_record_interruption, ingestion, latest)):
                return _attempt(ingestion, connection, place, latest, failed)

    try:
        return retrying(ingestion.settings)(attempt)
    except BillfoldError as error:
        return failed[-1] if failed else refuse(ingestion, bucket.name, key, error)
    except Exception as error:
        # The other deliveries go on.
        log.exception(Event.INTERNAL_ERROR, bucket=bucket.name, key=key)
        known = as_internal(error)
        return replace(failed[-1], exit_error=known) if failed else refuse(ingestion, bucket.name, key, known)


def _attempt(
    ingestion: Ingestion, connection: Connection, bucket: Bucket, delivery: Delivery, failed: list[DeliveryOutcome]
) -> DeliveryOutcome:
    """One attempt; a failure joins `failed` and is raised."""
    started = time.monotonic()
    registration.ensure_client(connection, ingestion.client)
    registered = registration.register_delivery(connection, ingestion.client, delivery, ingestion.trigger)
    with structlog.contextvars.bound_contextvars(
        client=ingestion.client.client_id,
        delivery_id=str(registered.delivery_id),
        statement=describe(delivery),
        run_id=[str(run_id) for run_id in registered.run_ids],
    ):
        is_claimed = False
        try:
            with translate_errors():
                claims.claim(connection, ingestion.client, delivery, wait_seconds=ingestion.settings.claim_wait_seconds)
                is_claimed = True
                outcome = ingest_claimed(ingestion, connection, bucket, delivery, registered)
        except interruption.Interruption:
            # Its state is written once its sessions have ended.
            raise
        except BaseException as error:
            interruption.check()
            failure = _record_failure(ingestion, connection, delivery, registered, error, is_claimed=is_claimed)
            failed.append(replace(failure, duration_seconds=time.monotonic() - started))
            raise
        outcome = replace(outcome, duration_seconds=time.monotonic() - started)
        if outcome.state is DeliveryState.PUBLISHED:
            interruption.note(f"{describe(delivery)} is published")
        _skip_unnamed(ingestion, connection, delivery, outcome)
        _log_finished(outcome)
        return outcome


def _record_interruption(ingestion: Ingestion, delivery: Delivery) -> str:
    """Record that a signal ended the attempt, and describe the state that it leaves."""
    statement = describe(delivery)
    with connect_at_last(ingestion.database.conninfo) as connection:
        state = attempts.interrupt(connection, ingestion.client, delivery, INTERRUPTION)
    log.warning(Event.DELIVERY_INTERRUPTED, client=ingestion.client.client_id, statement=statement, state=state)
    if state is DeliveryState.PENDING:
        return f"{statement} is left pending, and the next ingest takes it up"
    return f"{statement} is {state}" if state else f"{statement} was not started"


def _record_failure(
    ingestion: Ingestion,
    connection: Connection,
    delivery: Delivery,
    registered: RegisteredDelivery,
    error: BaseException,
    *,
    is_claimed: bool,
) -> DeliveryOutcome:
    known = _translate(error)
    if isinstance(known, RunConflictError):
        # Two workers that want the same are no failure: the other one does it.
        log.warning(Event.DELIVERY_BUSY, error=str(known))
    else:
        log.error(Event.DELIVERY_FAILED, error_code=known.error_code, error=str(known), retryable=known.retryable)
    # Without the claim another worker holds the statement, perhaps with these very runs: only that worker ends them.
    if is_claimed or not isinstance(known, RunConflictError):
        try:
            # What failed may be the attempt's connection.
            with connect(ingestion.database.conninfo) as another:
                if claims.is_held(connection) or not _is_taken_over(ingestion, another, delivery, registered):
                    attempts.end(another, registered, DeliveryState.FAILED, RunStatus.FAILED, known)
        except BillfoldError as second:
            # A database that is gone must not hide the first error.
            log.error(Event.FAILURE_NOT_RECORDED, error=str(second))
    return outcomes.unpublished(ingestion.client, delivery, registered, DeliveryState.FAILED, RunStatus.FAILED, known)


def _is_taken_over(
    ingestion: Ingestion, connection: Connection, delivery: Delivery, registered: RegisteredDelivery
) -> bool:
    """Whether another worker has the delivery, or has ended it, since the claim was lost with its connection."""
    try:
        claims.claim(connection, ingestion.client, delivery, wait_seconds=0)
    except RunConflictError:
        return True
    state = registration.read_state(connection, registered.delivery_id)
    return state not in (DeliveryState.PENDING, DeliveryState.RUNNING)


def _skip_unnamed(ingestion: Ingestion, connection: Connection, delivery: Delivery, outcome: DeliveryOutcome) -> None:
    """Skip the month's data files that arrived before the manifest and that it does not name.

    The delivery is published even if this fails: the next one does it again.
    """
    if outcome.state is not DeliveryState.PUBLISHED or delivery.manifest is None or delivery.period is None:
        return
    try:
        with translate_errors():
            unnamed = [
                waiting.ingestion_run_id
                for waiting in runs.list_waiting(connection, ingestion.client, delivery)
                if (place := place_of(waiting.key)) and place.statement == (delivery.export_path, delivery.period)
            ]
            if unnamed:
                runs.skip_waiting(connection, unnamed)
    except BillfoldError as error:
        log.warning(Event.UNNAMED_NOT_SKIPPED, error_code=error.error_code, error=str(error))


def _log_finished(outcome: DeliveryOutcome) -> None:
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


def _translate(error: BaseException) -> BillfoldError:
    if isinstance(error, BillfoldError):
        return error
    return INTERRUPTION if isinstance(error, KeyboardInterrupt | SystemExit) else as_internal(error)
