"""Real PostgreSQL and a local AWS for tests: one server per version and session, one cloned database per test.

tests/conftest.py names these fixtures, so that every test has the same servers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from billfold.aws import LocalAws
from billfold.settings import Settings, load_settings
from billfold.store.database import READER_ROLE, Database, connect
from billfold.store.embedded import start_embedded, stop_embedded
from billfold.store.migrate import migrate_database
from tests.bills.landing import Landing
from tests.connections import ask, forget
from tests.folders import short_folder
from tests.registry import Registry

_TEMPLATE = "billfold_template"

NewDatabase = Callable[[int], Database]
CopyDatabase = Callable[[Database], Database]
# A function that takes a landing, and what follows it in a call.
Step = tuple[Callable[..., object], *tuple[Any, ...]]


class Landed(Protocol):
    """Takes these steps one after the other, each of them once for all tests of the module that begin alike."""

    def __call__(self, *steps: Step, version: int = 16) -> Landing: ...


@contextmanager
def run_bare_server(version: int) -> Iterator[str]:
    """A server as it is when it is new; gone with its files at the end."""
    with short_folder() as folder, _run(folder / "home", version) as conninfo:
        yield conninfo


@contextmanager
def _run(home: Path, version: int) -> Iterator[str]:
    conninfo = start_embedded(home, postgres_version=version)
    with connect(conninfo) as connection:
        # Nothing here must survive a power cut, or lives long enough to be vacuumed.
        for name in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
            connection.execute(f"ALTER SYSTEM SET {name} = off".encode())
        connection.execute("SELECT pg_reload_conf()")
    yield conninfo
    forget()
    stop_embedded(home)


@contextmanager
def _run_server(version: int, shared: Path) -> Iterator[str]:
    """The same with a migrated template database, which the first of the test processes makes for all of them."""
    pattern = shared / f"home-{version}"
    with pattern.with_suffix(".lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if not pattern.exists():
            _make_pattern(pattern, version)
    with short_folder() as folder:
        subprocess.run(["cp", "-a", pattern, folder / "home"], check=True)
        with _run(folder / "home", version) as conninfo:
            yield conninfo


def _make_pattern(pattern: Path, version: int) -> None:
    """A home that is copied: a new one, and its migrations, take a second of a processor's time."""
    with short_folder() as folder:
        with _run(folder / "home", version) as conninfo:
            with connect(conninfo) as connection:
                connection.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
            template = make_conninfo(conninfo, dbname=_TEMPLATE)
            migrate_database(Database(conninfo=template, reader_conninfo=None, is_embedded=True))
            with connect(template) as connection:
                # The month of most bills: an ingest would take 50 ms for it in each database.
                connection.execute("SELECT billfold_create_partitions('2026-05-01')")
        new = pattern.with_suffix(".new")
        subprocess.run(["cp", "-a", folder / "home", new], check=True)
        new.rename(pattern)


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewDatabase]:
    """Makes a migrated database on the embedded server of a version, which starts when it is first asked for."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with ExitStack() as servers:

        @cache
        def server(version: int) -> str:
            return servers.enter_context(_run_server(version, shared))

        def make(version: int) -> Database:
            name = f"test_{uuid4().hex}"
            _copy(server(version), _TEMPLATE, name)
            conninfo = make_conninfo(server(version), dbname=name)
            return Database(
                conninfo=conninfo, reader_conninfo=make_conninfo(conninfo, user=READER_ROLE), is_embedded=True
            )

        yield make


def _copy(server: str, template: str, name: str) -> None:
    ask(
        server,
        lambda connection: connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode()
        ),
    )


def copy_of(database: Database) -> Database:
    """A copy of a database that nobody is connected to; the caller drops it, or it ends with its server."""
    name = f"test_{uuid4().hex}"
    original = psycopg.conninfo.conninfo_to_dict(database.conninfo)["dbname"]
    forget(database.conninfo)
    _copy(make_conninfo(database.conninfo, dbname="postgres"), original, name)
    conninfo = make_conninfo(database.conninfo, dbname=name)
    return replace(database, conninfo=conninfo, reader_conninfo=make_conninfo(conninfo, user=READER_ROLE))


@pytest.fixture
def copy_database() -> Iterator[CopyDatabase]:
    """Makes a copy of a database that nobody is connected to: what takes long to land is landed once for many tests."""
    copies: list[Database] = []

    def copy(database: Database) -> Database:
        copies.append(copy_of(database))
        return copies[-1]

    yield copy
    for database in copies:
        _drop(database)


def _drop(database: Database) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database.conninfo)["dbname"]
    forget(database.conninfo)
    server = make_conninfo(database.conninfo, dbname="postgres")
    ask(server, lambda connection: connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode()))


@pytest.fixture
def database(new_database: NewDatabase) -> Iterator[Database]:
    """An empty, migrated database of PostgreSQL 16 that no other test sees."""
    database = new_database(16)
    yield database
    _drop(database)


@pytest.fixture(params=[16, 18])
def each_database(request: pytest.FixtureRequest, new_database: NewDatabase) -> Iterator[Database]:
    """The same on every supported version of PostgreSQL: the test runs once for each."""
    database = new_database(request.param)
    yield database
    _drop(database)


@pytest.fixture(scope="module")
def shared_landing(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """What a module lands once in, for tests that only ask it, or change a copy of its database."""
    return make_shared_landing(new_database, tmp_path_factory)


def make_shared_landing(
    new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory, version: int = 16
) -> Landing:
    """The same for a module that lands in more than one database."""
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
        variables.setenv("BILLFOLD_HOME", str(tmp_path_factory.mktemp("home")))
        settings = load_settings()
    return Landing.make(new_database(version), settings, tmp_path_factory.mktemp("shared") / "bucket")


@pytest.fixture(scope="module")
def _kept_landings() -> dict[str, tuple[Database, Path]]:
    """The database and a copy of the bucket after the steps that tests of the module have taken so far."""
    return {}


@pytest.fixture
def landed(
    shared_landing: Landing,
    new_database: NewDatabase,
    copy_database: CopyDatabase,
    _kept_landings: dict[str, tuple[Database, Path]],
) -> Landed:
    """What several tests land first is landed once: each goes on with a copy of its own.

    The bucket's path stands in the database: the tests have the folder one after the other.
    """
    root = shared_landing.root

    def restore(bucket: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(bucket, root)

    def keep(steps: tuple[Step, ...], version: int) -> tuple[Database, Path]:
        key = f"{version} {[(step[0].__qualname__, *step[1:]) for step in steps]}"
        if key not in _kept_landings:
            kept = root.with_name(f"kept-{uuid4().hex}")
            if steps:
                before, bucket = keep(steps[:-1], version)
                database = copy_of(before)
                restore(bucket)
                [*_, (take, *words)] = steps
                take(replace(shared_landing, database=database), *words)
                shutil.copytree(root, kept)
            else:
                database = new_database(version)
                kept.mkdir()
            _kept_landings[key] = (database, kept)
        return _kept_landings[key]

    def reach(*steps: Step, version: int = 16) -> Landing:
        database, bucket = keep(steps, version)
        restore(bucket)
        return replace(shared_landing, database=copy_database(database))

    return reach


@pytest.fixture
def landing(database: Database, settings: Settings, tmp_path: Path) -> Landing:
    """A client's database and the folder that stands for its bucket."""
    return Landing.make(database, settings, tmp_path / "bucket")


@pytest.fixture(scope="session")
def local_aws() -> Iterator[LocalAws]:
    """The one AWS of the session: to end one takes half a second, to empty it none."""
    with LocalAws() as aws:
        yield aws


@pytest.fixture
def aws(local_aws: LocalAws, environment: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """An empty AWS to which the environment leads; a module may fill it in a fixture of the same name."""
    for name, value in local_aws.environment().items():
        environment.setenv(name, value)
    yield local_aws
    local_aws.reset()


@pytest.fixture(scope="module")
def shared_aws(local_aws: LocalAws) -> Iterator[LocalAws]:
    """The same for all tests of a module, none of which takes `aws`, which would empty it."""
    with pytest.MonkeyPatch.context() as variables:
        for name, value in local_aws.environment().items():
            variables.setenv(name, value)
        yield local_aws
    local_aws.reset()


@pytest.fixture
def here(aws: LocalAws) -> Settings:
    """The settings that lead to the local AWS."""
    return load_settings()


@pytest.fixture
def registry(aws: LocalAws, database: Database, settings: Settings, tmp_path: Path) -> Registry:
    """A registry without clients, whose buckets are in the local AWS."""
    return Registry.make(aws, database, settings, tmp_path)
