"""Sources: the deliveries of a source, and an outcome for everything in it that is not a delivery."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import structlog

from billfold.aws import Bucket, address, locate, resolve
from billfold.bills import outcomes
from billfold.bills.expiry import find_expired
from billfold.bills.ingestion import Ingestion, retrying
from billfold.bills.left_out import OtherFiles
from billfold.bills.typed_sources import leaves_nothing, refuse_other_file
from billfold.errors import BillfoldError, InputError, SourceError, UsageError, as_internal
from billfold.log import Event
from billfold.model import Client, Delivery, DeliveryOutcome
from billfold.period import BillingPeriod
from billfold.store.database import Database, connect
from billfold.store.deliveries import registration, runs, statements

log = structlog.get_logger(__name__)


def find_deliveries(ingestion: Ingestion, source: str) -> tuple[list[tuple[Bucket, Delivery]], list[DeliveryOutcome]]:
    """The deliveries of `source`, each with its bucket, and outcomes for what cannot be resolved."""
    client, settings, database = ingestion.client, ingestion.settings, ingestion.database
    known = retrying(settings)(_list_known_buckets, database, client)
    try:
        bucket, key = retrying(settings)(locate, source, client, settings, known_buckets=known)
    except (SourceError, InputError) as error:
        # The role denies access, a path does not exist, or a local manifest cannot be read: no bucket is known.
        return [], [refuse(ingestion, "" if ingestion.is_typed else client.bucket or "", source, error)]
    if ingestion.is_typed:
        try:
            refuse_other_file(bucket, key, client, database)
        except InputError as error:
            return [], [refuse(ingestion, bucket.name, key, error)]
    deliveries, refused = resolve_all(ingestion, bucket, key)
    return [(bucket, delivery) for delivery in deliveries], refused


def resolve_all(
    ingestion: Ingestion, bucket: Bucket, key: str, *, since: BillingPeriod | None = None
) -> tuple[list[Delivery], list[DeliveryOutcome]]:
    """The deliveries at a key, and outcomes for statements that cannot be resolved; `since` leaves out older ones.

    Among those outcomes are the current deliveries whose data files have expired: they have no error. Raises UsageError
    if there are too many deliveries.
    """
    refused: list[DeliveryOutcome] = []

    def keep_refused(manifest_key: str, error: BillfoldError) -> None:
        refused.append(_keep_or_refuse(ingestion, bucket, manifest_key, error))

    other_files = OtherFiles(ingestion.client, ingestion.database, takes_named=ingestion.is_event)
    try:
        deliveries = retrying(ingestion.settings)(
            resolve,
            bucket,
            key,
            on_refused=keep_refused,
            since=since,
            max_deliveries=ingestion.max_deliveries,
            tolerate_newer_files=ingestion.force,
            leave_out=other_files,
        )
    except UsageError:
        # The deliveries themselves are fine.
        raise
    except BillfoldError as error:
        return [], [_keep_or_refuse(ingestion, bucket, key, error)]
    except Exception as error:
        log.exception(Event.INTERNAL_ERROR, bucket=bucket.name, key=key)
        return [], [refuse(ingestion, bucket.name, key, as_internal(error))]
    finally:
        other_files.log(bucket.name)
    if ingestion.on_left_out and other_files.found:
        ingestion.on_left_out(other_files.found)
    if ingestion.month:
        if len(deliveries) + len(refused) > 1:
            raise UsageError(
                f"a month can be named for one file only, and {address(bucket.name, key)} has"
                f" {len(deliveries) + len(refused)} deliveries",
                advice="name the file itself",
            )
        deliveries = [name_month(delivery, ingestion.month) for delivery in deliveries]
    return deliveries, refused


def name_month(delivery: Delivery, month: BillingPeriod) -> Delivery:
    """The delivery with the named month; raises UsageError if it is of another month."""
    if delivery.period is None:
        return replace(delivery, period=month, is_month_named=True)
    if delivery.period != month:
        named_by = "manifest" if delivery.manifest else "key"
        raise UsageError(
            f"{delivery.export_name} is of {delivery.period}, as its {named_by} says, not of {month}",
            advice="leave the month out",
        )
    return delivery


def refuse(ingestion: Ingestion, bucket: str, key: str, error: BillfoldError) -> DeliveryOutcome:
    """The outcome of a source that is not a delivery: a failed run under the requested key.

    A source that somebody typed leaves a run only if it is a known client's: see `typed_sources`.
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
        registration.ensure_client(connection, client)
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


def _keep_or_refuse(ingestion: Ingestion, bucket: Bucket, key: str, error: BillfoldError) -> DeliveryOutcome:
    """The outcome of a statement that cannot be resolved: nothing to do if only its current files have expired."""
    client = ingestion.client
    if not ingestion.force and (expired := find_expired(ingestion.database, client, bucket, error)):
        return outcomes.kept(
            client,
            expired.statement,
            export_name=expired.export_name,
            files=expired.files,
            reason=expired.reason,
        )
    return refuse(ingestion, bucket.name, key, error)


def _list_known_buckets(database: Database, client: Client) -> list[str]:
    """The buckets and folders of the client's statements; raises UsageError for a client that cannot be one."""
    with connect(database.conninfo) as connection:
        registration.check_client(connection, client)
        return statements.list_buckets(connection, client)
