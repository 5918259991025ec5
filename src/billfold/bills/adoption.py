"""Adoption: a standalone file's statement is emptied in the transaction that brings its rows in under their export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from billfold.bills.reconcile import carry, reconcile
from billfold.model import PublicationKind, Totals
from billfold.store.database import BulkConnection
from billfold.store.deliveries import history, publish
from billfold.store.deliveries.statements import CurrentStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class Emptied:
    """A statement that the open transaction empties, the publication that does it, and what that withdrew."""

    statement: CurrentStatement
    publication_id: int
    removed: Totals


def empty(bulk: BulkConnection, standalone: Sequence[CurrentStatement]) -> tuple[Emptied, ...]:
    """Move everything that these statements hold to history; the transaction goes on.

    Raises RunConflictError where one of them was published meanwhile, and ReconciliationError unless what went is all
    that it held, to the last decimal.
    """
    return tuple(_empty(bulk, statement) for statement in standalone)


def record(bulk: BulkConnection, emptied: Sequence[Emptied], *, moment: str) -> None:
    """Write the adoptions as publications of this moment, which is that of the bill that took the files over."""
    for each in emptied:
        publish.record_publication(bulk, _adoption(each, moment))


def _empty(bulk: BulkConnection, statement: CurrentStatement) -> Emptied:
    period = statement.billing_period
    publication_id = publish.begin_publication(
        bulk, statement_id=statement.statement_id, expected_publication_id=statement.publication_id
    )
    place = {"statement_id": statement.statement_id, "publication_id": publication_id}
    history.restore_bill(bulk, period, restored_publication_id=history.NOTHING, **place)
    publish.roll_up(bulk, period, is_first=False, **place)
    removed = publish.sum_withdrawn(bulk, period, currency=statement.currency, **place)
    reconcile(Totals(), carry(statement.totals, Totals(), removed))
    return Emptied(statement=statement, publication_id=publication_id, removed=removed)


def _adoption(emptied: Emptied, moment: str) -> publish.Publication:
    statement = emptied.statement
    assert statement.cost_basis is not None, "what is published has a basis"
    assert statement.mapping_version is not None, "what is published was mapped"
    return publish.Publication(
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
