"""What the tests of the promises share: a landing on each version of PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from billfold.settings import Settings
from billfold.store.database import Database
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.services import CopyDatabase

USD = "USD"
FACT = "billing_usage_fact_2026_05"
RAW = "raw_aws_billing_rows_2026_05"


@pytest.fixture
def on_each(each_database: Database, settings: Settings, tmp_path: Path) -> Landing:
    """As `landing`, on every supported version of PostgreSQL."""
    return Landing.make(each_database, settings, tmp_path / "bucket")


@pytest.fixture(scope="module")
def landed_once(shared_landing: Landing) -> Landing:
    """A bill of 1 and 2; its database stays so."""
    landing = shared_landing
    write_bill(landing.root, described("1", "2"))
    landing.ingest()
    return landing


@pytest.fixture
def landed(landed_once: Landing, copy_database: CopyDatabase) -> Landing:
    """The same for a test that changes it."""
    # Another test's later revision may stand there.
    write_bill(landed_once.root, described("1", "2"))
    return replace(landed_once, database=copy_database(landed_once.database))
