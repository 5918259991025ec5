"""What a verification reads of a bill's origin: the current delivery, and the sources of the raw rows."""

from __future__ import annotations

from dataclasses import dataclass

from billfold.store.verification.charges import Difference, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDelivery:
    """What the control tables say about the current delivery; its counts are 0 if there is none.

    `published_id` is the delivery that the last publication names, `published_counts` the rows that it added and
    removed, `is_by_delivery` whether a delivery made it. `is_of_publication`: the current delivery became current by
    that publication. `later_id` is a redelivery that replaced it since.
    """

    published_id: str | None
    is_by_delivery: bool
    published_counts: tuple[int, int]
    is_of_publication: bool
    rows_read: int
    rows_added: int
    rows_removed: int
    rows_unchanged: int
    rows_read_of_files: int
    rows_inserted_of_files: int
    later_id: str | None


def read_delivery(snapshot: Snapshot) -> RecordedDelivery | None:
    """The current delivery in the control tables; None if nothing was published."""
    for row in snapshot.query("read_delivery"):
        return RecordedDelivery(
            published_id=row[0],
            is_by_delivery=row[1],
            published_counts=(row[2], row[3]),
            is_of_publication=row[4],
            rows_read=row[5],
            rows_added=row[6],
            rows_removed=row[7],
            rows_unchanged=row[8],
            rows_read_of_files=row[9],
            rows_inserted_of_files=row[10],
            later_id=row[11],
        )
    return None


def find_foreign_source(snapshot: Snapshot) -> Difference | None:
    """A raw row, current or withdrawn, whose source differs from its run's or its delivery's."""
    for row_hash, occurrence, removed_by, column, expected, found in snapshot.query("find_foreign_source"):
        name = snapshot.name(row_hash, occurrence, None, removed_by)
        return Difference(row=name, column=column, expected=expected, found=found)
    return None
