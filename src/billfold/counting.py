"""Count: of two exports of one bill only one makes up the costs, the one published first until that is switched.

Overlaps are looked for by every publication, under the lock of the client's publications. A switch is one transaction:
each statement that it changes gets a publication of its own, all at the same moment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import structlog

from billfold.config import Settings
from billfold.errors import RunConflictError, UsageError
from billfold.model import CostBasis, PublicationKind
from billfold.quality import record_checks
from billfold.store import control, counting, history, publish, statements
from billfold.store.database import BulkConnection, Database, connect, connect_bulk
from billfold.store.history import Stood
from billfold.store.statements import CurrentStatement
from billfold.store.verifying import VerifiedStatement, list_statements

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """What a switch did: the statement that it was asked for, whether it counts now, and which others it changed.

    `also_counted` are the other parts of its bill, such as single files of its folder, that yielded until now.
    `overlapping` are the statements of the same bill that do not count. Where `has_changed` is false everything was so
    already.
    """

    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    counted: bool
    has_changed: bool
    uncounted: tuple[int, ...]
    also_counted: tuple[int, ...]
    overlapping: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A statement that nobody else may change now, and its publications."""

    statement: CurrentStatement
    publications: Sequence[Stood]

    @property
    def statement_id(self) -> int:
        return self.statement.statement_id


def switch(statement_id: int, *, counted: bool, settings: Settings, database: Database) -> Switch:
    """Have a statement make up the costs in place of those that hold the same bill, or have it not make them up.

    What counts no longer yields: it counts again when no other statement of its bill does. Raises UsageError for a
    statement that does not exist or was never published, and RunConflictError while a worker holds one of the
    statements, or where another bill came in meanwhile.
    """
    [chosen] = list_statements(database, client=None, export=None, period=None, statement_id=statement_id)
    with connect_bulk(database.conninfo) as bulk:
        concerned = _find_concerned(bulk, statement_id) if counted else frozenset()
        bulk.rollback()
        with _hold({statement_id, *concerned}, settings, database) as held:
            if not held[statement_id].publications:
                raise UsageError(f"statement {statement_id} was never published: there is nothing to count")
            switched = _switch(bulk, chosen, held, counted=counted)
    for checked in {statement_id, *switched.uncounted, *switched.also_counted, *switched.overlapping}:
        record_checks(database, statement_id=checked)
    return switched


def _find_concerned(bulk: BulkConnection, statement_id: int) -> frozenset[int]:
    """The counted statements that hold the same bill, and what yields to them."""
    counted = [each.statement_id for each in counting.list_overlaps(bulk, statement_id) if each.is_counted]
    yielding = [
        each.statement_id
        for other in counted
        for each in counting.list_overlaps(bulk, other)
        if not each.is_counted and each.statement_id != statement_id
    ]
    return frozenset((*counted, *yielding))


@contextmanager
def _hold(statement_ids: Collection[int], settings: Settings, database: Database) -> Iterator[dict[int, _Held]]:
    """The statements as they stand, while no worker can change them."""
    with ExitStack() as claims:
        held: dict[int, _Held] = {}
        for statement_id in sorted(statement_ids):
            connection = claims.enter_context(connect(database.conninfo))
            publications = history.list_publications(connection, statement_id)
            # One that is empty now is claimed by what it held before.
            delivered = [each.delivery_id for each in publications if each.delivery_id is not None]
            if delivered:
                stored = control.find_delivery(connection, delivered[-1])
                control.claim_stored(connection, stored, wait_seconds=settings.claim_wait_seconds)
            held[statement_id] = _Held(
                statement=statements.read_statement(connection, statement_id),
                publications=history.list_publications(connection, statement_id),
            )
        yield held


def _switch(bulk: BulkConnection, chosen: VerifiedStatement, held: Mapping[int, _Held], *, counted: bool) -> Switch:
    own = chosen.statement_id
    # Publishers take this lock before they touch other statements than their own.
    publish.lock_bucket(bulk, client_id=chosen.client_id)
    if counted and {own, *_find_concerned(bulk, own)} != set(held):
        raise RunConflictError("another bill of the month was published or switched meanwhile", advice="try again")
    overlaps = counting.list_overlaps(bulk, own)
    uncounted = tuple(each.statement_id for each in overlaps if counted and each.is_counted)
    has_changed = counting.read(bulk, own)[0] is not counted
    counting.keep(bulk, own, is_counted=counted, yields=False)
    for other in uncounted:
        counting.keep(bulk, other, is_counted=False, yields=True)
    also_counted = tuple(_count_parts(bulk, [other for other in held if other != own and other not in uncounted]))
    changed = [*((own,) if has_changed else ()), *uncounted, *also_counted]
    if changed:
        _publish(bulk, [held[statement_id] for statement_id in changed])
    bulk.commit()
    log.info("statement_switched", client=chosen.client_id, statement=f"{chosen.export_name} {chosen.billing_period}")
    return Switch(
        statement_id=own,
        client_id=chosen.client_id,
        export_name=chosen.export_name,
        billing_period=str(chosen.billing_period),
        counted=counted,
        has_changed=bool(changed),
        uncounted=uncounted,
        also_counted=also_counted,
        overlapping=tuple(each.statement_id for each in overlaps if not each.is_counted),
    )


def _count_parts(bulk: BulkConnection, statement_ids: Iterable[int]) -> Iterator[int]:
    """Have those count that yielded to what counts no longer, unless they hold the bill of one that does."""
    for statement_id in sorted(statement_ids):
        _, yields = counting.read(bulk, statement_id)
        if yields and not any(each.is_counted for each in counting.list_overlaps(bulk, statement_id)):
            counting.keep(bulk, statement_id, is_counted=True, yields=False)
            yield statement_id


def _publish(bulk: BulkConnection, changed: Sequence[_Held]) -> None:
    """A publication of each, which changes no row: what counted at any moment is read from the publications."""
    publication_ids = {
        statement.statement_id: publish.begin_publication(
            bulk, statement_id=statement.statement_id, expected_publication_id=statement.publication_id
        )
        for statement in sorted((held.statement for held in changed), key=lambda statement: statement.statement_id)
    }
    moment = publish.take_moment(bulk, list(publication_ids))
    for held in changed:
        statement, stood = held.statement, held.publications[-1]
        publish.record_publication(
            bulk,
            publish.Publication(
                publication_id=publication_ids[statement.statement_id],
                published_at=moment,
                statement_id=statement.statement_id,
                kind=PublicationKind.SWITCH,
                delivery_id=statement.delivery_id,
                cost_basis=statement.cost_basis or CostBasis.GROSS,
                hash_version=statement.hash_version,
                mapping_version=statement.mapping_version or 0,
                before=statement.totals,
                after=statement.totals,
                rows_added=0,
                rows_removed=0,
                left_out=stood.left_out,
                unproved=stood.unproved,
            ),
        )
