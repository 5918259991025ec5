"""Overlap: all parts of one bill are counted, and one of several duplicates, after every publication and rollback.

What a statement has in common with others can change with every publication that adds or removes rows. Each such
publication recounts in its own transaction, under the lock of the client's publications.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from billfold.bills.overlap_findings import (
    describe_counted_twice,
    describe_grown,
    describe_not_counted,
    describe_part,
    describe_recounted,
    describe_waiting,
)
from billfold.model import ExportFormat, Relation
from billfold.period import BillingPeriod
from billfold.store.database import BulkConnection
from billfold.store.deliveries import counting
from billfold.store.deliveries.counting import Candidate, Form
from billfold.store.deliveries.parts import Evidence, judge, share_amounts, share_line_items


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """Before a transaction changes rows: whether the statement is counted, and which may have the same bill."""

    candidates: Mapping[int, Candidate]
    is_counted: bool
    is_empty: bool

    @property
    def overlapping(self) -> frozenset[int]:
        """The statements that must not be counted beside it."""
        return frozenset(key for key, each in self.candidates.items() if each.decided is not Relation.PARTS)

    @property
    def counted(self) -> frozenset[int]:
        """Those of them that are counted; if this statement is counted too, an operator decided so."""
        return frozenset(key for key in self.overlapping if self.candidates[key].is_counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """The result of a recount: its findings, and the other statements that are counted now or no longer are.

    Each of `switched` needs a publication of its own at the same moment (`record`). `affected` are the statements whose
    checks may now give other results.
    """

    findings: tuple[str, ...]
    switched: tuple[int, ...] = ()
    affected: frozenset[int] = frozenset()


def find_before(bulk: BulkConnection, statement_id: int) -> Before:
    """How the statement is counted before the open transaction changes its rows."""
    is_counted, _ = counting.read(bulk, statement_id)
    return Before(
        candidates={each.statement_id: each for each in counting.list_candidates(bulk, statement_id)},
        is_counted=is_counted,
        is_empty=counting.is_empty(bulk, statement_id),
    )


def recount(
    bulk: BulkConnection,
    statement_id: int,
    *,
    before: Before,
    delivery_id: UUID | None = None,
    form: Form | None = None,
) -> Recount:
    """Compare a statement with those that may have the same bill, and count it unless one of them is counted already.

    A statement that is counted stays counted, unless this one was counted too and now has all of it and more. Other
    statements that were duplicates of this one and now have other charges are counted again. If two duplicates are both
    counted, an operator decided so: it stays, with a finding. A statement that an operator excluded stays excluded.
    `delivery_id` and `form` are those of the delivery being published.
    """
    export_format = form.export_format if form else None
    form = form or counting.read_form(bulk, statement_id, delivery_id=delivery_id)
    candidates = counting.list_candidates(bulk, statement_id, delivery_id=delivery_id, export_format=export_format)
    found = _compare_all(bulk, statement_id, candidates, form)
    if found:
        # What they are to each other is known now.
        candidates = counting.list_candidates(bulk, statement_id, delivery_id=delivery_id, export_format=export_format)
    others = [each for each in candidates if each.decided is not Relation.PARTS and each.is_counted]
    findings: list[str] = []
    switched: list[int] = []
    is_counted, is_duplicate = counting.read(bulk, statement_id)
    if is_counted and others:
        if all(each.statement_id in before.counted for each in others):
            findings.append(describe_counted_twice(statement_id, others))
        elif _has_grown_over(before, others, found) and _stop_counting(bulk, others):
            switched += [each.statement_id for each in others]
            findings.append(describe_grown(others))
        else:
            counting.keep(bulk, statement_id, is_counted=False, is_duplicate=True)
            findings.append(describe_not_counted(statement_id, others, found, before.candidates))
    elif is_duplicate and not others:
        counting.keep(bulk, statement_id, is_counted=True, is_duplicate=False)
        findings.append("no other statement of the same bill is counted any more: this one is")
    elif others:
        findings.append(describe_not_counted(statement_id, others, found, before.candidates))
    if not counting.is_empty(bulk, statement_id):
        concerned = (before.overlapping | {each.statement_id for each in candidates}) - {*switched}
        # The statement has no publication yet: others do not see it.
        blocked = [each.statement_id for each in candidates if each.decided is not Relation.PARTS]
        again = _count_again(bulk, concerned, blocked=blocked if counting.read(bulk, statement_id)[0] else ())
        switched += again.counted
        findings += [*map(describe_recounted, again.counted), *map(describe_waiting, again.waiting)]
    findings += _describe_parts(bulk, statement_id, before, candidates, found)
    return Recount(
        findings=tuple(findings),
        switched=tuple(switched),
        affected=frozenset(_find_changed(before, candidates, found)) | {*switched},
    )


def recount_pair(bulk: BulkConnection, one: int, other: int, *, claimed: Collection[int]) -> Recount:
    """Apply an operator's decision about two statements: of two counted duplicates the later one is no longer counted.

    `claimed` are the statements that the caller has claimed.
    """
    for candidate in counting.list_candidates(bulk, one):
        if candidate.statement_id == other:
            _compare_all(bulk, one, [candidate], counting.read_form(bulk, one), forget=False)
    overlapping = {each.statement_id for each in counting.list_overlaps(bulk, one)}
    switched: list[int] = []
    _, *later = counting.order(bulk, {one, other})
    if other in overlapping and all(counting.read(bulk, each)[0] for each in (one, other)):
        for each in later:
            counting.keep(bulk, each, is_counted=False, is_duplicate=True)
            switched.append(each)
    concerned = {one, other, *(each.statement_id for key in later for each in counting.list_overlaps(bulk, key))}
    again = _count_again(bulk, concerned - {*switched}, claimed=claimed)
    return Recount(
        findings=tuple(map(describe_waiting, again.waiting)),
        switched=(*switched, *again.counted),
        affected=frozenset({one, other}),
    )


def record(bulk: BulkConnection, recount: Recount, *, moment: str) -> None:
    """Write a publication of this moment for each other statement that is counted now or no longer is."""
    for statement_id in sorted(recount.switched):
        counting.record_switch(bulk, statement_id, moment=moment)


def _compare_all(
    bulk: BulkConnection,
    statement_id: int,
    candidates: Sequence[Candidate],
    form: Form | None,
    *,
    forget: bool = True,
) -> dict[int, Evidence]:
    """Compare the statement's content with that of each candidate, and store the evidence."""
    period = counting.read_period(bulk, statement_id)
    found = {}
    for each in candidates:
        evidence = _compare(bulk, period, statement_id, each.statement_id, form)
        counting.keep_evidence(bulk, statement_id, each.statement_id, evidence)
        found[each.statement_id] = evidence
    if forget:
        counting.forget_evidence(bulk, statement_id, but=found)
    return found


def _compare(bulk: BulkConnection, period: BillingPeriod, here: int, there: int, form: Form | None) -> Evidence:
    form_there = counting.read_form(bulk, there)
    line_items = None
    is_detailed = is_alike = False
    if form is not None and form_there is not None:
        is_same_format = form.export_format == form_there.export_format
        is_alike = is_same_format and form.columns == form_there.columns
        is_detailed = is_alike or ExportFormat.FOCUS not in (form.export_format, form_there.export_format)
        if is_same_format and form.hash_version == form_there.hash_version:
            line_items = counting.compare_line_items(bulk, period, here, there)
            if share_line_items(line_items).means_duplicates:
                return judge(line_items, None)
    rolled_up = counting.compare_rollups(bulk, here, there, is_detailed=is_detailed)
    if rolled_up is not None and share_amounts(rolled_up).means_duplicates:
        return judge(line_items, rolled_up)
    daily_costs = counting.compare_daily_costs(bulk, period, here, there, is_detailed=is_detailed, is_alike=is_alike)
    return judge(line_items, daily_costs)


def _find_changed(before: Before, candidates: Iterable[Candidate], found: Mapping[int, Evidence]) -> Iterator[int]:
    """The other statements of which more or less than before is counted twice or missing."""
    now = {each.statement_id: each.decided for each in candidates}
    yield from (key for key in before.overlapping if key not in now)
    for key, relation in now.items():
        known = before.candidates.get(key)
        is_partial = relation is Relation.OVERLAP or any(found[key].cost_in_both.values())
        if known is None or known.decided is not relation or (relation is not Relation.DUPLICATES and is_partial):
            yield key


def _has_grown_over(before: Before, others: Iterable[Candidate], found: Mapping[int, Evidence]) -> bool:
    """Whether a counted statement now contains all of these and more, and did not before."""
    return (
        before.is_counted
        and not before.is_empty
        and all(
            each.statement_id not in before.overlapping
            and each.choice is None
            and found[each.statement_id].share.holds_smaller
            and not any(cost < 0 for cost in found[each.statement_id].cost_only_here.values())
            and any(cost > 0 for cost in found[each.statement_id].cost_only_here.values())
            for each in others
        )
    )


def _stop_counting(bulk: BulkConnection, others: Sequence[Candidate]) -> bool:
    """Stop counting these statements; False, and nothing done, if a worker has locked one of them."""
    if not all(counting.try_lock(bulk, each.statement_id) for each in others):
        return False
    for each in others:
        counting.keep(bulk, each.statement_id, is_counted=False, is_duplicate=True)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _CountedAgain:
    """Statements that are counted again, and those that would be if another worker had not locked them."""

    counted: tuple[int, ...]
    waiting: tuple[int, ...]


def _count_again(
    bulk: BulkConnection,
    statement_ids: Collection[int],
    *,
    blocked: Collection[int] = (),
    claimed: Collection[int] = (),
) -> _CountedAgain:
    """Count the duplicates whose bill is no longer in any counted statement, the one published first before others.

    `blocked` statements stay as they are; the caller has claimed the `claimed` ones.
    """
    counted: list[int] = []
    waiting: list[int] = []
    for statement_id in counting.order(bulk, statement_ids):
        _, is_duplicate = counting.read(bulk, statement_id)
        if not is_duplicate or statement_id in blocked or counting.is_empty(bulk, statement_id):
            continue
        if any(each.is_counted for each in counting.list_overlaps(bulk, statement_id)):
            continue
        if counting.try_lock(bulk, statement_id, is_claimed=statement_id in claimed):
            counting.keep(bulk, statement_id, is_counted=True, is_duplicate=False)
            counted.append(statement_id)
        else:
            waiting.append(statement_id)
    return _CountedAgain(counted=tuple(counted), waiting=tuple(waiting))


def _describe_parts(
    bulk: BulkConnection,
    statement_id: int,
    before: Before,
    candidates: Iterable[Candidate],
    found: Mapping[int, Evidence],
) -> Iterator[str]:
    """The other counted parts of the statement's bill that are new, or that have costs in common with it."""
    if not counting.read(bulk, statement_id)[0]:
        return
    for each in candidates:
        if each.decided is Relation.PARTS and counting.read(bulk, each.statement_id)[0]:
            known = before.candidates.get(each.statement_id)
            is_new = known is None or known.decided is not Relation.PARTS
            yield from describe_part(each, found[each.statement_id], is_new=is_new and each.choice is None)
