"""Every named query is one that PostgreSQL can prepare against the migrated schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import psycopg
import pytest

import billfold.store
from billfold.sql import read_queries
from billfold.store.database import Database, connect
from billfold.store.reports.costs import choose_by_tag_set

PACKAGES = {
    "billfold.store": "planner reader rights",
    "billfold.store.clients": "owners registry tokens",
    "billfold.store.deliveries": (
        "attempts charges claims counting history hold ledger left_out publications records registration runs"
        " split_costs statements"
    ),
    "billfold.store.jobs": "doctor_runs jobs requests",
    "billfold.store.reports": (
        "changes checks costs deliveries export focus freshness identifiers metrics quality reports spending"
    ),
    "billfold.store.verification": "charges history split_costs",
}
PLACEHOLDERS = {
    "raw": "raw_aws_billing_rows_2026_05",
    "raw_history": "raw_aws_billing_rows_history_2026_05",
    "fact": "billing_usage_fact_2026_05",
    "fact_history": "billing_usage_fact_history_2026_05",
    "split": "billing_split_cost_2026_05",
    "split_history": "billing_split_cost_history_2026_05",
    "partition": "billing_usage_fact_2026_05",
    "table": "raw_aws_billing_rows_2026_05",
    "client_table": "billing_clients",
    "mark": "added_by",
    "statement_id": "1",
    "currency": "raw.row_data ->> 'line_item_currency_code'",
    "gross_cost": "(raw.row_data ->> 'line_item_unblended_cost')::numeric",
    "net_cost": "(raw.row_data ->> 'line_item_net_unblended_cost')::numeric",
    "group_by": '"service", "month"',
    "metric": '"billed_cost"',
    "default_currency": "'USD'",
    "is_net": "true",
    "view": "SELECT * FROM focus_cost_and_usage",
    "added": "AND fact.added_by = %(added_by)s",
    "condition": '"BilledCost" IS NULL',
    "conditions": "pg_typeof(\"BilledCost\") <> 'numeric'::regtype",
    "counts": 'count(*) FILTER (WHERE "BilledCost" IS NULL)',
    "any_must": '"BilledCost" IS NULL',
    "sums": 'sum("BilledCost") FILTER (WHERE "BilledCost" IS NULL)',
    "source": read_queries("billfold.store.reports", "costs")["daily_cost"].format(metric="billed_cost"),
    "columns": '"BilledCost"',
    "statements": "1",
    "snapshot": "00000003-0000001B-1",
    "billing_period": "2026-05-01",
    "charged": "billing_daily_cost",
    "daily": "billing_daily_tag_cost",
    "moved": "moved_tag_day",
    "onto": read_queries("billfold.store.deliveries", "charges")["onto"].format(tag_set_key="tag_set_key,"),
    "daily_table": "billing_daily_tag_cost",
    "tag_set_key": "tag_set_key",
    "chosen_tags": choose_by_tag_set().as_string(),
    "chosen": read_queries("billfold.store.reports", "spending")["chosen"].format(
        chosen_tags="true",
        chosen_accounts=read_queries("billfold.store.reports", "spending")["chosen_accounts"],
        is_refund=read_queries("billfold.store.reports", "costs")["is_refund"],
    ),
    "selected": read_queries("billfold.store.reports", "costs")["selected"].format(
        source=read_queries("billfold.store.reports", "costs")["daily_cost"].format(metric="billed_cost"),
        chosen_tags=choose_by_tag_set().as_string(),
        is_refund=read_queries("billfold.store.reports", "costs")["is_refund"],
    ),
    "only": "true",
    "judged_bill": read_queries("billfold.store.reports", "quality")["judged_bill"],
    "judged": read_queries("billfold.store.reports", "focus")["judged"],
}
# Parts of others are no queries of their own.
PARTS = {
    "deliveries_charges_onto",
    "reports_costs_chosen_by_caller",
    "reports_costs_chosen_by_map",
    "reports_costs_is_refund",
    "reports_costs_only_by_tag_set",
    "reports_costs_selected",
    "reports_focus_judged",
    "reports_quality_judged_bill",
    "reports_spending_chosen",
    "reports_spending_chosen_accounts",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_of_queries_is_left_out(package: str) -> None:
    folder = resources.files(package) / "sql"

    assert {file.name for file in folder.iterdir()} == {f"{name}.sql" for name in PACKAGES[package].split()}


def test_every_folder_of_queries_is_known() -> None:
    root = Path(billfold.store.__path__[0])

    found = {".".join(("billfold", "store", *folder.parent.relative_to(root).parts)) for folder in root.rglob("sql")}
    assert found == set(PACKAGES)


def test_every_query_can_be_prepared(each_database: Database) -> None:
    refused: dict[str, str] = {}

    with connect(each_database.conninfo) as connection:
        connection.execute("SELECT billfold_create_partitions('2026-05-01')")
        with connection.transaction():
            create_temporary_tables(connection)
            for name, query in list_queries():
                result = connection.pgconn.prepare(name.encode(), with_numbered_parameters(query).encode())
                if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                    refused[name] = result.error_message.decode()
                    break

    assert refused == {}


def list_queries() -> Iterator[tuple[str, str]]:
    for package, files in PACKAGES.items():
        for file in files.split():
            for name, query in read_queries(package, file).items():
                known = f"{package.rpartition('.')[2]}_{file}_{name}"
                if known not in PARTS:
                    yield known, with_placeholders(query)


def with_placeholders(query: str) -> str:
    query = re.sub(r"\{(judged)\}", lambda mark: PLACEHOLDERS[mark[1]], query)
    return re.sub(r"\{(\w+)\}", lambda mark: PLACEHOLDERS[mark[1]], query)


def with_numbered_parameters(query: str) -> str:
    """`%(name)s` as `$1`, as psycopg sends it."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", query)))
    return re.sub(r"%\((\w+)\)s", lambda mark: f"${names.index(mark[1]) + 1}", query)


def create_temporary_tables(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute(read_queries("billfold.store.deliveries", "charges")["create_staging"].encode())
    connection.execute(read_queries("billfold.store.deliveries", "charges")["create_moved_tags"].encode())
    connection.execute(read_queries("billfold.store.deliveries", "charges")["create_moved"].encode())
    connection.execute(read_queries("billfold.store.deliveries", "ledger")["create_ledger"].encode())
    connection.execute(read_queries("billfold.store.verification", "charges")["create_expected"].encode())
    for name, query in read_queries("billfold.store.deliveries", "split_costs").items():
        if name.startswith("create_split"):
            connection.execute(query.encode())
    connection.execute(read_queries("billfold.store.verification", "split_costs")["create_expected_split"].encode())
    for name in ("create_checked_charge", "create_checked_line_item"):
        connection.execute(with_placeholders(read_queries("billfold.store.reports", "checks")[name]).encode())
    connection.execute("CREATE TEMP TABLE removed_row (row_hash uuid, occurrence integer) ON COMMIT DROP")
