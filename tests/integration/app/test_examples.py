"""Every example of the documents of `Billfold` runs: each against a copy of a database with one small bill."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import billfold
from billfold import Billfold, Settings
from billfold.app import billfold as app
from billfold.app.clients import Clients
from billfold.app.counting import Counting
from billfold.app.dashboard import Dashboard
from billfold.app.owners import Owners
from billfold.app.reading import Reading
from billfold.app.requests import Requests
from billfold.app.tokens import Tokens
from billfold.aws import LocalAws
from billfold.period import BillingPeriod
from billfold.settings import load_settings
from billfold.store.database import Database
from billfold.transform.sample_bill import SampleBill, write_sample_bill
from tests.folders import short_folder
from tests.services import CopyDatabase, NewDatabase, copy_of

CLASSES = (app.Billfold, Clients, Owners, Tokens, Counting, Requests, Dashboard)
_BILL = SampleBill(
    payer_account_id="111122223333",
    period=BillingPeriod(date(2026, 5, 1)),
    line_item_count=100,
    export_name="cost-and-usage",
    bucket="acme-billing",
)


def _list_examples() -> Iterator[doctest.DocTest]:
    parser = doctest.DocTestParser()
    for kind in CLASSES:
        for name, member in inspect.getmembers(kind):
            function = member.fget if isinstance(member, property) else member
            is_public = name == "__call__" or not name.startswith("_")
            if not is_public or not (inspect.isfunction(function) or inspect.ismethod(function)):
                continue
            text = inspect.getdoc(function) or ""
            yield parser.get_doctest(text, {}, f"{kind.__name__}.{name}", None, 0)


EXAMPLES = tuple(_list_examples())


@pytest.fixture(scope="module")
def landed(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Database, Path]:
    """One client of the registry with one bill, an owner, and the folder that stands for its bucket."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
        variables.setenv("BILLFOLD_HOME", str(folder / "home"))
        variables.setenv("BILLFOLD_CLIENT", "acme")
        variables.chdir(folder)
        settings = load_settings()
    write_sample_bill(_BILL, folder / "acme-billing")
    database = new_database(16)
    with Billfold(settings, database=database) as landing:
        place = {"bucket": "acme-billing", "prefix": "exports/", "region": "us-east-1"}
        landing.clients.add("acme", account_id="111122223333", **place)
        landing.ingest(folder / "acme-billing")
        landing.owners.set("111122223333", "Platform")
    return settings, database, folder / "acme-billing"


@pytest.fixture(scope="module")
def landed_twice(landed: tuple[Settings, Database, Path], tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The same database with the bill as another export too."""
    settings, database, _ = landed
    folder = tmp_path_factory.mktemp("copy")
    write_sample_bill(replace(_BILL, export_name="copy"), folder)
    database = copy_of(database)
    with Billfold(settings, database=database) as landing:
        landing.ingest(folder)
    return database


@pytest.fixture(scope="module")
def unchanged(landed: tuple[Settings, Database, Path]) -> Database:
    return copy_of(landed[1])


@pytest.fixture
def names(
    landed: tuple[Settings, Database, Path],
    unchanged: Database,
    example: doctest.DocTest,
    copy_database: CopyDatabase,
    tmp_path: Path,
    environment: object,
) -> dict[str, Any]:
    """What examples may use; those that only read share a database."""
    settings, database, bucket = landed
    kind, name = example.name.split(".")
    is_reading = kind == Dashboard.__name__ or name in vars(Reading)
    return {
        "Billfold": Billfold,
        "Settings": Settings,
        "billfold": Billfold(settings, database=unchanged if is_reading else copy_database(database)),
        "settings": settings,
        "bucket": bucket,
        "folder": tmp_path,
    }


@pytest.fixture(name="short_folder")
def _short_folder() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def in_aws(
    names: dict[str, Any], local_aws: LocalAws, landed: tuple[Settings, Database, Path], environment: pytest.MonkeyPatch
) -> Iterator[None]:
    """The client's bucket and role in a local AWS."""
    settings, _, bucket = landed
    for name, value in local_aws.environment().items():
        environment.setenv(name, value)
    local_aws.create_bucket("acme-billing")
    local_aws.upload_folder("acme-billing", bucket)
    known = names["billfold"].clients.find("acme")
    local_aws.create_role("billfold-acme", "111122223333", known.external_id)
    at_aws = settings.model_copy(update={"endpoint_url": local_aws.endpoint_url})
    names["billfold"] = Billfold(at_aws, database=names["billfold"].database)
    yield
    local_aws.reset()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_every_method_has_an_example_that_runs(
    example: doctest.DocTest, names: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """What it prints is what the document says."""
    output: list[str] = []
    if example.name == "Billfold.backfill":
        request.getfixturevalue("in_aws")
    if example.name in ("Billfold.back_up", "Billfold.restore"):
        names["folder"] = request.getfixturevalue("short_folder")
        names["settings"] = names["settings"].model_copy(update={"home": names["folder"] / "home"})
    if example.name.startswith(Counting.__name__):
        twice = request.getfixturevalue("copy_database")(request.getfixturevalue("landed_twice"))
        names["billfold"] = Billfold(names["settings"], database=twice)
    example.globs = names

    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL).run(
        example, out=output.append
    )

    assert example.examples, f"{example.name} has no example"
    assert not output, "".join(output)


def test_public_names_are_there_without_being_imported_at_once() -> None:
    """`import billfold` gives each of them when it is first used."""
    assert all(getattr(billfold, name) is not None for name in billfold.__all__)
