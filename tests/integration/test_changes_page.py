"""The page of changes: it shows what the report of changes says, to the last digit, and nobody else's bill."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from urllib.parse import quote

import pytest

from billfold import reports, tokens
from billfold.config import load_settings
from billfold.documents import spell_money
from billfold.model import Scope
from billfold.reports import ChangeColumn, Filter, Metric
from tests.integration.conftest import NewDatabase
from tests.landing import Landing
from tests.line_items import described, line_item, write_bill
from tests.web_server import Answer, WebServer, run_web_server

MARKUP = "<b>bold</b>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """A server with the bills of two clients; `may` is the statement of acme that was restated."""

    landing: Landing
    server: WebServer
    may: int
    token: str
    their_token: str

    def load(self, path: str, token: str | None = None, status: int = 200) -> Answer:
        headers = {"Accept": "text/html", "Authorization": f"Bearer {token or self.token}"}
        answer = self.server.send("GET", path, headers=headers)
        assert answer.status == status, answer.body.decode()
        return answer

    def show(self, path: str, token: str | None = None, status: int = 200) -> str:
        """The page's text, its markup taken away."""
        page = self.load(path, token, status).body.decode()
        text = re.sub(r"<script.*?</script>|<[^>]*>", " ", re.sub("</?span[^>]*>", "", page), flags=re.DOTALL)
        return " ".join(html.unescape(text).split())

    def read_csv(self, path: str, token: str | None = None) -> list[dict[str, str]]:
        answer = self.load(path, token)
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        return list(csv.DictReader(io.StringIO(answer.body.decode())))


def may_bill(*, grown: bool) -> list[dict[str, str]]:
    """Two currencies and twelve services, of which all but one move; a service comes, another one goes."""
    services = [
        line_item(cost=str(Decimal(number) * (2 if grown else 1)), line_item_product_code=f"Service{number:02d}")
        for number in range(1, 11)
    ]
    changed = line_item(cost="3.000000000000000001" if grown else "3", line_item_product_code=MARKUP)
    other = line_item(cost="100.25" if grown else "40", line_item_product_code="Comes" if grown else "Goes")
    stays = line_item(cost="7", line_item_product_code="Stays")
    euro = line_item(cost="5.5", line_item_product_code="AmazonS3", line_item_currency_code="EUR")
    return [*services, changed, other, stays, euro]


@pytest.fixture(scope="module")
def pages(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
        variables.setenv("BILLFOLD_HOME", str(tmp_path_factory.mktemp("home")))
        landing = Landing.make(new_database(16), load_settings(), tmp_path_factory.mktemp("bucket"))
        for revision, grown in enumerate((False, True), start=1):
            write_bill(landing.root, may_bill(grown=grown), revision=revision)
            landing.ingest()
        other = replace(landing, root=tmp_path_factory.mktemp("other")).with_client(client_id="globex", prefix="g/")
        april = {"bill_billing_period_start_date": "2026-04-01T00:00:00.000Z"}
        write_bill(other.root, described("64", **april), export_path="exports/theirs", period="2026-04")
        assert other.ingest().state == "published"
        [may] = reports.list_statements(landing.database, Filter(client="acme"))
        # May was over when it was restated.
        landing.execute(
            "UPDATE billing_publications SET published_at = '2026-06-01Z'::timestamptz + number * interval '1 hour'"
            " WHERE statement_id = %s",
            may.statement_id,
        )
        token, their_token = (
            tokens.make(landing.database, name, scopes=[Scope.READ], client_id=client).secret
            for name, client in (("all", None), ("theirs", "globex"))
        )
        with run_web_server(landing.settings, landing.database) as server:
            yield Pages(landing=landing, server=server, may=may.statement_id, token=token, their_token=their_token)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("column", list(ChangeColumn))
def test_movers_are_those_of_the_report_to_the_last_digit(pages: Pages, metric: Metric, column: ChangeColumn) -> None:
    rows = pages.read_csv(f"/changes.csv?statement={pages.may}&from=1&to=2&by={column}&metric={metric}")

    [change] = reports.list_changes(
        pages.landing.database, Filter(statement=pages.may), start=1, end=2, columns=[column], metric=metric
    ).changes
    assert [(row[column], row["currency"], row["old"], row["new"], row["difference"]) for row in rows] == [
        (*row.group, row.currency, *map(spell_money, (row.old, row.new, row.difference))) for row in change.groups
    ]
    assert {(row["client"], row["month"], row["from"], row["to"]) for row in rows} <= {("acme", "2026-05", "1", "2")}
    assert len(rows) == {ChangeColumn.SERVICE: 13, ChangeColumn.ACCOUNT: 1}.get(column, len(rows)) or metric != "billed"


def test_without_a_choice_it_is_the_newest_publication_that_moved(pages: Pages) -> None:
    chosen = pages.show("/changes")

    assert "acme · acme 2026-05 closed month moved" in chosen
    assert "Before 105.00 USD publication 1" in chosen
    assert "After 220.25 USD publication 2" in chosen
    assert "Moved +115.25 USD" in chosen
    assert "EUR Before" not in chosen
    assert chosen.count("Movers by service, USD") == 1


def test_what_came_what_went_and_what_changed_adds_up(pages: Pages) -> None:
    shown = pages.show(f"/changes?statement={pages.may}")

    assert "New +100.25 USD 1 of these groups" in shown
    assert "Gone \N{MINUS SIGN}40.00 USD 1 of these groups" in shown
    assert "Changed +55.00 USD 11 of these groups" in shown


def test_the_first_publication_of_a_bill_is_no_move(pages: Pages) -> None:
    theirs = pages.show("/changes?client=globex")
    first = pages.show(f"/changes?statement={pages.may}&to=1")

    assert "None of these moved a bill" in theirs
    assert "theirs 2026-04" in theirs
    assert "first bill" in theirs
    assert "closed month moved" not in theirs
    assert "Nothing stood before" in first


def test_any_two_publications_can_be_compared(pages: Pages) -> None:
    same = pages.show(f"/changes?statement={pages.may}&from=2&to=2")
    all_of_it = pages.show(f"/changes?statement={pages.may}&from=0&to=2")

    assert "Nothing moved" in same
    assert "Before 0.00 USD" in all_of_it
    assert "After 220.25 USD" in all_of_it
    assert "After 5.50 EUR" in all_of_it


def test_the_list_is_filtered_by_what_the_address_says(pages: Pages) -> None:
    by_export = pages.read_csv("/changes.csv?export=theirs")
    by_month = pages.read_csv("/changes.csv?period=2026-05")
    effective = pages.read_csv("/changes.csv?period=2026-05&metric=effective&client=acme")

    assert {(row["client"], row["billed_after"]) for row in by_export} == {("globex", "64")}
    assert [
        (row["publication"], row["currency"], row["billed_difference"], row["billed_after"]) for row in by_month
    ] == [
        ("2", "EUR", "", "5.5"),
        ("2", "USD", "115.250000000000000001", "220.250000000000000001"),
        ("1", "EUR", "", "5.5"),
        ("1", "USD", "", "105"),
    ]
    assert [row["closed_month_moved"] for row in by_month] == ["yes", "yes", "no", "no"]
    assert effective[1]["effective_difference"] == "115.250000000000000001"
    assert "No publications here" in pages.show("/changes?period=2020-01")
    assert "No publications here" in pages.show("/changes?page=9")


def test_movers_lead_to_their_costs(pages: Pages) -> None:
    page = pages.load(f"/changes?statement={pages.may}&metric=effective").body.decode()

    name = quote("Service10", safe="")
    address = f"/costs?client=acme&since=2026-05&until=2026-05&metric=effective&group=account&service={name}"
    assert html.escape(address) in page
    pages.load(address)
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert MARKUP not in page


def test_a_token_of_one_client_sees_its_own_changes_alone(pages: Pages) -> None:
    token = pages.their_token

    own = pages.show("/changes", token)

    assert "theirs 2026-04" in own
    assert "acme" not in own.partition("Changes What")[2]
    assert "There is no such bill" in pages.show(f"/changes?statement={pages.may}", token)
    assert "acme" not in pages.show(f"/changes?statement={pages.may}&from=1&to=2", token, status=400)
    pages.show("/changes?client=acme", token, status=403)
    assert {row["client"] for row in pages.read_csv("/changes.csv", token)} == {"globex"}


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("metric=gross", "metric is none of billed, effective, list, contracted"),
        ("by=colour", "by is none of service, account, region, category, day"),
        ("period=may", "period is no month such as 2026-05"),
        ("statement=one", "statement is no whole number"),
        ("statement=0", "statement is no whole number"),
        (f"statement={'9' * 5000}", "statement is no whole number"),
        ("from=1", "from and to are publications of one statement"),
        ("statement=1&to=0", "to is no whole number"),
        ("statement=1&from=9", "has no publication 9"),
        ("statement=1&from=2&to=1", "is after"),
        ("export=%00", "export is no text"),
        ("page=0", "page is no whole number"),
    ],
)
def test_what_cannot_be_shown_is_told_on_a_page(pages: Pages, query: str, complaint: str) -> None:
    assert complaint in pages.show(f"/changes?{query}", status=400)


def test_an_empty_database_says_how_to_begin(landing: Landing) -> None:
    with run_web_server(landing.settings, landing.database) as server:
        page = server.send("GET", "/changes").body.decode()

    assert "No bills yet" in page
    assert "billfold ingest" in page
