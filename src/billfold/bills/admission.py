"""Whether a delivery comes in: what is in already, what may not come in, and what a publication of it touches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from billfold.aws import find_places
from billfold.bills.publication import Standing
from billfold.errors import RunConflictError
from billfold.model import Client, Delivery, DeliveryState, SpooledFile
from billfold.period import BillingPeriod
from billfold.store.database import Connection
from billfold.store.deliveries import control, hold, statements
from billfold.store.deliveries.statements import CurrentStatement, Owner, Spelling, absolute_key
from billfold.transform.identify import HASH_VERSION
from billfold.transform.mapping import MAPPING_VERSION


def holds(current: CurrentStatement, delivery: Delivery) -> bool:
    """Whether every file of the delivery is the current one's, and was hashed and mapped as today."""
    files = {(file.key, file.etag) for file in delivery.files}
    return may_stay(current) and current.file_versions == files


def may_stay(statement: CurrentStatement) -> bool:
    """Whether a delivery of the same line items need not be published: a delivery stands that was made as today."""
    return statement.delivery_id is not None and _is_of_today(statement)


def is_copy(current: CurrentStatement, spooled: Sequence[SpooledFile]) -> bool:
    """Whether the files are, byte for byte, those of the current delivery under other keys or ETags."""
    digests = sorted(file.sha256 for file in spooled)
    return bool(digests) and may_stay(current) and sorted(current.file_digests, key=str) == digests


def find_obstacle(
    connection: Connection,
    client: Client,
    delivery: Delivery,
    registered: control.RegisteredDelivery,
    current: CurrentStatement | None,
    *,
    least_percent: int,
) -> tuple[DeliveryState, str] | None:
    """The state that a delivery ends in without being read, and why; only force passes it.

    One that is held stays so while it would be judged by the same limit against the same bill.
    """
    if registered.state is DeliveryState.ROLLED_BACK:
        return DeliveryState.ROLLED_BACK, "was rolled back"
    if delivery.manifest is None:
        # A file outside any export has no earlier deliveries: what stands at its key is what counts.
        if owner := find_owner(connection, client, delivery):
            return DeliveryState.SUPERSEDED, f"belongs to {owner.name}, whose manifest stands"
    elif later := _find_later(delivery, registered, current):
        return DeliveryState.SUPERSEDED, f"is older than the published delivery of {later:%Y-%m-%d %H:%M:%S} UTC"
    if registered.state is DeliveryState.HELD and not registered.is_released:
        judgement = hold.find_judgement(connection, registered.delivery_id)
        if judgement and judgement == _judge_now(connection, client, delivery, judgement.statement_id, least_percent):
            return DeliveryState.HELD, registered.reason or "was held"
    return None


def find_standing(connection: Connection, client: Client, delivery: Delivery, statement: CurrentStatement) -> Standing:
    """What the publication of a delivery needs to know of what stands."""
    return Standing(
        statement=statement,
        residuals=statements.list_residuals(connection, statement),
        columns=statements.find_columns(connection, client, delivery, statement.billing_period),
        standalone=find_standalone(connection, client, delivery, statement.billing_period),
    )


def judge(statement: CurrentStatement, standalone: Sequence[CurrentStatement], *, least_percent: int) -> hold.Judgement:
    """What a delivery is judged by against these statements."""
    stood = (each.publication_id for each in (statement, *standalone))
    return hold.Judgement(
        statement_id=statement.statement_id,
        least_percent=least_percent,
        publication_ids=tuple(sorted(publication_id for publication_id in stood if publication_id is not None)),
        # Another mapping may find other costs in the same files.
        mapping_version=MAPPING_VERSION,
    )


def confirm(connection: Connection, client: Client, delivery: Delivery, standing: Standing, *, force: bool) -> None:
    """Raise RunConflictError unless a file and a manifest that names it still are where they were found.

    Each of the two is published under a claim of its own: under the lock of their bucket they meet.
    """
    found = find_standalone(connection, client, delivery, standing.statement.billing_period)
    is_same = [each.publication_id for each in found] == [each.publication_id for each in standing.standalone]
    if not is_same or (not force and find_owner(connection, client, delivery)):
        raise RunConflictError("a file and the manifest that names it came in together", advice="try again")
    if find_twin(connection, client, delivery):
        raise RunConflictError("the file came in under two folders together", advice="try again")


def _judge_now(
    connection: Connection, client: Client, delivery: Delivery, statement_id: int, least_percent: int
) -> hold.Judgement:
    statement = statements.read_statement(connection, statement_id)
    standalone = find_standalone(connection, client, delivery, statement.billing_period)
    return judge(statement, standalone, least_percent=least_percent)


def _find_later(
    delivery: Delivery, registered: control.RegisteredDelivery, current: CurrentStatement | None
) -> datetime | None:
    """When the current delivery was delivered, if that is later; the two manifests of one execution are one."""
    if current is None or current.delivered_at is None or current.delivery_id == registered.delivery_id:
        return None
    return current.delivered_at if delivery.delivered_at < current.delivered_at else None


def find_owner(connection: Connection, client: Client, delivery: Delivery) -> Owner | None:
    """The statement that a standalone file belongs to; None for one of its own, and for any other delivery."""
    if delivery.manifest is not None:
        return None
    place = _statement_of(absolute_key(delivery.bucket, delivery.files[0].key))
    return statements.find_owner(connection, client, delivery, place=place)


def find_twin(connection: Connection, client: Client, delivery: Delivery) -> Spelling | None:
    """Another statement that counts the standalone file, under another folder as its bucket."""
    if delivery.manifest is not None:
        return None
    for spelling in statements.list_spellings(connection, client, delivery):
        if spelling.is_standing and spelling.is_counted and spelling.bucket != delivery.bucket:
            return spelling
    return None


def find_standalone(
    connection: Connection, client: Client, delivery: Delivery, period: BillingPeriod
) -> list[CurrentStatement]:
    """The statements of single files whose rows this delivery holds: it names them, or they stand in its place."""
    if delivery.manifest is None:
        return []
    named = {absolute_key(delivery.bucket, file.key) for file in delivery.files}
    own = (absolute_key(delivery.bucket, delivery.export_path), delivery.period)
    return [
        statements.read_statement(connection, statement_id)
        for statement_id, key in statements.list_standalone(connection, client, delivery, period).items()
        if key in named or _statement_of(key) == own
    ]


def _statement_of(key: str) -> tuple[str, BillingPeriod] | None:
    # Below a bucket's name or a folder's path, every place has an export's path of its own.
    places = find_places(key)
    return places[0].statement if places else None


def _is_of_today(current: CurrentStatement) -> bool:
    return current.mapping_version == MAPPING_VERSION and current.hash_version == HASH_VERSION
