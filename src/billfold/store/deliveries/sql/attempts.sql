-- How an attempt on a delivery begins and how it ends without a publication.

-- name: start_delivery
UPDATE billing_deliveries SET state = 'running', attempts = attempts + 1, started_at = clock_timestamp(),
    finished_at = NULL, error_code = NULL, error_message = NULL, reason = NULL, trigger_source = %(trigger_source)s
WHERE delivery_id = %(delivery_id)s AND state NOT IN ('published', 'rolled_back')

-- name: start_runs
-- Once a success always a success: a file version that is ingested already keeps its state.
UPDATE billing_ingestion_runs SET status = 'running', attempts = attempts + 1, started_at = clock_timestamp(),
    finished_at = NULL, error_code = NULL, error_message = NULL, delivery_id = %(delivery_id)s,
    trigger_source = %(trigger_source)s
WHERE ingestion_run_id = ANY(%(run_ids)s) AND status <> 'success'

-- name: record_fetched
UPDATE billing_ingestion_runs SET sha256 = %(sha256)s, size_bytes = %(size_bytes)s WHERE ingestion_run_id = %(run_id)s

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
-- A delivery that was published before it came back and was held stays published when a newer one supersedes it.
UPDATE billing_deliveries SET
    state = CASE WHEN %(state)s = 'superseded' AND publication_id IS NOT NULL THEN 'published' ELSE %(state)s END,
    finished_at = clock_timestamp(), error_code = %(error_code)s, error_message = %(error_message)s,
    reason = CASE WHEN %(state)s = 'superseded' AND publication_id IS NOT NULL THEN NULL ELSE %(reason)s END,
    started_at = coalesce(started_at, clock_timestamp()),
    released_at = CASE WHEN %(state)s = 'superseded' THEN NULL ELSE released_at END
WHERE delivery_id = %(delivery_id)s
    -- A published delivery stays published, a rolled back one rolled back, however another attempt ended; except one
    -- that came back and is held.
    AND (state NOT IN ('published', 'rolled_back') OR state = 'published' AND %(state)s = 'held')

-- name: keep_last_error
UPDATE billing_deliveries SET last_error_code = %(error_code)s, last_error_message = %(error_message)s
WHERE delivery_id = %(delivery_id)s

-- name: end_runs
-- One moment for all: two readings of the clock would differ.
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

-- name: adopt_delivery
-- It has the findings about the bill, not those about the other delivery alone.
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

-- name: adopt_files
-- A file version that the current delivery has too, or the same content under another key or ETag.
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

-- name: adopt_statement
UPDATE billing_statements SET current_delivery_id = %(delivery_id)s
WHERE statement_id = %(statement_id)s AND current_publication_id = %(publication_id)s

-- name: count_file_rows
SELECT run.source_s3_key, run.source_etag, file.rows_read FROM billing_delivery_files AS file
JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
WHERE file.delivery_id = %(delivery_id)s
