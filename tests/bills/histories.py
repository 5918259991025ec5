"""Deliveries of every kind for tests of pages, and very many of them for tests of speed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

import psycopg

from billfold.model import DeliveryOutcome
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill, write_delivery


def land_history(landing: Landing) -> dict[str, UUID]:
    """A month of acme's in which everything happened, and one delivery of globex's; ids by what became of each."""
    found = {}
    other = replace(landing, root=landing.root.parent / "other").with_client(client_id="globex", prefix="globex/")
    write_bill(other.root, described("100"))
    found["globex"] = _id(other.ingest())
    write_bill(landing.root, described("1.25", "7"), described("2.5", "4"))
    found["first"] = _id(landing.ingest())
    write_bill(landing.root, described("1.25", "8.5"), described("2.5", "4"), revision=2)
    found["restated"] = _id(landing.ingest())
    write_delivery(landing.root, b"no,bill\n1,2\n", revision=3)
    found["failed"] = _id(landing.ingest())
    write_bill(landing.root, described("1.25"), revision=4)
    found["held"] = _id(landing.ingest())
    return found


def deliver_at(landing: Landing, delivery_id: UUID, delivered_at: datetime) -> None:
    """Let a delivery be one that AWS wrote at another time."""
    landing.execute("UPDATE billing_deliveries SET delivered_at = %s WHERE delivery_id = %s", delivered_at, delivery_id)


def fill_deliveries(
    connection: psycopg.Connection, *, client_count: int, month_count: int, deliveries_per_month: int
) -> None:
    """Clients called client-1 and so on, the statements of their last months, and deliveries of one file each.

    AWS wrote two a day; every fortieth failed. They hold no charges.
    """
    connection.execute(
        "INSERT INTO billing_clients (client_id) SELECT 'client-' || n FROM generate_series(1, %s) AS n", [client_count]
    )
    connection.execute(
        """
        INSERT INTO billing_statements (client_id, bucket, export_path, export_name, billing_period, hash_version,
            currency)
        SELECT 'client-' || n, 'bills', 'exports/cur2', 'cur2', date_trunc('month', now()) - m * interval '1 month',
            1, 'USD'
        FROM generate_series(1, %s) AS n, generate_series(0, %s - 1) AS m
        """,
        [client_count, month_count],
    )
    connection.execute(
        """
        INSERT INTO billing_deliveries (client_id, statement_id, bucket, export_path, export_name, billing_period,
            content_digest, delivered_at, created_at, started_at, finished_at, state, error_code, trigger_source,
            attempts, rows_read, columns)
        SELECT client_id, statement_id, bucket, export_path, export_name, billing_period, statement_id || '-' || n,
            delivered_at, delivered_at, delivered_at, delivered_at + interval '1 minute',
            CASE WHEN n %% 40 = 0 THEN 'failed' ELSE 'published' END,
            CASE WHEN n %% 40 = 0 THEN 'malformed_file' END, 'sqs', 1, 1000,
            (SELECT jsonb_object_agg('column_' || number, 'text') FROM generate_series(1, 120) AS number)
        FROM billing_statements, generate_series(1, %s) AS n, LATERAL (
            SELECT least(billing_period + n * interval '12 hours', now() - n * interval '12 hours') AS delivered_at
        ) AS written
        WHERE bucket = 'bills'
        """,
        [deliveries_per_month],
    )
    connection.execute(
        """
        INSERT INTO billing_ingestion_runs (client_id, delivery_id, source_bucket, source_s3_key, source_etag, status,
            trigger_source, attempts, created_at, started_at, finished_at)
        SELECT client_id, delivery_id, bucket, delivery_id::text, 'etag', 'success', trigger_source, 1, created_at,
            started_at, finished_at
        FROM billing_deliveries WHERE bucket = 'bills'
        """
    )
    connection.execute(
        "INSERT INTO billing_delivery_files (delivery_id, ingestion_run_id, file_number)"
        " SELECT delivery_id, ingestion_run_id, 1 FROM billing_ingestion_runs WHERE source_bucket = 'bills'"
    )
    for table in ("clients", "statements", "deliveries", "ingestion_runs", "delivery_files"):
        connection.execute(f"ANALYZE billing_{table}".encode())


def _id(outcome: DeliveryOutcome) -> UUID:
    assert outcome.delivery_id
    return outcome.delivery_id
