-- Clients, deliveries and runs are registered, in short transactions.

-- name: ensure_client
INSERT INTO billing_clients (client_id, role_arn, external_id, bucket, prefix, region, account_id, currency,
    source_identity, kms_key_arn, max_deliveries, refresh_hours)
VALUES (%(client_id)s, %(role_arn)s, %(external_id)s, %(bucket)s, %(prefix)s, %(region)s, %(account_id)s, %(currency)s,
    %(source_identity)s, %(kms_key_arn)s, %(max_deliveries)s, %(refresh_hours)s)
ON CONFLICT (client_id) DO UPDATE SET
    role_arn = excluded.role_arn, external_id = excluded.external_id, bucket = excluded.bucket, prefix = excluded.prefix,
    region = excluded.region, account_id = excluded.account_id, currency = excluded.currency,
    source_identity = excluded.source_identity, kms_key_arn = excluded.kms_key_arn,
    max_deliveries = excluded.max_deliveries, refresh_hours = excluded.refresh_hours,
    -- Another folder was never listed.
    backfilled_at = CASE WHEN (billing_clients.bucket, billing_clients.prefix)
        IS NOT DISTINCT FROM (excluded.bucket, excluded.prefix) THEN billing_clients.backfilled_at END
WHERE NOT billing_clients.is_registered
    AND (billing_clients.role_arn, billing_clients.external_id, billing_clients.bucket, billing_clients.prefix,
    billing_clients.region, billing_clients.account_id, billing_clients.currency, billing_clients.source_identity,
    billing_clients.kms_key_arn, billing_clients.max_deliveries, billing_clients.refresh_hours)
    IS DISTINCT FROM (excluded.role_arn, excluded.external_id, excluded.bucket, excluded.prefix, excluded.region,
    excluded.account_id, excluded.currency, excluded.source_identity, excluded.kms_key_arn, excluded.max_deliveries,
    excluded.refresh_hours)

-- name: find_registered_client
-- A registered client with the same id, or whose folder is the client's, contains it or lies in it.
SELECT client_id, bucket, prefix FROM billing_clients
WHERE is_registered AND (client_id = %(client_id)s OR bucket = %(bucket)s
    AND (starts_with(prefix, %(prefix)s) OR starts_with(%(prefix)s, prefix)))
ORDER BY client_id <> %(client_id)s, client_id LIMIT 1

-- name: find_registered
SELECT delivery_id FROM billing_deliveries
WHERE client_id = %(client_id)s AND bucket = %(bucket)s AND export_path = %(export_path)s
    AND content_digest = %(content_digest)s

-- name: register_delivery
INSERT INTO billing_deliveries (client_id, bucket, export_path, export_name, billing_period, manifest_key, manifest_etag,
    execution_id, content_digest, delivered_at, is_time_assumed, trigger_source, named_period)
VALUES (%(client_id)s, %(bucket)s, %(export_path)s, %(export_name)s, %(billing_period)s, %(manifest_key)s,
    %(manifest_etag)s, %(execution_id)s, %(content_digest)s, %(delivered_at)s, %(is_time_assumed)s, %(trigger_source)s, %(named_period)s)
-- A delivery that comes back after a later one is as new as its return. A plausible time replaces an assumed one, and
-- never the other way round.
ON CONFLICT (client_id, bucket, export_path, content_digest) DO UPDATE SET
    delivered_at = CASE
        WHEN excluded.is_time_assumed THEN billing_deliveries.delivered_at
        WHEN billing_deliveries.is_time_assumed THEN excluded.delivered_at
        ELSE greatest(billing_deliveries.delivered_at, excluded.delivered_at) END,
    is_time_assumed = billing_deliveries.is_time_assumed AND excluded.is_time_assumed
RETURNING delivery_id, state, released_at IS NOT NULL, reason

-- name: register_run
INSERT INTO billing_ingestion_runs (client_id, delivery_id, source_bucket, source_s3_key, source_etag, trigger_source, size_bytes)
VALUES (%(client_id)s, %(delivery_id)s, %(source_bucket)s, %(source_s3_key)s, %(source_etag)s, %(trigger_source)s, %(size_bytes)s)
ON CONFLICT (source_bucket, source_s3_key, source_etag) DO UPDATE SET source_etag = excluded.source_etag
RETURNING ingestion_run_id, client_id, status

-- name: register_delivery_file
INSERT INTO billing_delivery_files (delivery_id, ingestion_run_id, file_number)
VALUES (%(delivery_id)s, %(ingestion_run_id)s, %(file_number)s)
ON CONFLICT (delivery_id, file_number) DO UPDATE SET ingestion_run_id = excluded.ingestion_run_id

-- name: read_decision
SELECT state, released_at IS NOT NULL, reason FROM billing_deliveries WHERE delivery_id = %(delivery_id)s
