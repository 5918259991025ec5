"""Count: an operator decides which statements of the same bill are counted.

Every publication compares its statement with others, under the lock of the client's publications (`overlap`). A switch
or a decision is one transaction: each statement that it changes gets a publication of its own, all at the same moment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import structlog

from billfold.bills import overlap
from billfold.errors import RunConflictError, UsageError
from billfold.log import Event
from billfold.model import Relation
from billfold.quality import record_checks
from billfold.settings import Settings
from billfold.store.database import BulkConnection, Database, connect, connect_bulk
from billfold.store.deliveries import claims, counting, history, publications, records
from billfold.store.verification.charges import VerifiedStatement, list_statements

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """What a switch did: the requested statement, whether it is counted now, and which others changed.

    `also_counted` are the other parts of its bill, such as single files of its folder, that were duplicates until now.
    `overlapping` are the statements of the same bill that are not counted. `has_changed` is false if everything was so
    before.
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
class Decision:
    """What an operator's decision about two statements did: how they relate now, and which statements changed.

    `choice` is None if their content decides again, `relation` is None if they have no account in common.
    """

    statement_ids: tuple[int, int]
    choice: Relation | None
    relation: Relation | None
    counted: tuple[int, ...]
    uncounted: tuple[int, ...]
    findings: tuple[str, ...]


def switch(statement_id: int, *, counted: bool, settings: Settings, database: Database) -> Switch:
    """Count a statement instead of those with the same bill, or exclude it from costs.

    A statement that is replaced is counted again once no other statement of its bill is. Raises UsageError for a
    statement that does not exist or was never published, and RunConflictError while a worker has one of the
    statements, or if another bill came in meanwhile.
    """
    [chosen] = list_statements(database, client=None, export=None, period=None, statement_id=statement_id)
    with connect_bulk(database.conninfo) as bulk:
        concerned = _find_concerned(bulk, statement_id) if counted else frozenset()
        bulk.rollback()
        held = {statement_id, *concerned}
        with _hold(held, settings, database) as unpublished:
            if statement_id in unpublished:
                raise UsageError(f"statement {statement_id} was never published: there is nothing to count")
            switched = _switch(bulk, chosen, held, counted=counted)
    for checked in {statement_id, *switched.uncounted, *switched.also_counted, *switched.overlapping}:
        record_checks(database, statement_id=checked)
    return switched


def decide(one: int, other: int, *, choice: Relation | None, settings: Settings, database: Database) -> Decision:
    """Treat two statements as parts of one bill or as duplicates, regardless of their content; with None that decides.

    Both parts are counted, unless an operator excluded one or it is a duplicate of a third statement; of duplicates the
    one published first is counted. Raises UsageError for statements that do not exist, were never published or are not
    of one client and month, and RunConflictError while a worker has one of them.
    """
    if one == other:
        raise UsageError(f"statement {one} is named twice", advice="name two statements")
    first, second = (
        statement
        for statement_id in (one, other)
        for statement in list_statements(database, client=None, export=None, period=None, statement_id=statement_id)
    )
    if (first.client_id, first.billing_period) != (second.client_id, second.billing_period):
        raise UsageError(
            f"statements {one} and {other} are not of one client and month", advice="`billfold statements` lists them"
        )
    with connect_bulk(database.conninfo) as bulk, _hold({one, other}, settings, database) as unpublished:
        for statement_id in sorted(unpublished):
            raise UsageError(f"statement {statement_id} was never published: there is nothing to count")
        decision, affected = _decide(bulk, first, one, other, choice)
    for checked in sorted(affected):
        record_checks(database, statement_id=checked)
    return decision


def _decide(
    bulk: BulkConnection, chosen: VerifiedStatement, one: int, other: int, choice: Relation | None
) -> tuple[Decision, frozenset[int]]:
    publications.lock_bucket(bulk, client_id=chosen.client_id)
    _lock(bulk, (one, other))
    counting.keep_choice(bulk, one, other, choice)
    recount = overlap.recount_pair(bulk, one, other, claimed=(one, other))
    if recount.switched:
        overlap.record(bulk, recount, moment=publications.take_moment(bulk, recount.switched))
    states = {each: counting.read(bulk, each) for each in (one, other)}
    excluded = [each for each, (is_counted, is_duplicate) in states.items() if not is_counted and not is_duplicate]
    duplicates = [each for each, (_, is_duplicate) in states.items() if is_duplicate and choice is Relation.PARTS]
    relation = next((each.relation for each in counting.list_candidates(bulk, one) if each.statement_id == other), None)
    is_counted = {each: counting.read(bulk, each)[0] for each in recount.switched}
    bulk.commit()
    log.info(
        Event.STATEMENTS_PAIRED,
        client=chosen.client_id,
        statements=[one, other],
        choice=str(choice) if choice else None,
    )
    return Decision(
        statement_ids=(one, other),
        choice=choice,
        relation=relation,
        counted=tuple(each for each in recount.switched if is_counted[each]),
        uncounted=tuple(each for each in recount.switched if not is_counted[each]),
        findings=(
            *recount.findings,
            *(
                f"statement {each} was excluded by an operator: `billfold statement count {each}` counts it"
                for each in excluded
            ),
            *(f"statement {each} is not counted: another statement of its bill is" for each in duplicates),
        ),
    ), recount.affected | {*recount.switched}


def _find_concerned(bulk: BulkConnection, statement_id: int) -> frozenset[int]:
    """The counted statements with the same bill, and the duplicates of those."""
    counted = [each.statement_id for each in counting.list_overlaps(bulk, statement_id) if each.is_counted]
    duplicates = [
        each.statement_id
        for other in counted
        for each in counting.list_overlaps(bulk, other)
        if not each.is_counted and each.statement_id != statement_id
    ]
    return frozenset((*counted, *duplicates))


@contextmanager
def _hold(statement_ids: Collection[int], settings: Settings, database: Database) -> Iterator[frozenset[int]]:
    """Claim the statements, so that no worker changes them; yields those that were never published."""
    with ExitStack() as connections:
        unpublished = set()
        for statement_id in sorted(statement_ids):
            connection = connections.enter_context(connect(database.conninfo))
            # A statement that is empty now is claimed by its earlier bill.
            publications = history.list_publications(connection, statement_id)
            delivered = [each.delivery_id for each in publications if each.delivery_id is not None]
            if delivered:
                stored = records.find_delivery(connection, delivered[-1])
                claims.claim_stored(connection, stored, wait_seconds=settings.claim_wait_seconds)
            if not publications:
                unpublished.add(statement_id)
        yield frozenset(unpublished)


def _lock(bulk: BulkConnection, statement_ids: Iterable[int]) -> None:
    """Lock the rows of claimed statements; raises RunConflictError if another transaction has locked one."""
    if not all(counting.try_lock(bulk, statement_id, is_claimed=True) for statement_id in sorted(statement_ids)):
        raise RunConflictError("another bill of the month is being published", advice="try again")


def _switch(bulk: BulkConnection, chosen: VerifiedStatement, held: Collection[int], *, counted: bool) -> Switch:
    own = chosen.statement_id
    # Publishers take this lock before they change statements other than their own.
    publications.lock_bucket(bulk, client_id=chosen.client_id)
    _lock(bulk, held)
    if counted and {own, *_find_concerned(bulk, own)} != set(held):
        raise RunConflictError("another bill of the month was published or switched meanwhile", advice="try again")
    overlaps = counting.list_overlaps(bulk, own)
    uncounted = tuple(each.statement_id for each in overlaps if counted and each.is_counted)
    has_changed = counting.read(bulk, own)[0] is not counted
    counting.keep(bulk, own, is_counted=counted, is_duplicate=False)
    for other in uncounted:
        counting.keep(bulk, other, is_counted=False, is_duplicate=True)
    also_counted = tuple(_count_parts(bulk, [other for other in held if other != own and other not in uncounted]))
    changed = [*((own,) if has_changed else ()), *uncounted, *also_counted]
    if changed:
        moment = publications.take_moment(bulk, changed)
        for each in sorted(changed):
            counting.record_switch(bulk, each, moment=moment)
    bulk.commit()
    log.info(
        Event.STATEMENT_SWITCHED, client=chosen.client_id, statement=f"{chosen.export_name} {chosen.billing_period}"
    )
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
    """Count the duplicates of statements that are no longer counted, unless another counted one has their bill."""
    for statement_id in sorted(statement_ids):
        _, is_duplicate = counting.read(bulk, statement_id)
        if is_duplicate and not any(each.is_counted for each in counting.list_overlaps(bulk, statement_id)):
            counting.keep(bulk, statement_id, is_counted=True, is_duplicate=False)
            yield statement_id
