"""When a client of the schedule has been looked through."""

from __future__ import annotations

import pytest

from billfold.bills.backfill import BackfillReport
from billfold.errors import BillfoldError, MalformedFileError, SourceUnavailableError, StoreFullError, StoreLimitError
from billfold.jobs.schedule import is_finished


@pytest.mark.parametrize(
    ("failure", "finished"),
    [
        (MalformedFileError("is cut", file="may.csv"), True),
        (SourceUnavailableError("throttled"), False),
        (StoreFullError("PostgreSQL's disk is full"), False),
        (StoreLimitError("a statement took longer than statement_timeout allows"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_client_is_looked_at_again_where_its_failures_are_not_its_files(
    failure: BillfoldError, finished: bool
) -> None:
    report = BackfillReport(statement_count=1, current_count=0, outcomes=())

    assert is_finished(report, [failure]) is finished
    assert is_finished(report, [])
