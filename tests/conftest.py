"""What every test may use."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import structlog

from billfold.settings import Settings, load_settings
from tests.bills.page_bills import page_bills as page_bills
from tests.declared_events import assert_declared
from tests.folders import use_memory
from tests.order import pytest_collection_modifyitems as pytest_collection_modifyitems
from tests.order import pytest_xdist_make_scheduler as pytest_xdist_make_scheduler
from tests.services import _kept_landings as _kept_landings
from tests.services import aws as aws
from tests.services import copy_database as copy_database
from tests.services import database as database
from tests.services import each_database as each_database
from tests.services import here as here
from tests.services import landed as landed
from tests.services import landing as landing
from tests.services import local_aws as local_aws
from tests.services import new_database as new_database
from tests.services import registry as registry
from tests.services import shared_aws as shared_aws
from tests.services import shared_landing as shared_landing

use_memory()
# What is imported now stays.
gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage seldom, and not among thousands of tests: that would take a fifth of the processor's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Look for it at all; the process that gives out the tests collects none."""
    gc.enable()


def pytest_unconfigure() -> None:
    """Let Python free everything as usual: DuckDB reports what is left as leaked."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _plain_logging() -> None:
    """Logging as nobody has configured it, but an event that is not declared fails the test.

    A command that ran in this process before has left its level behind.
    """
    structlog.reset_defaults()
    processors = structlog.get_config()["processors"]
    # By default a traceback shows all local variables, which takes a second to write.
    processors[-1] = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    processors.insert(0, assert_declared)


@pytest.fixture(scope="session")
def shared_samples() -> Path:
    """The folder of sample exports, each of them the root of a bucket."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "fixtures"
    if not folder.is_dir():
        pytest.skip("the sample exports are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def shared_reference() -> Path:
    """The folder that describes the columns of CUR and FOCUS."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip("the description of FOCUS's columns is not beside this checkout")
    return folder


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without any setting, in an empty working directory; set in it what the test needs."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "BILLFOLD_", "INGEST_", "LOG_LEVEL", "DATABASE_URL")):
            monkeypatch.delenv(name)
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return monkeypatch


@pytest.fixture
def settings(environment: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The settings of a machine where only the home is set; the spool's disk may be as full as it likes."""
    environment.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
    # By default root's home is the machine's, and other tests' spools would be in it.
    environment.setenv("BILLFOLD_HOME", str(tmp_path / "home" / ".billfold"))
    return load_settings()
