"""Statements with several publications, landed once for all tests of the folder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bills.line_items import described, write_bill
from tests.bills.restated import JUNE_TIMES, MAY_TIMES, Restated, may_versions, on_day
from tests.services import CopyDatabase, NewDatabase, make_shared_landing


@pytest.fixture(scope="session")
def restated(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Restated:
    """May has five publications, June of another export two; all times are set. It stays so."""
    # The last bill lacks a whole currency.
    landing = make_shared_landing(new_database, tmp_path_factory).with_settings(hold_below_percent=0)
    for revision, items in enumerate(may_versions(), start=1):
        landing.ingest(write_bill(landing.root, items, revision=revision))
    for revision, costs in enumerate((("1", "2", "3"), ("1", "2", "3.5")), start=1):
        items = described(*costs, **on_day(4, 6))
        landing.ingest(write_bill(landing.root, items, revision=revision, period="2026-06", export_path="exports/b"))
    ids = dict(landing.query("SELECT to_char(billing_period, 'MM'), statement_id FROM billing_statements"))
    restated = Restated(landing=landing, may=ids["05"], june=ids["06"])
    for statement, times in ((restated.may, MAY_TIMES), (restated.june, JUNE_TIMES)):
        assert len(restated.publications(statement)) == len(times)
        for number, published_at in enumerate(times, start=1):
            landing.execute(
                "UPDATE billing_publications SET published_at = %s WHERE statement_id = %s AND number = %s",
                published_at,
                statement,
                number,
            )
    return restated


@pytest.fixture
def restated_copy(restated: Restated, copy_database: CopyDatabase) -> Restated:
    """The same for a test that changes it."""
    return replace(restated, landing=replace(restated.landing, database=copy_database(restated.landing.database)))
