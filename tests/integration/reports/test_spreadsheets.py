"""Texts of a bill that a spreadsheet would run: neutral in what people download, exact in what is exported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from billfold.cli import main
from billfold.clients import owners
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill
from tests.processes.pages import Pages, run_pages

FORMULA = "=cmd|' /C calc'!A0"
TEAMS = {FORMULA: "-7.25", "+1+1": "1", "-2": "2", "@SUM(1)": "3", "\N{FULLWIDTH EQUALS SIGN}1": "4", "web": "5"}
ACCOUNT = "444455556666"


@pytest.fixture(scope="module")
def dangerous(shared_landing: Landing) -> Landing:
    items = [
        line_item(cost=cost, tags=json.dumps({"resourceTags/team": team}), line_item_usage_account_id=ACCOUNT)
        for team, cost in TEAMS.items()
    ]
    write_bill(shared_landing.root, items)
    assert shared_landing.ingest().exit_error is None
    client = shared_landing.client.client_id
    owners.set_owner(shared_landing.database, shared_landing.settings, client, ACCOUNT, FORMULA, "@name")
    return shared_landing


@pytest.fixture(scope="module")
def pages(dangerous: Landing) -> Iterator[Pages]:
    with run_pages(dangerous, their_client="acme") as pages:
        yield pages


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 0
    return capsys.readouterr().out


@pytest.fixture
def command(dangerous: Landing, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", dangerous.database.conninfo)


def expected() -> dict[str, str]:
    return {team if team == "web" else f"'{team}": cost for team, cost in TEAMS.items()}


def test_the_dashboards_download_runs_nothing(pages: Pages) -> None:
    by_team = pages.read_csv("/costs.csv?group=tag&tag_key=team")
    [column] = [name for name in by_team[0] if name.startswith("tag:")]

    assert {row[column]: row["cost"] for row in by_team} == expected()


def test_the_pages_say_so_where_they_offer_the_download(pages: Pages) -> None:
    for path in ("/costs", "/checks", "/changes"):
        assert "Formulas in text get a leading" in pages.show(path)


@pytest.mark.usefixtures("command")
def test_the_commands_csv_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    header, *rows = read(run(capsys, "costs", "--by", "tag:team,owner", "--csv"))

    assert header == ["tag:team", "owner", "currency", "cost"]
    assert {row[0]: row[3] for row in rows} == expected()
    assert {row[1] for row in rows} == {f"'{FORMULA}"}


@pytest.mark.usefixtures("command")
def test_owners_that_are_listed_as_csv_come_back_as_they_were(
    dangerous: Landing, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = run(capsys, "owner", "list", "--csv")

    again = owners.import_owners(
        dangerous.database,
        dangerous.settings,
        dangerous.client.client_id,
        listed.encode(),
        file="owners.csv",
        is_whole=True,
    )

    assert read(listed)[1][:3] == [ACCOUNT, f"'{FORMULA}", "'@name"]
    assert (again.unchanged_count, again.changed_count, again.removed_count) == (1, 0, 0)


@pytest.mark.usefixtures("command")
def test_an_export_is_exact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "may.csv"
    run(capsys, "export", "--month", "2026-05", "--output", str(file))

    rows = list(csv.DictReader(io.StringIO(file.read_text(), newline="")))

    assert sorted(json.loads(row["Tags"])["team"] for row in rows) == sorted(TEAMS)
    assert sorted(row["BilledCost"] for row in rows if row["BilledCost"].startswith("-")) == ["-7.25"]


@pytest.mark.parametrize("words", [("costs", "--help"), ("owner", "list", "--help"), ("export", "--help")])
def test_the_help_says_what_becomes_of_formulas(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "formula" in run(capsys, *words)
