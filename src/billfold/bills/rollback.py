"""Roll back: what stood before a delivery stands again, exactly, and that can be taken back too.

A rollback is a publication of its own, in one transaction: rows and charges that the delivery brought go to history,
those that it withdrew come back from there as copies. History is only ever added to.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import assert_never
from uuid import UUID

import structlog

from billfold import interruption
from billfold.bills import adoption, overlap
from billfold.bills.admission import find_owner, find_standalone, find_twin
from billfold.bills.overlap_findings import name
from billfold.bills.reconcile import carry, reconcile
from billfold.errors import ReconciliationError, UsageError
from billfold.log import Event
from billfold.model import Client, CostBasis, DeliveryState, PublicationKind, Totals
from billfold.quality import record_checks
from billfold.settings import Settings
from billfold.store.database import BulkConnection, Connection, Database, connect, connect_bulk
from billfold.store.deliveries import control, history, publish, statements
from billfold.store.deliveries.history import NOTHING, Stood
from billfold.store.deliveries.statements import CurrentStatement

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """What a rollback or an undo did. `delivery_id` is the delivery it was asked for, `current_delivery_id` stands now.

    `restored_number` is the number of the publication whose bill stands again, None for the empty statement before the
    first. `adopted_files` stood alone until now and are part of that bill. `findings` tell which statements of the bill
    make up the costs now, where there are several. Costs are exact, by currency.
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
class Plan:
    """Which state comes back (None: the empty one), and which delivery stands for it, where that is known by itself.

    The bill that goes stood after `publication_ids`. A rollback takes back what became current by one of them, of which
    `since` is the first; an undo takes back what `since` rolled back.
    """

    kind: PublicationKind
    target: Stood | None
    delivery_id: UUID | None
    since: Stood
    publication_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Restored:
    """The totals after, of what came back and of what went, and the standalone files that were taken over."""

    after: Totals
    added: Totals
    removed: Totals
    adopted_files: tuple[str, ...]
    findings: tuple[str, ...]
    overlapping: frozenset[int]


def roll_back(delivery_id: UUID, *, settings: Settings, database: Database, undo: bool = False) -> Restoration:
    """Bring back what stood before the current delivery; with `undo`, bring a rolled back delivery back.

    Whatever the delivery's later redeliveries of the same content did goes with it. The delivery is then `rolled_back`:
    neither an event nor a backfill applies it again, only `ingest --force`, an undo, or a newer delivery. Standalone
    files that the bill that comes back holds are taken over in the same transaction. Raises UsageError where the
    delivery is not current (for an undo: where the statement has moved on since), what stood is pruned, took files over
    that would be lost, or is a file of an export that stands; RunConflictError while another worker holds the
    statement; ReconciliationError when the restored rows are not what the earlier publication said: then nothing has
    changed.
    """
    started = time.monotonic()
    with connect(database.conninfo) as connection:
        stored = control.find_delivery(connection, delivery_id)
        control.claim_stored(connection, stored, wait_seconds=settings.claim_wait_seconds)
        # What is known of it may have changed while the claim was waited for.
        stored = control.find_delivery(connection, delivery_id)
        if stored.statement_id is None:
            raise UsageError(f"delivery {delivery_id} is {stored.state}: it was never published")
        statement = statements.read_statement(connection, stored.statement_id)
        publications = history.list_publications(connection, stored.statement_id)
        plan = plan_undo(stored, publications) if undo else plan_rollback(stored, statement, publications)
        _refuse_adoption(stored, plan, history.list_adopted(connection, plan.publication_ids))
        if plan.delivery_id is None and plan.target is not None:
            plan = replace(plan, delivery_id=_find_standing(connection, statement, plan.target, publications))
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
        record_checks(database, statement_id=checked)
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
    log.info(
        Event.DELIVERY_ROLLED_BACK if plan.kind is PublicationKind.ROLLBACK else Event.ROLLBACK_UNDONE,
        client=stored.client_id,
        delivery_id=str(delivery_id),
        current_delivery_id=str(plan.delivery_id) if plan.delivery_id else None,
        rows_added=restoration.rows_added,
        rows_removed=restoration.rows_removed,
        **({"adopted_files": list(restoration.adopted_files)} if restoration.adopted_files else {}),
    )
    return restoration


def plan_rollback(stored: control.StoredDelivery, statement: CurrentStatement, publications: Sequence[Stood]) -> Plan:
    """What stood before the bill that stands first came in."""
    if stored.state is DeliveryState.ROLLED_BACK:
        raise UsageError(f"delivery {stored.delivery_id} is rolled back already", advice="`--undo` takes that back")
    if statement.delivery_id != stored.delivery_id:
        shown = f"that is {statement.delivery_id}" if statement.delivery_id else "it is empty"
        raise UsageError(
            f"delivery {stored.delivery_id} is {stored.state}, but not what its statement shows now: {shown}",
            advice="only the current delivery can be rolled back, then the one before it",
        )
    base = _base_of(publications[-1], publications)
    target = _before(base, publications)
    _refuse_forgotten(target)
    return Plan(
        kind=PublicationKind.ROLLBACK,
        target=target,
        delivery_id=None,
        since=base,
        publication_ids=_publications_of(base, publications),
    )


def plan_undo(stored: control.StoredDelivery, publications: Sequence[Stood]) -> Plan:
    """What stood before the delivery was rolled back; only while what the rollback left still stands."""
    if stored.state is not DeliveryState.ROLLED_BACK:
        raise UsageError(f"delivery {stored.delivery_id} is {stored.state}, not rolled back")
    rollback = next(known for known in publications if known.publication_id == stored.rolled_back_by)
    current = publications[-1]
    if _root_of(current, publications) != _root_of(rollback, publications):
        raise UsageError(
            f"the statement has changed since delivery {stored.delivery_id} was rolled back: publication"
            f" {current.number} ({current.kind}) stands",
            advice="roll that back first, or apply the delivery again with `billfold ingest --force`",
        )
    target = _before(rollback, publications)
    assert target is not None, "something stood that could be rolled back"
    _refuse_forgotten(target)
    return Plan(
        kind=PublicationKind.UNDO,
        target=target,
        delivery_id=stored.delivery_id,
        since=rollback,
        publication_ids=tuple(known.publication_id for known in publications[rollback.number - 1 :]),
    )


def _refuse_adoption(stored: control.StoredDelivery, plan: Plan, files: Sequence[str]) -> None:
    """What stood before were the statements of single files too: bringing back one of them alone would lose money."""
    if files:
        taker = "the rollback of " if plan.kind is PublicationKind.UNDO else ""
        noun = "file" if len(files) == 1 else "files"
        raise UsageError(
            f"{taker}delivery {stored.delivery_id} took over {len(files)} standalone {noun} ({files[0]}"
            f"{', …' if len(files) > 1 else ''}): what stood before cannot be brought back by it alone",
            advice="ingest the delivery that should stand, with --force",
        )


def _find_standing(
    connection: Connection,
    statement: CurrentStatement,
    target: Stood,
    publications: Sequence[Stood],
) -> UUID | None:
    """The delivery that stood for a bill when it went: its latest redelivery, else the one that was published."""
    publication_ids = _publications_of(_base_of(target, publications), publications)
    latest = history.find_standing_delivery(connection, statement.statement_id, publication_ids)
    return latest or target.delivery_id


def _base_of(publication: Stood, publications: Sequence[Stood]) -> Stood:
    """The publication by which the bill that stands after this one first came in."""
    before = _before(publication, publications)
    match publication.kind:
        case PublicationKind.ROLLBACK | PublicationKind.UNDO:
            restored = _restored_by(publication, publications)
            return _base_of(restored, publications) if restored else publication
        case PublicationKind.REMAP | PublicationKind.SWITCH:
            assert before is not None, "only what stands can be remapped or switched"
            return _base_of(before, publications)
        case PublicationKind.DELIVERY | PublicationKind.ADOPTION:
            is_again = before is not None and before.delivery_id == publication.delivery_id
            return _base_of(before, publications) if before and is_again else publication
        case _:
            assert_never(publication.kind)


def _publications_of(base: Stood, publications: Sequence[Stood]) -> tuple[int, ...]:
    """All publications after which the bill stands that came in by `base`."""
    return tuple(known.publication_id for known in publications if _base_of(known, publications) == base)


def _root_of(publication: Stood, publications: Sequence[Stood]) -> int:
    """The publication that first made the state that stands after this one; NOTHING for the empty state."""
    if publication.kind is PublicationKind.SWITCH:
        before = _before(publication, publications)
        assert before is not None, "only what stands can be switched"
        return _root_of(before, publications)
    if publication.kind not in (PublicationKind.ROLLBACK, PublicationKind.UNDO):
        return publication.publication_id
    restored = _restored_by(publication, publications)
    return _root_of(restored, publications) if restored else NOTHING


def _restored_by(publication: Stood, publications: Sequence[Stood]) -> Stood | None:
    wanted = publication.restored_publication_id
    return next((known for known in publications if known.publication_id == wanted), None)


def _before(publication: Stood, publications: Sequence[Stood]) -> Stood | None:
    """The publication before this one; None before the first."""
    return publications[publication.number - 2] if publication.number > 1 else None


def _refuse_forgotten(target: Stood | None) -> None:
    if target is not None and not target.is_remembered:
        raise UsageError(
            f"what stood at {target.published_at:%Y-%m-%d %H:%M:%S} UTC is pruned and cannot be brought back",
            advice="ingest the delivery that you want again, with --force",
        )


def _restore(
    bulk: BulkConnection, connection: Connection, client_id: str, statement: CurrentStatement, plan: Plan
) -> _Restored:
    period, target = statement.billing_period, plan.target
    publication_id = publish.begin_publication(
        bulk, statement_id=statement.statement_id, expected_publication_id=statement.publication_id
    )
    place = {"statement_id": statement.statement_id, "publication_id": publication_id}
    before = overlap.find_before(bulk, statement.statement_id)
    history.restore_bill(bulk, period, restored_publication_id=target.publication_id if target else NOTHING, **place)
    publish.roll_up(bulk, period, is_first=False, **place)
    added = publish.sum_restored(bulk, period, currency=statement.currency, **place)
    removed = publish.sum_withdrawn(bulk, period, currency=statement.currency, **place)
    after = carry(statement.totals, added, removed)
    wanted = target.totals if target else Totals()
    reconcile(wanted, after)
    if wanted.charge_count != after.charge_count:
        raise ReconciliationError(f"{wanted.charge_count} charges stood then, {after.charge_count} would stand now")
    publish.lock_bucket(bulk, client_id=client_id)
    standalone = _find_standalone(connection, client_id, statement, plan)
    emptied = adoption.empty(bulk, standalone)
    settled = _settle(bulk, statement.statement_id, before, plan.delivery_id, is_empty=not after.row_count)
    moment = publish.take_moment(
        bulk, [statement.statement_id, *(each.statement_id for each in standalone), *settled.switched]
    )
    adoption.record(bulk, emptied, moment=moment)
    overlap.record(bulk, settled, moment=moment)
    publish.record_publication(
        bulk,
        publish.Publication(
            **place,
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
        ),
    )
    if plan.kind is PublicationKind.ROLLBACK:
        history.mark_rolled_back(bulk, publication_ids=plan.publication_ids, **place)
        history.stand_again(bulk, plan.delivery_id, publication_id=publication_id)
    else:
        history.mark_taken_back(bulk, rollback_publication_id=plan.since.publication_id, **place)
    bulk.commit()
    return _Restored(
        after=after,
        added=added,
        removed=removed,
        adopted_files=tuple(each.export_path for each in standalone),
        findings=settled.findings,
        overlapping=settled.affected,
    )


def _settle(
    bulk: BulkConnection, statement_id: int, before: overlap.Before, delivery_id: UUID | None, *, is_empty: bool
) -> overlap.Settled:
    """Which statements of the bill make up the costs now, and what an operator should know of that."""
    if not is_empty:
        return overlap.settle(bulk, statement_id, before=before, delivery_id=delivery_id)
    # A rollback that is undone must not have moved the month to another export meanwhile.
    findings = tuple(
        f"{name(before.candidates[other])} holds the same bill and is not counted yet:"
        f" `billfold statement count {other}`"
        for other in sorted(before.overlapping)
        if before.is_counted and not before.counted
    )
    return overlap.Settled(findings=findings, affected=before.overlapping)


def _find_standalone(
    connection: Connection, client_id: str, statement: CurrentStatement, plan: Plan
) -> list[CurrentStatement]:
    """The statements of single files that the delivery that comes back names or has in its place.

    Asked under the lock of the client's publications, where a file and what names it meet. Raises UsageError where it
    is the other way round: a single file would come back beside the bill that holds it.
    """
    if plan.delivery_id is None:
        return []
    client = Client(client_id=client_id)
    delivery = history.read_delivery(connection, plan.delivery_id)
    if owner := find_owner(connection, client, delivery):
        raise UsageError(
            f"{delivery.export_name} belongs to {owner.name}, whose manifest stands: it would be counted twice",
            advice="roll that back first",
        )
    if twin := find_twin(connection, client, delivery):
        raise UsageError(
            f"{delivery.export_name} stands as statement {twin.statement_id} already, in {twin.bucket}: it would be"
            " counted twice",
            advice="roll that back first",
        )
    return find_standalone(connection, client, delivery, statement.billing_period)
