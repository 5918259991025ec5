"""One filter has one meaning: the chart, the table, the CSV, the API and the command show the same amounts."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal, localcontext
from random import Random
from urllib.parse import urlencode

import pytest

from billfold.cli import main
from billfold.reports.spending import Question, list_charges, report_spending
from billfold.selection import Selection
from tests.at_length import rounds
from tests.bills.filtered_bills import (
    CLIENTS,
    Asked,
    Row,
    expect_costs,
    land_filtered_bills,
    list_api_fields,
    list_options,
    list_page_fields,
    random_question,
    spell_group,
)
from tests.bills.landing import Landing
from tests.integration.reports.slow_pace import measure_slowly
from tests.processes.web_server import WebServer, run_web_server

SEED = 15
QUESTIONS = rounds(8, in_soak=16)
OPEN_MONTH = date(2026, 7, 25)

Amounts = Mapping[tuple[str, str], Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    landing: Landing
    rows: list[Row]
    exports: list[str]


@pytest.fixture(scope="module")
def bills(shared_landing: Landing) -> Bills:
    rows = land_filtered_bills(shared_landing, seed=SEED)
    exports = [name for (name,) in shared_landing.query("SELECT DISTINCT export_name FROM billing_statements")]
    return Bills(landing=shared_landing, rows=rows, exports=sorted(exports))


@pytest.fixture(scope="module")
def server(bills: Bills) -> Iterator[WebServer]:
    with run_web_server(bills.landing.settings, bills.landing.database) as server:
        yield server


@pytest.mark.at_length
@pytest.mark.parametrize("seed", range(QUESTIONS))
def test_every_door_shows_the_same_amounts(
    bills: Bills, server: WebServer, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    asked = random_question(Random(seed), bills.exports)
    environment.setenv("DATABASE_URL", bills.landing.database.conninfo)

    answer = server.send("GET", f"/costs?{urlencode(list_page_fields(asked))}")
    assert answer.status == 200
    page = answer.body.decode()
    sheet = server.send("GET", f"/costs.csv?{urlencode(list_page_fields(asked))}").body.decode()
    query = urlencode([*list_api_fields(asked), ("by", spell_group(asked.group))])
    status, document = server.ask("GET", f"/v1/costs?{query}")
    assert status == 200
    capsys.readouterr()
    assert main(["costs", *list_options(asked), "--json"]) == 0
    # The server logs beside it.
    printed = capsys.readouterr().out
    command, _ = json.JSONDecoder().raw_decode(printed, printed.index("{\n"))

    by_api = sum_document(document, str(asked.group))
    assert sum_document(command, str(asked.group)) == by_api
    assert read_sheet(sheet) == by_api
    assert read_table(page) == by_api
    check_charts(page, by_api)
    if not asked.is_split and not asked.export and asked.client in CLIENTS:
        assert by_api == expect_costs(bills.rows, asked)
    if not asked.is_split and asked.since == asked.until:
        assert sum_charges(bills.landing, asked) == sum_by_currency(by_api)


@pytest.mark.parametrize("service", ["AmazonEC2", "Amazon Elastic Compute Cloud", "Other", " padded "])
def test_the_chart_of_a_service_holds_no_other_service(bills: Bills, service: str) -> None:
    question = Question(selection=Selection(services=[service]))

    report = report_spending(bills.landing.database, question)

    assert report.currencies
    for spending in report.currencies:
        drawn = {series.name: sum(series.amounts) for series in spending.series}
        assert drawn == {group.name: group.amount for group in spending.groups if group.name in drawn}
        assert sum(drawn.values()) == spending.total.amount


@pytest.mark.parametrize("seed", range(6))
def test_the_pace_of_all_clients_is_the_sum_of_each(bills: Bills, seed: int) -> None:
    asked = random_question(Random(1_000 + seed), bills.exports)
    names = ("amount", "before_to_date", "before", "daily_rate", "forecast")

    def measure(client: str | None) -> dict[str, list[Decimal]]:
        question = Question(
            group=asked.group, metric=asked.metric, is_split=asked.is_split, client=client, since=asked.since,
            until=asked.until, selection=asked.selection,
        )  # fmt: skip
        report = report_spending(bills.landing.database, question, today=OPEN_MONTH)
        for spending in report.currencies:
            if spending.pace and spending.pace.before_to_date is not None:
                assert spending.pace.before_to_date == spending.total.before_to_date
                assert spending.pace.amount == spending.total.month
        return {
            spending.currency: [getattr(spending.pace, name) or Decimal(0) for name in names]
            for spending in report.currencies
            if spending.pace
        }

    together = measure(None)
    each = [measure(client) for client in (*CLIENTS, "initech")]

    for currency, amounts in together.items():
        found = [one[currency] for one in each if currency in one]
        with localcontext(prec=100):
            assert amounts == [sum(parts) for parts in zip(*found, strict=True)], currency


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("client", CLIENTS)
def test_the_pace_is_what_its_days_come_to(bills: Bills, client: str, seed: int) -> None:
    asked = replace(random_question(Random(2_000 + seed), bills.exports), client=client, is_split=False)
    asked = replace(asked, selection=replace(asked.selection, clusters=()))
    question = Question(
        metric=asked.metric, client=client, since=asked.since, until=asked.until, selection=asked.selection
    )
    last_day = asked.until.ends_on - timedelta(days=1)

    report = report_spending(bills.landing.database, question, today=last_day)

    expected = measure_slowly(bills.rows, asked, today=last_day)
    assert {spending.currency for spending in report.currencies if spending.pace} == set(expected)
    for spending in report.currencies:
        if spending.pace:
            for name, value in expected[spending.currency].items():
                found = getattr(spending.pace, name)
                assert found == value or abs(found - value) < Decimal("1e-15"), name


def test_the_last_charged_day_is_found_before_any_filter(bills: Bills) -> None:
    def days(client: str | None, **selection: list[str]) -> tuple[date, date]:
        question = Question(client=client, selection=Selection(**selection))
        through = report_spending(bills.landing.database, question, today=OPEN_MONTH).through
        assert through
        return through.first, through.last

    alone = {client: days(client) for client in CLIENTS}

    for client in CLIENTS:
        for service in ("AmazonEC2", "100%_done", "nothing"):
            assert days(client, services=[service]) == alone[client]
    assert alone["globex"][1] == date(2026, 7, 11)
    assert alone["acme"][1] == date(2026, 7, 24)
    assert days(None)[1] == date(2026, 7, 24)


def test_forecasts_of_the_parts_add_up_to_that_of_the_whole(bills: Bills) -> None:
    def forecasts(selection: Selection) -> dict[str, Decimal]:
        report = report_spending(bills.landing.database, Question(selection=selection), today=OPEN_MONTH)
        return {
            spending.currency: spending.pace.forecast
            for spending in report.currencies
            if spending.pace and spending.pace.forecast is not None
        }

    whole = forecasts(Selection())
    regions = [forecasts(Selection(regions=[region])) for region in ("", "eu-west-1", "us-east-1", "a,b%")]

    for currency, forecast in whole.items():
        parts = sum((part.get(currency, Decimal(0)) for part in regions), Decimal(0))
        assert abs(parts - forecast) < Decimal("1e-15")


def test_an_address_with_a_wrong_preset_or_two_exports_is_refused(server: WebServer) -> None:
    assert server.send("GET", "/costs?without=wine").status == 400
    assert server.send("GET", "/costs?export=a&export=b").status == 400


def sum_document(document: Mapping[str, list[dict[str, str]]], group: str) -> Amounts:
    return _keep({(row[group], row["currency"]): Decimal(row["cost"]) for row in document["costs"]})


def read_sheet(sheet: str) -> Amounts:
    header, *rows = csv.reader(io.StringIO(sheet, newline=""))
    assert header[1:3] == ["currency", "cost"]
    return _keep({(row[0], row[1]): Decimal(row[2]) for row in rows})


def read_table(page: str) -> Amounts:
    """The first column of amounts, exact as the title has it."""
    amounts = {}
    for table in re.findall(r'<table class="costs">(.*?)</table>', page, re.DOTALL):
        body, foot = re.fullmatch(r".*?<tbody>(.*)</tbody>.*?<tfoot>(.*)", table, re.DOTALL).groups()  # type: ignore[union-attr]
        found = {}
        for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL):
            name = re.search(r'<th scope="row"><a [^>]*>(.*?)</a></th>', row, re.DOTALL)
            assert name
            amount, currency = _read_money(row)
            shown = html.unescape(name[1])
            found["" if shown == "(none)" else shown, currency] = amount
        total, currency = _read_money(foot)
        assert total == sum(found.values())
        amounts.update(found)
    return _keep(amounts)


def check_charts(page: str, amounts: Amounts) -> None:
    """The series of each chart are groups of the table, and all of them together its total."""
    sums: dict[str, Decimal] = {}
    for chart in re.findall(r'<script type="application/json" id="chart-\d+">(.*?)</script>', page, re.DOTALL):
        for series in json.loads(chart)["data"]:
            currency = series["hovertemplate"].rpartition(" ")[2]
            drawn = sum(map(Decimal, series["y"]), Decimal(0))
            sums[currency] = sums.get(currency, Decimal(0)) + drawn
            if "meta" in series and not series["name"].endswith("\N{HORIZONTAL ELLIPSIS}"):
                name = "" if series["name"] == "(none)" else series["name"]
                assert drawn == amounts.get((name, currency), 0), name
    assert {currency: drawn for currency, drawn in sums.items() if drawn} == sum_by_currency(amounts)


def sum_charges(landing: Landing, asked: Asked) -> dict[str, Decimal]:
    """What the page of charges lists, by currency."""
    question = Question(metric=asked.metric, client=asked.client, export=asked.export, selection=asked.selection)
    charges = list_charges(landing.database, question, asked.until, limit=100_000).rows
    return sum_by_currency_of((row.currency, row.amount) for row in charges)


def sum_by_currency(amounts: Amounts) -> dict[str, Decimal]:
    return sum_by_currency_of((currency, amount) for (_, currency), amount in amounts.items())


def sum_by_currency_of(amounts: Iterable[tuple[str, Decimal]]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for currency, amount in amounts:
        sums[currency] = sums.get(currency, Decimal(0)) + amount
    return {currency: amount for currency, amount in sums.items() if amount}


def _read_money(text: str) -> tuple[Decimal, str]:
    found = re.search(r'<span class="money"(?: title="([^" ]+) [^"]*")?>([^ <]*) <span class="currency">([^<]*)<', text)
    assert found
    title, shown, currency = found.groups()
    return Decimal(title or shown.replace(",", "").replace("\N{MINUS SIGN}", "-")), currency


def _keep(amounts: Mapping[tuple[str, str], Decimal]) -> Amounts:
    return {place: amount for place, amount in amounts.items() if amount}
