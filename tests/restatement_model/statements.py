"""Statements, their deliveries and publications as anybody would write them down who never heard of PostgreSQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from billfold.model import DeliveryState, PublicationKind
from tests.restatement_model.bills import (
    Charge,
    ChargeKey,
    DailyCosts,
    Item,
    Money,
    RowKey,
    basis_of,
    charges_of,
    daily_costs,
    number,
    worth_of,
)
from tests.restatement_model.splits import WORKLOAD, SplitKey, SplitRow, splits_of

# The state before the first publication, and the one after the first was rolled back.
NOTHING = 0
# Higher than Billfold's own: random edits seldom take half of a bill away.
LEAST_PERCENT = 80


class RefusedError(Exception):
    """What the model says may not be done."""


@dataclass(slots=True, kw_only=True, eq=False)
class Delivery:
    """One refresh of a statement, and what became of it. `files` are the contents as they were written, in order.

    `time` is when its manifest was written; `publication` the number of the one that last made it current,
    `rolled_back_by` of the one that rolled it back, kept while a later rollback lets it stand again; `held_against` are
    the publication and the version of the mapping by which it was last held.
    """

    number: int
    items: tuple[Item, ...]
    files: tuple[bytes, ...]
    time: datetime
    state: DeliveryState = DeliveryState.PENDING
    is_released: bool = False
    held_against: tuple[int, int] | None = None
    publication: int | None = None
    rolled_back_by: int | None = None
    delivery_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands: each row, charge and split cost with the number of the publication that brought it."""

    rows: Mapping[RowKey, int] = field(default_factory=dict)
    charges: Mapping[ChargeKey, tuple[Charge, int]] = field(default_factory=dict)
    splits: Mapping[SplitKey, tuple[SplitRow, int]] = field(default_factory=dict)

    @property
    def billed(self) -> Money:
        """What the charges add up to."""
        return _sums((charge.currency, charge.billed) for charge, _ in self.charges.values())

    @property
    def daily(self) -> DailyCosts:
        """The charges summed by group."""
        return daily_costs(charge for charge, _ in self.charges.values())

    @property
    def gross(self) -> Money:
        """The unblended costs of the rows."""
        return _sums((item.currency, Decimal(item.cost)) for item, _ in self.rows)

    @property
    def net(self) -> Money:
        """The net costs of the rows that have one."""
        return _sums((item.currency, Decimal(item.net or 0)) for item, _ in self.rows)


@dataclass(slots=True, kw_only=True)
class Publication:
    """A state that stood, and how it came to be.

    `origin` is the number of the publication by which the bill that stands first came in, `root` of the one that first
    made exactly this state, NOTHING for the empty one.
    """

    number: int
    kind: PublicationKind
    delivery: Delivery | None
    restored: int | None
    basis: str
    mapping_version: int
    standing: Standing
    rows_added: int
    rows_removed: int
    origin: int
    root: int
    published_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a delivery ends, and what it moves."""

    state: DeliveryState
    rows_read: int = 0
    rows_added: int = 0
    rows_removed: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Statement:
    """One month of one export: everything that was ever delivered and published, and what was withdrawn."""

    period: str
    deliveries: list[Delivery] = field(default_factory=list)
    publications: list[Publication] = field(default_factory=list)
    current: Delivery | None = None
    in_bucket: Delivery | None = None
    # A row, charge or split cost, the publication that brought it, and the one that withdrew it.
    withdrawn_rows: Counter[tuple[RowKey, int, int]] = field(default_factory=Counter)
    withdrawn_charges: Counter[tuple[ChargeKey, Charge, int, int]] = field(default_factory=Counter)
    withdrawn_splits: Counter[tuple[SplitKey, SplitRow, int, int]] = field(default_factory=Counter)

    @property
    def standing(self) -> Standing:
        return self.after(len(self.publications))

    def after(self, number: int) -> Standing:
        """What stood after the publication of this number; NOTHING is before the first."""
        return self.publications[number - 1].standing if number else Standing()

    def ingest(self, delivery: Delivery, *, force: bool, mapping_version: int) -> Outcome:
        """What becomes of a delivery that stands in the bucket."""
        if not force:
            if obstacle := self._find_obstacle(delivery, mapping_version):
                return self._leave_out(delivery, obstacle)
            if self._is_current(delivery, mapping_version) or self._has_same_rows(delivery, mapping_version):
                return self._adopt(delivery)
            if not delivery.is_released and self._loses_too_much(delivery):
                delivery.held_against = (len(self.publications), mapping_version)
                return replace(self._leave_out(delivery, DeliveryState.HELD), rows_read=len(delivery.items))
        return self._publish(delivery, mapping_version)

    def fail(self, delivery: Delivery) -> None:
        """The attempt to bring it in broke off: nothing has changed, but the state of a delivery never published."""
        if delivery.state not in (DeliveryState.PUBLISHED, DeliveryState.ROLLED_BACK):
            delivery.state = DeliveryState.FAILED

    def roll_back(self, delivery: Delivery) -> Publication:
        """Bring back what stood before the bill that stands came in."""
        if delivery is not self.current or delivery.state is DeliveryState.ROLLED_BACK:
            raise RefusedError
        base = self.publications[-1].origin
        publication = self._restore(PublicationKind.ROLLBACK, base - 1, self._find_standing(base - 1))
        for known in self.deliveries:
            if known.state is DeliveryState.PUBLISHED and self._origin_of(known) == base:
                known.state, known.rolled_back_by = DeliveryState.ROLLED_BACK, publication.number
        self.current = publication.delivery
        if self.current and self.current.state is not DeliveryState.PUBLISHED:
            self.current.state, self.current.publication = DeliveryState.PUBLISHED, publication.number
        return publication

    def undo(self, delivery: Delivery) -> Publication:
        """Bring a rolled back delivery back, while what the rollback left still stands."""
        if delivery.state is not DeliveryState.ROLLED_BACK:
            raise RefusedError
        assert delivery.rolled_back_by is not None
        rollback = self.publications[delivery.rolled_back_by - 1]
        if self.publications[-1].root != rollback.root:
            raise RefusedError
        publication = self._restore(PublicationKind.UNDO, rollback.number - 1, delivery)
        for known in self.deliveries:
            stood_again = known.publication == rollback.number and known.rolled_back_by is not None
            if known.state is DeliveryState.PUBLISHED and stood_again:
                known.state = DeliveryState.ROLLED_BACK
            elif known.state is DeliveryState.ROLLED_BACK and known.rolled_back_by == rollback.number:
                known.state, known.publication = DeliveryState.PUBLISHED, publication.number
                known.rolled_back_by = None
        self.current = delivery
        return publication

    def _find_standing(self, number: int) -> Delivery | None:
        """The latest delivery that stood for the bill of that publication."""
        if number == NOTHING:
            return None
        target = self.publications[number - 1]
        stood = [
            known
            for known in self.deliveries
            if known.state is DeliveryState.PUBLISHED and self._origin_of(known) == target.origin
        ]
        return max(stood, key=lambda known: known.time, default=target.delivery)

    def _origin_of(self, delivery: Delivery) -> int | None:
        """The number of the publication by which the bill that it stood for first came in."""
        return self.publications[delivery.publication - 1].origin if delivery.publication else None

    def _is_mapped_today(self, mapping_version: int) -> bool:
        return bool(self.publications) and self.publications[-1].mapping_version == mapping_version

    def _is_current(self, delivery: Delivery, mapping_version: int) -> bool:
        """Whether the very files of the current delivery stand in the bucket."""
        is_same = self.current is not None and set(enumerate(self.current.files)) == set(enumerate(delivery.files))
        return is_same and self._is_mapped_today(mapping_version)

    def _has_same_rows(self, delivery: Delivery, mapping_version: int) -> bool:
        """Whether it has the very rows that stand, whichever files, order and ids they come in."""
        is_same = self.current is not None and set(number(delivery.items)) == set(self.standing.rows)
        return is_same and self._is_mapped_today(mapping_version)

    def _find_obstacle(self, delivery: Delivery, mapping_version: int) -> DeliveryState | None:
        if delivery.state is DeliveryState.ROLLED_BACK:
            return DeliveryState.ROLLED_BACK
        if self.current is not None and delivery is not self.current and delivery.time < self.current.time:
            return DeliveryState.SUPERSEDED
        is_judged = delivery.held_against == (len(self.publications), mapping_version)
        is_held = delivery.state is DeliveryState.HELD and is_judged and not delivery.is_released
        return DeliveryState.HELD if is_held else None

    def _loses_too_much(self, delivery: Delivery) -> bool:
        standing = [item for item, _ in self.standing.rows]
        held, left = (worth_of(items, basis_of(items)) for items in (standing, delivery.items))
        return len(delivery.items) * 100 < len(standing) * LEAST_PERCENT or any(
            left.get(currency, Decimal(0)) * 100 < worth * LEAST_PERCENT for currency, worth in held.items()
        )

    def _leave_out(self, delivery: Delivery, state: DeliveryState) -> Outcome:
        comes_back = delivery.state is DeliveryState.PUBLISHED and state is DeliveryState.HELD
        if state is DeliveryState.SUPERSEDED:
            self._overtake(delivery)
        elif comes_back or delivery.state not in (DeliveryState.PUBLISHED, DeliveryState.ROLLED_BACK):
            delivery.state = state
        return Outcome(state=state)

    def _overtake(self, delivery: Delivery) -> None:
        """A newer one is published: no permit is left, and what was published before stays so."""
        delivery.is_released = False
        if delivery.state not in (DeliveryState.PUBLISHED, DeliveryState.ROLLED_BACK):
            delivery.state = DeliveryState.PUBLISHED if delivery.publication else DeliveryState.SUPERSEDED

    def _end_holds(self, newer: Delivery) -> None:
        """What was held before the delivery that has become current waits no longer."""
        newer.is_released = False
        for known in self.deliveries:
            if known is not newer and known.time <= newer.time:
                known.is_released = False
                if known.state is DeliveryState.HELD:
                    self._overtake(known)

    def _adopt(self, delivery: Delivery) -> Outcome:
        if delivery is not self.current:
            delivery.state, delivery.publication = DeliveryState.PUBLISHED, len(self.publications)
            delivery.rolled_back_by = None
            self.current = delivery
        self._end_holds(delivery)
        return Outcome(state=DeliveryState.PUBLISHED, rows_read=len(delivery.items))

    def _publish(self, delivery: Delivery, mapping_version: int) -> Outcome:
        old, this = self.standing, len(self.publications) + 1
        before = self.publications[-1] if self.publications else None
        basis = basis_of(delivery.items)
        is_remapped = before is not None and (before.basis, before.mapping_version) != (basis, mapping_version)
        rows = {key: old.rows.get(key, this) for key in number(delivery.items)}
        is_again = before is not None and before.delivery is delivery
        publication = self._record(
            PublicationKind.DELIVERY,
            Standing(
                rows=rows,
                charges=self._map(rows, basis, is_remapped),
                splits=self._split(rows, basis, is_remapped),
            ),
            delivery=delivery,
            basis=basis,
            mapping_version=mapping_version,
            origin=before.origin if before and is_again else this,
            root=this,
        )
        delivery.state, delivery.publication, delivery.rolled_back_by = DeliveryState.PUBLISHED, this, None
        self.current = delivery
        self._end_holds(delivery)
        return Outcome(
            state=DeliveryState.PUBLISHED,
            rows_read=len(delivery.items),
            rows_added=publication.rows_added,
            rows_removed=publication.rows_removed,
        )

    def _map(self, rows: Collection[RowKey], basis: str, is_remapped: bool) -> dict[ChargeKey, tuple[Charge, int]]:
        """The charges of these rows; those that stand already stay as they are, unless all are made anew."""
        known, this = {} if is_remapped else self.standing.charges, len(self.publications) + 1
        return {
            key: known[key] if key in known and known[key][0] == charge else (charge, this)
            for key, charge in charges_of(rows, basis, self.period).items()
        }

    def _split(self, rows: Collection[RowKey], basis: str, is_remapped: bool) -> dict[SplitKey, tuple[SplitRow, int]]:
        """The split costs of these rows; what stands already stays, but for pods that are all made anew."""
        known, this = self.standing.splits, len(self.publications) + 1
        return {
            key: known[key]
            if key in known and known[key][0] == row and not (is_remapped and row.allocation == WORKLOAD)
            else (row, this)
            for key, row in splits_of(rows, basis, self.period).items()
        }

    def _restore(self, kind: PublicationKind, number: int, delivery: Delivery | None = None) -> Publication:
        """What stood after that publication stands again; what did not stand all the time comes anew."""
        old, wanted, this = self.standing, self.after(number), len(self.publications) + 1
        source = self.publications[number - 1] if number else self.publications[-1]
        rows = {key: born if old.rows.get(key) == born else this for key, born in wanted.rows.items()}
        charges = {
            key: known if old.charges.get(key) == known else (known[0], this) for key, known in wanted.charges.items()
        }
        splits = {
            key: known if old.splits.get(key) == known else (known[0], this) for key, known in wanted.splits.items()
        }
        return self._record(
            kind,
            Standing(rows=rows, charges=charges, splits=splits),
            delivery=delivery or (source.delivery if number else None),
            restored=number or None,
            basis=source.basis,
            mapping_version=source.mapping_version,
            origin=source.origin if number else this,
            root=source.root if number else NOTHING,
        )

    def _record(
        self,
        kind: PublicationKind,
        standing: Standing,
        *,
        delivery: Delivery | None,
        basis: str,
        mapping_version: int,
        origin: int,
        root: int,
        restored: int | None = None,
    ) -> Publication:
        old, this = self.standing, len(self.publications) + 1
        gone = [(key, born, this) for key, born in old.rows.items() if standing.rows.get(key) != born]
        self.withdrawn_rows.update(gone)
        self.withdrawn_charges.update(
            (key, charge, born, this)
            for key, (charge, born) in old.charges.items()
            if standing.charges.get(key) != (charge, born)
        )
        self.withdrawn_splits.update(
            (key, row, born, this) for key, (row, born) in old.splits.items() if standing.splits.get(key) != (row, born)
        )
        publication = Publication(
            number=this,
            kind=kind,
            delivery=delivery,
            restored=restored,
            basis=basis,
            mapping_version=mapping_version,
            standing=standing,
            rows_added=sum(born == this for born in standing.rows.values()),
            rows_removed=len(gone),
            origin=origin,
            root=root,
        )
        self.publications.append(publication)
        return publication


def _sums(amounts: Iterable[tuple[str, Decimal]]) -> Money:
    sums: Money = {}
    for currency, amount in amounts:
        sums[currency] = sums.get(currency, Decimal(0)) + amount
    return sums
