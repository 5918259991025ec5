"""Migration 0005 on a database that has publications already: what they moved is told as if it had always been kept."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from uuid import uuid4

import pytest

from billfold.store.database import Connection, Database, connect
from billfold.store.migrate import list_migrations, migrate
from tests.old_databases import old_database

DELIVERIES = [uuid4() for _ in range(3)]
CHARGE = (
    "INSERT INTO {table} (statement_id, billing_period, row_hash, occurrence, part, added_by, charge_period_start,"
    " charge_period_end, billing_account_key, service_key, charge_key, billing_currency, billed_cost, effective_cost,"
    " list_cost, contracted_cost{more}) VALUES (1, '2026-05-01', gen_random_uuid(), 1, 0, {added},"
    " '2026-05-03 23:30+00', '2026-05-04 00:30+00', 1, 1, 1, 'USD', {cost}, {cost}, {cost}, {cost}{value})"
)


@pytest.fixture
def before(database: Database) -> Iterator[Connection]:
    """A database of migration 0004: one statement, whose second and third publication each replaced a charge."""
    with old_database(database, 4) as old, connect(old.conninfo) as connection:
        _fill(connection)
        yield connection


def _fill(connection: Connection) -> None:
    connection.execute("INSERT INTO billing_clients (client_id) VALUES ('acme')")
    connection.execute(
        "INSERT INTO billing_statements (client_id, bucket, export_path, export_name, billing_period, hash_version,"
        " currency, row_count) VALUES ('acme', 'b', 'exports/acme', 'acme', '2026-05-01', 1, 'USD', 2)"
    )
    connection.execute("SELECT billfold_create_partitions('2026-05-01')")
    for number, (delivery_id, cost) in enumerate(zip(DELIVERIES, ("30", "31", "33"), strict=True), start=1):
        connection.execute(
            "INSERT INTO billing_deliveries (delivery_id, client_id, statement_id, bucket, export_path, export_name,"
            " content_digest, delivered_at, state, trigger_source, finished_at)"
            " VALUES (%s, 'acme', 1, 'b', 'exports/acme', 'acme', %s, now(), 'published', 'cli', now())",
            [delivery_id, str(number)],
        )
        connection.execute(
            "INSERT INTO billing_publications (statement_id, number, kind, delivery_id, published_at, hash_version,"
            " mapping_version, cost_basis, rows_before, rows_added, rows_removed, rows_after, charges_before,"
            " charges_after, billed_cost_before, billed_cost_after, gross_cost_after, net_cost_after)"
            " VALUES (1, %(number)s, 'delivery', %(delivery)s,"
            " timestamptz '2026-06-01 00:00+00' + %(number)s * interval '1 day', 1, 1, 'gross', 2, 0, 0, 2, 2, 2, '{}',"
            " jsonb_build_object('USD', %(cost)s::text), '{}', '{}')",
            {"number": number, "delivery": delivery_id, "cost": cost},
        )
    connection.execute(
        "UPDATE billing_statements SET current_delivery_id = %s, current_publication_id = 3", [DELIVERIES[2]]
    )
    history = {"table": "billing_usage_fact_history", "more": ", removed_by"}
    for charge in (
        CHARGE.format(table="billing_usage_fact", more="", value="", added=1, cost=10),
        CHARGE.format(**history, value=", 2", added=1, cost=20),
        CHARGE.format(**history, value=", 3", added=2, cost=21),
        CHARGE.format(table="billing_usage_fact", more="", value="", added=3, cost=23),
    ):
        connection.execute(charge.encode())
    connection.execute(
        "INSERT INTO billing_daily_cost (statement_id, billing_period, charge_date, billing_account_key, service_key,"
        " charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, charge_count)"
        " VALUES (1, '2026-05-01', '2026-05-03', 1, 1, 1, 'USD', 33, 33, 33, 33, 2)"
    )
    connection.execute(
        "INSERT INTO billing_ingestion_runs (client_id, source_bucket, source_s3_key, source_etag, status,"
        " trigger_source, error_code, error_message, finished_at)"
        " VALUES ('acme', 'b', 'k', 'e', 'failed', 'cli', 'input', 'bad', now())"
    )


def test_what_earlier_publications_moved_is_kept(before: Connection) -> None:
    applied = migrate(before)

    assert [migration.name for migration in applied] == [migration.name for migration in list_migrations()[4:]]
    assert before.execute(
        "SELECT publication_id, charge_date::text, billed_cost, charge_count FROM billing_restatement ORDER BY 1"
    ).fetchall() == [(2, "2026-05-03", Decimal(1), 0), (3, "2026-05-03", Decimal(2), 0)]
    for day, cost in (("2026-06-02", 30), ("2026-06-03", 31), ("2026-06-04", 33)):
        moment = f"{day} 12:00+00"
        for function in ("charges_as_of", "daily_cost_as_of"):
            query = f"SELECT sum(billed_cost) FROM {function}(%s)".encode()
            assert before.execute(query, [moment]).fetchone() == (Decimal(cost),)


def test_deliveries_and_runs_tell_what_they_were(before: Connection) -> None:
    migrate(before)

    assert before.execute("SELECT publication_id FROM billing_deliveries ORDER BY content_digest").fetchall() == [
        (1,),
        (2,),
        (3,),
    ]
    assert before.execute("SELECT last_error_code, last_error_message FROM billing_ingestion_runs").fetchall() == [
        ("input", "bad")
    ]
