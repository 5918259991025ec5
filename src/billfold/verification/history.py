"""Past publications: history against the publications, restatements and daily costs against the charges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from billfold.model import PublicationKind, Totals
from billfold.store.verification.charges import RecordedPublication, Snapshot
from billfold.store.verification.history import History
from billfold.verification.verdict import Proofs, compare_charges, compare_money, compare_number, compare_totals


def prove_history(proofs: Proofs, history: History, publications: Sequence[RecordedPublication]) -> None:
    """Each publication did what it says, according to the marks of rows and charges that are not pruned."""
    moved = history.count_moved_rows()
    pruned = sum(not publication.is_remembered for publication in publications)
    summary = f"{len(publications)} publications" + (f", {pruned} of them pruned" if pruned else "")
    proofs.add("publications", [*_compare_steps(publications), *_compare_restored(publications)], summary)
    proofs.add("history_rows", _compare_moved(publications, moved), summary)
    proofs.add("history_costs", _compare_costs(publications, history.sum_rows_as_of()), summary)
    proofs.add("history_charges", _compare_totals_then(publications, history.sum_charges_as_of()), summary)
    proofs.add_first("history_order", history.find_out_of_order(), "versions follow each other")


def _compare_steps(publications: Sequence[RecordedPublication]) -> Iterator[str]:
    """Each publication starts from the totals of the one before and is later, so that every moment has one bill."""
    for earlier, publication in zip((None, *publications), publications, strict=False):
        place = f"publication {publication.number}"
        before = earlier.after if earlier else Totals()
        yield from compare_number(place, "number", (earlier.number if earlier else 0) + 1, publication.number)
        yield from compare_number(place, "rows_before", before.row_count, publication.rows_before)
        yield from compare_number(place, "charges_before", before.charge_count, publication.charges_before)
        yield from compare_money(place, "billed_cost_before", before.billed, publication.billed_before)
        if earlier is None:
            continue
        if publication.publication_id <= earlier.publication_id:
            yield f"{place}: column publication_id: expected more than {earlier.publication_id}"
        if publication.published_at <= earlier.published_at:
            yield (
                f"{place}: column published_at: expected later than {earlier.published_at},"
                f" found {publication.published_at}"
            )


def _compare_restored(publications: Sequence[RecordedPublication]) -> Iterator[str]:
    """A rollback and an undo leave exactly the totals of the publication that they restore, pruned or not."""
    known = {publication.publication_id: publication for publication in publications}
    for publication in publications:
        if publication.kind in (PublicationKind.ROLLBACK, PublicationKind.UNDO):
            restored = known.get(publication.restored_publication_id or 0)
            wanted = restored.after if restored else Totals()
            place = f"publication {publication.number}"
            yield from compare_totals(wanted, publication.after, place=place)
            yield from compare_number(place, "charges_after", wanted.charge_count, publication.after.charge_count)


def _compare_moved(publications: Sequence[RecordedPublication], moved: Mapping[int, tuple[int, int]]) -> Iterator[str]:
    for publication in publications:
        place = f"rows of publication {publication.number}"
        added, removed = moved.get(publication.publication_id, (0, 0))
        if publication.is_whole:
            yield from compare_number(place, "added_by", publication.rows_added, added)
        if publication.is_remembered:
            yield from compare_number(place, "removed_by", publication.rows_removed, removed)
    for publication_id in sorted(set(moved) - {publication.publication_id for publication in publications}):
        yield f"rows are marked by publication_id {publication_id}, which is not one of the statement's"


def _compare_costs(publications: Sequence[RecordedPublication], then: Mapping[int, Totals]) -> Iterator[str]:
    for publication in publications:
        if publication.is_whole:
            found = then.get(publication.publication_id, Totals())
            place = f"rows as of publication {publication.number}"
            yield from compare_money(place, "gross_cost_after", publication.after.gross, found.gross)
            yield from compare_money(place, "net_cost_after", publication.after.net, found.net)


def _compare_totals_then(publications: Sequence[RecordedPublication], then: Mapping[int, Totals]) -> Iterator[str]:
    for publication in publications:
        if publication.is_whole:
            found = then.get(publication.publication_id, Totals())
            place = f"charges as of publication {publication.number}"
            yield from compare_charges(publication.after, found, place=place)
    for publication_id in sorted(set(then) - {publication.publication_id for publication in publications}):
        yield f"charges are marked by publication_id {publication_id}, which is not one of the statement's"


def prove_days(proofs: Proofs, snapshot: Snapshot, publications: Sequence[RecordedPublication]) -> None:
    """Daily costs are the sums of charges; each restatement is what its publication moved, unless that is pruned."""
    proofs.add_first("daily_costs", snapshot.find_day_difference(), "daily costs are the charges' sums")
    forgotten = [
        publication.publication_id
        for publication in publications
        if publication.number == 1 or not publication.is_remembered
    ]
    difference = snapshot.find_restatement_difference(after_publication_id=max(forgotten, default=0))
    proofs.add_first(
        "restatements", difference or snapshot.find_restatement_total(), "restatements are what publications moved"
    )
