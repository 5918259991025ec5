"""Outcomes: how an attempt ended, as every caller reports it: published, skipped, superseded, failed, refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from billfold.bills.publication import HeldBill, PublishedBill
from billfold.errors import BillfoldError
from billfold.model import Client, Delivery, DeliveryOutcome, DeliveryState, RunOutcome, RunStatus
from billfold.period import BillingPeriod
from billfold.store.deliveries.registration import RegisteredDelivery
from billfold.store.deliveries.statements import CurrentFile, CurrentStatement


def published(
    client: Client, delivery: Delivery, registered: RegisteredDelivery, period: BillingPeriod, bill: PublishedBill
) -> DeliveryOutcome:
    """The delivery is the statement's current bill."""
    comparison = bill.comparison
    read, added = comparison.rows_read_by_file, comparison.rows_added_by_file
    return DeliveryOutcome(
        delivery_id=registered.delivery_id,
        client_id=client.client_id,
        export_name=delivery.export_name,
        billing_period=str(period),
        state=DeliveryState.PUBLISHED,
        rows_read=bill.source.row_count,
        rows_added=comparison.rows_added,
        rows_removed=comparison.rows_removed,
        rows_unchanged=comparison.rows_unchanged,
        source_cost=bill.source.billed,
        billed_cost=bill.after.billed,
        runs=tuple(
            RunOutcome(
                ingestion_run_id=run_id,
                source_s3_key=file.key,
                status=RunStatus.SUCCESS,
                rows_read=read.get(number, 0),
                rows_inserted=added.get(number, 0),
                rows_skipped=read.get(number, 0) - added.get(number, 0),
            )
            for number, (run_id, file) in enumerate(zip(registered.run_ids, delivery.files, strict=True))
        ),
        findings=bill.findings,
    )


def skipped(
    client: Client,
    delivery: Delivery,
    registered: RegisteredDelivery,
    current: CurrentStatement,
    rows_by_version: Mapping[tuple[str, str], int],
    *,
    status: RunStatus = RunStatus.SKIPPED,
) -> DeliveryOutcome:
    """The delivery is current already: nothing changed. `status` is that of its runs: a success if they were read."""
    return DeliveryOutcome(
        delivery_id=registered.delivery_id,
        client_id=client.client_id,
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
                status=status,
                rows_read=rows_by_version.get((file.key, file.etag), 0),
                rows_skipped=rows_by_version.get((file.key, file.etag), 0),
            )
            for run_id, file in zip(registered.run_ids, delivery.files, strict=True)
        ),
    )


def kept(
    client: Client, current: CurrentStatement, *, export_name: str, files: Sequence[CurrentFile], reason: str
) -> DeliveryOutcome:
    """The current delivery stays, although its files can no longer be read: only its manifest was."""
    return DeliveryOutcome(
        delivery_id=current.delivery_id,
        client_id=client.client_id,
        export_name=export_name,
        billing_period=str(current.billing_period),
        state=DeliveryState.PUBLISHED,
        rows_read=current.totals.row_count,
        rows_unchanged=current.totals.row_count,
        source_cost=current.totals.billed,
        billed_cost=current.totals.billed,
        runs=tuple(
            RunOutcome(
                ingestion_run_id=file.ingestion_run_id,
                source_s3_key=file.key,
                status=RunStatus.SKIPPED,
                rows_read=file.row_count,
                rows_skipped=file.row_count,
            )
            for file in files
        ),
        reason=reason,
    )


def unpublished(
    client: Client,
    delivery: Delivery,
    registered: RegisteredDelivery,
    state: DeliveryState,
    status: RunStatus,
    error: BillfoldError | None = None,
    *,
    reason: str | None = None,
) -> DeliveryOutcome:
    """The delivery was superseded, held, rolled back earlier, or failed; the statement is unchanged."""
    return DeliveryOutcome(
        delivery_id=registered.delivery_id,
        client_id=client.client_id,
        export_name=delivery.export_name,
        billing_period=str(delivery.period) if delivery.period else None,
        state=state,
        runs=tuple(
            RunOutcome(
                ingestion_run_id=run_id,
                source_s3_key=file.key,
                status=status,
                error_code=error.error_code if error and status is RunStatus.FAILED else None,
            )
            for run_id, file in zip(registered.run_ids, delivery.files, strict=True)
        ),
        reason=reason,
        exit_error=error,
    )


def held(
    client: Client,
    delivery: Delivery,
    registered: RegisteredDelivery,
    period: BillingPeriod,
    bill: HeldBill,
    error: BillfoldError,
) -> DeliveryOutcome:
    """The delivery was read and waits for its release; the statement is unchanged."""
    outcome = unpublished(
        client, delivery, registered, DeliveryState.HELD, RunStatus.SKIPPED, error, reason=bill.reason
    )
    read = bill.comparison.rows_read_by_file
    return replace(
        outcome,
        billing_period=str(period),
        rows_read=bill.source.row_count,
        source_cost=bill.source.billed,
        findings=bill.findings,
        runs=tuple(replace(run, rows_read=read.get(number, 0)) for number, run in enumerate(outcome.runs)),
    )


def set_aside(
    client: Client, delivery: Delivery, registered: RegisteredDelivery, period: BillingPeriod, reason: str
) -> DeliveryOutcome:
    """The delivery was read and is of a month that was not requested: it stays pending."""
    outcome = unpublished(client, delivery, registered, DeliveryState.PENDING, RunStatus.PENDING, reason=reason)
    return replace(outcome, billing_period=str(period))


def refused(client: Client, key: str, run_id: UUID | None, error: BillfoldError) -> DeliveryOutcome:
    """The source is not a delivery."""
    run = (
        RunOutcome(ingestion_run_id=run_id, source_s3_key=key, status=RunStatus.FAILED, error_code=error.error_code)
        if run_id
        else None
    )
    return DeliveryOutcome(
        delivery_id=None,
        client_id=client.client_id,
        export_name=key,
        billing_period=None,
        state=DeliveryState.FAILED,
        runs=(run,) if run else (),
        exit_error=error,
    )
