"""Roll back: bring back exactly the bill before a delivery; that can be undone too.

A rollback is a publication of its own, in one transaction: the rows and charges that the delivery added go to history,
those that it withdrew come back from there as copies. Nothing is ever removed from history.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from uuid import UUID

import structlog

from billfold import interruption
from billfold.bills import overlap, standalone
from billfold.bills.overlap_findings import name
from billfold.bills.reconcile import carry, reconcile
from billfold.bills.rollback_plan import (
    RollbackPlan,
    base_of,
    plan_rollback,
    plan_undo,
    publications_of,
    refuse_adoption,
)
from billfold.bills.standalone import find_owning_statement, find_standalone, find_twin
from billfold.errors import ReconciliationError, UsageError
from billfold.log import Event
from billfold.model import Client, CostBasis, PublicationKind, Totals
from billfold.quality import record_checks
from billfold.settings import Settings
from billfold.store.database import BulkConnection, Connection, Database, connect, connect_bulk
from billfold.store.deliveries import claims, history, landing, publications, records, statements, sums
from billfold.store.deliveries.history import NOTHING
from billfold.store.deliveries.records import StoredDelivery
from billfold.store.deliveries.statements import CurrentStatement

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """What a rollback or an undo of `delivery_id` did; `current_delivery_id` is current now.

    `restored_number` is the number of the publication whose bill is current again, None for the empty statement before
    the first. `adopted_files` were statements of their own until now and are part of that bill. `findings` say which
    statements of the bill are counted now, if there are several. Costs are exact, by currency.
    """

    delivery_id: UUID
    current_delivery_id: UUID | None
    client_id: str
    export_name: str
    billing_period: str
    statement_id: int
    kind: PublicationKind
    restored_number: int | None
    rows_added: int
    rows_removed: int
    rows_after: int
    billed_cost_before: dict[str, Decimal]
    billed_cost: dict[str, Decimal]
    adopted_files: tuple[str, ...]
    findings: tuple[str, ...]
    duration_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Restored:
    """The totals now, of what came back and of what was withdrawn, and the standalone files that were taken over."""

    after: Totals
    added: Totals
    removed: Totals
    adopted_files: tuple[str, ...]
    findings: tuple[str, ...]
    overlapping: frozenset[int]


def roll_back(delivery_id: UUID, *, settings: Settings, database: Database, undo: bool = False) -> Restoration:
    """Bring back the bill before the current delivery; with `undo`, bring a rolled back delivery back.

    Later redeliveries of the same content are rolled back with it. The delivery is then `rolled_back`: neither an event
    nor a backfill applies it again, only `ingest --force`, an undo, or a newer delivery. Standalone files that the
    restored bill holds are taken over in the same transaction.

    Raises UsageError if the delivery is not current (for an undo: if the statement has changed since), or if the prior
    state is pruned, was taken over from files that would be lost, or is a file of a current export; RunConflictError
    while another worker holds the statement; ReconciliationError if the restored rows are not what the past publication
    says: then nothing has changed.
    """
    started = time.monotonic()
    with connect(database.conninfo) as connection:
        stored = _claim(connection, delivery_id, settings)
        assert stored.statement_id is not None, "it was published"
        statement = statements.read_statement(connection, stored.statement_id)
        plan = _plan(connection, stored, statement, undo=undo)
        statement_name = f"{stored.export_name} {statement.billing_period}"
        done = "brought back" if undo else "rolled back"
        with (
            interruption.unfinished(
                partial(statements.say_whether_done, database.conninfo, statement, statement_name, done)
            ),
            connect_bulk(database.conninfo) as bulk,
        ):
            restored = _restore(bulk, connection, stored.client_id, statement, plan)
            interruption.note(f"{statement_name} is {done}")
        for checked in (statement.statement_id, *restored.overlapping):
            record_checks(database, statement_id=checked, connection=connection)
    restoration = Restoration(
        delivery_id=delivery_id,
        current_delivery_id=plan.delivery_id,
        client_id=stored.client_id,
        export_name=stored.export_name,
        billing_period=str(statement.billing_period),
        statement_id=statement.statement_id,
        kind=plan.kind,
        restored_number=plan.target.number if plan.target else None,
        rows_added=restored.added.row_count,
        rows_removed=restored.removed.row_count,
        rows_after=restored.after.row_count,
        billed_cost_before=statement.totals.billed,
        billed_cost=restored.after.billed,
        adopted_files=restored.adopted_files,
        findings=restored.findings,
        duration_seconds=time.monotonic() - started,
    )
    _log_done(restoration)
    return restoration


def _claim(connection: Connection, delivery_id: UUID, settings: Settings) -> StoredDelivery:
    """Claim the statement of the delivery, and read the delivery; raises UsageError if it was never published."""
    stored = records.find_delivery(connection, delivery_id)
    claims.claim_stored(connection, stored, wait_seconds=settings.claim_wait_seconds)
    # It may have changed while the claim was waited for.
    stored = records.find_delivery(connection, delivery_id)
    if stored.statement_id is None:
        raise UsageError(f"delivery {delivery_id} is {stored.state}: it was never published")
    return stored


def _plan(connection: Connection, stored: StoredDelivery, statement: CurrentStatement, *, undo: bool) -> RollbackPlan:
    known = history.list_publications(connection, statement.statement_id)
    plan = plan_undo(stored, known) if undo else plan_rollback(stored, statement, known)
    refuse_adoption(stored, plan, history.list_adopted(connection, plan.publication_ids))
    if plan.delivery_id is None and plan.target is not None:
        # The delivery that was current for that bill last: its latest redelivery, else the published one.
        publication_ids = publications_of(base_of(plan.target, known), known)
        latest = history.find_latest_delivery(connection, statement.statement_id, publication_ids)
        return replace(plan, delivery_id=latest or plan.target.delivery_id)
    return plan


def _restore(
    bulk: BulkConnection, connection: Connection, client_id: str, statement: CurrentStatement, plan: RollbackPlan
) -> _Restored:
    """Restore the rows, reconcile them with the past publication, and publish; one transaction."""
    publication_id = publications.begin_publication(
        bulk, statement_id=statement.statement_id, expected_publication_id=statement.publication_id
    )
    before = overlap.find_before(bulk, statement.statement_id)
    added, removed, after = _restore_rows(bulk, statement, plan, publication_id)
    publications.lock_bucket(bulk, client_id=client_id)
    taken_over = _find_standalone(connection, client_id, statement, plan)
    emptied = standalone.empty(bulk, taken_over)
    recount = _recount(bulk, statement.statement_id, before, plan.delivery_id, is_empty=not after.row_count)
    moment = publications.take_moment(
        bulk, [statement.statement_id, *(each.statement_id for each in taken_over), *recount.switched]
    )
    standalone.record(bulk, emptied, moment=moment)
    overlap.record(bulk, recount, moment=moment)
    _record(bulk, _describe(statement, plan, publication_id, moment, added, removed, after), plan)
    bulk.commit()
    return _Restored(
        after=after,
        added=added,
        removed=removed,
        adopted_files=tuple(each.export_path for each in taken_over),
        findings=recount.findings,
        overlapping=recount.affected,
    )


def _restore_rows(
    bulk: BulkConnection, statement: CurrentStatement, plan: RollbackPlan, publication_id: int
) -> tuple[Totals, Totals, Totals]:
    """What came back, what was withdrawn, and the totals now, which must be the past publication's."""
    period, target = statement.billing_period, plan.target
    statement_id = statement.statement_id
    history.restore_bill(
        bulk,
        period,
        statement_id=statement_id,
        publication_id=publication_id,
        restored_publication_id=target.publication_id if target else NOTHING,
    )
    landing.roll_up(bulk, period, statement_id=statement_id, publication_id=publication_id, is_first=False)
    added, removed = (
        sum_rows(bulk, period, statement_id=statement_id, publication_id=publication_id, currency=statement.currency)
        for sum_rows in (sums.sum_restored, sums.sum_withdrawn)
    )
    after = carry(statement.totals, added, removed)
    wanted = target.totals if target else Totals()
    reconcile(wanted, after)
    if wanted.charge_count != after.charge_count:
        raise ReconciliationError(f"the past bill had {wanted.charge_count} charges, {after.charge_count} came back")
    return added, removed, after


def _describe(
    statement: CurrentStatement,
    plan: RollbackPlan,
    publication_id: int,
    moment: str,
    added: Totals,
    removed: Totals,
    after: Totals,
) -> publications.Publication:
    target = plan.target
    return publications.Publication(
        statement_id=statement.statement_id,
        publication_id=publication_id,
        published_at=moment,
        kind=plan.kind,
        delivery_id=plan.delivery_id,
        restored_publication_id=target.publication_id if target else None,
        cost_basis=target.cost_basis if target else statement.cost_basis or CostBasis.GROSS,
        hash_version=target.hash_version if target else statement.hash_version,
        mapping_version=target.mapping_version if target else statement.mapping_version or 0,
        before=statement.totals,
        after=after,
        rows_added=added.row_count,
        rows_removed=removed.row_count,
        left_out=target.left_out if target else (),
        unproved=target.unproved if target else {},
        undiscounted={},
    )


def _record(bulk: BulkConnection, publication: publications.Publication, plan: RollbackPlan) -> None:
    """Write the publication and the new states of the deliveries; the transaction stays open."""
    publications.record_publication(bulk, publication)
    place = {"statement_id": publication.statement_id, "publication_id": publication.publication_id}
    if plan.kind is PublicationKind.ROLLBACK:
        history.mark_rolled_back(bulk, publication_ids=plan.publication_ids, **place)
        history.mark_published_again(bulk, plan.delivery_id, publication_id=publication.publication_id)
    else:
        history.mark_taken_back(bulk, rollback_publication_id=plan.since.publication_id, **place)


def _recount(
    bulk: BulkConnection, statement_id: int, before: overlap.Before, delivery_id: UUID | None, *, is_empty: bool
) -> overlap.Recount:
    """Which statements of the bill are counted now; an emptied one leaves the others as they are."""
    if not is_empty:
        return overlap.recount(bulk, statement_id, before=before, delivery_id=delivery_id)
    # An undo must not find that the month has moved to another export meanwhile.
    findings = tuple(
        f"{name(before.candidates[other])} holds the same bill and is not counted yet:"
        f" `billfold statement count {other}`"
        for other in sorted(before.overlapping)
        if before.is_counted and not before.counted
    )
    return overlap.Recount(findings=findings, affected=before.overlapping)


def _find_standalone(
    connection: Connection, client_id: str, statement: CurrentStatement, plan: RollbackPlan
) -> list[CurrentStatement]:
    """The statements of single files that the restored delivery names or has in its place.

    Read under the lock of the client's publications, where a file and the manifest that names it meet. Raises
    UsageError in the opposite case: a single file would come back beside the bill that holds it.
    """
    if plan.delivery_id is None:
        return []
    client = Client(client_id=client_id)
    delivery = history.read_delivery(connection, plan.delivery_id)
    if owner := find_owning_statement(connection, client, delivery):
        raise UsageError(
            f"{delivery.export_name} belongs to {owner.name}, which is ingested by its manifest: it would be counted"
            " twice",
            advice="roll that back first",
        )
    if twin := find_twin(connection, client, delivery):
        raise UsageError(
            f"{delivery.export_name} is statement {twin.statement_id} already, in {twin.bucket}: it would be counted"
            " twice",
            advice="roll that back first",
        )
    return find_standalone(connection, client, delivery, statement.billing_period)


def _log_done(restoration: Restoration) -> None:
    current = restoration.current_delivery_id
    log.info(
        Event.DELIVERY_ROLLED_BACK if restoration.kind is PublicationKind.ROLLBACK else Event.ROLLBACK_UNDONE,
        client=restoration.client_id,
        delivery_id=str(restoration.delivery_id),
        current_delivery_id=str(current) if current else None,
        rows_added=restoration.rows_added,
        rows_removed=restoration.rows_removed,
        **({"adopted_files": list(restoration.adopted_files)} if restoration.adopted_files else {}),
    )
