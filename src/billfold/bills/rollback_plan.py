"""Which earlier state a rollback or an undo brings back: decided from the statement's publications alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never
from uuid import UUID

from billfold.errors import UsageError
from billfold.model import DeliveryState, PublicationKind
from billfold.store.deliveries.history import NOTHING, PastPublication
from billfold.store.deliveries.records import StoredDelivery
from billfold.store.deliveries.statements import CurrentStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPlan:
    """Which past publication is restored (None: the empty statement), and which delivery becomes current, if known yet.

    The bill that is replaced was current after each of `publication_ids`. A rollback takes back the deliveries that
    became current by one of them, of which `since` is the first; an undo brings back those that `since` rolled back.
    """

    kind: PublicationKind
    target: PastPublication | None
    delivery_id: UUID | None
    since: PastPublication
    publication_ids: tuple[int, ...]


def plan_rollback(
    stored: StoredDelivery, statement: CurrentStatement, publications: Sequence[PastPublication]
) -> RollbackPlan:
    """Restore the state before the current bill first came in; raises UsageError if the delivery is not current."""
    if stored.state is DeliveryState.ROLLED_BACK:
        raise UsageError(f"delivery {stored.delivery_id} is rolled back already", advice="`--undo` brings it back")
    if statement.delivery_id != stored.delivery_id:
        current = f"delivery {statement.delivery_id} is" if statement.delivery_id else "its statement is empty"
        raise UsageError(
            f"delivery {stored.delivery_id} is {stored.state}, but not current: {current}",
            advice="only the current delivery can be rolled back, then the one before it",
        )
    base = base_of(publications[-1], publications)
    target = _before(base, publications)
    _refuse_forgotten(target)
    return RollbackPlan(
        kind=PublicationKind.ROLLBACK,
        target=target,
        delivery_id=None,
        since=base,
        publication_ids=publications_of(base, publications),
    )


def plan_undo(stored: StoredDelivery, publications: Sequence[PastPublication]) -> RollbackPlan:
    """Restore the state before the delivery was rolled back; raises UsageError if the statement changed since."""
    if stored.state is not DeliveryState.ROLLED_BACK:
        raise UsageError(f"delivery {stored.delivery_id} is {stored.state}, not rolled back")
    rollback = next(known for known in publications if known.publication_id == stored.rolled_back_by)
    current = publications[-1]
    if _root_of(current, publications) != _root_of(rollback, publications):
        raise UsageError(
            f"the statement has changed since delivery {stored.delivery_id} was rolled back: publication"
            f" {current.number} ({current.kind}) is current",
            advice="roll that back first, or apply the delivery again with `billfold ingest --force`",
        )
    target = _before(rollback, publications)
    assert target is not None, "only a published delivery can be rolled back"
    _refuse_forgotten(target)
    return RollbackPlan(
        kind=PublicationKind.UNDO,
        target=target,
        delivery_id=stored.delivery_id,
        since=rollback,
        publication_ids=tuple(known.publication_id for known in publications[rollback.number - 1 :]),
    )


def refuse_adoption(stored: StoredDelivery, plan: RollbackPlan, files: Sequence[str]) -> None:
    """Raise UsageError if the prior state included statements of single files too, which would not come back."""
    if files:
        taker = "the rollback of " if plan.kind is PublicationKind.UNDO else ""
        noun = "file" if len(files) == 1 else "files"
        raise UsageError(
            f"{taker}delivery {stored.delivery_id} took over {len(files)} standalone {noun} ({files[0]}"
            f"{', …' if len(files) > 1 else ''}): the bill before it cannot be restored without them",
            advice="ingest the delivery that should be current with --force",
        )


def base_of(publication: PastPublication, publications: Sequence[PastPublication]) -> PastPublication:
    """The publication by which the bill that is current after this one first came in."""
    before = _before(publication, publications)
    match publication.kind:
        case PublicationKind.ROLLBACK | PublicationKind.UNDO:
            restored = _restored_by(publication, publications)
            return base_of(restored, publications) if restored else publication
        case PublicationKind.REMAP | PublicationKind.SWITCH:
            assert before is not None, "only a published statement can be remapped or switched"
            return base_of(before, publications)
        case PublicationKind.DELIVERY | PublicationKind.ADOPTION:
            is_again = before is not None and before.delivery_id == publication.delivery_id
            return base_of(before, publications) if before and is_again else publication
        case _:
            assert_never(publication.kind)


def publications_of(base: PastPublication, publications: Sequence[PastPublication]) -> tuple[int, ...]:
    """All publications after which the bill that came in by `base` is current."""
    return tuple(known.publication_id for known in publications if base_of(known, publications) == base)


def _root_of(publication: PastPublication, publications: Sequence[PastPublication]) -> int:
    """The publication that first made the state after this one; NOTHING for the empty state."""
    if publication.kind is PublicationKind.SWITCH:
        before = _before(publication, publications)
        assert before is not None, "only a published statement can be switched"
        return _root_of(before, publications)
    if publication.kind not in (PublicationKind.ROLLBACK, PublicationKind.UNDO):
        return publication.publication_id
    restored = _restored_by(publication, publications)
    return _root_of(restored, publications) if restored else NOTHING


def _restored_by(publication: PastPublication, publications: Sequence[PastPublication]) -> PastPublication | None:
    wanted = publication.restored_publication_id
    return next((known for known in publications if known.publication_id == wanted), None)


def _before(publication: PastPublication, publications: Sequence[PastPublication]) -> PastPublication | None:
    """The publication before this one; None before the first."""
    return publications[publication.number - 2] if publication.number > 1 else None


def _refuse_forgotten(target: PastPublication | None) -> None:
    if target is not None and not target.is_remembered:
        raise UsageError(
            f"the bill of {target.published_at:%Y-%m-%d %H:%M:%S} UTC is pruned and cannot be restored",
            advice="ingest the delivery that you want with --force",
        )
