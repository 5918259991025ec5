"""Changes: how the costs of statements differ between two publications of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from billfold.store.database import Connection
from billfold.store.reports.reading import COST_METRICS, fetch

# The columns of `sum_changes` that changes can be grouped by.
CHANGE_COLUMNS = ("account", "service", "region", "day", "category")


class Span(Protocol):
    """The two publications of a statement that are compared; without a first one the statement was empty."""

    @property
    def statement_id(self) -> int: ...
    @property
    def from_publication_id(self) -> int | None: ...
    @property
    def from_counted(self) -> bool: ...
    @property
    def to_publication_id(self) -> int: ...
    @property
    def to_counted(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedCost:
    """A group that differs (level 0), the total of a statement (1) or of all (3); costs are exact.

    `has_moved` says whether any daily cost of its statement differs, `restated_late` whether publications after the
    month's end changed any; a total without charges at both ends is not `is_held`. `group_count`, the same in every
    row, counts all groups that differ.
    """

    level: int
    statement_id: int | None
    account: str | None
    service: str | None
    region: str | None
    day: str | None
    category: str | None
    currency: str
    old: Decimal
    new: Decimal
    difference: Decimal
    has_moved: bool
    restated_late: bool
    is_held: bool
    group_count: int


def sum_changes(
    connection: Connection, spans: Sequence[Span], *, columns: Sequence[str], metric: str, limit: int | None
) -> tuple[ChangedCost, ...]:
    """Groups by these columns that differ, the largest difference first and at most `limit` of them, then totals."""
    assert set(columns) <= set(CHANGE_COLUMNS)
    assert metric in COST_METRICS
    parameters = {
        "statement_ids": [span.statement_id for span in spans],
        "from_ids": [span.from_publication_id for span in spans],
        "to_ids": [span.to_publication_id for span in spans],
        "from_counted": [span.from_counted for span in spans],
        "to_counted": [span.to_counted for span in spans],
        "columns": [str(column) for column in columns],
        "metric": str(metric),
        "limit": limit,
    }
    return fetch(connection, "sum_changes", ChangedCost, parameters)
