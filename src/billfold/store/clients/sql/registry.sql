-- The registry of clients. A folder of a bucket belongs to one client: prefixes end with a slash or are empty.

-- name: lock_clients
SELECT pg_advisory_xact_lock(hashtextextended('billfold clients', 0))

-- name: find_clients
-- One client, or all of them.
SELECT client_id, role_arn, role_session_name, external_id, region, bucket, prefix, account_id, currency, is_registered,
    enabled, source_identity, kms_key_arn, max_deliveries, max_file_bytes, refresh_hours
FROM (SELECT billing_clients.*, left('billfold-' || client_id, 64) AS role_session_name FROM billing_clients) AS client
WHERE %(client_id)s::text IS NULL OR client_id = %(client_id)s
ORDER BY client_id

-- name: find_overlapping
-- Another client whose folder in the bucket is this one, lies in it or contains it.
SELECT client_id, prefix FROM billing_clients
WHERE bucket = %(bucket)s AND client_id <> %(client_id)s
    AND (starts_with(prefix, %(prefix)s) OR starts_with(%(prefix)s, prefix))
ORDER BY client_id LIMIT 1

-- name: find_owner
-- The registered client whose folder contains the key.
SELECT client_id FROM billing_clients WHERE is_registered AND bucket = %(bucket)s AND starts_with(%(key)s, prefix)

-- name: insert_client
-- A client that the settings described is registered; a registered one is never replaced.
INSERT INTO billing_clients (client_id, role_arn, external_id, bucket, prefix, region, account_id, currency, is_registered,
    enabled, source_identity, kms_key_arn, max_deliveries, max_file_bytes, refresh_hours)
VALUES (%(client_id)s, %(role_arn)s, %(external_id)s, %(bucket)s, %(prefix)s, %(region)s, %(account_id)s, %(currency)s,
    true, true, %(source_identity)s, %(kms_key_arn)s, %(max_deliveries)s, %(max_file_bytes)s, %(refresh_hours)s)
ON CONFLICT (client_id) DO UPDATE SET
    role_arn = excluded.role_arn, external_id = excluded.external_id, bucket = excluded.bucket, prefix = excluded.prefix,
    region = excluded.region, account_id = excluded.account_id, currency = excluded.currency, is_registered = true,
    enabled = true, source_identity = excluded.source_identity, kms_key_arn = excluded.kms_key_arn,
    max_deliveries = excluded.max_deliveries, max_file_bytes = excluded.max_file_bytes,
    refresh_hours = excluded.refresh_hours,
    -- A new folder has not been listed yet.
    backfilled_at = CASE WHEN (billing_clients.bucket, billing_clients.prefix)
        IS NOT DISTINCT FROM (excluded.bucket, excluded.prefix) THEN billing_clients.backfilled_at END
WHERE NOT billing_clients.is_registered

-- name: update_client
UPDATE billing_clients SET role_arn = %(role_arn)s, region = %(region)s, currency = %(currency)s,
    source_identity = %(source_identity)s, kms_key_arn = %(kms_key_arn)s, max_deliveries = %(max_deliveries)s,
    max_file_bytes = %(max_file_bytes)s, refresh_hours = %(refresh_hours)s
WHERE client_id = %(client_id)s AND is_registered

-- name: set_enabled
UPDATE billing_clients SET enabled = %(enabled)s WHERE client_id = %(client_id)s

-- name: set_external_id
UPDATE billing_clients SET external_id = %(external_id)s WHERE client_id = %(client_id)s AND is_registered

-- name: count_rows
-- What would be lost with the client: its statements, their line items, deliveries without a statement, runs, and the
-- owners of its accounts. Announced files that no delivery has are not counted.
SELECT count(*), coalesce(sum(row_count), 0)::bigint,
    (SELECT count(*) FROM billing_deliveries WHERE client_id = %(client_id)s)
        + (SELECT count(*) FROM billing_ingestion_runs WHERE client_id = %(client_id)s
            AND NOT (delivery_id IS NULL AND status IN ('pending', 'skipped'))),
    (SELECT count(*) FROM billing_account_owners WHERE client_id = %(client_id)s)
FROM billing_statements WHERE client_id = %(client_id)s

-- name: purge_rows
-- From one of the tables with rows of statements.
DELETE FROM {table} WHERE statement_id IN (SELECT statement_id FROM billing_statements WHERE client_id = %(client_id)s)

-- name: forget_current
UPDATE billing_statements SET current_delivery_id = NULL, current_publication_id = NULL WHERE client_id = %(client_id)s

-- name: forget_publications_of_deliveries
UPDATE billing_deliveries SET publication_id = NULL, rolled_back_by = NULL WHERE client_id = %(client_id)s

-- name: purge_files
DELETE FROM billing_delivery_files
WHERE delivery_id IN (SELECT delivery_id FROM billing_deliveries WHERE client_id = %(client_id)s)

-- name: purge_of_client
-- From one of the tables that name the client.
DELETE FROM {client_table} WHERE client_id = %(client_id)s
