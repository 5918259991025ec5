"""What tests of the whole may use: databases on a server of the session's own, and operators."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from billfold.store.database import Database
from tests.bills.line_items import described, write_bill
from tests.processes.operator import Ended, Operator, new_operator


@pytest.fixture
def newcomer() -> Iterator[Operator]:
    """Has nothing yet."""
    with new_operator() as operator:
        yield operator


@pytest.fixture
def guest(newcomer: Operator, database: Database) -> Operator:
    """Has an empty database on the session's server, which is there sooner than an embedded one of its own."""
    return newcomer.with_database(database)


@pytest.fixture(scope="session")
def ingested() -> Iterator[tuple[Operator, Ended]]:
    """The operator of the tests that only look, and how their first ingest ended."""
    with new_operator() as operator:
        write_bill(operator.folder / "bucket", described("1.25", "2.50"))
        # With the server kept up no command waits for its start and its stop.
        with operator.server():
            ended = operator.run_cold("ingest", "bucket", "--json")
            assert ended.code == 0, ended.err
            yield operator, ended


@pytest.fixture(scope="session")
def operator(ingested: tuple[Operator, Ended]) -> Operator:
    """Has ingested one bill of 3.75 USD into a home that all tests share; they add no counted money."""
    return ingested[0]


@pytest.fixture(scope="session")
def first_ingest(ingested: tuple[Operator, Ended]) -> Ended:
    """What the operator's first ingest left behind."""
    return ingested[1]
