-- Runs outside any attempt on a delivery.

-- name: mark_pending
INSERT INTO billing_ingestion_runs (client_id, source_bucket, source_s3_key, source_etag, trigger_source, size_bytes)
VALUES (%(client_id)s, %(source_bucket)s, %(source_s3_key)s, %(source_etag)s, %(trigger_source)s, %(size_bytes)s)
ON CONFLICT (source_bucket, source_s3_key, source_etag) DO NOTHING

-- name: list_waiting
SELECT ingestion_run_id, source_s3_key FROM billing_ingestion_runs
WHERE status = 'pending' AND delivery_id IS NULL AND client_id = %(client_id)s AND source_bucket = %(bucket)s
    AND starts_with(source_s3_key, %(folder)s) AND created_at < %(delivered_at)s

-- name: skip_waiting
UPDATE billing_ingestion_runs SET status = 'skipped', finished_at = clock_timestamp(),
    error_message = 'the manifest that came after it does not name this version'
WHERE ingestion_run_id = ANY(%(run_ids)s) AND status = 'pending' AND delivery_id IS NULL

-- name: record_failed_source
-- A source that could not be resolved leaves a failed run under the requested key.
INSERT INTO billing_ingestion_runs (client_id, source_bucket, source_s3_key, source_etag, trigger_source, status, attempts,
    started_at, finished_at, error_code, error_message, last_error_code, last_error_message, last_failed_at)
VALUES (%(client_id)s, %(source_bucket)s, %(source_s3_key)s, %(source_etag)s, %(trigger_source)s, 'failed', 1,
    clock_timestamp(), clock_timestamp(), %(error_code)s, %(error_message)s, %(error_code)s, %(error_message)s,
    clock_timestamp())
ON CONFLICT (source_bucket, source_s3_key, source_etag) DO UPDATE SET
    status = 'failed', attempts = billing_ingestion_runs.attempts + 1, finished_at = clock_timestamp(),
    error_code = excluded.error_code, error_message = excluded.error_message, last_error_code = excluded.error_code,
    last_error_message = excluded.error_message, last_failed_at = excluded.last_failed_at
WHERE billing_ingestion_runs.status <> 'success'
RETURNING ingestion_run_id

-- name: find_periods
SELECT run.source_s3_key, run.source_etag, delivery.billing_period
FROM billing_ingestion_runs AS run
JOIN billing_delivery_files AS file USING (ingestion_run_id)
JOIN billing_deliveries AS delivery ON delivery.delivery_id = file.delivery_id
WHERE run.client_id = %(client_id)s AND run.source_bucket = %(bucket)s AND run.source_s3_key = ANY(%(keys)s)
    AND delivery.billing_period IS NOT NULL
ORDER BY delivery.delivered_at, delivery.created_at
