-- What the reports show. A filter that is NULL matches everything.

-- name: list_clients
SELECT client_id FROM billing_clients ORDER BY client_id

-- name: list_choices
-- The exports and months of all statements, as filters offer them.
WITH statement AS (
    SELECT export_name, billing_period FROM billing_statements
    WHERE %(client)s::text IS NULL OR client_id = %(client)s
)
SELECT ARRAY(SELECT DISTINCT export_name FROM statement ORDER BY export_name LIMIT %(limit)s) AS exports,
    ARRAY(
        SELECT to_char(billing_period, 'YYYY-MM') FROM statement GROUP BY billing_period ORDER BY billing_period DESC
        LIMIT %(limit)s
    ) AS periods

-- name: list_runs
SELECT
    run.ingestion_run_id, run.client_id, run.delivery_id, delivery.export_name,
    to_char(delivery.billing_period, 'YYYY-MM') AS billing_period,
    run.source_bucket, run.source_s3_key, run.source_etag, run.status, run.trigger_source, run.attempts,
    run.size_bytes, run.sha256, run.rows_read, run.rows_inserted, run.rows_skipped, run.error_code, run.error_message,
    run.last_error_code, run.last_error_message, run.last_failed_at, run.created_at, run.started_at, run.finished_at,
    extract(epoch FROM run.finished_at - run.started_at)::float8 AS duration_seconds
FROM billing_ingestion_runs AS run
LEFT JOIN billing_deliveries AS delivery USING (delivery_id)
WHERE (%(client)s::text IS NULL OR run.client_id = %(client)s)
    AND (%(export)s::text IS NULL OR delivery.export_name = %(export)s)
    AND (%(period)s::date IS NULL OR delivery.billing_period = %(period)s)
    AND (%(state)s::text IS NULL OR run.status = %(state)s)
    AND (%(run)s::uuid IS NULL OR run.ingestion_run_id = %(run)s)
    -- A file version can belong to several deliveries. An array is looked up by index, a list is compared with every run.
    AND (%(delivery)s::uuid IS NULL OR run.ingestion_run_id = ANY (ARRAY(
        SELECT ingestion_run_id FROM billing_delivery_files WHERE delivery_id = %(delivery)s)))
    AND (%(after_at)s::timestamptz IS NULL OR run.created_at < %(after_at)s
        OR run.created_at = %(after_at)s AND run.ingestion_run_id > %(after_id)s::uuid)
ORDER BY run.created_at DESC, run.ingestion_run_id
LIMIT %(limit)s

-- name: list_deliveries
SELECT
    delivery.delivery_id, delivery.client_id, delivery.statement_id, delivery.export_name, delivery.bucket,
    delivery.export_path, to_char(delivery.billing_period, 'YYYY-MM') AS billing_period, delivery.format,
    delivery.state,
    coalesce(statement.current_delivery_id = delivery.delivery_id AND statement.counted, false) AS is_current,
    coalesce(statement.current_delivery_id = delivery.delivery_id, false) AS is_standing,
    delivery.delivered_at, delivery.manifest_key, delivery.execution_id, delivery.trigger_source, delivery.attempts,
    delivery.rows_read, delivery.rows_added, delivery.rows_removed, delivery.rows_unchanged,
    delivery.source_cost, delivery.billed_cost, delivery.findings, delivery.columns, delivery.publication_id,
    delivery.reason, delivery.released_at, requested.asked_at, requested.not_before, delivery.error_code,
    delivery.error_message, delivery.last_error_code, delivery.last_error_message, delivery.created_at,
    delivery.started_at, delivery.finished_at,
    extract(epoch FROM delivery.finished_at - delivery.started_at)::float8 AS duration_seconds, delivery.timings,
    -- One with the files of the current delivery is published without a publication of its own.
    coalesce((
        SELECT min(published_at) FROM billing_publications AS publication
        WHERE publication.statement_id = delivery.statement_id AND publication.delivery_id = delivery.delivery_id
            AND publication.kind = 'delivery'
    ), CASE WHEN delivery.state = 'published' THEN delivery.finished_at END) AS published_at,
    -- The later one that had come in last when this one was given up, or else the first that came in after that. Any
    -- later version of a standalone file replaces it, even if its month differs.
    CASE WHEN delivery.state = 'superseded' THEN (
        SELECT later.delivery_id FROM billing_deliveries AS later
        WHERE (later.client_id, later.bucket, later.export_path)
                = (delivery.client_id, delivery.bucket, delivery.export_path)
            AND later.billing_period
                BETWEEN CASE WHEN delivery.manifest_key IS NULL THEN '-infinity' ELSE delivery.billing_period END
                AND CASE WHEN delivery.manifest_key IS NULL THEN 'infinity' ELSE delivery.billing_period END
            AND later.delivered_at >= delivery.delivered_at AND later.delivery_id <> delivery.delivery_id
            AND later.state IN ('published', 'held')
        ORDER BY later.finished_at > delivery.finished_at,
            abs(extract(epoch FROM later.finished_at - delivery.finished_at)), later.delivery_id
        LIMIT 1
    ) END AS superseded_by
FROM billing_deliveries AS delivery
LEFT JOIN billing_statements AS statement USING (statement_id)
-- It waits as a job, or is worked on.
LEFT JOIN LATERAL (
    SELECT min(job.created_at) AS asked_at, min(coalesce(job.due_at, job.began_at)) AS not_before
    FROM billing_jobs AS job WHERE job.delivery_id = delivery.delivery_id AND job.state <> 'dead'
) AS requested ON true
WHERE (%(client)s::text IS NULL OR delivery.client_id = %(client)s)
    AND (%(export)s::text IS NULL OR delivery.export_name = %(export)s)
    AND (%(period)s::date IS NULL OR delivery.billing_period = %(period)s)
    AND (%(state)s::text IS NULL OR delivery.state = %(state)s)
    AND (%(delivery)s::uuid IS NULL OR delivery.delivery_id = %(delivery)s)
    AND (%(delivered_on)s::date IS NULL
        OR delivery.delivered_at >= %(delivered_on)s::date::timestamp AT TIME ZONE 'UTC'
            AND delivery.delivered_at < (%(delivered_on)s::date + 1)::timestamp AT TIME ZONE 'UTC')
    AND (%(after_at)s::timestamptz IS NULL OR delivery.created_at < %(after_at)s
        OR delivery.created_at = %(after_at)s AND delivery.delivery_id > %(after_id)s::uuid)
ORDER BY delivery.created_at DESC, delivery.delivery_id
LIMIT %(limit)s

-- name: list_statements
SELECT
    statement.statement_id, statement.client_id, statement.export_name, statement.bucket, statement.export_path,
    to_char(statement.billing_period, 'YYYY-MM') AS billing_period, delivery.format, statement.counted,
    statement.cost_basis, statement.row_count, coalesce(publication.charges_after, 0) AS charge_count,
    coalesce(publication.billed_cost_after, '{}') AS billed_cost, statement.current_delivery_id,
    coalesce(publication.number, 0) AS publication_number, publication.kind AS publication_kind, delivery.delivered_at,
    publication.published_at, statement.remembered_since,
    ARRAY(
        SELECT jsonb_build_object(
            'statement_id', related.other_statement_id, 'export', other.export_name, 'counted', other.counted,
            'relation', related.relation, 'decided_by', related.decided_by, 'measure', related.measure,
            'share_of_smaller', related.share_of_smaller::text, 'share_of_larger', related.share_of_larger::text,
            'line_items_in_both', related.line_items_in_both, 'cost_in_both', related.cost_in_both,
            'cost_only_here', related.cost_only_here, 'cost_only_there', related.cost_only_there,
            'compared_at', to_char(related.compared_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
        FROM billing_statement_relations AS related
        JOIN billing_statements AS other ON other.statement_id = related.other_statement_id
        WHERE related.statement_id = statement.statement_id
        ORDER BY related.other_statement_id
    ) AS related
FROM billing_statements AS statement
LEFT JOIN billing_publications AS publication ON publication.publication_id = statement.current_publication_id
LEFT JOIN billing_deliveries AS delivery ON delivery.delivery_id = statement.current_delivery_id
WHERE (%(client)s::text IS NULL OR statement.client_id = %(client)s)
    AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
    AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
    AND (%(statement)s::numeric IS NULL OR statement.statement_id = %(statement)s)
    AND (%(after_period)s::date IS NULL OR statement.billing_period < %(after_period)s
        OR statement.billing_period = %(after_period)s
            AND (statement.client_id, statement.export_name, statement.statement_id)
                > (%(after_client)s::text, %(after_export)s::text, %(after_statement)s::bigint))
ORDER BY statement.billing_period DESC, statement.client_id, statement.export_name, statement.statement_id
LIMIT %(limit)s

-- name: list_publications
SELECT
    publication.publication_id, publication.statement_id, statement.client_id, statement.export_name,
    to_char(statement.billing_period, 'YYYY-MM') AS billing_period, publication.number, publication.kind,
    coalesce(statement.current_publication_id = publication.publication_id AND statement.counted, false) AS is_current,
    coalesce(statement.current_publication_id = publication.publication_id, false) AS is_standing, publication.counted,
    publication.delivery_id,
    CASE WHEN publication.kind IN ('rollback', 'undo') THEN coalesce(restored.number, 0) END AS restored_number,
    publication.published_at, publication.rows_before, publication.rows_added, publication.rows_removed,
    publication.rows_after, publication.charges_before, publication.charges_after, publication.billed_cost_before,
    publication.billed_cost_after
FROM billing_publications AS publication
JOIN billing_statements AS statement USING (statement_id)
LEFT JOIN billing_publications AS restored ON restored.publication_id = publication.restored_publication_id
WHERE (%(client)s::text IS NULL OR statement.client_id = %(client)s)
    AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
    AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
    AND (%(statement)s::numeric IS NULL OR statement.statement_id = %(statement)s)
    AND (%(delivery)s::uuid IS NULL OR publication.delivery_id = %(delivery)s)
    AND (%(after_at)s::timestamptz IS NULL
        OR (publication.published_at, publication.publication_id) < (%(after_at)s, %(after_id)s::bigint))
ORDER BY publication.published_at DESC, publication.publication_id DESC
LIMIT %(limit)s
