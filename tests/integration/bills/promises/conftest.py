"""What the tests of the promises share: a landing on each version of PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from billfold.settings import Settings
from billfold.store.database import Database
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.services import CopyDatabase, NewDatabase, make_shared_landing

USD = "USD"
FACT = "billing_usage_fact_2026_05"
RAW = "raw_aws_billing_rows_2026_05"


@pytest.fixture
def on_each(each_database: Database, settings: Settings, tmp_path: Path) -> Landing:
    """As `landing`, on every supported version of PostgreSQL."""
    return Landing.make(each_database, settings, tmp_path / "bucket")


@pytest.fixture(scope="module")
def landed_once(
    request: pytest.FixtureRequest, new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Landing:
    """A bill of 1 and 2, on PostgreSQL 16 unless a test says otherwise; its database stays so."""
    landing = make_shared_landing(new_database, tmp_path_factory)
    landing = replace(landing, database=new_database(getattr(request, "param", 16)))
    write_bill(landing.root, described("1", "2"))
    landing.ingest()
    return landing


@pytest.fixture
def landed(landed_once: Landing, copy_database: CopyDatabase) -> Landing:
    """The same for a test that changes it."""
    # Another test's later revision may stand there.
    write_bill(landed_once.root, described("1", "2"))
    return replace(landed_once, database=copy_database(landed_once.database))
