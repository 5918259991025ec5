-- Requested deliveries: each waits as a job of the queue.

-- name: list_replaced
SELECT delivery_id FROM billing_jobs
WHERE kind = 'ingest' AND (client_id, bucket, key) = (%(client_id)s, %(bucket)s, %(key)s)
    AND billing_period IS NOT DISTINCT FROM %(period)s::date AND delivery_id <> %(delivery_id)s

-- name: request_delivery
-- A failed delivery is pending again, and a released one; any other state is left to the attempt.
UPDATE billing_deliveries SET state = 'pending', started_at = NULL, finished_at = NULL, error_code = NULL,
    error_message = NULL
WHERE delivery_id = %(delivery_id)s AND (state = 'failed' OR state = 'held' AND released_at IS NOT NULL)

-- name: request_runs
-- The runs of a held delivery stay skipped until it is released.
UPDATE billing_ingestion_runs SET status = 'pending', started_at = NULL, finished_at = NULL, error_code = NULL,
    error_message = NULL
WHERE (status = 'failed'
        OR status = 'skipped' AND (SELECT state FROM billing_deliveries WHERE delivery_id = %(delivery_id)s) = 'pending')
    AND ingestion_run_id IN (SELECT ingestion_run_id FROM billing_delivery_files WHERE delivery_id = %(delivery_id)s)

-- name: request_files
UPDATE billing_delivery_files SET outcome = 'pending'
WHERE delivery_id = %(delivery_id)s AND (outcome = 'failed'
    OR outcome = 'skipped' AND (SELECT state FROM billing_deliveries WHERE delivery_id = %(delivery_id)s) = 'pending')

-- name: find_requested
-- No other delivery can be requested with this job before the transaction ends.
SELECT delivery_id FROM billing_jobs WHERE job_id = %(job_id)s FOR UPDATE

-- name: show
SELECT delivery_id, client_id, export_name, to_char(billing_period, 'YYYY-MM') AS billing_period, state, (
    SELECT min(job.created_at) FROM billing_jobs AS job
    WHERE job.delivery_id = delivery.delivery_id AND job.state <> 'dead'
) AS asked_at
FROM billing_deliveries AS delivery WHERE delivery_id = %(delivery_id)s

-- name: read_prospect
-- The statement's current delivery, if it is newer. A later version of a single file replaces it, even if its month
-- differs.
SELECT
    (SELECT newer.delivery_id FROM billing_statements AS statement
        JOIN billing_deliveries AS newer ON newer.delivery_id = statement.current_delivery_id
        WHERE (statement.client_id, statement.bucket, statement.export_path)
                = (delivery.client_id, delivery.bucket, delivery.export_path)
            AND (delivery.manifest_key IS NULL OR statement.billing_period = delivery.billing_period)
            AND newer.delivered_at > delivery.delivered_at
        ORDER BY newer.delivered_at DESC LIMIT 1) AS newer_delivery_id,
    error_code
FROM billing_deliveries AS delivery WHERE delivery_id = %(delivery_id)s

-- name: is_pending
SELECT state = 'pending' FROM billing_deliveries WHERE delivery_id = %(delivery_id)s FOR UPDATE

-- name: end_delivery
-- As at the end of an attempt: a superseded delivery loses its release, and one that was published before it came back
-- and was held stays published.
UPDATE billing_deliveries SET
    state = CASE WHEN %(state)s = 'superseded' AND publication_id IS NOT NULL THEN 'published' ELSE %(state)s END,
    started_at = clock_timestamp(), finished_at = clock_timestamp(),
    error_code = %(error_code)s, error_message = %(error_message)s,
    reason = CASE WHEN %(state)s = 'superseded' AND publication_id IS NOT NULL THEN NULL ELSE %(reason)s END,
    released_at = CASE WHEN %(state)s = 'superseded' THEN NULL ELSE released_at END,
    last_error_code = coalesce(%(error_code)s, last_error_code),
    last_error_message = coalesce(%(error_message)s, last_error_message)
WHERE delivery_id = %(delivery_id)s

-- name: end_runs
UPDATE billing_ingestion_runs SET status = %(status)s, started_at = clock_timestamp(), finished_at = clock_timestamp(),
    error_code = %(error_code)s, error_message = %(error_message)s,
    last_error_code = coalesce(%(error_code)s, last_error_code),
    last_error_message = coalesce(%(error_message)s, last_error_message),
    last_failed_at = CASE WHEN %(error_code)s::text IS NULL THEN last_failed_at ELSE clock_timestamp() END
WHERE status = 'pending'
    AND ingestion_run_id IN (SELECT ingestion_run_id FROM billing_delivery_files WHERE delivery_id = %(delivery_id)s)

-- name: end_files
UPDATE billing_delivery_files SET outcome = %(status)s WHERE delivery_id = %(delivery_id)s AND outcome = 'pending'
