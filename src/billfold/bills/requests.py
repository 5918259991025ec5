"""Requests for ingestions and releases, and the schedule's visits: deliveries wait in the queue for a worker."""

from __future__ import annotations

from uuid import UUID

from billfold import clients
from billfold.aws import SilentProgress, address, is_local
from billfold.aws.layout import work_of
from billfold.bills.admission import is_current
from billfold.bills.backfill import FolderContents, look_through, may_pass
from billfold.bills.ingestion import Ingestion
from billfold.bills.release import not_held, permit
from billfold.bills.sources import find_deliveries
from billfold.errors import ConfigurationError, ForbiddenError, SourceNotFoundError, UsageError
from billfold.model import Client, Delivery, DeliveryState, TriggerSource
from billfold.period import BillingPeriod
from billfold.settings import Settings
from billfold.store.database import Connection, Database, connect
from billfold.store.deliveries import records, registration, statements
from billfold.store.deliveries.records import StoredDelivery
from billfold.store.deliveries.registration import RegisteredDelivery
from billfold.store.jobs import requests
from billfold.store.jobs.requests import RequestedDelivery
from billfold.store.reports import freshness

# The caller waits while manifests are read, up to a tenth of a second each: a folder may hold this many of them.
MAX_REQUESTED = 100

_CAN_BE_TRIED = (DeliveryState.FAILED, DeliveryState.PENDING)
_ADVICE = {
    DeliveryState.RUNNING: "wait until it ends",
    DeliveryState.HELD: "release it",
    DeliveryState.ROLLED_BACK: "`billfold rollback --undo` brings it back",
    DeliveryState.PUBLISHED: "there is nothing to do",
    DeliveryState.SUPERSEDED: "a newer one replaced it",
}
# A source that was missing does not come back by itself.
_GONE = SourceNotFoundError.error_code


def request(
    client: Client,
    key: str,
    *,
    requested_by: TriggerSource,
    settings: Settings,
    database: Database,
    is_event: bool = False,
    month: BillingPeriod | None = None,
) -> tuple[RequestedDelivery, ...]:
    """Queue each delivery of a key in the client's bucket for a worker, unless it is current already.

    This reads manifests, and a few bytes of files without one: files that are not bills are left out. If an event's own
    key is not a bill, nothing is queued. A statement that cannot be resolved leaves a failed run, as in `ingest`; its
    error is raised if nothing else was found. Raises ForbiddenError for a key outside the client's folder, and
    UsageError for a client without a bucket and for a folder of more than MAX_REQUESTED deliveries, of which none is
    queued.
    """
    if client.bucket is None:
        raise UsageError(f"client {client.client_id} has no bucket")
    if not clients.owns(client, key):
        raise ForbiddenError(f"{key} is outside the folder of {client.client_id}")
    ingestion = Ingestion(
        client=client,
        # The caller waits for the answer, and can repeat the request.
        settings=settings.model_copy(update={"retry_max_attempts": 1}),
        database=database,
        trigger=requested_by,
        force=False,
        progress=SilentProgress(),
        max_deliveries=MAX_REQUESTED,
        is_event=is_event,
        month=month,
    )
    found, failures = find_deliveries(ingestion, address(client.bucket, key))
    # An outcome without an error is a current delivery whose files have expired.
    kept = [outcome.delivery_id for outcome in failures if outcome.exit_error is None and outcome.delivery_id]
    if not (found or kept) and failures:
        raise next(failure.exit_error for failure in failures if failure.exit_error)
    with connect(database.conninfo) as connection:
        if found:
            registration.ensure_client(connection, client)
        requested = [_request(connection, client, delivery, requested_by) for _, delivery in found]
        return (*requested, *(requests.show(connection, delivery_id) for delivery_id in kept))


def visit_folder(client: Client, *, settings: Settings, database: Database) -> FolderContents:
    """Queue each delivery in the client's folder that is not current, the oldest billing period first.

    The folder counts as visited unless a second look could find more. Raises ConfigurationError if no bucket is
    configured, and the error that prevents the visit.
    """
    with connect(database.conninfo) as connection:
        began_at = freshness.read_clock(connection)
    ingestion = Ingestion(
        client=client,
        # The queue repeats the visit.
        settings=settings.model_copy(update={"retry_max_attempts": 1}),
        database=database,
        trigger=TriggerSource.SCHEDULE,
        force=False,
        progress=SilentProgress(),
    )
    found = look_through(ingestion)
    with connect(database.conninfo) as connection:
        for delivery in found.waiting:
            registered = registration.register_delivery(connection, client, delivery, TriggerSource.SCHEDULE)
            stored = records.find_delivery(connection, registered.delivery_id)
            _let_wait(connection, stored, TriggerSource.SCHEDULE)
        if found.is_complete and not any(map(may_pass, found.failures)):
            freshness.mark_backfilled(connection, client.client_id, began_at)
    return found


def request_again(delivery_id: UUID, *, settings: Settings, database: Database) -> RequestedDelivery:
    """Queue a failed delivery for a worker; one that is queued already is tried as soon as possible.

    Raises UsageError if another attempt cannot bring it in: it is published or decided about, a newer one of its
    statement is published, its source is gone, it is not in the client's bucket, or the client is disabled or removed.
    """
    with connect(database.conninfo) as connection:
        stored = records.find_delivery(connection, delivery_id)
        _refuse_vain(connection, stored, settings, database)
        _let_wait(connection, stored, TriggerSource.API)
        return requests.show(connection, delivery_id)


def find_hindrance(delivery_id: UUID, *, settings: Settings, database: Database) -> str | None:
    """Why the server cannot retry a failed delivery or release a held one; None if it can."""
    with connect(database.conninfo) as connection:
        stored = records.find_delivery(connection, delivery_id)
        try:
            if stored.state is DeliveryState.HELD:
                _refuse_unreadable(stored, settings, database, advice="use `billfold release`")
            else:
                _refuse_vain(connection, stored, settings, database)
        except (UsageError, ConfigurationError) as error:
            return str(error)
    return None


def request_release(
    delivery_id: UUID, *, token_id: int | None, settings: Settings, database: Database
) -> RequestedDelivery:
    """Release a held delivery and queue it for a worker; once it is queued, another request changes nothing.

    If another delivery is at its key by then, that one comes in instead, and is judged by itself. `token_id` is the
    caller's, for the log. Raises UsageError for a delivery that is not held or not in the client's bucket, and for a
    disabled client.
    """
    with connect(database.conninfo) as connection:
        stored = records.find_delivery(connection, delivery_id)
        _refuse_unreadable(stored, settings, database, advice="use `billfold release`")
        with connection.transaction():
            if permit(connection, stored, token_id=token_id):
                _let_wait(connection, stored, TriggerSource.API)
            else:
                stored = records.find_delivery(connection, delivery_id)
                if not (stored.state is DeliveryState.PENDING and stored.is_released):
                    raise not_held(stored)
        return requests.show(connection, delivery_id)


def _refuse_vain(connection: Connection, stored: StoredDelivery, settings: Settings, database: Database) -> None:
    """Raise UsageError if another attempt on the delivery cannot bring it in."""
    if stored.state not in _CAN_BE_TRIED:
        raise UsageError(
            f"delivery {stored.delivery_id} is {str(stored.state).replace('_', ' ')}, not failed",
            advice=_ADVICE.get(stored.state, ""),
        )
    _refuse_unreadable(stored, settings, database, advice="use `billfold ingest`")
    prospect = requests.read_prospect(connection, stored.delivery_id)
    if prospect.newer_delivery_id is not None:
        raise UsageError(
            f"delivery {stored.delivery_id} is older than the published delivery {prospect.newer_delivery_id}",
            advice="there is nothing to do",
        )
    if prospect.error_code == _GONE:
        raise UsageError(
            f"the source of delivery {stored.delivery_id} is gone",
            advice="once it is back, request an ingestion of its key, or run `billfold ingest`",
        )


def _refuse_unreadable(stored: StoredDelivery, settings: Settings, database: Database, *, advice: str) -> None:
    """Raise UsageError if the server's worker, which acts as the client, cannot reach the delivery."""
    if is_local(stored.bucket):
        raise UsageError(
            f"delivery {stored.delivery_id} is in a local folder, {stored.bucket}, which the server does not read",
            advice=advice,
        )
    try:
        client = clients.resolve_client(database, settings, stored.client_id)
    except ConfigurationError as error:
        raise UsageError(error.message, advice=error.advice) from error
    if stored.bucket != client.bucket:
        raise UsageError(
            f"delivery {stored.delivery_id} is in {stored.bucket},"
            f" which is not the bucket of client {client.client_id}",
            advice=advice,
        )


def _request(
    connection: Connection, client: Client, delivery: Delivery, requested_by: TriggerSource
) -> RequestedDelivery:
    registered = registration.register_delivery(connection, client, delivery, requested_by)
    if not _is_current(connection, client, delivery, registered):
        _let_wait(connection, records.find_delivery(connection, registered.delivery_id), requested_by)
    return requests.show(connection, registered.delivery_id)


def _let_wait(connection: Connection, stored: StoredDelivery, requested_by: TriggerSource) -> None:
    requests.request(connection, stored, work_of(stored.bucket, stored.key), requested_by)


def _is_current(connection: Connection, client: Client, delivery: Delivery, registered: RegisteredDelivery) -> bool:
    """Whether an ingest would find nothing to do."""
    if registered.state is not DeliveryState.PUBLISHED:
        return False
    statement = statements.find_statement(connection, client, delivery)
    return statement is not None and statement.delivery_id == registered.delivery_id and is_current(delivery, statement)
