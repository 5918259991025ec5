"""Origin: the current delivery with its counts, and the source files of the raw rows."""

from __future__ import annotations

from collections.abc import Iterator

from billfold.store.verification.charges import Snapshot
from billfold.store.verification.origin import RecordedDelivery, find_foreign_source, read_delivery
from billfold.verification.verdict import Proofs, Subject, compare_number


def prove_origin(proofs: Proofs, snapshot: Snapshot, subject: Subject) -> None:
    """The current delivery is the last publication's or a redelivery of it, and raw rows are of its files."""
    recorded = read_delivery(snapshot)
    delivery_id = str(subject.held.delivery_id) if subject.held.delivery_id else None
    summary = f"delivery {delivery_id} is current" if delivery_id else "no delivery is current"
    proofs.add("delivery", _compare_delivery(recorded, delivery_id, subject) if recorded else (), summary)
    proofs.add_first("raw_sources", find_foreign_source(snapshot), "every raw row is of a file of its delivery")


def _compare_delivery(recorded: RecordedDelivery, delivery_id: str | None, subject: Subject) -> Iterator[str]:
    wanted = recorded.later_id or recorded.published_id
    if delivery_id != wanted and (recorded.later_id or not recorded.is_of_publication):
        yield (
            f"billing_statements: column current_delivery_id: expected {wanted or 'nothing'},"
            f" found {delivery_id or 'nothing'}"
        )
        # The counts of any other delivery are not comparable.
        return
    if delivery_id is None:
        return
    place = f"delivery {delivery_id}"
    yield from compare_number(place, "rows_read", subject.recorded.after.row_count, recorded.rows_read)
    yield from compare_number(
        place, "rows_unchanged", recorded.rows_read - recorded.rows_added, recorded.rows_unchanged
    )
    counts = (recorded.rows_added, recorded.rows_removed)
    # A redelivery adds no rows, nor does an older delivery that is delivered again.
    if recorded.is_by_delivery and recorded.is_of_publication and counts != (0, 0):
        yield from compare_number(place, "rows_added", recorded.published_counts[0], recorded.rows_added)
        yield from compare_number(place, "rows_removed", recorded.published_counts[1], recorded.rows_removed)
    files = f"billing_delivery_files of {place}"
    yield from compare_number(files, "rows_read", recorded.rows_read, recorded.rows_read_of_files)
    if recorded.rows_added:
        yield from compare_number(files, "rows_inserted", recorded.rows_added, recorded.rows_inserted_of_files)
