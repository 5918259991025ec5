"""Count: of two exports of one bill only one makes up the costs, the one published first until that is switched.

Overlaps are looked for by every publication, under the lock of the client's publications. A switch is one transaction:
each statement that it changes gets a publication of its own, all at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    `overlapping` are the statements of the same bill that neither count nor were changed. Where `has_changed` is false
    everything was so already.
    """

    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    counted: bool
    has_changed: bool
    uncounted: tuple[int, ...]
    overlapping: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A statement that nobody else may change now, and its publications."""

    statement: CurrentStatement
    publications: Sequence[Stood]


def switch(statement_id: int, *, counted: bool, settings: Settings, database: Database) -> Switch:
    """Have a statement make up the costs in place of those that hold the same bill, or have it not make them up.

    Raises UsageError for a statement that does not exist or was never published, and RunConflictError while a worker
    holds one of the statements, or where another bill came in meanwhile.
    """
    found = list_statements(database, client=None, export=None, period=None, statement_id=statement_id)
    if not found:
        raise UsageError(f"there is no such statement {statement_id}", advice="`billfold statements` lists them")
    [chosen] = found
    with connect_bulk(database.conninfo) as bulk:
        standing = [
            overlap.statement_id for overlap in counting.list_overlaps(bulk, statement_id) if overlap.is_counted
        ]
        bulk.rollback()
        with _hold([statement_id, *(standing if counted else [])], settings, database) as held:
            if not held[0].publications:
                raise UsageError(f"statement {statement_id} was never published: there is nothing to count")
            switched = _switch(bulk, chosen, held, counted=counted)
    for changed in (statement_id, *switched.uncounted):
        record_checks(database, statement_id=changed)
    return switched


@contextmanager
def _hold(statement_ids: Sequence[int], settings: Settings, database: Database) -> Iterator[list[_Held]]:
    """The statements as they stand, while no worker can change them."""
    with ExitStack() as claims:
        held: dict[int, _Held] = {}
        for statement_id in sorted(statement_ids):
            connection = claims.enter_context(connect(database.conninfo))
            statement = statements.read_statement(connection, statement_id)
            if statement.delivery_id is not None:
                stored = control.find_delivery(connection, statement.delivery_id)
                control.claim_stored(connection, stored, wait_seconds=settings.claim_wait_seconds)
            held[statement_id] = _Held(
                statement=statements.read_statement(connection, statement_id),
                publications=history.list_publications(connection, statement_id),
            )
        yield [held[statement_id] for statement_id in statement_ids]


def _switch(bulk: BulkConnection, chosen: VerifiedStatement, held: Sequence[_Held], *, counted: bool) -> Switch:
    own, others = held[0].statement, [other.statement for other in held[1:]]
    # Publishers take this lock before they touch other statements than their own.
    publish.lock_bucket(bulk, client_id=chosen.client_id)
    overlaps = counting.list_overlaps(bulk, own.statement_id)
    standing = {overlap.statement_id for overlap in overlaps if overlap.is_counted}
    if counted and standing != {other.statement_id for other in others}:
        raise RunConflictError("another bill of the month was published or switched meanwhile", advice="try again")
    changed = held if counting.is_counted(bulk, own.statement_id) is not counted else held[1:]
    counting.set_counted(bulk, [own.statement_id], counted=counted)
    counting.set_counted(bulk, [other.statement_id for other in others], counted=False)
    if changed:
        _publish(bulk, changed)
    bulk.commit()
    switched = Switch(
        statement_id=own.statement_id,
        client_id=chosen.client_id,
        export_name=chosen.export_name,
        billing_period=str(chosen.billing_period),
        counted=counted,
        has_changed=bool(changed),
        uncounted=tuple(other.statement_id for other in others),
        overlapping=tuple(overlap.statement_id for overlap in overlaps if overlap.statement_id not in standing),
    )
    log.info("statement_switched", client=chosen.client_id, statement=f"{chosen.export_name} {chosen.billing_period}")
    return switched


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
