"""Admission: whether a delivery is current already, and what forbids it to come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billfold.bills.plan import PriorState
from billfold.bills.standalone import find_owning_statement, find_standalone
from billfold.model import Client, Delivery, DeliveryState, SpooledFile
from billfold.store.database import Connection
from billfold.store.deliveries import hold, statements
from billfold.store.deliveries.registration import RegisteredDelivery
from billfold.store.deliveries.statements import CurrentStatement
from billfold.transform.identify import HASH_VERSION
from billfold.transform.mapping import MAPPING_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """The state that a delivery ends in without being read, and why; only force passes it."""

    state: DeliveryState
    reason: str


def is_current(delivery: Delivery, current: CurrentStatement) -> bool:
    """Whether every file of the delivery is the current one's, hashed and mapped by this version."""
    files = {(file.key, file.etag) for file in delivery.files}
    return is_up_to_date(current) and current.file_versions == files


def is_up_to_date(statement: CurrentStatement) -> bool:
    """Whether the statement has a current delivery that was hashed and mapped by this version."""
    is_of_this_version = (statement.mapping_version, statement.hash_version) == (MAPPING_VERSION, HASH_VERSION)
    return statement.delivery_id is not None and is_of_this_version


def is_copy(spooled: Sequence[SpooledFile], current: CurrentStatement) -> bool:
    """Whether the files are, byte for byte, those of the current delivery under other keys or ETags."""
    digests = sorted(file.sha256 for file in spooled)
    return bool(digests) and is_up_to_date(current) and sorted(current.file_digests, key=str) == digests


def find_obstacle(
    connection: Connection,
    client: Client,
    delivery: Delivery,
    registered: RegisteredDelivery,
    current: CurrentStatement | None,
    *,
    min_percent: int,
) -> Obstacle | None:
    """What forbids the delivery to come in; None if nothing does.

    A held delivery stays held as long as it would be judged by the same limit against the same bill.
    """
    if registered.state is DeliveryState.ROLLED_BACK:
        return Obstacle(state=DeliveryState.ROLLED_BACK, reason="was rolled back")
    if delivery.manifest is None:
        # A file outside any export has no earlier deliveries: the file at its key now is the one that counts.
        if owner := find_owning_statement(connection, client, delivery):
            reason = f"belongs to {owner.name}, which is ingested by its manifest"
            return Obstacle(state=DeliveryState.SUPERSEDED, reason=reason)
    elif later := _find_later(delivery, registered, current):
        reason = f"is older than the published delivery of {later:%Y-%m-%d %H:%M:%S} UTC"
        return Obstacle(state=DeliveryState.SUPERSEDED, reason=reason)
    if registered.state is DeliveryState.HELD and not registered.is_released:
        judgement = hold.find_judgement(connection, registered.delivery_id)
        if judgement and judgement == _judge_now(connection, client, delivery, judgement.statement_id, min_percent):
            return Obstacle(state=DeliveryState.HELD, reason=registered.reason or "was held")
    return None


def read_prior_state(
    connection: Connection, client: Client, delivery: Delivery, statement: CurrentStatement
) -> PriorState:
    """What the publication of a delivery replaces."""
    return PriorState(
        statement=statement,
        residuals=statements.list_residuals(connection, statement) if statement.publication_id else {},
        columns=statements.find_columns(connection, client, delivery, statement.billing_period),
        standalone=find_standalone(connection, client, delivery, statement.billing_period),
    )


def judge(statement: CurrentStatement, standalone: Sequence[CurrentStatement], *, min_percent: int) -> hold.Judgement:
    """What a delivery is judged by against these statements."""
    publication_ids = (each.publication_id for each in (statement, *standalone))
    return hold.Judgement(
        statement_id=statement.statement_id,
        min_percent=min_percent,
        publication_ids=tuple(sorted(each for each in publication_ids if each is not None)),
        # Another mapping may find other costs in the same files.
        mapping_version=MAPPING_VERSION,
    )


def _judge_now(
    connection: Connection, client: Client, delivery: Delivery, statement_id: int, min_percent: int
) -> hold.Judgement:
    statement = statements.read_statement(connection, statement_id)
    standalone = find_standalone(connection, client, delivery, statement.billing_period)
    return judge(statement, standalone, min_percent=min_percent)


def _find_later(
    delivery: Delivery, registered: RegisteredDelivery, current: CurrentStatement | None
) -> datetime | None:
    """When the current delivery was delivered, if that is later; the two manifests of one execution are one."""
    if current is None or current.delivered_at is None or current.delivery_id == registered.delivery_id:
        return None
    return current.delivered_at if delivery.delivered_at < current.delivered_at else None
