"""A parser whose session serves all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from billfold.settings import load_settings
from billfold.transform import Bill
from billfold.transform.session import open_beside, open_session
from tests.bills.parsed import Parse, unpack_all

_OWN = "SELECT table_name AS name, 'TABLE' AS kind FROM duckdb_tables() WHERE NOT temporary"
_OWN += " UNION ALL SELECT view_name, 'VIEW' FROM duckdb_views() WHERE NOT internal AND NOT temporary"


@pytest.fixture(scope="module")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parse]:
    """To open a session takes longer than to parse a small bill: one parses the bill of each test."""
    folder, settings = tmp_path_factory.mktemp("parsed"), load_settings()
    with open_session(folder, memory_limit_mb=256, threads=2) as session, ExitStack() as connections:
        lookups = set(session.execute(_OWN).fetchall())

        def parse(*contents: bytes) -> Bill:
            connections.close()
            for name, kind in set(session.execute(_OWN).fetchall()) - lookups:
                session.execute(f"DROP {kind} {name}")
            # Temporary objects belong to a connection.
            bill = Bill(*(connections.enter_context(open_beside(session)) for _ in range(2)))
            bill.parse(unpack_all(folder, contents, settings), max_unpacked_bytes=settings.max_unpacked_bytes)
            return bill

        yield parse
