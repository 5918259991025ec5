"""Keys of tags with any sign in them: on the command line, in the API, in an address, and from the rollup."""

from __future__ import annotations

import csv
import json
from urllib.parse import quote

import pytest

from billfold.cli import main
from billfold.errors import UsageError
from billfold.reports.costs import sum_costs
from billfold.selection import KeyColumn, MapColumn, Selection, format_pair, parse_cost_columns, parse_pairs
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill
from tests.processes.web_server import run_web_server

TAGS = {
    "accountTag/department": "teamC",
    "resourceTags/a:b/c": "x",
    "iamPrincipal/k=v": "y=z",
    "userAttribute/one,two": "é, ü",
}
KEYS_AND_VALUES = [(source.removeprefix("resourceTags/"), value) for source, value in TAGS.items()]


@pytest.fixture(scope="module")
def tagged(shared_landing: Landing) -> Landing:
    """5 USD under all of the tags, of which 3 are a tax and of another cost category; 8 under none."""
    items = [
        line_item(cost="2", tags=json.dumps(TAGS | {"costCategory/unit": "shops"})),
        line_item("Tax", cost="3", tags=json.dumps(TAGS | {"costCategory/unit": "labs"})),
        line_item(cost="8"),
    ]
    write_bill(shared_landing.root, items)
    assert shared_landing.ingest().exit_error is None
    return shared_landing


@pytest.mark.parametrize(("key", "value"), KEYS_AND_VALUES)
def test_the_command_groups_and_filters_by_a_key(
    tagged: Landing, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, value: str
) -> None:
    environment.setenv("DATABASE_URL", tagged.database.conninfo)
    by = f"tag:{key.replace(',', chr(92) + ',')}"
    capsys.readouterr()

    assert main(["costs", "--by", f"{by},month", "--tag", format_pair(key, value), "--csv"]) == 0

    assert list(csv.reader(capsys.readouterr().out.splitlines())) == [
        [f"tag:{key}", "month", "currency", "cost"],
        [value, "2026-05", "USD", "5"],
    ]


@pytest.mark.parametrize(("key", "value"), KEYS_AND_VALUES)
def test_the_api_and_the_page_group_and_filter_by_a_key(tagged: Landing, key: str, value: str) -> None:
    by = quote(f"tag:{key.replace(',', chr(92) + ',')}", safe="")
    pair = quote(format_pair(key, value), safe="")
    with run_web_server(tagged.settings, tagged.database) as server:
        _, document = server.ask("GET", f"/v1/costs?by={by}&tag={pair}")
        page = server.send("GET", f"/costs?group=tag&tag_key={quote(key, safe='')}")
        drilled = server.send("GET", f"/costs?tag={pair}")
        sheet = server.send("GET", f"/costs.csv?group=tag&tag_key={quote(key, safe='')}&tag={pair}")

    assert document["costs"] == [{f"tag:{key}": value, "currency": "USD", "cost": "5"}]
    assert page.status == drilled.status == 200
    assert f"tag={pair}" in page.body.decode().replace("+", "%20")
    assert "5.00" in drilled.body.decode()
    assert list(csv.reader(sheet.body.decode().splitlines()))[1][:3] == [value, "USD", "5"]


def test_a_cost_category_groups_and_filters_the_page(tagged: Landing) -> None:
    with run_web_server(tagged.settings, tagged.database) as server:
        sheet = server.send("GET", "/costs.csv?group=cost-category&tag_key=unit&cost_category=unit%3Dshops")
        refused = server.send("GET", "/costs.csv?group=cost-category")

    header, [*found] = csv.reader(sheet.body.decode().splitlines())
    assert header[0] == "cost-category:unit"
    assert found[:3] == ["shops", "USD", "2"]
    assert refused.status == 400


def test_costs_by_every_kind_of_tag_come_from_the_rollup(tagged: Landing) -> None:
    for key, value in KEYS_AND_VALUES:
        column = KeyColumn(column=MapColumn.TAG, key=key)
        report = sum_costs(tagged.database, columns=[column], selection=Selection(tags={key: [value, ""]}))

        assert {row.group[0]: int(row.amount) for row in report.rows} == {value: 5, "": 8}


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["tag:a,month"], ["tag:a", "month"]),
        ([r"tag:a\,b,tag:c"], ["tag:a,b", "tag:c"]),
        (["tag:a:b/c=d e"], ["tag:a:b/c=d e"]),
        ([r"cost-category:a\b"], [r"cost-category:a\b"]),
    ],
)
def test_a_comma_in_a_key_is_written_with_a_backslash(words: list[str], keys: list[str]) -> None:
    assert [str(column) for column in parse_cost_columns(words)] == keys


@pytest.mark.parametrize(
    ("word", "pairs"),
    [
        ("a=b=c", {"a": ["b=c"]}),
        (r"a\=b=c", {"a=b": ["c"]}),
        (r"a=b\=c", {"a": [r"b\=c"]}),
        ("a/b:c=", {"a/b:c": [""]}),
    ],
)
def test_an_equals_sign_in_a_key_is_written_with_a_backslash(word: str, pairs: dict[str, list[str]]) -> None:
    assert parse_pairs("--tag", [word]) == pairs
    assert parse_pairs("--tag", [format_pair(key, value) for key, [value] in pairs.items()]) == pairs


@pytest.mark.parametrize("word", ["a", "=b", r"a\=b"])
def test_a_pair_without_a_key_or_an_equals_sign_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_pairs("--tag", [word])
