"""The hot queries cost what changed: their plans go through the indexes that are made for them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL

from billfold.selection import CostColumn, Filter, KeyColumn, MapColumn, Selection
from billfold.sql import read_queries
from billfold.store.reports import costs
from tests.bills.histories import fill_deliveries
from tests.bills.landing import Landing
from tests.services import NewDatabase, make_shared_landing

PERIOD = "2026-05-01"
NAMES = {
    "raw": "raw_aws_billing_rows_2026_05",
    "raw_history": "raw_aws_billing_rows_history_2026_05",
    "fact": "billing_usage_fact_2026_05",
    "fact_history": "billing_usage_fact_history_2026_05",
}


@pytest.fixture(scope="module")
def filled(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """One statement of 20,000 rows from publication 1, of which publications 2 to 11 added and withdrew 100 each.

    Tests explain queries and run none. There is room for the month that follows.
    """
    landing = make_shared_landing(new_database, tmp_path_factory)
    for month in (PERIOD, "2026-06-01"):
        landing.execute("SELECT billfold_create_partitions(%s)", month)
    row = (
        "1, '2026-05-01'::date, gen_random_uuid(), 'b', 'k', 'e', md5(n::text)::uuid, 1,"
        ' \'{"line_item_unblended_cost": "1"}\''
    )
    charge = (
        "1, '2026-05-01'::date, md5(n::text)::uuid, 1, 0, {added}, '2026-05-01', '2026-05-02', 1, 1, 1, 1,"
        " 1, 1, 1, 1, 1, 'USD', 1, 1, 1, 1"
    )
    for first, last, added in ((1, 20_000, "1"), (20_001, 21_000, "2 + n % 10")):
        numbers = f"FROM generate_series({first}, {last}) AS n"
        landing.execute(f"INSERT INTO {NAMES['raw']} SELECT {row}, {added} {numbers}")
        landing.execute(f"INSERT INTO {NAMES['fact']} SELECT {charge.format(added=added)} {numbers}")
    landing.execute(
        f"INSERT INTO {NAMES['raw_history']} SELECT {row}, 1, now(), 2 + n % 10 FROM generate_series(30001, 31000) AS n"
    )
    empty = ", NULL" * 13
    landing.execute(
        f"INSERT INTO {NAMES['fact_history']} SELECT {charge.format(added='1')}{empty}, 2 + n % 10"
        " FROM generate_series(30001, 31000) AS n"
    )
    for table in NAMES.values():
        landing.execute(f"ANALYZE {table}")
    return landing


def scans(plan: dict[str, Any]) -> set[tuple[str, str]]:
    """How each table of a plan is read."""
    found = {(plan["Relation Name"], plan["Node Type"])} if "Relation Name" in plan else set()
    for child in plan.get("Plans", ()):
        found |= scans(child)
    return found


def explain(landing: Landing, query: str, *parameters: Any) -> set[tuple[str, str]]:
    numbered = query
    for number, parameter in reversed(list(enumerate(parameters, start=1))):
        numbered = numbered.replace(f"${number}", json.dumps(parameter).replace('"', "'"))
    [(document,)] = landing.query(f"EXPLAIN (FORMAT JSON) {numbered}")
    return scans(document[0]["Plan"])


@pytest.mark.parametrize(
    ("name", "tables", "more"),
    [
        ("sum_moved_tags", ("fact", "fact_history"), {}),
        ("sum_charges", ("fact",), {"mark": "added_by"}),
        ("sum_raw_known", ("raw_history",), {"table": NAMES["raw_history"], "mark": "removed_by"}),
        ("withdraw_rows_since", ("raw",), {}),
        ("withdraw_charges_since", ("fact",), {}),
    ],
)
def test_what_a_publication_moved_is_found_by_index(
    filled: Landing, name: str, tables: tuple[str, ...], more: dict[str, str]
) -> None:
    query = read_queries("billfold.store.deliveries", "charges")[name].format(**{**NAMES, **more})
    with_temporary = query.replace("INSERT INTO moved_tag_day", "INSERT INTO billing_daily_tag_cost")
    parameters = [1, 9, "USD" if "$3::text" in query else 9]

    read = explain(filled, with_temporary, *parameters)

    for table in tables:
        assert {node for relation, node in read if relation == NAMES[table]} <= {
            "Index Scan",
            "Bitmap Heap Scan",
            "ModifyTable",
        }
        assert any(relation == NAMES[table] for relation, _ in read)


@pytest.mark.parametrize(("name", "parameters"), [("has_split", (2,)), ("withdraw_split_since", (1, 9, 9))])
def test_split_costs_are_found_by_index(landing: Landing, name: str, parameters: tuple[int, ...]) -> None:
    landing.execute("SELECT billfold_create_partitions(%s)", PERIOD)
    landing.execute(
        "INSERT INTO billing_split_cost (statement_id, billing_period, row_hash, occurrence, part, allocation,"
        " added_by, charge_period_start, charge_period_end, billing_account_key, service_key, charge_key, has_parent,"
        " billing_currency, cost) SELECT 1, '2026-05-01', md5(n::text)::uuid, 1, 0, 'workload', n / 2000, '2026-05-01',"
        " '2026-05-02', 1, 1, 1, true, 'USD', 1 FROM generate_series(1, 20000) AS n"
    )
    names = {"split": "billing_split_cost_2026_05", "split_history": "billing_split_cost_history_2026_05"}
    landing.execute(f"ANALYZE {names['split']}")
    query = read_queries("billfold.store.deliveries", "split_costs")[name].format(**NAMES, **names)

    read = explain(landing, query, *parameters)

    assert {node for relation, node in read if relation == names["split"]} <= {
        "Index Scan",
        "Index Only Scan",
        "Bitmap Heap Scan",
        "ModifyTable",
    }


def test_the_past_of_one_month_reads_that_month_alone(filled: Landing) -> None:
    read = explain(
        filled, f"SELECT sum(billed_cost) FROM charges_as_of('2026-06-03 12:00+00') WHERE billing_period = '{PERIOD}'"
    )

    facts = {relation for relation, _ in read if relation.startswith("billing_usage_fact")}
    assert facts == {NAMES["fact"], NAMES["fact_history"]}


def explain_costs(
    landing: Landing,
    *columns: CostColumn | KeyColumn,
    selection: Selection | None = None,
    is_split: bool = False,
) -> set[tuple[str, str]]:
    """How `billfold costs --month 2026-05` reads its tables."""
    wanted = {"client": None, "export": None, "since": PERIOD, "until": PERIOD, "as_of": None, "limit": 10}
    chosen = selection or Selection()
    with psycopg.connect(landing.database.conninfo) as connection:
        connection.execute("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
        query, parameters = costs.compose_sum(
            [str(column) for column in columns],
            "effective" if is_split else "billed",
            {**wanted, **chosen.parameters()},
            filtered_by=chosen.columns(),
            is_split=is_split,
        )
        [(document,)] = connection.execute(SQL("EXPLAIN (FORMAT JSON) ") + query, parameters).fetchall()
    return scans(document[0]["Plan"])


@pytest.fixture(scope="module")
def delivered(shared_landing: Landing) -> Landing:
    """Twenty clients with a year of bills, and twenty deliveries of each month: 4,800 of them."""
    with psycopg.connect(shared_landing.database.conninfo) as connection:
        fill_deliveries(connection, client_count=20, month_count=12, deliveries_per_month=20)
    return shared_landing


@pytest.mark.parametrize(
    ("file", "name", "more"),
    [
        ("freshness", "list_client_freshness", {}),
        ("freshness", "list_statement_freshness", {}),
        ("deliveries", "list_calendar", {}),
        ("deliveries", "list_calendar", {"client": "client-7"}),
        ("reports", "list_deliveries", {}),
        ("reports", "list_deliveries", {"client": "client-7"}),
        ("reports", "list_deliveries", {"delivered_on": "2026-05-03"}),
        ("reports", "list_deliveries", {"state": "held"}),
    ],
)
def test_lists_of_deliveries_and_freshness_are_found_by_index(
    delivered: Landing, file: str, name: str, more: dict[str, Any]
) -> None:
    today = datetime.now(UTC).date()
    span = {"since": today - timedelta(days=34), "until": today}
    parameters = {**Filter().parameters(), "default_client": None, **span, **more}
    query = read_queries("billfold.store.reports", file)[name]

    with psycopg.connect(delivered.database.conninfo) as connection:
        [(document,)] = connection.execute(f"EXPLAIN (FORMAT JSON) {query}".encode(), parameters).fetchall()

    found = {node for relation, node in scans(document[0]["Plan"]) if relation == "billing_deliveries"}
    assert found <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    assert found


def test_runs_of_a_delivery_are_found_by_index(delivered: Landing) -> None:
    parameters = Filter(delivery=uuid4()).parameters()

    with psycopg.connect(delivered.database.conninfo) as connection:
        query = f"EXPLAIN {read_queries('billfold.store.reports', 'reports')['list_runs']}"
        plan = "\n".join(line for (line,) in connection.execute(query.encode(), parameters))

    assert "billing_ingestion_runs_pkey" in plan
    assert "Seq Scan on billing_ingestion_runs" not in plan


def test_costs_of_invoices_read_the_charges_of_their_months_alone(filled: Landing) -> None:
    tables = {relation for relation, _ in explain_costs(filled, CostColumn.INVOICE)}

    assert {table for table in tables if table.startswith("billing_usage_fact")} == {NAMES["fact"]}
    assert "billing_daily_cost" not in tables


def test_costs_of_tags_read_no_charges(filled: Landing) -> None:
    team = KeyColumn(column=MapColumn.TAG, key="team")

    for read in (
        explain_costs(filled, team),
        explain_costs(filled, CostColumn.SERVICE, selection=Selection(tags={"team": ["red"]})),
        explain_costs(filled, KeyColumn(column=MapColumn.COST_CATEGORY, key="unit")),
    ):
        tables = {relation for relation, _ in read}
        assert {"billing_daily_tag_cost", "dim_tag_set"} <= tables
        assert not {table for table in tables if table.startswith("billing_usage_fact")}


def test_other_costs_read_no_charges_and_only_the_dimensions_that_are_asked_for(filled: Landing) -> None:
    tables = {relation for relation, _ in explain_costs(filled, CostColumn.SERVICE, CostColumn.MONTH)}
    owners = {relation for relation, _ in explain_costs(filled, CostColumn.OWNER)}

    assert not {table for table in (*tables, *owners) if table.startswith("billing_usage_fact")}
    assert {"billing_daily_cost", "dim_service"} <= tables
    assert not tables & {"dim_region", "dim_charge", "dim_tag_set", "billing_account_owners"}
    assert {"billing_daily_cost", "dim_account", "billing_account_owners"} <= owners


def test_a_worker_that_takes_jobs_reads_no_job_that_waits_longer_or_is_dead(landing: Landing) -> None:
    landing.execute("INSERT INTO billing_clients (client_id) VALUES ('acme'), ('globex')")
    insert = "INSERT INTO billing_jobs (client_id, bucket, key, work, trigger_source, state, due_at, ended_at) SELECT"
    named = "(ARRAY['acme', 'globex'])[1 + n % 2], 'b', n, n, 'sqs'"
    later = "now() + interval '1 hour' * (n - 20)"
    landing.execute(f"{insert} {named}, 'waiting', {later}, NULL FROM generate_series(1, 10000) AS n")
    landing.execute(f"{insert} {named}, 'dead', NULL, now() FROM generate_series(10001, 20000) AS n")
    landing.execute("ANALYZE billing_jobs")
    parameters = {"worker_id": uuid4(), "worker": "here 1", "limit": 4, "suspects": False, "job_ids": None}
    parameters["trigger"] = None

    with psycopg.connect(landing.database.conninfo) as connection:
        query = f"EXPLAIN (FORMAT JSON) {read_queries('billfold.store.jobs', 'jobs')['take']}"
        [(document,)] = connection.execute(query.encode(), parameters).fetchall()

    found = {node for relation, node in scans(document[0]["Plan"]) if relation == "billing_jobs"}
    assert found <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan", "ModifyTable"}
    assert found


def test_split_costs_read_the_daily_costs_and_the_workloads_of_their_months_alone(filled: Landing) -> None:
    services = {relation for relation, _ in explain_costs(filled, CostColumn.SERVICE, is_split=True)}
    clusters = {relation for relation, _ in explain_costs(filled, CostColumn.CLUSTER, is_split=True)}

    for tables in (services, clusters):
        charged = {"billing_daily_cost", "billing_split_cost_2026_05", "billing_statements"}
        assert {table for table in tables if table.startswith("billing_")} == charged
    assert not services & {"dim_resource", "dim_tag_set"}
    assert {"dim_resource", "dim_tag_set"} <= clusters
    assert not clusters & {"dim_service", "dim_charge"}


def test_costs_that_are_not_split_read_no_split_costs(filled: Landing) -> None:
    tables = {relation for relation, _ in explain_costs(filled, CostColumn.SERVICE)}

    assert {table for table in tables if table.startswith("billing_")} == {"billing_daily_cost", "billing_statements"}
    assert not tables & {"dim_resource", "dim_tag_set"}
