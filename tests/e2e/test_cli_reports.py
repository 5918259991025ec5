"""What a command prints of the bills that are there: lists, costs, exports and queries, for people and for programs."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest

from tests.processes.operator import Operator
from tests.processes.warm_process import WarmProcess

LISTS = ("runs", "deliveries", "statements", "publications", "costs", "changes")


@pytest.mark.parametrize("name", LISTS)
def test_every_list_is_a_table_and_a_document(operator: Operator, name: str) -> None:
    table = operator.call(name)
    document = operator.call(name, "--json")

    assert (table.code, document.code) == (0, 0)
    assert "2026-05" in table.out
    assert table.out.splitlines() == [line.rstrip() for line in table.out.splitlines()]
    assert document.document[name]
    assert table.err == document.err == ""


def test_costs_are_exact_in_the_document_and_rounded_on_screen(operator: Operator) -> None:
    table = operator.run("costs", "--by", "account")
    document = operator.call("costs", "--by", "account", "--by", "day", "--json").document

    assert table.out.split()[-3:] == ["Total", "USD", "3.75"]
    assert document["costs"] == [{"account": "444455556666", "day": "2026-05-03", "currency": "USD", "cost": "3.75"}]
    assert document["totals"] == [{"month": "2026-05", "currency": "USD", "cost": "3.75"}]


def test_costs_come_as_csv_by_owners_that_a_file_names(operator: Operator) -> None:
    before = operator.call("owner", "list", "--missing", "--json").document
    imported = operator.call("owner", "import", "-", stdin="account_id,owner\n444455556666,payments\n")
    by_owner = operator.call("costs", "--by", "owner,month", "--csv")
    listed = operator.call("owner", "list", "--json").document
    removed = operator.call("owner", "remove", "444455556666")
    bad = operator.call("owner", "import", "-", stdin="account_id,owner\n4444,payments\n")

    assert [account["account_id"] for account in before["accounts"]] == ["444455556666"]
    assert (imported.code, imported.out) == (0, "default: 1 added, 0 changed, 0 unchanged, 0 removed\n")
    assert (by_owner.out, by_owner.err) == ("owner,month,currency,cost\npayments,2026-05,USD,3.75\n", "")
    assert [(owner["account_id"], owner["owner"]) for owner in listed["owners"]] == [("444455556666", "payments")]
    assert removed.out == "444455556666: no longer has an owner (was payments)\n"
    assert (bad.code, len(bad.error_lines)) == (4, 1)
    assert "line 2, column account_id, value '4444'" in bad.error_lines[0]


def test_an_export_is_a_file_or_standard_output(operator: Operator) -> None:
    file = operator.folder / "may.parquet"

    written = operator.call("export", "--month", "2026-05", "--output", "may.parquet", "--json")
    again = operator.call("export", "--month", "2026-05", "--output", "may.parquet", "--json")
    printed = operator.run("export", "--month", "2026-05", "--output", "-")

    assert (written.document["charges"], written.document["billed_cost"]) == (2, {"USD": "3.75"})
    assert file.read_bytes()[:4] == b"PAR1"
    assert (again.code, again.document["error"]["code"], len(again.error_lines)) == (2, "usage", 1)
    assert printed.out.startswith("AvailabilityZone,BilledCost,")
    assert (len(printed.out.splitlines()), printed.err) == (3, "")


def test_a_query_gives_objects_without_floats_of_money(operator: Operator) -> None:
    query = 'SELECT sum("BilledCost") AS cost, count(*) AS n, count(*) AS n FROM focus_cost_and_usage'

    document = operator.call("sql", query, "--json").document

    assert document == [{"cost": "3.75", "n": 2, "n_2": 2}]
    assert Decimal(document[0]["cost"]) == Decimal("3.75")


def test_a_query_comes_from_standard_input(operator: Operator) -> None:
    ended = operator.run("sql", "-", stdin="SELECT client_id\nFROM billing_clients")

    assert (ended.code, ended.out) == (0, "client_id\ndefault\n")


def test_a_query_without_rows_is_an_empty_list(operator: Operator) -> None:
    assert operator.call("sql", "SELECT 1 WHERE false", "--json").out == "[]\n"


def test_a_query_only_reads(operator: Operator) -> None:
    for query in (
        "commit; drop table billing_clients",
        "copy (select 1) to program 'true'",
        "set role postgres",
        "insert into billing_clients (client_id) values ('x')",
        "with x as (delete from billing_clients returning *) select * from x",
        "select pg_read_file('PG_VERSION')",
    ):
        ended = operator.call("sql", query, "--json")

        assert (ended.code, ended.document["error"]["code"], len(ended.error_lines)) == (5, "query", 1), query

    assert operator.call("sql", "SELECT client_id FROM billing_clients", "--json").document == [
        {"client_id": "default"}
    ]


def test_a_result_that_is_too_long_is_an_error_and_no_shorter_list(operator: Operator) -> None:
    ended = operator.call("sql", "SELECT generate_series(1, 9)", "--json", BILLFOLD_SQL_MAX_ROWS="5")

    assert (ended.code, ended.document["error"]["code"]) == (5, "query")


def test_queries_and_reports_work_while_an_ingest_holds_its_transaction(operator: Operator) -> None:
    with operator.server() as conninfo, psycopg.connect(conninfo) as ingesting:
        ingesting.execute("SELECT FROM billing_statements FOR UPDATE")
        ingesting.execute("DELETE FROM billing_usage_fact")
        ingesting.execute("DELETE FROM billing_daily_cost")
        queried = operator.call("sql", "SELECT count(*) AS n FROM billing_usage_fact", "--json", LOG_LEVEL="error")
        costs = operator.call("costs", "--json")
        ingesting.rollback()

    assert queried.document == [{"n": 2}]
    assert costs.document["totals"] == [{"month": "2026-05", "currency": "USD", "cost": "3.75"}]


def test_a_reader_that_leaves_early_gets_no_complaint(operator: Operator) -> None:
    with operator.start(WarmProcess, "-m", "billfold", "sql", "SELECT generate_series(1, 90000)") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        complaint = process.stderr.read()

    assert (process.wait(timeout=60), complaint) == (0, "")
