"""One delivery under its statement's claim: skip what is current, refuse what is older, else read and publish it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from billfold.aws import Bucket, fetch_delivery, unpack
from billfold.bills import outcomes
from billfold.bills.admission import (
    Obstacle,
    find_obstacle,
    is_copy,
    is_current,
    is_up_to_date,
    judge,
    read_prior_state,
)
from billfold.bills.ingestion import Ingestion
from billfold.bills.plan import PublicationPlan, Timings
from billfold.bills.publication import HeldBill, PublishedBill, UnchangedBill, publish_bill
from billfold.bills.standalone import confirm, find_standalone
from billfold.errors import DeliveryHeldError, UsageError
from billfold.log import Event
from billfold.model import Client, Delivery, DeliveryOutcome, DeliveryState, RunStatus, SpooledFile, UnpackedFile
from billfold.period import BillingPeriod
from billfold.quality import record_checks
from billfold.settings import Settings
from billfold.store.database import Connection
from billfold.store.deliveries import attempts, claims, hold, registration, statements
from billfold.store.deliveries.registration import RegisteredDelivery
from billfold.store.deliveries.statements import CurrentStatement
from billfold.transform import Bill, open_bill
from billfold.transform.identify import HASH_VERSION
from billfold.transform.landing import LandingFile
from billfold.work_folder import work_folder

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claimed:
    """A delivery whose statement is claimed on this connection."""

    ingestion: Ingestion
    connection: Connection
    delivery: Delivery
    registered: RegisteredDelivery


def describe(delivery: Delivery) -> str:
    """The delivery's statement for people: its export, and its month if that is known."""
    return f"{delivery.export_name} {delivery.period or ''}".strip()


def ingest_claimed(
    ingestion: Ingestion,
    connection: Connection,
    bucket: Bucket,
    delivery: Delivery,
    registered: RegisteredDelivery,
) -> DeliveryOutcome:
    """Ingest the delivery, unless it is current or something prevents it; `connection` has the claim."""
    client, settings = ingestion.client, ingestion.settings
    claims.end_abandoned(connection, registered.delivery_id)
    # While the claim was waited for, the delivery may have been rolled back or released.
    registered = registration.read_again(connection, registered)
    claimed = _Claimed(ingestion=ingestion, connection=connection, delivery=delivery, registered=registered)
    current = statements.find_statement(connection, client, delivery)
    obstacle = find_obstacle(connection, client, delivery, registered, current, min_percent=settings.hold_below_percent)
    if obstacle and not ingestion.force:
        return _end_unread(claimed, obstacle)
    expected = _find_expected_period(connection, client, delivery)
    if current and find_standalone(connection, client, delivery, current.billing_period):
        # Its rows are there twice until they are taken over.
        current = None
    if current and is_current(delivery, current) and not ingestion.force:
        rows = attempts.adopt(connection, registered, current)
        return outcomes.skipped(client, delivery, registered, current, rows)
    return _read(claimed, bucket, current, obstacle, expected)


def _read(
    claimed: _Claimed,
    bucket: Bucket,
    current: CurrentStatement | None,
    obstacle: Obstacle | None,
    expected: BillingPeriod | None,
) -> DeliveryOutcome:
    """Fetch, parse and identify the delivery, then publish it."""
    ingestion, delivery, registered = claimed.ingestion, claimed.delivery, claimed.registered
    connection, settings = claimed.connection, ingestion.settings
    attempts.start(connection, registered, ingestion.trigger)
    timings = Timings()
    with work_folder(settings, "delivery") as folder:
        with timings.measure("fetch"):
            spooled = fetch_delivery(bucket, delivery, folder, settings, ingestion.progress)
            attempts.record_fetched(connection, registered, spooled)
        if current and not ingestion.force and is_copy(spooled, current):
            rows = attempts.adopt(connection, registered, current)
            return outcomes.skipped(ingestion.client, delivery, registered, current, rows, status=RunStatus.SUCCESS)
        with open_bill(folder, memory_limit_mb=settings.memory_limit_mb, threads=settings.threads) as bill:
            with timings.measure("parse"):
                files = list(_unpack_all(spooled, folder, settings))
                bill.parse(files, max_unpacked_bytes=settings.max_unpacked_bytes)
                period = bill.find_period(expected=expected, fallback=delivery.delivered_at.date())
            if ingestion.since and period < ingestion.since:
                reason = f"is of {period}, and nothing before {ingestion.since} was requested"
                attempts.set_aside(connection, registered, period, reason)
                return outcomes.set_aside(ingestion.client, delivery, registered, period, reason)
            with timings.measure("identify"):
                bill.identify()
            return _publish(claimed, bill, period, _list_remarks(delivery, obstacle), timings)


def _list_remarks(delivery: Delivery, obstacle: Obstacle | None) -> list[str]:
    # What a held delivery loses is reported where it is published.
    passed = obstacle.reason if obstacle and obstacle.state is not DeliveryState.HELD else None
    remarks = [f"published by force, although it {passed}"] if passed else []
    if delivery.time_fault:
        remarks.append(f"{delivery.time_fault}: it says nothing about the order of deliveries")
    return remarks


def _publish(
    claimed: _Claimed, bill: Bill, period: BillingPeriod, remarks: Sequence[str], timings: Timings
) -> DeliveryOutcome:
    ingestion, delivery, registered = claimed.ingestion, claimed.delivery, claimed.registered
    plan = _plan(claimed, bill, period, remarks, timings)
    published = publish_bill(plan, ingestion.database)
    for finding in published.findings:
        log.warning(Event.FINDING, text=finding)
    statement = plan.prior.statement
    match published:
        case PublishedBill():
            # The bill is published, even if its checks fail.
            for checked in (statement.statement_id, *sorted(published.affected)):
                record_checks(ingestion.database, statement_id=checked, connection=claimed.connection)
            return outcomes.published(ingestion.client, delivery, registered, period, published)
        case UnchangedBill():
            compared = _summarize(plan, published)
            rows = attempts.adopt(claimed.connection, registered, statement, compared)
            outcome = outcomes.skipped(
                ingestion.client, delivery, registered, statement, rows, status=RunStatus.SUCCESS
            )
            return replace(outcome, findings=published.findings)
        case HeldBill():
            return _hold(claimed, plan, published)


def _plan(
    claimed: _Claimed, bill: Bill, period: BillingPeriod, remarks: Sequence[str], timings: Timings
) -> PublicationPlan:
    ingestion, delivery, registered = claimed.ingestion, claimed.delivery, claimed.registered
    client, settings, connection = ingestion.client, ingestion.settings, claimed.connection
    statement = statements.ensure_statement(
        connection,
        client,
        delivery,
        period,
        hash_version=HASH_VERSION,
        lock_timeout_seconds=settings.lock_timeout_seconds,
    )
    prior = read_prior_state(connection, client, delivery, statement)
    return PublicationPlan(
        bill=bill,
        prior=prior,
        client=client,
        delivery_id=registered.delivery_id,
        files=[
            LandingFile(file_number=number, ingestion_run_id=run_id, source=file)
            for number, (run_id, file) in enumerate(zip(registered.run_ids, delivery.files, strict=True))
        ],
        min_percent=settings.hold_below_percent,
        let_through="by force" if ingestion.force else "by release" if registered.is_released else None,
        is_up_to_date=is_up_to_date(statement) and not ingestion.force,
        confirm=partial(confirm, connection, client, delivery, period, prior.standalone, force=ingestion.force),
        remarks=remarks,
        timings=timings,
    )


def _hold(claimed: _Claimed, plan: PublicationPlan, bill: HeldBill) -> DeliveryOutcome:
    """Keep the delivery for its release, with what it is held by and what was found in it."""
    connection, registered = claimed.connection, claimed.registered
    period = plan.prior.statement.billing_period
    with connection.transaction():
        attempts.end(connection, registered, DeliveryState.HELD, RunStatus.SKIPPED, reason=bill.reason)
        hold.keep_judgement(
            connection,
            registered.delivery_id,
            registered.run_ids,
            judge(plan.prior.statement, plan.prior.standalone, min_percent=plan.min_percent),
            _summarize(plan, bill),
            period=period,
            export_format=plan.bill.export_format,
            source_cost=bill.source.billed,
        )
    error = _held_error(claimed.delivery, registered, bill.reason)
    return outcomes.held(claimed.ingestion.client, claimed.delivery, registered, period, bill, error)


def _summarize(plan: PublicationPlan, bill: UnchangedBill | HeldBill) -> hold.Compared:
    read = bill.comparison.rows_read_by_file
    return hold.Compared(
        rows_read=tuple(read.get(number, 0) for number in range(len(plan.files))),
        columns=bill.columns,
        findings=bill.findings,
        timings=plan.timings.seconds,
    )


def _end_unread(claimed: _Claimed, obstacle: Obstacle) -> DeliveryOutcome:
    """End the delivery without reading it, with the reason."""
    delivery, registered, state, reason = claimed.delivery, claimed.registered, obstacle.state, obstacle.reason
    attempts.end(claimed.connection, registered, state, RunStatus.SKIPPED, reason=reason)
    error = _held_error(delivery, registered, reason) if state is DeliveryState.HELD else None
    return outcomes.unpublished(
        claimed.ingestion.client, delivery, registered, state, RunStatus.SKIPPED, error, reason=reason
    )


def _held_error(delivery: Delivery, registered: RegisteredDelivery, reason: str) -> DeliveryHeldError:
    return DeliveryHeldError(
        f"{describe(delivery)} is held: it {reason}",
        advice=f"the current bill is unchanged; to accept this one: billfold release {registered.delivery_id}",
    )


def _find_expected_period(connection: Connection, client: Client, delivery: Delivery) -> BillingPeriod | None:
    """The month that the content must be of: the delivery's, else the one for which this very version is current.

    Raises UsageError for a named month if this version is current for another one: it would be counted twice.
    """
    if delivery.period and not delivery.is_month_named:
        return delivery.period
    known = statements.list_months_of_version(connection, client, delivery)
    if delivery.period is None:
        return known[0][0] if known else None
    for month, delivery_id in known:
        if month != delivery.period:
            raise UsageError(
                f"{delivery.export_name} is ingested as {month}: it cannot be of {delivery.period} too",
                advice=f"roll that back first: billfold rollback {delivery_id}",
            )
    return delivery.period


def _unpack_all(spooled: Sequence[SpooledFile], folder: Path, settings: Settings) -> Iterator[UnpackedFile]:
    for file in spooled:
        unpacked = unpack(file, folder, settings)
        if unpacked.path != file.path:
            file.path.unlink()
        yield unpacked
