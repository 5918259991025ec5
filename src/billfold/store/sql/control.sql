-- Clients, statements, deliveries and runs, in short transactions of their own.

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
    -- Another folder was never looked through.
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
-- A client of the registry of the same id, or whose folder is the client's, holds it or lies in it.
SELECT client_id, bucket, prefix FROM billing_clients
WHERE is_registered AND (client_id = %(client_id)s OR bucket = %(bucket)s
    AND (starts_with(prefix, %(prefix)s) OR starts_with(%(prefix)s, prefix)))
ORDER BY client_id <> %(client_id)s, client_id LIMIT 1

-- name: lock_statement
-- A session lock: it dies with its connection, so a killed worker leaves nothing to clean.
SELECT pg_advisory_lock(hashtextextended(%(statement)s, 0))

-- name: find_delivery
SELECT delivery.client_id, delivery.statement_id, delivery.bucket, delivery.export_path, delivery.export_name,
    delivery.billing_period, delivery.state, delivery.reason, delivery.released_at IS NOT NULL,
    delivery.rolled_back_by, delivery.manifest_key, delivery.named_period,
    (SELECT run.source_s3_key FROM billing_delivery_files AS file JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
        WHERE file.delivery_id = delivery.delivery_id ORDER BY file.file_number LIMIT 1)
FROM billing_deliveries AS delivery WHERE delivery.delivery_id = %(delivery_id)s

-- name: read_decision
SELECT state, released_at IS NOT NULL, reason FROM billing_deliveries WHERE delivery_id = %(delivery_id)s

-- name: release_delivery
UPDATE billing_deliveries SET released_at = clock_timestamp()
WHERE delivery_id = %(delivery_id)s AND state = 'held'

-- name: take_release_back
UPDATE billing_deliveries SET released_at = NULL WHERE delivery_id = %(delivery_id)s

-- name: find_registered
SELECT delivery_id FROM billing_deliveries
WHERE client_id = %(client_id)s AND bucket = %(bucket)s AND export_path = %(export_path)s
    AND content_digest = %(content_digest)s

-- name: register_delivery
INSERT INTO billing_deliveries (client_id, bucket, export_path, export_name, billing_period, manifest_key, manifest_etag,
    execution_id, content_digest, delivered_at, is_time_assumed, trigger_source, named_period)
VALUES (%(client_id)s, %(bucket)s, %(export_path)s, %(export_name)s, %(billing_period)s, %(manifest_key)s,
    %(manifest_etag)s, %(execution_id)s, %(content_digest)s, %(delivered_at)s, %(is_time_assumed)s, %(trigger_source)s, %(named_period)s)
-- A delivery that is put back after a later one is as new as its return. A time that can be true replaces one that was
-- assumed, and is replaced by none.
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

-- name: end_abandoned_deliveries
-- Whoever holds the claim knows that nobody works on the statement: what still runs was left behind by a dead worker.
UPDATE billing_deliveries SET state = 'failed', finished_at = clock_timestamp(), error_code = 'interrupted',
    error_message = 'the worker ended before the delivery did', last_error_code = 'interrupted',
    last_error_message = 'the worker ended before the delivery did'
WHERE state = 'running' AND (client_id, bucket, export_path) =
    (SELECT client_id, bucket, export_path FROM billing_deliveries WHERE delivery_id = %(delivery_id)s)
    AND (manifest_key IS NULL OR billing_period IS NOT DISTINCT FROM
        (SELECT billing_period FROM billing_deliveries WHERE delivery_id = %(delivery_id)s))
RETURNING delivery_id

-- name: end_abandoned_runs
WITH ended AS MATERIALIZED (SELECT clock_timestamp() AS moment)
UPDATE billing_ingestion_runs SET status = 'failed', finished_at = ended.moment, error_code = 'interrupted',
    error_message = 'the worker ended before the run did', last_error_code = 'interrupted',
    last_error_message = 'the worker ended before the run did', last_failed_at = ended.moment
FROM ended
WHERE status = 'running' AND delivery_id = ANY(%(delivery_ids)s)

-- name: interrupt_delivery
UPDATE billing_deliveries SET state = 'pending', started_at = NULL, finished_at = NULL,
    last_error_code = %(error_code)s, last_error_message = %(error_message)s
WHERE delivery_id = %(delivery_id)s AND state = ANY(%(states)s)

-- name: interrupt_runs
WITH ended AS MATERIALIZED (SELECT clock_timestamp() AS moment)
UPDATE billing_ingestion_runs AS run SET status = 'failed', finished_at = ended.moment, error_code = %(error_code)s,
    error_message = %(error_message)s, started_at = coalesce(started_at, ended.moment),
    last_error_code = %(error_code)s, last_error_message = %(error_message)s, last_failed_at = ended.moment
FROM ended, billing_delivery_files AS file
WHERE file.delivery_id = %(delivery_id)s AND run.ingestion_run_id = file.ingestion_run_id
    AND run.status = ANY(%(states)s)

-- name: interrupt_files
UPDATE billing_delivery_files SET outcome = 'failed'
WHERE delivery_id = %(delivery_id)s AND outcome = ANY(%(states)s)

-- name: start_delivery
UPDATE billing_deliveries SET state = 'running', attempts = attempts + 1, started_at = clock_timestamp(),
    finished_at = NULL, error_code = NULL, error_message = NULL, reason = NULL, trigger_source = %(trigger_source)s
WHERE delivery_id = %(delivery_id)s AND state NOT IN ('published', 'rolled_back')

-- name: start_runs
-- Once a success always a success: a file version that is already in keeps its state.
UPDATE billing_ingestion_runs SET status = 'running', attempts = attempts + 1, started_at = clock_timestamp(),
    finished_at = NULL, error_code = NULL, error_message = NULL, delivery_id = %(delivery_id)s,
    trigger_source = %(trigger_source)s
WHERE ingestion_run_id = ANY(%(run_ids)s) AND status <> 'success'

-- name: set_delivery_aside
UPDATE billing_deliveries SET state = 'pending', billing_period = %(billing_period)s, reason = %(reason)s,
    started_at = NULL, finished_at = NULL
WHERE delivery_id = %(delivery_id)s AND state NOT IN ('published', 'rolled_back')

-- name: set_runs_aside
UPDATE billing_ingestion_runs SET status = 'pending', started_at = NULL, finished_at = NULL
WHERE ingestion_run_id = ANY(%(run_ids)s) AND status <> 'success'

-- name: set_files_aside
UPDATE billing_delivery_files SET outcome = 'pending' WHERE delivery_id = %(delivery_id)s AND outcome <> 'success'

-- name: end_delivery
-- One that had been published before it came back and was held stays published when a newer one overtakes it.
UPDATE billing_deliveries SET
    state = CASE WHEN %(state)s = 'superseded' AND publication_id IS NOT NULL THEN 'published' ELSE %(state)s END,
    finished_at = clock_timestamp(), error_code = %(error_code)s, error_message = %(error_message)s,
    reason = CASE WHEN %(state)s = 'superseded' AND publication_id IS NOT NULL THEN NULL ELSE %(reason)s END,
    started_at = coalesce(started_at, clock_timestamp()),
    released_at = CASE WHEN %(state)s = 'superseded' THEN NULL ELSE released_at END
WHERE delivery_id = %(delivery_id)s
    -- A published delivery stays published, a rolled back one rolled back, whatever came of an attempt to publish it
    -- again; only one that has come back and is held has to be told apart.
    AND (state NOT IN ('published', 'rolled_back') OR state = 'published' AND %(state)s = 'held')

-- name: keep_last_error
UPDATE billing_deliveries SET last_error_code = %(error_code)s, last_error_message = %(error_message)s
WHERE delivery_id = %(delivery_id)s

-- name: end_runs
-- All of it happens at one moment: the clock would go on between two readings.
WITH ended AS MATERIALIZED (SELECT clock_timestamp() AS moment)
UPDATE billing_ingestion_runs SET status = %(status)s, finished_at = ended.moment, error_code = %(error_code)s,
    error_message = %(error_message)s, started_at = coalesce(started_at, ended.moment),
    last_error_code = coalesce(%(error_code)s, last_error_code),
    last_error_message = coalesce(%(error_message)s, last_error_message),
    last_failed_at = CASE WHEN %(error_code)s::text IS NULL THEN last_failed_at ELSE ended.moment END
FROM ended
WHERE ingestion_run_id = ANY(%(run_ids)s) AND status <> 'success'

-- name: end_delivery_files
UPDATE billing_delivery_files SET outcome = %(outcome)s
WHERE delivery_id = %(delivery_id)s AND outcome <> 'success'

-- name: record_fetched
UPDATE billing_ingestion_runs SET sha256 = %(sha256)s, size_bytes = %(size_bytes)s WHERE ingestion_run_id = %(run_id)s

-- name: find_latest_attempt
SELECT delivery_id, state, error_code FROM billing_deliveries
WHERE client_id = %(client_id)s AND bucket = %(bucket)s AND export_path = %(export_path)s
    AND (%(billing_period)s::date IS NULL OR billing_period = %(billing_period)s) AND started_at IS NOT NULL
ORDER BY started_at DESC LIMIT 1

-- name: adopt_files
-- A file version that the current delivery has too, or one of the same content under another key or ETag.
UPDATE billing_delivery_files AS file SET rows_read = known.rows_read, rows_inserted = 0, rows_skipped = known.rows_read,
    outcome = CASE WHEN known.ingestion_run_id = run.ingestion_run_id THEN 'skipped' ELSE 'success' END
FROM billing_ingestion_runs AS run, billing_delivery_files AS known
JOIN billing_ingestion_runs AS known_run ON known_run.ingestion_run_id = known.ingestion_run_id
WHERE file.delivery_id = %(delivery_id)s AND run.ingestion_run_id = file.ingestion_run_id
    AND known.delivery_id = %(current_delivery_id)s
    AND (known.ingestion_run_id = run.ingestion_run_id OR known_run.sha256 = run.sha256)

-- name: adopt_compared_file
UPDATE billing_delivery_files SET outcome = 'success', rows_read = %(rows_read)s, rows_inserted = 0, rows_skipped = %(rows_read)s
WHERE delivery_id = %(delivery_id)s AND file_number = %(file_number)s

-- name: adopt_runs
UPDATE billing_ingestion_runs AS run SET status = 'success', finished_at = clock_timestamp(), rows_read = file.rows_read,
    rows_inserted = 0, rows_skipped = file.rows_read, error_code = NULL, error_message = NULL,
    started_at = coalesce(run.started_at, clock_timestamp())
FROM billing_delivery_files AS file
WHERE file.delivery_id = %(delivery_id)s AND run.ingestion_run_id = file.ingestion_run_id AND run.status <> 'success'

-- name: adopt_delivery
-- It has what was found in the bill, and not what was told of the other delivery alone.
UPDATE billing_deliveries AS delivery SET
    state = 'published', statement_id = known.statement_id, billing_period = known.billing_period, format = known.format,
    rows_read = known.rows_read, rows_added = 0, rows_removed = 0, rows_unchanged = known.rows_read,
    source_cost = known.source_cost, billed_cost = known.billed_cost, mapping_version = known.mapping_version,
    findings = (
        SELECT coalesce(jsonb_agg(finding), '[]') || %(findings)s::jsonb FROM jsonb_array_elements(known.findings) AS finding
        WHERE finding #>> '{}' !~ '^(published by |new columns: |columns )'
    ), columns = coalesce(%(columns)s::jsonb, known.columns),
    timings = %(timings)s::jsonb, publication_id = %(publication_id)s, rolled_back_by = NULL, released_at = NULL,
    started_at = coalesce(delivery.started_at, clock_timestamp()),
    finished_at = clock_timestamp(), error_code = NULL, error_message = NULL, reason = NULL
FROM billing_deliveries AS known
WHERE delivery.delivery_id = %(delivery_id)s AND known.delivery_id = %(current_delivery_id)s

-- name: adopt_statement
UPDATE billing_statements SET current_delivery_id = %(delivery_id)s
WHERE statement_id = %(statement_id)s AND current_publication_id = %(publication_id)s

-- name: count_file_rows
SELECT run.source_s3_key, run.source_etag, file.rows_read FROM billing_delivery_files AS file
JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
WHERE file.delivery_id = %(delivery_id)s
