-- Rolling back, undoing that, and deleting history after its retention period.

-- name: list_publications
SELECT
    publication.publication_id, publication.number, publication.kind, publication.delivery_id,
    publication.restored_publication_id, publication.published_at, publication.cost_basis, publication.hash_version,
    publication.mapping_version, publication.rows_after, publication.charges_after, publication.billed_cost_after,
    publication.gross_cost_after, publication.net_cost_after, publication.left_out,
    publication.unproved_cost,
    coalesce(publication.published_at >= statement.remembered_since, true)
FROM billing_publications AS publication JOIN billing_statements AS statement USING (statement_id)
WHERE statement_id = %(statement_id)s ORDER BY publication.number

-- name: list_adopted
-- The files whose statements these publications emptied, unless they are statements of their own again: all publications
-- of one transaction have the same time.
SELECT DISTINCT adopted.export_name
FROM billing_publications AS publication
JOIN billing_statements AS statement ON statement.statement_id = publication.statement_id
JOIN billing_publications AS adoption ON adoption.published_at = publication.published_at AND adoption.kind = 'adoption'
JOIN billing_statements AS adopted ON adopted.statement_id = adoption.statement_id
    AND adopted.client_id = statement.client_id AND adopted.current_delivery_id IS NULL
WHERE publication.publication_id = ANY (%(publication_ids)s)
ORDER BY adopted.export_name

-- name: read_delivery
SELECT bucket, export_path, export_name, billing_period, delivered_at, execution_id, manifest_key, manifest_etag
FROM billing_deliveries WHERE delivery_id = %(delivery_id)s

-- name: list_files
SELECT run.source_bucket, run.source_s3_key, run.source_etag, coalesce(run.size_bytes, 0)
FROM billing_delivery_files AS file JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
WHERE file.delivery_id = %(delivery_id)s ORDER BY file.file_number

-- name: roll_back_deliveries
-- Every delivery that was current for the bill that is rolled back.
UPDATE billing_deliveries SET state = 'rolled_back', reason = 'was rolled back', rolled_back_by = $2::bigint
WHERE statement_id = $1::integer AND state = 'published'
    AND publication_id = ANY (string_to_array($3::text, ',')::bigint[])

-- name: take_back_deliveries
UPDATE billing_deliveries SET state = 'published', reason = NULL, publication_id = $2::bigint, rolled_back_by = NULL
WHERE statement_id = $1::integer AND state = 'rolled_back' AND rolled_back_by = $3::bigint

-- name: find_latest_delivery
-- The latest of the deliveries that were current for a bill: redeliveries of the same files have no publication.
SELECT delivery_id FROM billing_deliveries
WHERE statement_id = %(statement_id)s AND state = 'published'
    AND publication_id = ANY (%(publication_ids)s)
ORDER BY delivered_at DESC LIMIT 1

-- name: mark_published_again
-- Its rollback is kept: when the later rollback is undone, it is rolled back as before.
UPDATE billing_deliveries SET state = 'published', reason = NULL, error_code = NULL, error_message = NULL,
    publication_id = $2::bigint
WHERE delivery_id = $1::text::uuid AND state <> 'published'

-- name: fall_back
UPDATE billing_deliveries SET state = 'rolled_back', reason = 'was rolled back'
WHERE statement_id = $1::integer AND state = 'published' AND publication_id = $2::bigint AND rolled_back_by IS NOT NULL

-- name: list_forgettable
-- Rows withdrawn up to the last publication before the moment can be deleted; every later state stays complete.
SELECT statement.statement_id, statement.client_id, statement.export_name, statement.billing_period,
    max(publication.publication_id), max(publication.published_at)
FROM billing_statements AS statement JOIN billing_publications AS publication USING (statement_id)
WHERE publication.published_at <= %(moment)s AND (
        EXISTS (
            SELECT FROM raw_aws_billing_rows_history AS withdrawn
            WHERE withdrawn.billing_period = statement.billing_period
                AND withdrawn.statement_id = statement.statement_id AND withdrawn.removed_by = publication.publication_id
        ) OR EXISTS (
            SELECT FROM billing_usage_fact_history AS withdrawn
            WHERE withdrawn.billing_period = statement.billing_period
                AND withdrawn.statement_id = statement.statement_id AND withdrawn.removed_by = publication.publication_id
        ) OR EXISTS (
            SELECT FROM billing_split_cost_history AS withdrawn
            WHERE withdrawn.billing_period = statement.billing_period
                AND withdrawn.statement_id = statement.statement_id AND withdrawn.removed_by = publication.publication_id
        )
    )
    AND (statement.remembered_since IS NULL OR publication.published_at > statement.remembered_since)
    AND (%(client)s::text IS NULL OR statement.client_id = %(client)s)
GROUP BY 1 ORDER BY statement.billing_period, statement.statement_id

-- name: forget_before
UPDATE billing_statements SET remembered_since = %(remembered_since)s WHERE statement_id = %(statement_id)s

-- name: count_rows
SELECT count(*) FROM raw_aws_billing_rows_history
WHERE statement_id = %(statement_id)s AND billing_period = %(billing_period)s AND removed_by <= %(publication_id)s

-- name: count_charges
SELECT count(*) FROM billing_usage_fact_history
WHERE statement_id = %(statement_id)s AND billing_period = %(billing_period)s AND removed_by <= %(publication_id)s

-- name: forget_rows
DELETE FROM raw_aws_billing_rows_history
WHERE statement_id = %(statement_id)s AND billing_period = %(billing_period)s AND removed_by <= %(publication_id)s

-- name: forget_charges
DELETE FROM billing_usage_fact_history
WHERE statement_id = %(statement_id)s AND billing_period = %(billing_period)s AND removed_by <= %(publication_id)s

-- name: forget_split
DELETE FROM billing_split_cost_history
WHERE statement_id = %(statement_id)s AND billing_period = %(billing_period)s AND removed_by <= %(publication_id)s
