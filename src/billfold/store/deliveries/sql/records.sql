-- Deliveries by id, and their releases.

-- name: find_delivery
SELECT delivery.client_id, delivery.statement_id, delivery.bucket, delivery.export_path, delivery.export_name,
    delivery.billing_period, delivery.state, delivery.reason, delivery.released_at IS NOT NULL,
    delivery.rolled_back_by, delivery.manifest_key, delivery.named_period,
    (SELECT run.source_s3_key FROM billing_delivery_files AS file JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
        WHERE file.delivery_id = delivery.delivery_id ORDER BY file.file_number LIMIT 1)
FROM billing_deliveries AS delivery WHERE delivery.delivery_id = %(delivery_id)s

-- name: release_delivery
UPDATE billing_deliveries SET released_at = clock_timestamp()
WHERE delivery_id = %(delivery_id)s AND state = 'held'

-- name: take_release_back
UPDATE billing_deliveries SET released_at = NULL WHERE delivery_id = %(delivery_id)s

-- name: find_latest_attempt
SELECT delivery_id, state, error_code FROM billing_deliveries
WHERE client_id = %(client_id)s AND bucket = %(bucket)s AND export_path = %(export_path)s
    AND (%(billing_period)s::date IS NULL OR billing_period = %(billing_period)s) AND started_at IS NOT NULL
ORDER BY started_at DESC LIMIT 1
