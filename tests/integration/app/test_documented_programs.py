"""The programs of README and documents run as they stand, against an embedded PostgreSQL of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from billfold import Billfold, DeliveryState
from billfold.period import BillingPeriod
from billfold.settings import load_settings
from billfold.transform.sample_bill import SampleBill, write_sample_bill
from tests.folders import short_folder

ROOT = Path(__file__).resolve().parents[3]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = [
    (f"{path.relative_to(ROOT)}-{number}", program)
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for number, program in enumerate(_BLOCK.findall(path.read_text(encoding="utf-8")), start=1)
]
_BILL = SampleBill(
    payer_account_id="111122223333",
    period=BillingPeriod(date(2026, 5, 1)),
    line_item_count=100,
    export_name="cost-and-usage",
    bucket="acme-billing",
)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder for an embedded PostgreSQL."""
    with short_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one bill."""
    folder = tmp_path_factory.mktemp("bucket") / "acme-billing"
    write_sample_bill(_BILL, folder)
    return folder


@pytest.fixture
def bucket(environment: pytest.MonkeyPatch, home: Path, bill: Path) -> Path:
    """The folder that stands for the bucket s3://acme-billing, in an environment with its client and its home."""
    environment.setenv("BILLFOLD_HOME", str(home))
    environment.setenv("BILLFOLD_CLIENT", "acme")
    environment.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
    return bill


@pytest.mark.parametrize(("name", "program"), PROGRAMS, ids=[name for name, _ in PROGRAMS])
def test_the_program_runs(name: str, program: str, bucket: Path, home: Path) -> None:
    here = program.replace("s3://acme-billing/exports/", str(bucket)).replace("/var/lib/billfold", str(home))

    exec(compile(here, name, "exec"), {})


def test_the_readme_and_the_page_of_the_api_have_programs() -> None:
    names = {name.rpartition("-")[0] for name, _ in PROGRAMS}

    assert {"README.md", "docs/python.md"} <= names


def test_objects_share_a_home_until_the_last_one_closes(bucket: Path) -> None:
    with Billfold(load_settings()) as one, Billfold(load_settings()) as other:
        one.ingest(bucket)
        other.costs()
        one.close()
        rows = other.costs().rows

        assert rows == one.costs().rows != ()


def test_threads_share_an_object(bucket: Path) -> None:
    june = replace(_BILL, period=BillingPeriod(date(2026, 6, 1)))
    write_sample_bill(june, bucket)

    with Billfold.from_environment() as billfold, ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(billfold.costs, "month") for _ in range(3)]
        ingested = [threads.submit(billfold.ingest, bucket) for _ in range(2)]
        outcomes = [outcome for each in ingested for outcome in each.result()]

        assert all(each.result().columns for each in asked)
        assert {outcome.state for outcome in outcomes} == {DeliveryState.PUBLISHED}
        assert [total.group for total in billfold.costs("month").totals] == [("2026-05",), ("2026-06",)]
