-- Statements and what they hold now.

-- name: find_statement
SELECT
    statement.statement_id, statement.current_publication_id, statement.current_delivery_id, statement.billing_period,
    statement.cost_basis, publication.mapping_version, statement.hash_version, statement.row_count,
    publication.charges_after, publication.billed_cost_after, publication.gross_cost_after, publication.net_cost_after,
    CASE WHEN NOT delivery.is_time_assumed THEN delivery.delivered_at END, statement.currency, statement.bucket,
    statement.export_path, publication.undiscounted_cost_after
FROM billing_statements AS statement
LEFT JOIN billing_publications AS publication ON publication.publication_id = statement.current_publication_id
LEFT JOIN billing_deliveries AS delivery ON delivery.delivery_id = statement.current_delivery_id
WHERE statement.client_id = %(client_id)s AND statement.bucket = %(bucket)s AND statement.export_path = %(export_path)s
    AND (%(billing_period)s::date IS NULL OR statement.billing_period = %(billing_period)s)
ORDER BY statement.billing_period DESC
LIMIT 1

-- name: find_of_manifest
-- The statement whose current delivery has this manifest: this version, or another copy of the same execution's.
SELECT statement.statement_id, statement.export_name FROM billing_statements AS statement
JOIN billing_deliveries AS delivery ON delivery.delivery_id = statement.current_delivery_id
WHERE statement.client_id = %(client_id)s AND statement.bucket = %(bucket)s AND (
    delivery.manifest_key = %(manifest_key)s AND delivery.manifest_etag = %(manifest_etag)s
    OR delivery.execution_id = %(execution_id)s
        AND (statement.export_path, statement.billing_period) = (%(export_path)s, %(billing_period)s::date))
ORDER BY delivery.manifest_key = %(manifest_key)s DESC LIMIT 1

-- name: list_current_files
SELECT file.ingestion_run_id, run.source_s3_key, file.rows_read FROM billing_delivery_files AS file
JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
WHERE file.delivery_id = %(delivery_id)s ORDER BY file.file_number

-- name: list_months_of_version
-- The months of the statements at this path whose current delivery holds this version of a file.
SELECT statement.billing_period, statement.current_delivery_id FROM billing_statements AS statement
WHERE statement.client_id = %(client_id)s AND statement.bucket = %(bucket)s AND statement.export_path = %(export_path)s
    AND EXISTS (
        SELECT FROM billing_delivery_files AS file JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
        WHERE file.delivery_id = statement.current_delivery_id
            AND run.source_s3_key = %(key)s AND run.source_etag = %(etag)s)
ORDER BY statement.billing_period

-- name: key_of_statement
SELECT client_id, bucket, export_path, billing_period FROM billing_statements WHERE statement_id = %(statement_id)s

-- name: ensure_statement
INSERT INTO billing_statements (client_id, bucket, export_path, export_name, billing_period, hash_version, currency)
VALUES (%(client_id)s, %(bucket)s, %(export_path)s, %(export_name)s, %(billing_period)s, %(hash_version)s, %(currency)s)
ON CONFLICT (client_id, bucket, export_path, billing_period) DO NOTHING

-- name: create_partitions
SELECT billfold_create_partitions(%(billing_period)s)

-- name: list_delivery_files
SELECT run.source_s3_key, run.source_etag, run.sha256 FROM billing_delivery_files AS file
JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
WHERE file.delivery_id = %(delivery_id)s

-- name: find_owning_statement
-- The statement of an export whose current bill a standalone file belongs to: named by the manifest, or by its place.
-- Keys are compared together with their buckets: any folder above a local file may be its bucket.
SELECT statement.statement_id, statement.export_name, statement.billing_period, statement.counted
FROM billing_statements AS statement
JOIN billing_deliveries AS delivery ON delivery.delivery_id = statement.current_delivery_id
WHERE statement.client_id = %(client_id)s AND delivery.manifest_key IS NOT NULL
    AND (
        CASE statement.export_path
            WHEN '.' THEN statement.bucket
            ELSE regexp_replace(statement.bucket, '/$', '') || '/' || statement.export_path
        END = %(place)s
            AND statement.billing_period = %(place_period)s::date
        OR EXISTS (
            SELECT FROM billing_delivery_files AS file JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
            WHERE file.delivery_id = delivery.delivery_id
                AND regexp_replace(run.source_bucket, '/$', '') || '/' || run.source_s3_key = %(file)s
        )
    )
ORDER BY statement.statement_id LIMIT 1

-- name: list_standalone
-- Statements of single files that a manifest may name: by their keys, or because they lie below its export's folder.
SELECT statement.statement_id, absolute_key FROM (
    SELECT statement.*, regexp_replace(statement.bucket, '/$', '') || '/' || statement.export_path AS absolute_key
    FROM billing_statements AS statement
) AS statement
JOIN billing_deliveries AS delivery ON delivery.delivery_id = statement.current_delivery_id
WHERE statement.client_id = %(client_id)s AND delivery.manifest_key IS NULL
    AND statement.billing_period = %(billing_period)s
    AND (absolute_key = ANY(%(files)s) OR starts_with(absolute_key, %(folder)s))
ORDER BY statement.statement_id

-- name: list_buckets
SELECT DISTINCT bucket FROM billing_statements
WHERE client_id = %(client_id)s AND current_publication_id IS NOT NULL
ORDER BY bucket

-- name: is_known_source
-- Whether a bill came in from the local file at this address, such as file:///data/a.csv.
SELECT EXISTS (
    SELECT FROM billing_ingestion_runs WHERE client_id = %(client_id)s AND status = 'success'
        AND source_bucket || '/' || source_s3_key = %(place)s
) OR EXISTS (
    SELECT FROM billing_deliveries WHERE client_id = %(client_id)s AND publication_id IS NOT NULL
        AND bucket || '/' || manifest_key = %(place)s
)

-- name: list_locations
-- The statements of one standalone file; any folder above a local file may have been its bucket.
SELECT statement_id, bucket, export_path, current_delivery_id IS NOT NULL, counted
FROM billing_statements
WHERE client_id = %(client_id)s AND current_publication_id IS NOT NULL
    AND regexp_replace(bucket, '/$', '') || '/' || export_path = %(file)s
ORDER BY current_delivery_id IS NULL, NOT counted, bucket <> %(bucket)s, statement_id

-- name: list_export_locations
-- The statements of one export and month, whichever folder above its files was the bucket. The path of an export at the
-- bucket's root is a dot.
SELECT statement_id, bucket, export_path, current_delivery_id IS NOT NULL, counted
FROM billing_statements
WHERE client_id = %(client_id)s AND current_publication_id IS NOT NULL AND billing_period = %(billing_period)s::date
    AND CASE export_path
        WHEN '.' THEN bucket ELSE regexp_replace(bucket, '/$', '') || '/' || export_path
    END = %(export)s
ORDER BY current_delivery_id IS NULL, NOT counted, bucket <> %(bucket)s, statement_id

-- name: list_counted
SELECT statement_id FROM billing_statements WHERE statement_id = ANY(%(statement_ids)s) AND counted

-- name: find_columns
-- The columns of the previous bill: this statement's, else those of the export's latest other month.
SELECT delivery.columns FROM billing_statements AS statement
JOIN billing_deliveries AS delivery ON delivery.delivery_id = statement.current_delivery_id
WHERE statement.client_id = %(client_id)s AND statement.bucket = %(bucket)s AND statement.export_path = %(export_path)s
    AND delivery.columns <> '{}'
ORDER BY statement.billing_period = %(billing_period)s DESC, statement.billing_period DESC
LIMIT 1

-- name: list_residuals
SELECT row_hash, billed_cost FROM billing_usage_fact
WHERE statement_id = %(statement_id)s AND billing_period = %(billing_period)s AND occurrence = 0
