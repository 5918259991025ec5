-- Files that are not bills.

-- name: find_kinds
SELECT source_s3_key, source_etag, kind FROM billing_left_out_files
WHERE client_id = %(client_id)s AND source_bucket = %(bucket)s AND source_s3_key = ANY(%(keys)s)

-- name: find_bills
SELECT export_path FROM billing_statements
WHERE client_id = %(client_id)s AND bucket = %(bucket)s AND export_path = ANY(%(keys)s)
UNION
SELECT source_s3_key FROM billing_ingestion_runs
WHERE client_id = %(client_id)s AND source_bucket = %(bucket)s AND source_s3_key = ANY(%(keys)s) AND status = 'success'

-- name: keep_kind
INSERT INTO billing_left_out_files (client_id, source_bucket, source_s3_key, source_etag, kind)
-- Nothing is kept for a client that has no bills yet.
SELECT client_id, %(bucket)s::text, %(key)s::text, %(etag)s::text, %(kind)s::text FROM billing_clients WHERE client_id = %(client_id)s
ON CONFLICT (client_id, source_bucket, source_s3_key) DO UPDATE SET
    source_etag = excluded.source_etag, kind = excluded.kind, found_at = excluded.found_at
