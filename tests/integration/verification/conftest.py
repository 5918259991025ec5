"""A bill that was restated, landed once for all tests of the folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from billfold.settings import Settings
from billfold.store.database import Database
from tests.bills.landing import Landing
from tests.bills.verified import restate
from tests.services import CopyDatabase, NewDatabase


@dataclass(slots=True, kw_only=True)
class Pattern:
    """The restated bill of these tests, landed once: its database and its bucket are copied for each test.

    The bucket's path stands in the database: the tests have it one after the other.
    """

    folder: Path
    database: Database | None = None

    @property
    def root(self) -> Path:
        return self.folder / "bucket"

    @property
    def kept(self) -> Path:
        return self.folder / "kept"


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Pattern:
    return Pattern(folder=tmp_path_factory.mktemp("restated"))


@pytest.fixture
def restated(pattern: Pattern, new_database: NewDatabase, copy_database: CopyDatabase, settings: Settings) -> Landing:
    """A bill that was restated twice, in PostgreSQL 18; what a test does to it is its own."""
    if pattern.database is None:
        pattern.database = new_database(18)
        restate(Landing.make(pattern.database, settings, pattern.root))
        shutil.copytree(pattern.root, pattern.kept)
    shutil.rmtree(pattern.root)
    shutil.copytree(pattern.kept, pattern.root)
    return Landing.make(copy_database(pattern.database), settings, pattern.root)
