"""Control tables of a database that has worked for years, made by PostgreSQL itself: no bill stands behind them."""

from __future__ import annotations

from billfold.store.database import Connection

# Every fiftieth delivery was tried twice, and every fortieth statement has files that failed.
_FILL = """
INSERT INTO billing_clients (client_id) SELECT 'client-' || n FROM generate_series(1, {clients}) AS n;

INSERT INTO billing_statements (client_id, bucket, export_path, export_name, billing_period, hash_version, currency)
SELECT client_id, 'bills', 'exports/e', 'e', month::date, 1, 'USD'
FROM billing_clients, generate_series('2024-01-01'::timestamp, '2025-12-01', '1 month') AS month;

INSERT INTO billing_deliveries (client_id, statement_id, bucket, export_path, export_name, content_digest, delivered_at,
    state, trigger_source, timings, source_cost, attempts, started_at, finished_at)
SELECT client_id, statement_id, bucket, export_path, export_name, statement_id || ' ' || n, moment, 'published',
    'schedule', jsonb_build_object('map', 1.219 * pace, 'land', 0.043 * pace, 'fetch', 0.003 * pace,
    'parse', 0.143 * pace, 'charge', 0.195 * pace, 'compare', 0.042 * pace, 'identify', 0.073 * pace,
    'reconcile', 0.009 * pace), '{{"USD": "100.25"}}', 1 + (n % 50 = 0)::integer,
    moment + interval '10 minutes', moment + interval '12 minutes'
FROM billing_statements, generate_series(1, {deliveries}) AS n,
    LATERAL (SELECT now() - interval '1 hour' * (n + 1), 0.5 + (statement_id * 31 + n) % 1000 / 500.0)
        AS delivered (moment, pace);

INSERT INTO billing_publications (statement_id, number, kind, delivery_id, published_at, hash_version, mapping_version,
    cost_basis, rows_before, rows_added, rows_removed, rows_after, charges_before, charges_after, billed_cost_before,
    billed_cost_after, gross_cost_after, net_cost_after)
SELECT statement_id, row_number() OVER (PARTITION BY statement_id ORDER BY finished_at), 'delivery', delivery_id,
    finished_at, 1, 1, 'gross', 0, 100, 0, 100, 0, 100, '{{}}', '{{"USD": "100.25"}}', '{{}}', '{{}}'
FROM billing_deliveries;

UPDATE billing_statements AS statement
SET current_publication_id = publication.publication_id, current_delivery_id = publication.delivery_id
FROM billing_publications AS publication
WHERE publication.statement_id = statement.statement_id AND publication.number = {deliveries};

INSERT INTO billing_checks (publication_id, name, delivery_id, statement_id, state, row_count, cost, detail)
SELECT publication_id, 'check ' || n, delivery_id, statement_id, CASE WHEN n <= 2 THEN 'warned' ELSE 'passed' END, 5,
    '{{"USD": "3.5"}}', 'found'
FROM billing_publications, generate_series(1, 10) AS n;

INSERT INTO billing_ingestion_runs (client_id, delivery_id, source_bucket, source_s3_key, source_etag, status,
    trigger_source, size_bytes, rows_read, error_code, started_at, finished_at)
SELECT client_id, delivery_id, bucket, delivery_id || ' ' || n, 'e',
    CASE WHEN is_failed THEN 'failed' ELSE 'success' END, 'schedule', 1000000, 10000,
    CASE WHEN is_failed THEN 'malformed_file' END, started_at, finished_at
FROM billing_deliveries, generate_series(1, 5) AS n,
    LATERAL (SELECT n = 1 AND statement_id % 40 = 0) AS said (is_failed);
"""


def fill_control_tables(connection: Connection, *, clients: int, deliveries: int) -> None:
    """Clients with 24 statements each, whose published deliveries have five files each."""
    connection.execute(_FILL.format(clients=clients, deliveries=deliveries).encode())
    connection.execute("VACUUM ANALYZE")
