"""What was published before: history against the publications, restatements and daily costs against the charges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from billfold.model import Totals
from billfold.store.verifying import SaidPublication, Snapshot
from billfold.verification.verdict import Findings, compare_charges, compare_money, compare_number


def check_history(findings: Findings, snapshot: Snapshot, publications: Sequence[SaidPublication]) -> None:
    """Each publication did what it says, by the marks of rows and charges, unless they are pruned."""
    moved = snapshot.count_moved_rows()
    stood = snapshot.sum_charges_as_of()
    pruned = sum(not publication.is_remembered for publication in publications)
    told = f"{len(publications)} publications" + (f", {pruned} of them pruned" if pruned else "")
    findings.tell("publications", _compare_steps(publications), told)
    findings.tell("history_rows", _compare_moved(publications, moved), told)
    findings.tell("history_charges", _compare_stood(publications, stood), told)
    findings.tell_first("history_order", snapshot.find_out_of_order(), "versions follow each other")


def _compare_steps(publications: Sequence[SaidPublication]) -> Iterator[str]:
    """Each publication starts from what the one before left."""
    before = Totals()
    for publication in publications:
        place = f"publication {publication.number}"
        yield from compare_number(place, "rows_before", before.row_count, publication.rows_before)
        yield from compare_number(place, "charges_before", before.charge_count, publication.charges_before)
        yield from compare_money(place, "billed_cost_before", before.billed, publication.billed_before)
        before = publication.after


def _compare_moved(publications: Sequence[SaidPublication], moved: Mapping[int, tuple[int, int]]) -> Iterator[str]:
    for publication in publications:
        place = f"rows of publication {publication.number}"
        added, removed = moved.get(publication.publication_id, (0, 0))
        if publication.is_whole:
            yield from compare_number(place, "added_by", publication.rows_added, added)
        if publication.is_remembered:
            yield from compare_number(place, "removed_by", publication.rows_removed, removed)
    for publication_id in sorted(set(moved) - {publication.publication_id for publication in publications}):
        yield f"rows are marked by publication_id {publication_id}, which is none of the statement's"


def _compare_stood(publications: Sequence[SaidPublication], stood: Mapping[int, Totals]) -> Iterator[str]:
    for publication in publications:
        if publication.is_whole:
            found = stood.get(publication.publication_id, Totals())
            place = f"charges as of publication {publication.number}"
            yield from compare_charges(publication.after, found, place=place)
    for publication_id in sorted(set(stood) - {publication.publication_id for publication in publications}):
        yield f"charges are marked by publication_id {publication_id}, which is none of the statement's"


def check_days(findings: Findings, snapshot: Snapshot, publications: Sequence[SaidPublication]) -> None:
    """Daily costs are the charges' sums; each restatement is what its publication moved, unless that is pruned."""
    findings.tell_first("daily_costs", snapshot.find_day_difference(), "daily costs are the charges' sums")
    forgotten = [
        publication.publication_id
        for publication in publications
        if publication.number == 1 or not publication.is_remembered
    ]
    difference = snapshot.find_restatement_difference(after_publication_id=max(forgotten, default=0))
    findings.tell_first(
        "restatements", difference or snapshot.find_restatement_total(), "restatements are what publications moved"
    )
