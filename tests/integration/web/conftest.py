"""A server of the bills that tests of pages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bills.landing import Landing
from tests.processes.pages import Pages, run_pages


@pytest.fixture(scope="session")
def pages(page_bills: Landing) -> Iterator[Pages]:
    """Tests ask it less often than the limit of requests allows in a minute."""
    with run_pages(page_bills, their_client="globex") as pages:
        yield pages
