-- Held deliveries: what they were judged by, what was found in them, and how a newer one supersedes them.

-- name: find_judgement
SELECT statement_id, held_below_percent, held_against, mapping_version FROM billing_deliveries
WHERE delivery_id = %(delivery_id)s AND held_below_percent IS NOT NULL

-- name: keep_judgement
-- A delivery that was published before it came back keeps its counts.
UPDATE billing_deliveries SET statement_id = %(statement_id)s, billing_period = %(billing_period)s, format = %(format)s,
    rows_read = %(rows_read)s, source_cost = %(source_cost)s::jsonb, mapping_version = %(mapping_version)s,
    findings = %(findings)s::jsonb, columns = %(columns)s::jsonb, timings = %(timings)s::jsonb,
    held_below_percent = %(min_percent)s, held_against = %(publication_ids)s
WHERE delivery_id = %(delivery_id)s

-- name: keep_rows_of_file
UPDATE billing_delivery_files SET rows_read = %(rows_read)s
WHERE delivery_id = %(delivery_id)s AND file_number = %(file_number)s AND outcome <> 'success'

-- name: keep_rows_of_run
UPDATE billing_ingestion_runs SET rows_read = %(rows_read)s
WHERE ingestion_run_id = %(ingestion_run_id)s AND status <> 'success'

-- name: end_holds
-- A newer delivery became current: held ones before it can no longer come in, and lose their releases. The file now at
-- the key of a standalone file is the one that counts, so its versions are not compared by age. A delivery that was
-- published before it came back and was held stays published, as every published delivery does.
UPDATE billing_deliveries AS overtaken SET
    state = CASE
        WHEN overtaken.state <> 'held' THEN overtaken.state
        WHEN overtaken.publication_id IS NULL THEN 'superseded'
        ELSE 'published'
    END,
    reason = CASE
        WHEN overtaken.state <> 'held' THEN overtaken.reason
        WHEN overtaken.publication_id IS NULL THEN 'was held (' || coalesce(overtaken.reason, 'without a reason')
            || ') until the delivery of ' || to_char(newer.delivered_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
            || ' UTC was published'
    END,
    released_at = NULL
FROM billing_statements AS statement, billing_deliveries AS newer
WHERE statement.statement_id = $1::integer AND newer.delivery_id = $2::text::uuid
    AND (overtaken.client_id, overtaken.bucket, overtaken.export_path)
        = (statement.client_id, statement.bucket, statement.export_path)
    AND overtaken.delivery_id <> newer.delivery_id
    AND (overtaken.state = 'held' OR overtaken.released_at IS NOT NULL)
    AND (overtaken.manifest_key IS NULL
        OR overtaken.billing_period = statement.billing_period AND overtaken.delivered_at <= newer.delivered_at)
