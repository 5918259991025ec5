"""Who called: the IAM principal and the workforce user of a charge, in the view, in costs and in exports."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import pytest

from billfold.cli import main
from billfold.period import BillingPeriod
from billfold.reports.costs import sum_costs
from billfold.reports.export import export_charges
from billfold.reports.spending import Question, list_charges, report_spending
from billfold.selection import CostColumn, FileFormat, KeyColumn, MapColumn, Selection
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, line_item, write_bill, write_delivery, write_object
from tests.processes.web_server import run_web_server
from tests.services import CopyDatabase

ALICE = "arn:aws:iam::444455556666:user/alice"
ROLE = "arn:aws:sts::444455556666:assumed-role/Search, \u00e9/alice@acme.example"
WORKER = "9067-4a1c"
BEDROCK = {"line_item_product_code": "AmazonBedrock"}
MAY = BillingPeriod(date(2026, 5, 1))


@pytest.fixture(scope="module")
def may(shared_landing: Landing) -> Landing:
    """1 USD called by Alice, 2 and 4 by a role for two teams, 8 of a workforce user, 16 of nobody."""
    rows = [
        ("1", ALICE, "", '{"user_team": "red"}'),
        ("2", ROLE, "", '{"user_team": "red"}'),
        ("4", ROLE, "", '{"user_team": "blue"}'),
        ("8", "", WORKER, ""),
        ("16", "", "", '{"user_team": "red", "aws_createdBy": "x"}'),
    ]
    items = [
        line_item(
            cost=cost, resource_tags=tags, line_item_iam_principal=caller, line_item_user_identifier=worker, **BEDROCK
        )
        for cost, caller, worker, tags in rows
    ]
    write_bill(shared_landing.root, items)
    assert shared_landing.ingest().exit_error is None
    return shared_landing


@pytest.fixture
def copied(may: Landing, copy_database: CopyDatabase) -> Landing:
    """The same for tests that change it."""
    return replace(may, database=copy_database(may.database))


def amounts(landing: Landing, *columns: CostColumn | KeyColumn, selection: Selection | None = None) -> dict[str, int]:
    report = sum_costs(landing.database, columns=columns, selection=selection or Selection())
    return {" ".join(row.group): int(row.amount) for row in report.rows}


def test_both_callers_stand_in_the_view_and_an_empty_one_is_null(may: Landing) -> None:
    found = may.query('SELECT "BilledCost", "x_IamPrincipal", "x_UserIdentifier" FROM focus_cost_and_usage ORDER BY 1')

    assert found == [
        (1, ALICE, None),
        (2, ROLE, None),
        (4, ROLE, None),
        (8, None, WORKER),
        (16, None, None),
    ]
    assert may.broken_rules() == []


def test_the_view_keeps_its_columns_in_their_order_and_the_new_ones_come_last(may: Landing) -> None:
    names = [
        name
        for (name,) in may.query(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = 'focus_cost_and_usage'::regclass AND attnum > 0"
            " AND NOT attisdropped ORDER BY attnum"
        )
    ]

    assert len([name for name in names if not name.startswith("x_")]) == 57
    assert names[names.index("x_CostCategories") + 1 :][:2] == ["x_IamPrincipal", "x_UserIdentifier"]


def test_legacy_spellings_are_read_alike(landing: Landing) -> None:
    # Legacy headers beside those of CUR 2.0 are read by the same rule.
    files = [
        as_csv([line_item(**{name: ALICE, "lineItem/UserIdentifier": WORKER})])
        for name in ("lineItem/IamPrincipal", "lineItem/IAMPrincipal")
    ]
    write_delivery(landing.root, *files)
    landing.ingest()

    callers = landing.query('SELECT "x_IamPrincipal", "x_UserIdentifier" FROM focus_cost_and_usage')
    assert callers == [(ALICE, WORKER)] * len(files)


def test_costs_are_grouped_and_filtered_by_who_called(may: Landing) -> None:
    assert amounts(may, CostColumn.IAM_PRINCIPAL) == {ALICE: 1, ROLE: 6, "": 24}
    assert amounts(may, CostColumn.USER_IDENTIFIER) == {WORKER: 8, "": 23}
    assert amounts(may, CostColumn.SERVICE, selection=Selection(iam_principals=[ROLE])) == {"AmazonBedrock": 6}
    assert amounts(may, CostColumn.SERVICE, selection=Selection(iam_principals=[ROLE, ALICE])) == {"AmazonBedrock": 7}
    assert amounts(may, CostColumn.IAM_PRINCIPAL, selection=Selection(iam_principals=[""])) == {"": 24}
    assert amounts(may, CostColumn.IAM_PRINCIPAL, selection=Selection(user_identifiers=[WORKER])) == {"": 8}
    assert amounts(
        may,
        KeyColumn(column=MapColumn.TAG, key="team"),
        selection=Selection(iam_principals=[ROLE], tags={"team": ["blue"]}),
    ) == {"blue": 4}


def test_savings_and_charges_of_the_page_follow_the_filter(may: Landing) -> None:
    question = Question(group=CostColumn.IAM_PRINCIPAL, selection=Selection(iam_principals=[ROLE]))

    [spending] = report_spending(may.database, question).currencies
    charges = list_charges(may.database, question, MAY).rows

    assert [(group.name, group.amount) for group in spending.groups] == [(ROLE, 6)]
    assert sum(sum(series.amounts) for series in spending.series) == 6
    assert spending.savings is not None
    assert spending.savings.contracted == 6
    assert [row.amount for row in charges] == [4, 2]


def test_the_command_the_api_and_the_page_show_who_called(
    may: Landing, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("DATABASE_URL", may.database.conninfo)
    capsys.readouterr()

    assert main(["costs", "--by", "iam-principal", "--iam-principal", ROLE, "--csv"]) == 0
    assert list(csv.reader(capsys.readouterr().out.splitlines())) == [
        ["iam-principal", "currency", "cost"],
        [ROLE, "USD", "6"],
    ]
    assert main(["costs", "--by", "user-identifier", "--user-identifier", WORKER, "--csv"]) == 0
    assert f"{WORKER},USD,8" in capsys.readouterr().out
    with run_web_server(may.settings, may.database) as server:
        status, document = server.ask("GET", f"/v1/costs?by=iam-principal&iam_principal={quote(ROLE, safe='')}")
        page = server.send("GET", f"/costs?group=iam-principal&iam_principal={quote(ROLE, safe='')}")
        sheet = server.send("GET", "/costs.csv?group=user-identifier")
        drilled = server.send("GET", "/costs?group=user-identifier&user_identifier=(none)")
    assert status == 200
    assert document["costs"] == [{"iam-principal": ROLE, "currency": "USD", "cost": "6"}]
    assert page.status == sheet.status == drilled.status == 200
    assert "IAM principal" in page.body.decode()
    assert ALICE not in page.body.decode()
    assert f"{WORKER},USD,8" in sheet.body.decode()


def test_an_exported_file_keeps_who_called_when_it_is_ingested_again(copied: Landing, tmp_path: Path) -> None:
    target = tmp_path / "may.csv"
    export_charges(copied.database, target, file_format=FileFormat.CSV, first=MAY, last=MAY)
    other = replace(copied, root=tmp_path / "other").with_client(client_id="globex")
    write_object(other.root, "may.csv", target.read_bytes())

    other.ingest(other.root / "may.csv")

    query = (
        'SELECT "BilledCost", "x_IamPrincipal", "x_UserIdentifier" FROM focus_cost_and_usage'
        ' WHERE "x_ClientId" = %s ORDER BY 1'
    )
    assert copied.query(query, "globex") == copied.query(query, "acme")


def test_a_caller_that_is_restated_moves_its_costs_alone(copied: Landing) -> None:
    write_bill(copied.root, [line_item(cost="16", line_item_iam_principal=ALICE, **BEDROCK)], revision=2)

    copied.with_settings(hold_tolerance_percent=100).ingest(force=True)

    assert amounts(copied, CostColumn.IAM_PRINCIPAL) == {ALICE: 16}
    assert copied.broken_rules() == []


def test_a_set_of_tags_without_a_caller_keeps_its_hash(may: Landing) -> None:
    """Members are found by their hash: an attribute that is new and empty must not give each a second member."""
    tags = '{"aws:createdBy":"x","team":"red"}'
    spelled = f"client_id4:acmetags{len(tags)}:{tags}"

    found = may.value("SELECT member_hash FROM dim_tag_set WHERE tags ->> 'aws:createdBy' = 'x'")

    assert found == UUID(hashlib.md5(spelled.encode(), usedforsecurity=False).hexdigest())


def test_costs_by_caller_read_the_daily_costs(copied: Landing) -> None:
    copied.execute("UPDATE billing_usage_fact SET billed_cost = 0")

    assert amounts(copied, CostColumn.IAM_PRINCIPAL) == {ALICE: 1, ROLE: 6, "": 24}
    assert sum_costs(copied.database).totals[0].amount == Decimal(31)
