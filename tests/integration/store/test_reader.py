"""The operator's query: what runs, what is refused, and as whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from billfold.errors import ConfigurationError, QueryError
from billfold.store.database import Database, connect
from billfold.store.query import JsonText, run_query
from tests.services import NewDatabase


def ask(database: Database, query: str, *, timeout_seconds: int = 10, max_rows: int = 1000) -> list[tuple[Any, ...]]:
    with run_query(database, query, timeout_seconds=timeout_seconds, max_rows=max_rows) as result:
        return list(result.rows)


def execute(database: Database, *statements: str) -> None:
    with connect(database.conninfo) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def other_role(database: Database) -> Iterator[str]:
    """A role of this test's own; roles belong to the whole server."""
    execute(database, "CREATE ROLE other_reader LOGIN", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO other_reader")
    yield "other_reader"
    execute(database, "DROP OWNED BY other_reader", "DROP ROLE other_reader")


def as_role(database: Database, role: str) -> Database:
    return replace(database, reader_conninfo=make_conninfo(database.conninfo, user=role))


def test_a_query_reads(each_database: Database) -> None:
    assert ask(each_database, "SELECT count(*) FROM focus_cost_and_usage") == [(0,)]


ESCAPES = [
    "COMMIT; DROP TABLE billing_clients",
    "SELECT 1; SELECT 2",
    "COMMIT",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/billfold-escape'",
    "COPY (SELECT 1) TO STDOUT",
    "COPY billing_clients FROM STDIN",
    "INSERT INTO billing_clients (client_id) VALUES ('x')",
    "WITH gone AS (DELETE FROM billing_clients RETURNING *) SELECT * FROM gone",
    "SELECT * FROM billing_clients FOR UPDATE",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT lo_import('/etc/hostname')",
    "SELECT pg_reload_conf()",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT nextval('billing_statements_statement_id_seq')",
    "SELECT billfold_create_partitions('2026-05-01')",
    "DO $$ BEGIN COMMIT; DROP TABLE billing_clients; END $$",
    "DO $$ BEGIN SET LOCAL transaction_read_only = off; DELETE FROM billing_clients; END $$",
    "CREATE TEMP TABLE mine (a integer)",
    "VACUUM",
]


@pytest.fixture(scope="module")
def read_only(new_database: NewDatabase) -> Database:
    """A database in which no query changes anything."""
    database = new_database(16)
    execute(database, "INSERT INTO billing_clients (client_id) VALUES ('acme')")
    return database


@pytest.mark.parametrize("query", ESCAPES)
def test_what_does_more_than_read_is_refused(read_only: Database, query: str) -> None:
    with pytest.raises(QueryError):
        ask(read_only, query)

    assert ask(read_only, "SELECT client_id FROM billing_clients") == [("acme",)]


def test_values_keep_every_digit(database: Database) -> None:
    query = """SELECT 0.10::numeric, 1e30::numeric, now()::date = current_date, timestamptz '2026-05-01 02:00+02',
        timestamp '2026-05-01 00:00:00.5', timestamptz 'infinity', '{"a": 1.10}'::jsonb, ARRAY[1.50, 2], NULL,
        '00000000-0000-0000-0000-000000000001'::uuid, interval '1 day', '\\x01'::bytea, 9007199254740993::bigint"""

    [row] = ask(database, query)

    assert row[:3] == ("0.10", "1" + "0" * 30, True)
    assert row[3:6] == ("2026-05-01T00:00:00+00:00", "2026-05-01T00:00:00.5", "infinity")
    assert row[6:9] == (JsonText('{"a": 1.10}'), ["1.50", "2"], None)
    assert row[9:] == ("00000000-0000-0000-0000-000000000001", "P1D", "\\x01", 9007199254740993)


def test_columns_of_one_name_are_told_apart(database: Database) -> None:
    with run_query(database, "SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS a", timeout_seconds=5, max_rows=5) as result:
        assert result.columns == ("a", "a_3", "a_2", "a_4")


def test_a_wrong_query_says_where(database: Database) -> None:
    with pytest.raises(QueryError, match=r'relation "nowhere" does not exist \(line 2, column 7\)'):
        ask(database, "SELECT 1\n FROM nowhere")


def test_rows_beyond_the_limit_are_an_error_and_not_a_shorter_result(database: Database) -> None:
    query = "SELECT generate_series(1, 3)"

    assert len(ask(database, query, max_rows=3)) == 3
    with pytest.raises(QueryError, match="more than 2 rows"):
        ask(database, query, max_rows=2)


def test_a_query_that_never_ends_is_ended(database: Database) -> None:
    with pytest.raises(QueryError, match="longer than 1 s"):
        ask(database, "SELECT pg_sleep(60)", timeout_seconds=1)


def test_rows_arrive_before_the_last_one_is_made(database: Database) -> None:
    query = "SELECT CASE WHEN n < 100000 THEN n ELSE 1 / (n - n) END FROM generate_series(1, 100000) AS n"

    taken: list[tuple[Any, ...]] = []

    with pytest.raises(QueryError, match="division by zero"):
        take(database, query, taken)

    assert len(taken) == 99_999


def take(database: Database, query: str, taken: list[tuple[Any, ...]]) -> None:
    with run_query(database, query, timeout_seconds=10, max_rows=1_000_000) as result:
        taken.extend(result.rows)


def test_a_result_may_be_left_unread(database: Database) -> None:
    query = "SELECT n FROM generate_series(1, 10000000) AS n"

    with run_query(database, query, timeout_seconds=10, max_rows=100_000_000) as result:
        first = next(result.rows)

    assert first == (1,)


def test_without_a_reader_there_is_no_query(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="BILLFOLD_READER_DATABASE_URL is not set"):
        ask(replace(database, reader_conninfo=None), "SELECT 1")


def test_a_superuser_is_no_reader(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="the role postgres may do more than read: it is a superuser"):
        ask(as_role(database, "postgres"), "SELECT 1")


def test_a_role_that_only_reads_is_a_reader(database: Database, other_role: str) -> None:
    execute(database, f"GRANT pg_read_all_data TO {other_role}")

    assert ask(as_role(database, other_role), "SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("right", "complaint"),
    [
        ("GRANT INSERT ON billing_clients TO other_reader", "it may write to billing_clients"),
        ("GRANT UPDATE (bucket) ON billing_clients TO other_reader", "it may write to billing_clients"),
        ("GRANT USAGE ON SEQUENCE billing_statements_statement_id_seq TO other_reader", "it may draw from billing_st"),
        ("GRANT CREATE ON SCHEMA public TO other_reader", "it may create in schema public"),
        ("GRANT pg_execute_server_program TO other_reader", "it is a member of pg_execute_server_program"),
        ("ALTER ROLE other_reader CREATEROLE", "it may create roles"),
        ("ALTER ROLE other_reader BYPASSRLS", "it passes by row security"),
    ],
)
def test_a_role_that_may_do_more_is_no_reader(database: Database, other_role: str, right: str, complaint: str) -> None:
    execute(database, right)

    with pytest.raises(ConfigurationError, match=complaint):
        ask(as_role(database, other_role), "SELECT 1")


def test_rights_of_a_role_that_it_can_become_count(database: Database, other_role: str) -> None:
    execute(
        database,
        "CREATE ROLE other_writer",
        "GRANT DELETE ON billing_clients TO other_writer",
        f"GRANT other_writer TO {other_role}",
        f"ALTER ROLE {other_role} NOINHERIT",
    )
    try:
        with pytest.raises(ConfigurationError, match="it may write to billing_clients"):
            ask(as_role(database, other_role), "SELECT 1")
    finally:
        execute(database, "DROP OWNED BY other_writer", "DROP ROLE other_writer")
