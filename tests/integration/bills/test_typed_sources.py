"""What somebody types and what is no bill leaves nothing behind; a known source that fails leaves a failed run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from billfold.bills.ingest import ingest
from billfold.bills.typed_sources import leaves_nothing
from billfold.clients.registry import register
from billfold.errors import SourceNotFoundError, UsageError
from billfold.model import DeliveryState, TriggerSource
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, write_bill
from tests.services import NewDatabase, make_shared_landing

TABLES = ("billing_clients", "billing_deliveries", "billing_ingestion_runs", "billing_left_out_files")


def write(content: bytes, name: str = "may.csv") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def folder_of_notes(folder: Path) -> Path:
    (folder / "notes").mkdir()
    (folder / "notes" / "notes.txt").write_text("nothing to pay\n")
    return folder / "notes"


NONSENSE: dict[str, Callable[[Path], Path]] = {
    "the list of users": lambda _folder: Path("/etc/passwd"),
    "a program": write(b"\x7fELF\x02\x01\x01\x00" + bytes(range(256)) * 40, "program"),
    "an empty file": write(b""),
    "blanks": write(b" \n\n"),
    "a note": write(b"nothing to pay\n", "note.txt"),
    "another table": write(b"day,amount\n2026-05-01,3\n"),
    "a document": write(b'{"a": 1}', "a.json"),
    "another manifest": write(b'{"files": []}', "manifest.json"),
    "a picture": write(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(300), "a.png"),
    "a path that does not exist": lambda folder: folder / "exprots" / "acme",
    "an empty folder": lambda folder: folder,
    "a folder without exports": folder_of_notes,
    "a system's folder": lambda _folder: Path("/proc/self/fd"),
}


@pytest.fixture
def office(landing: Landing) -> Landing:
    """Has ingested nothing yet, in the name of the configured client."""
    return replace(landing, client=landing.settings.default_client())


def count_all(landing: Landing) -> dict[str, int]:
    return {table: landing.count(table) for table in TABLES}


@pytest.fixture(scope="module")
def newcomer(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """The same for all tests of what leaves nothing."""
    landing = make_shared_landing(new_database, tmp_path_factory)
    return replace(landing, client=landing.settings.default_client())


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_of_a_client_that_never_had_a_bill_leaves_nothing(
    newcomer: Landing, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "typed"
    folder.mkdir()

    outcome = newcomer.ingest(NONSENSE[kind](folder))

    assert outcome.state is DeliveryState.FAILED
    assert outcome.exit_error is not None
    assert len(str(outcome.exit_error).splitlines()) == 1
    assert outcome.runs == ()
    assert set(count_all(newcomer).values()) == {0}


@pytest.fixture(scope="module")
def known(shared_landing: Landing) -> Landing:
    """Has a bill, in the name of the configured client."""
    known = replace(shared_landing, client=shared_landing.settings.default_client())
    known.ingest(write_bill(known.root, described("1.25")))
    return known


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_of_a_known_client_leaves_a_run_and_no_delivery(known: Landing, tmp_path: Path, kind: str) -> None:
    failed = "SELECT count(*) FROM billing_ingestion_runs WHERE status = 'failed'"
    failed_before = known.value(failed)
    folder = tmp_path / "typed"
    folder.mkdir()

    outcome = known.ingest(NONSENSE[kind](folder))

    assert outcome.delivery_id is None
    assert [run.status for run in outcome.runs] == ["failed"]
    assert known.count("billing_deliveries") == 1
    assert known.value(failed) == failed_before + 1


@pytest.mark.parametrize("bucket", ["no-such-bucket", "acme-bills"])
def test_a_bucket_that_does_not_exist_is_a_fact_only_where_it_is_the_clients(office: Landing, bucket: str) -> None:
    client = replace(office.client, bucket="acme-bills")
    there = replace(office, client=client)
    error = SourceNotFoundError("there is no such bucket")

    leaves = leaves_nothing(
        error, "", f"s3://{bucket}/a/", client=there.client, settings=there.settings, database=there.database
    )

    assert leaves is (bucket != "acme-bills")


def test_a_typing_error_that_could_be_a_key_leaves_nothing_behind(office: Landing) -> None:
    with pytest.raises(UsageError, match="no such file: exprots"):
        office.ingest("exprots/acme")

    assert set(count_all(office).values()) == {0}


def test_an_announced_source_that_fails_leaves_a_failed_run(office: Landing, tmp_path: Path) -> None:
    [outcome] = ingest(
        str(tmp_path / "gone"),
        client=office.client,
        settings=office.settings,
        database=office.database,
        trigger=TriggerSource.SCHEDULE,
    )

    assert [run.error_code for run in outcome.runs] == ["source_not_found"]
    assert office.count("billing_clients") == 1


def test_a_damaged_bill_that_was_typed_leaves_a_failed_run(landing: Landing) -> None:
    (landing.root / "may.csv").write_bytes(as_csv(described("1.25", "2")) + b"cut,off\n")

    outcome = landing.ingest(landing.root / "may.csv")

    assert outcome.state is DeliveryState.FAILED
    assert [run.status for run in outcome.runs] == ["failed"]
    assert landing.query("SELECT status, error_code FROM billing_ingestion_runs") == [("failed", "malformed_file")]


def test_a_file_that_was_a_bill_and_a_known_clients_folder_leave_failed_runs(office: Landing) -> None:
    path = office.root / "may.csv"
    path.write_bytes(as_csv(described("1.25")))
    office.ingest(path)
    path.write_bytes(b"nothing to pay\n")

    replaced = office.ingest(path)
    failed = office.value("SELECT count(*) FROM billing_ingestion_runs WHERE status = 'failed'")
    office.root.rename(office.root.parent / "moved")
    gone = office.ingest()

    assert (replaced.state, failed) == (DeliveryState.FAILED, 1)
    assert [run.error_code for run in gone.runs] == ["source_not_found"]
    assert office.billed() == {"USD": pytest.approx(1.25)}


def test_a_refused_client_is_refused_before_its_source_is_read(landing: Landing, tmp_path: Path) -> None:
    fields = {"client_id": "acme", "bucket": "acme-bills", "account_id": "111122223333"}
    register(landing.database, landing.settings, fields)

    with pytest.raises(UsageError, match="client acme is registered"):
        landing.ingest(tmp_path / "gone")
