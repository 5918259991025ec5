"""Release: ingest a held delivery, if it is still at its key."""

from __future__ import annotations

from uuid import UUID

import structlog

from billfold.aws import Progress, SilentProgress, address, open_bucket
from billfold.bills.attempt import ingest_delivery
from billfold.bills.ingestion import Ingestion, retrying
from billfold.bills.sources import resolve_all
from billfold.errors import UsageError
from billfold.log import Event
from billfold.model import Client, DeliveryOutcome, DeliveryState, TriggerSource
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect
from billfold.store.deliveries import records, registration
from billfold.store.deliveries.records import StoredDelivery

log = structlog.get_logger(__name__)


def release(
    delivery_id: UUID,
    *,
    client: Client,
    settings: Settings,
    database: Database,
    progress: Progress | None = None,
) -> list[DeliveryOutcome]:
    """Ingest a held delivery although it removes much of the current bill.

    The release is valid until the delivery or a newer one is published, so that a failed attempt can be repeated.
    Raises UsageError for a delivery that is not held, is another client's, or is no longer at its key: then nothing is
    released. If the key cannot be resolved, the outcome says why.
    """
    with connect(database.conninfo) as connection:
        stored = records.find_delivery(connection, delivery_id)
    ingestion = Ingestion(
        client=client,
        settings=settings,
        database=database,
        trigger=TriggerSource.CLI,
        force=False,
        progress=progress or SilentProgress(),
        month=stored.named_period,
    )
    if stored.client_id != client.client_id:
        raise UsageError(f"delivery {delivery_id} belongs to client {stored.client_id}, not to {client.client_id}")
    if stored.state is not DeliveryState.HELD:
        raise not_held(stored)
    bucket = retrying(settings)(open_bucket, client, settings, stored.bucket)
    deliveries, refused = resolve_all(ingestion, bucket, stored.key)
    if refused:
        return refused
    [delivery] = deliveries
    with connect(database.conninfo) as connection:
        if registration.find_registered(connection, client, delivery) != delivery_id:
            raise _not_there(stored, f"the delivery of {delivery.delivered_at:%Y-%m-%d %H:%M:%S} UTC is")
        if not permit(connection, stored):
            raise not_held(records.find_delivery(connection, delivery_id))
    outcome = ingest_delivery(ingestion, bucket, delivery)
    if outcome.delivery_id != delivery_id:
        # It was replaced while it was read: the next attempt was on another delivery.
        with connect(database.conninfo) as connection:
            records.take_release_back(connection, delivery_id)
        raise _not_there(stored, f"delivery {outcome.delivery_id} replaced it meanwhile and is {outcome.state}")
    return [outcome]


def permit(connection: Connection, stored: StoredDelivery, *, token_id: int | None = None) -> bool:
    """Release a held delivery for its next attempt; False if it is no longer held.

    The log names the token of a request over HTTP.
    """
    is_released = records.release(connection, stored.delivery_id)
    if is_released:
        log.warning(
            Event.DELIVERY_RELEASED,
            client=stored.client_id,
            delivery_id=str(stored.delivery_id),
            reason=stored.reason,
            token_id=token_id,
        )
    return is_released


def not_held(stored: StoredDelivery) -> UsageError:
    """The error for a release of a delivery that is not held."""
    return UsageError(
        f"delivery {stored.delivery_id} is {stored.state}, not held"
        + (f": it {stored.reason}" if stored.reason else ""),
        advice="`billfold deliveries --state held` lists the held ones",
    )


def _not_there(stored: StoredDelivery, instead: str) -> UsageError:
    return UsageError(
        f"delivery {stored.delivery_id} is no longer at {address(stored.bucket, stored.key)}: {instead}",
        advice="`billfold ingest` or `billfold backfill` ingests the files that are there now",
    )
