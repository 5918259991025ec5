-- One worker at a time works on a statement.

-- name: lock_statement
-- A session lock: it dies with its connection, so a killed worker leaves nothing to clean.
SELECT pg_advisory_lock(hashtextextended(%(statement)s, 0))

-- name: end_abandoned_deliveries
-- With the claim no other worker has the statement: what is still running was left by a dead worker.
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
