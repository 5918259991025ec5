"""What the tests of the promises share: a landing on each version of PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from billfold.settings import Settings
from billfold.store.database import Database
from tests.bills.landing import Landing

USD = "USD"
FACT = "billing_usage_fact_2026_05"
RAW = "raw_aws_billing_rows_2026_05"


@pytest.fixture
def on_each(each_database: Database, settings: Settings, tmp_path: Path) -> Landing:
    """As `landing`, on every supported version of PostgreSQL."""
    return Landing.make(each_database, settings, tmp_path / "bucket")
