"""Where the bill comes from: the delivery that stands and what was counted of it, and the sources of the raw rows."""

from __future__ import annotations

from collections.abc import Iterator

from billfold.store.verification.charges import Snapshot
from billfold.store.verification.origin import SaidDelivery, find_foreign_source, read_delivery
from billfold.verification.verdict import Findings, Subject, compare_number


def check_origin(findings: Findings, snapshot: Snapshot, subject: Subject) -> None:
    """The delivery that stands is the last publication's, or a redelivery of it; raw rows are of files of theirs."""
    said = read_delivery(snapshot)
    delivery_id = str(subject.held.delivery_id) if subject.held.delivery_id else None
    told = f"delivery {delivery_id} stands" if delivery_id else "no delivery stands"
    findings.tell("delivery", _compare_delivery(said, delivery_id, subject) if said else (), told)
    findings.tell_first("raw_sources", find_foreign_source(snapshot), "every raw row is of a file of its delivery")


def _compare_delivery(said: SaidDelivery, delivery_id: str | None, subject: Subject) -> Iterator[str]:
    wanted = said.later_id or said.published_id
    if delivery_id != wanted and (said.later_id or not said.is_of_publication):
        yield (
            f"billing_statements: column current_delivery_id: expected {wanted or 'nothing'},"
            f" found {delivery_id or 'nothing'}"
        )
        # The counts of any other delivery are its own.
        return
    if delivery_id is None:
        return
    place = f"delivery {delivery_id}"
    yield from compare_number(place, "rows_read", subject.said.after.row_count, said.rows_read)
    yield from compare_number(place, "rows_unchanged", said.rows_read - said.rows_added, said.rows_unchanged)
    counts = (said.rows_added, said.rows_removed)
    # A redelivery brings nothing, nor does a delivery that has come back to take the place of one.
    if said.is_by_delivery and said.is_of_publication and counts != (0, 0):
        yield from compare_number(place, "rows_added", said.published_counts[0], said.rows_added)
        yield from compare_number(place, "rows_removed", said.published_counts[1], said.rows_removed)
    files = f"billing_delivery_files of {place}"
    yield from compare_number(files, "rows_read", said.rows_read, said.rows_read_of_files)
    if said.rows_added:
        yield from compare_number(files, "rows_inserted", said.rows_added, said.rows_inserted_of_files)
