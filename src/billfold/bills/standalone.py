"""Standalone files: data files outside any export, which belong to a manifest's bill once one names them.

A standalone file is a statement of its own. When a manifest names it, or one of its export and month arrives, its
statement is emptied in the same transaction that publishes its rows under the export: it is adopted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from billfold.aws import find_places
from billfold.bills.reconcile import carry, reconcile
from billfold.errors import RunConflictError
from billfold.model import Client, Delivery, PublicationKind, Totals
from billfold.period import BillingPeriod
from billfold.store.database import BulkConnection, Connection
from billfold.store.deliveries import history, landing, publications, statements, sums
from billfold.store.deliveries.statements import CurrentStatement, KnownLocation, OwningStatement, absolute_key


def find_standalone(
    connection: Connection, client: Client, delivery: Delivery, period: BillingPeriod
) -> list[CurrentStatement]:
    """The statements of single files whose rows this delivery holds, by name or because they lie in its place."""
    if delivery.manifest is None:
        return []
    named = {absolute_key(delivery.bucket, file.key) for file in delivery.files}
    own = (absolute_key(delivery.bucket, delivery.export_path), delivery.period)
    return [
        statements.read_statement(connection, statement_id)
        for statement_id, key in statements.list_standalone(connection, client, delivery, period).items()
        if key in named or _statement_of(key) == own
    ]


def find_owning_statement(connection: Connection, client: Client, delivery: Delivery) -> OwningStatement | None:
    """The statement of an export that a standalone file belongs to; None for any other delivery."""
    if delivery.manifest is not None:
        return None
    place = _statement_of(absolute_key(delivery.bucket, delivery.files[0].key))
    return statements.find_owning_statement(connection, client, delivery, place=place)


def find_twin(connection: Connection, client: Client, delivery: Delivery) -> KnownLocation | None:
    """Another statement that counts the same standalone file, with another folder as its bucket."""
    if delivery.manifest is not None:
        return None
    for location in statements.list_locations(connection, client, delivery):
        if location.is_current and location.is_counted and location.bucket != delivery.bucket:
            return location
    return None


def confirm(
    connection: Connection,
    client: Client,
    delivery: Delivery,
    period: BillingPeriod,
    standalone: Sequence[CurrentStatement],
    *,
    force: bool,
) -> None:
    """Raise RunConflictError unless standalone files and the manifests that name them are still as they were found.

    Each of the two is published under a claim of its own: under the lock of the client's publications they meet.
    """
    found = find_standalone(connection, client, delivery, period)
    is_same = [each.publication_id for each in found] == [each.publication_id for each in standalone]
    if not is_same or (not force and find_owning_statement(connection, client, delivery)):
        raise RunConflictError("a file and the manifest that names it came in at the same time", advice="try again")
    if find_twin(connection, client, delivery):
        raise RunConflictError("the file came in from two folders at the same time", advice="try again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Emptied:
    """A statement that the open transaction empties, the publication that does it, and what that withdrew."""

    statement: CurrentStatement
    publication_id: int
    removed: Totals


def empty(bulk: BulkConnection, standalone: Sequence[CurrentStatement]) -> tuple[Emptied, ...]:
    """Move all rows of these statements to history; the transaction stays open.

    Raises RunConflictError if one of them was published meanwhile, and ReconciliationError unless exactly what it held
    was withdrawn.
    """
    return tuple(_empty(bulk, statement) for statement in standalone)


def record(bulk: BulkConnection, emptied: Sequence[Emptied], *, moment: str) -> None:
    """Write the adoptions as publications of the moment at which the adopting bill is published."""
    for each in emptied:
        publications.record_publication(bulk, _adoption(each, moment))


def _empty(bulk: BulkConnection, statement: CurrentStatement) -> Emptied:
    period = statement.billing_period
    publication_id = publications.begin_publication(
        bulk, statement_id=statement.statement_id, expected_publication_id=statement.publication_id
    )
    place = {"statement_id": statement.statement_id, "publication_id": publication_id}
    history.restore_bill(bulk, period, restored_publication_id=history.NOTHING, **place)
    landing.roll_up(bulk, period, is_first=False, **place)
    removed = sums.sum_withdrawn(bulk, period, currency=statement.currency, **place)
    reconcile(Totals(), carry(statement.totals, Totals(), removed))
    return Emptied(statement=statement, publication_id=publication_id, removed=removed)


def _adoption(emptied: Emptied, moment: str) -> publications.Publication:
    statement = emptied.statement
    assert statement.cost_basis is not None, "what is published has a basis"
    assert statement.mapping_version is not None, "what is published was mapped"
    return publications.Publication(
        publication_id=emptied.publication_id,
        statement_id=statement.statement_id,
        published_at=moment,
        kind=PublicationKind.ADOPTION,
        delivery_id=None,
        cost_basis=statement.cost_basis,
        hash_version=statement.hash_version,
        mapping_version=statement.mapping_version,
        before=statement.totals,
        after=carry(statement.totals, Totals(), emptied.removed),
        rows_added=0,
        rows_removed=emptied.removed.row_count,
    )


def _statement_of(key: str) -> tuple[str, BillingPeriod] | None:
    # Below a bucket's name or a folder's path, every place has an export's path of its own.
    places = find_places(key)
    return places[0].statement if places else None
