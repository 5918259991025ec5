"""Which failures may be over at the next visit of a folder."""

from __future__ import annotations

import pytest

from billfold.bills.backfill import may_pass
from billfold.errors import BillfoldError, MalformedFileError, SourceUnavailableError, StoreFullError, StoreLimitError


@pytest.mark.parametrize(
    ("failure", "is_passing"),
    [
        (MalformedFileError("is cut", file="may.csv"), False),
        (SourceUnavailableError("throttled"), True),
        (StoreFullError("PostgreSQL's disk is full"), True),
        (StoreLimitError("a statement took longer than statement_timeout allows"), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_folder_is_visited_again_where_its_failures_are_not_its_files(
    failure: BillfoldError, is_passing: bool
) -> None:
    assert may_pass(failure) is is_passing
